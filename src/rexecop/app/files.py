"""Reading what people point at: bounded, regular files only, errors with the path."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from rexecop.app.errors import FileMissing, FileRefused, RootUnsafe, RootUnwritable

FILE_BYTES_MAX: Final = 1 << 20  # A profile or policy file is text a person wrote.
FOLDER_FILES_MAX: Final = 2_000  # More is not a profile but a mistake, such as a home directory.
Stamp = tuple[int, int, int, int, int] | None
IGNORED: Final = frozenset({"__pycache__", ".git"})


def read_file(path: Path, *, bytes_max: int = FILE_BYTES_MAX, whole: bool = True) -> bytes:
    """Return the bytes of a regular file of at most `bytes_max`; without `whole`, as many of a larger one.

    Raises:
        FileMissing, FileRefused.
    """
    try:
        with open(path, "rb", opener=_opened) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise FileRefused(f"`{path}` is not a regular file", path=str(path))
            # A buffer of the largest size would cost more than the reading.
            data = file.read(min(status.st_size, bytes_max) + 1)
            if len(data) > status.st_size:
                data += file.read(bytes_max + 1 - len(data))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileMissing(f"no file `{path}`", path=str(path)) from error
    except (OSError, ValueError) as error:
        raise FileRefused(f"`{path}` cannot be read: {reason_of(error)}", path=str(path)) from error
    if len(data) > bytes_max and whole:
        raise FileRefused(f"`{path}` holds more than {bytes_max} bytes", path=str(path))
    return data[:bytes_max]


def _opened(path: str, flags: int) -> int:
    """Open without waiting: a FIFO would hold whoever opens it for ever."""
    return os.open(path, flags | os.O_NONBLOCK)


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return every file below `folder` by its relative path; hidden files are left out.

    Raises:
        FileMissing, FileRefused: as `read_file`; a symlink out of the folder, or to a folder.
    """
    if not folder.is_dir():
        raise FileMissing(f"no folder `{folder}`", path=str(folder))
    found: dict[str, bytes] = {}
    base = folder.resolve()
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if any(part.startswith(".") or part in IGNORED for part in parts):
            continue
        if path.is_dir():
            if path.is_symlink():  # What is in it would be left out, as if it were not there.
                raise FileRefused(f"`{path}` is a symlink to a folder", path=str(path))
            continue
        if path.is_symlink() and not os.path.realpath(path).startswith(f"{base}{os.sep}"):
            raise FileRefused(f"`{path}` leads out of its folder", path=str(path))
        if len(found) >= FOLDER_FILES_MAX:
            raise FileRefused(f"`{folder}` holds more than {FOLDER_FILES_MAX} files", path=str(folder))
        found["/".join(parts)] = read_file(path)
    return found


class FolderWatch:
    """Says when something below a folder was written, added or removed.

    A folder's own time of change tells what was added and removed, so looking costs one
    call for each file and folder, and nothing is listed again unless something changed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = os.fspath(folder)
        self._stamps: dict[str, Stamp] = {}

    def changed(self) -> bool:
        """Return whether anything changed since this was asked last; the first time it did."""
        if self.is_as_seen():
            return False
        found: dict[str, Stamp] = {self._folder: stamp_of(self._folder)}
        for at, folders, names in os.walk(self._folder):
            found |= {
                path: stamp_of(path) for path in (os.path.join(at, name) for name in (*folders, *names))
            }
        self._stamps = found
        return True

    def is_as_seen(self) -> bool:
        """Return whether nothing changed since `changed` was asked last."""
        # Each operation asks several times: nothing is done one by one here that can be done at once.
        return bool(self._stamps) and [*map(stamp_of, self._stamps)] == [*self._stamps.values()]


def stamp_of(path: str | Path) -> Stamp:
    """Return what changes when the file at `path` is written or replaced; None where there is none."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode, status.st_uid)


def require_private(path: Path) -> None:
    """Return only if `path` belongs to the caller and nobody else can write it.

    Raises:
        RootUnsafe: it carries authority and others could change it.
    """
    try:
        status = path.lstat()
    except OSError as error:
        raise FileMissing(f"no file `{path}`", path=str(path)) from error
    if stat.S_ISLNK(status.st_mode):
        raise RootUnsafe(f"`{path}` is a symlink; authority is read from real files only", path=str(path))
    if status.st_uid != os.getuid():
        raise RootUnsafe(f"`{path}` belongs to uid {status.st_uid}, not to the caller", path=str(path))
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise RootUnsafe(
            f"`{path}` can be written by others", path=str(path), next_steps=(f"chmod go-w {path}",)
        )


def require_unwritable(path: Path) -> None:
    """Return only if nobody but the caller and root can write what `path` leads to.

    Raises:
        RootUnsafe: it decides whom to trust, and others could change it. FileMissing: it is not there.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise FileMissing(f"no file `{path}`", path=str(path)) from error
    if status.st_uid not in (0, os.getuid()) or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise RootUnsafe(
            f"`{path}` can be written by others", path=str(path), next_steps=(f"chmod go-w {path}",)
        )


def require_secret(path: Path) -> None:
    """Return only if `path` is private and nobody but its owner can even read it.

    Raises:
        RootUnsafe, FileMissing: as `require_private`.
    """
    require_private(path)
    if path.lstat().st_mode & 0o077:
        raise RootUnsafe(
            f"`{path}` holds secrets and can be read by others",
            path=str(path),
            next_steps=(f"chmod 600 {path}",),
        )


def write_new(path: Path, data: bytes, *, mode: int = 0o600) -> bool:
    """Write `data` to a new file; return False, untouched, where one exists.

    Raises:
        RootUnwritable: it cannot be written; no partial file stays.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.exists():
            return False
        replace_file(path, data, mode=mode)
    except OSError as error:
        raise RootUnwritable(f"`{path}` cannot be written: {reason_of(error)}", path=str(path)) from error
    return True


def replace_file(path: Path, data: bytes, *, mode: int, flush: bool = True) -> None:
    """Make `path` hold `data` whole or not at all; with `flush` it does so after a power cut, too.

    Raises:
        OSError: it cannot be written; no partial file stays.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            if flush:
                os.fsync(file.fileno())
        part.rename(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    if flush:
        flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Make the names in `folder` last; raises OSError if that fails."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Be the only one of all processes that holds `path`, which is made if it is not there.

    Raises:
        FileRefused: it cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FileRefused(f"`{path}` cannot be opened: {reason_of(error)}", path=str(path)) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_over(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whatever was there.

    Raises:
        FileRefused: it cannot be written.
    """
    try:
        path.write_bytes(data)
    except (OSError, ValueError) as error:
        raise FileRefused(f"`{path}` cannot be written: {reason_of(error)}", path=str(path)) from error


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` into a new or empty `folder`, all of them or none.

    Raises:
        FileRefused: the folder holds something, or cannot be written; it is as it was.
    """
    try:
        # Made beside it and moved there at once: moving onto a folder that holds something fails.
        with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
            made = Path(scratch) / folder.name
            made.mkdir()
            for name, data in files.items():
                (made / name).parent.mkdir(parents=True, exist_ok=True)
                with (made / name).open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            made.rename(folder)
    except (OSError, ValueError) as error:
        raise FileRefused(f"`{folder}` cannot be written: {reason_of(error)}", path=str(folder)) from error


def reason_of(error: Exception) -> str:
    """Return what the system said, in its own lower-case words."""
    text = error.strerror if isinstance(error, OSError) else str(error)
    return (text or type(error).__name__).lower()
