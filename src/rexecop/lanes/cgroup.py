"""Control groups: bounds on memory and processes of a whole tree, in either version of the interface.

Where groups can be made is found, never arranged: a folder has to be delegated to this
user. It imports nothing of ours, because the spawner loads it and must start fast.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

NAME: Final = "rexecop-"
CONTROLLERS: Final = ("memory", "pids")
REMOVE_ROUNDS_MAX: Final = 40  # The kernel lets go of a group some milliseconds after its last process.
REMOVE_PAUSE_SECONDS: Final = 0.005
# What bounds each, in version 2 and in version 1 of the interface.
_MEMORY: Final = ("memory.max", "memory.limit_in_bytes")
_PROCESSES: Final = ("pids.max",)
_KILLED: Final = ("memory.events", "memory.oom_control")


def find() -> list[str]:
    """Return the folders a group can be made in: one of version 2, or one of version 1 for each controller.

    Empty where none is delegated.
    """
    own = dict(_own())
    mounts = list(_mounts())
    for kind, _, point in mounts:
        if kind == "cgroup2" and "" in own:
            # A group that holds processes cannot hand controllers down, the one above it can.
            for folder in (point + own[""], os.path.dirname(point + own[""])):
                if folder.startswith(point) and _hands_down(folder):
                    return [folder]
    found = [
        os.path.normpath(point + own[name])
        for name in CONTROLLERS
        for kind, options, point in mounts
        if kind == "cgroup" and name in options and name in own
    ]
    return found if len(found) == len(CONTROLLERS) and all(os.access(at, os.W_OK) for at in found) else []


class Group:
    """One group for one call."""

    def __init__(self, folders: Sequence[str], memory_bytes: int, processes: int) -> None:
        """Make the group, named for this process, and set its bounds; 0 bytes of memory for no bound.

        Raises:
            OSError: the kernel refused.
        """
        self._folders = [os.path.join(folder, f"{NAME}{os.getpid()}") for folder in folders]
        for folder in self._folders:
            with suppress(FileExistsError):
                os.mkdir(folder)
        self._bounded = memory_bytes > 0
        if self._bounded:
            self._write(_MEMORY, memory_bytes)
            with suppress(OSError):  # Not every kernel counts what is swapped out.
                self._write(("memory.swap.max",), 0)
        self._write(_PROCESSES, processes)

    def take(self, pids: Sequence[int]) -> None:
        """Put `pids` into the group; what they start from now on is in it."""
        for folder in self._folders:
            for pid in pids:
                _put(os.path.join(folder, "cgroup.procs"), pid)

    def measured(self, pid: int) -> dict[str, str]:
        """Return the bounds as the kernel tells them, and whether `pid` is in every part of the group."""
        members = [_read(os.path.join(folder, "cgroup.procs")).split() for folder in self._folders]
        inside = bool(members) and all(str(pid) in listed for listed in members)
        bounds = {"cgroup_processes": self._told(_PROCESSES).strip()}
        if self._bounded:
            bounds["cgroup_memory"] = self._told(_MEMORY).strip()
        return {"cgroup": "member" if inside else "outside", **bounds}

    def end(self) -> dict[str, str]:
        """Kill what is left, remove the group, and return what its bounds did."""
        killed = dict(line.split() for line in self._told(_KILLED).splitlines()).get("oom_kill", "0")
        refused = self._told(("pids.events",)).partition("max ")[2].strip() or "0"
        for folder in self._folders:
            with suppress(OSError):
                _put(os.path.join(folder, "cgroup.kill"), 1)
        return {
            "memory_kills": killed,
            "processes_refused": refused,
            "cgroup_removed": str(self._remove()).lower(),
        }

    def _remove(self) -> bool:
        for _ in range(REMOVE_ROUNDS_MAX):
            for folder in self._folders:
                with suppress(OSError):
                    os.rmdir(folder)
            if not any(map(os.path.isdir, self._folders)):
                return True
            time.sleep(REMOVE_PAUSE_SECONDS)
        return False

    def _file(self, names: Sequence[str]) -> str:
        paths = (os.path.join(folder, name) for folder in self._folders for name in names)
        return next((path for path in paths if os.path.exists(path)), "")

    def _write(self, names: Sequence[str], value: int) -> None:
        _put(self._file(names), value)

    def _told(self, names: Sequence[str]) -> str:
        return _read(self._file(names))


def remove_left() -> None:
    """Remove groups whose keeper was killed before it could."""
    for folder in find():
        for name in os.listdir(folder):
            if name.startswith(NAME) and not os.path.exists(f"/proc/{name.removeprefix(NAME)}"):
                with suppress(OSError):  # Somebody else was faster, or a process in it is still ending.
                    os.rmdir(os.path.join(folder, name))


def _hands_down(folder: str) -> bool:
    """Return whether groups below `folder` have both controllers, giving them to it where it can be done."""
    if not set(CONTROLLERS) <= set(_read(os.path.join(folder, "cgroup.controllers")).split()):
        return False
    handed = os.path.join(folder, "cgroup.subtree_control")
    if not set(CONTROLLERS) <= set(_read(handed).split()):
        try:
            with open(handed, "wb", buffering=0) as file:
                file.write(b" ".join(b"+%s" % name.encode() for name in CONTROLLERS))
        except OSError:
            return False
    return os.access(folder, os.W_OK)


def _own() -> Iterator[tuple[str, str]]:
    """Yield controller, empty for version 2, and the path of this process in its tree."""
    for line in _read("/proc/self/cgroup").splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            yield name, path.rstrip("/")


def _mounts() -> Iterator[tuple[str, list[str], str]]:
    """Yield kind, options and place of every mounted tree of control groups."""
    for line in _read("/proc/self/mountinfo").splitlines():
        fields = line.split()
        kind, options = fields[fields.index("-") + 1], fields[-1]
        if kind in ("cgroup", "cgroup2"):
            yield kind, options.split(","), fields[4]


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _put(path: str, value: int) -> None:
    opened = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(opened, b"%d" % value)
    finally:
        os.close(opened)
