"""A SQLite file layer that counts what reaches the disk and fails where it is told to."""

import itertools
from collections.abc import Callable
from typing import Final

import apsw

_names: Final = itertools.count()


class Disk:
    """Counts writes and flushes of the database and its log; `fault` may raise before, or after, each.

    `fault(what, count, after)` gets `write` or `flush`, the running number of such calls, and
    whether the call was made already.
    """

    def __init__(self) -> None:
        self.name = f"faulty-{next(_names)}"
        self.writes = 0
        self.flushes = 0
        self.calls = 0
        self.fault: Callable[[str, int, bool], None] = lambda what, count, after: None
        self._vfs = _Vfs(self)

    def reset(self) -> None:
        self.writes = self.flushes = self.calls = 0

    def meet(self, what: str, *, after: bool) -> None:
        if not after:
            self.calls += 1
            if what == "write":
                self.writes += 1
            else:
                self.flushes += 1
        self.fault(what, self.calls, after)


class _Vfs(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        super().__init__(disk.name, "")
        self._disk = disk

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        return _File(self._disk, name, flags)


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.meet("write", after=False)
        super().xWrite(data, offset)
        self._disk.meet("write", after=True)

    def xSync(self, flags: int) -> None:
        self._disk.meet("flush", after=False)
        super().xSync(flags)
        self._disk.meet("flush", after=True)


# What the system's own file layer reports for a failed call; it never mixes them up.
REPORTED_BY: Final = {
    apsw.SQLITE_FULL: "write",
    apsw.SQLITE_IOERR_WRITE: "write",
    apsw.SQLITE_IOERR_FSYNC: "flush",
}


def fail_at(place: int, result: int, *, for_ever: bool = False) -> Callable[[str, int, bool], None]:
    """Return a fault: the call numbered `place` fails with `result` (and all later ones, `for_ever`)."""

    def fault(what: str, count: int, after: bool) -> None:
        met = count == place or (for_ever and count > place)
        if met and not after and what == REPORTED_BY[result]:
            raise apsw.exception_for(result)

    return fault


def answer_lost(place: int, result: int) -> Callable[[str, int, bool], None]:
    """Return a fault: the call numbered `place` is made, and reported as failed."""

    def fault(what: str, count: int, after: bool) -> None:
        if after and count == place and what == REPORTED_BY[result]:
            raise apsw.exception_for(result)

    return fault
