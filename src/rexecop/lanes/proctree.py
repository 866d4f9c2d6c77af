"""Process trees as the kernel shows them: who descends from whom, and ending all of them.

Works for detached children too, because a subreaper stays their ancestor. It imports
nothing of ours, because the spawner loads it and must start fast.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from typing import Final

KILL_ROUNDS_MAX: Final = 400  # A tree that forks as fast as it is killed is stopped first; 2 s is plenty.
KILL_PAUSE_SECONDS: Final = 0.005
STATUS_NAMES: Final = ("NoNewPrivs", "Seccomp", "Seccomp_filters", "CapEff", "CapBnd")
NAMESPACES: Final = ("user", "mnt", "pid", "net", "ipc", "uts")

Parents = Mapping[int, list[int]]


def children(pid: int) -> list[int]:
    """Return the living or unreaped children of `pid`; none if it is gone."""
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    found: list[int] = []
    for task in tasks:
        try:
            with open(f"/proc/{pid}/task/{task}/children", "rb", buffering=0) as file:
                found += map(int, file.read(1 << 20).split())
        except FileNotFoundError:
            if os.path.exists(f"/proc/{pid}/task/{task}"):
                return _children_by_scan(pid)
        except OSError:
            continue
    return found


def _children_by_scan(pid: int) -> list[int]:
    """Return the children of `pid` on kernels that do not list them."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb", buffering=0) as file:
                    # The name of a program may hold spaces and brackets; what follows it may not.
                    fields = file.read(4096).rpartition(b")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found.append(int(name))
    return found


def descendants(pid: int, *, deeper_than: int = 0) -> list[int]:
    """Return all below `pid`, nearest first, leaving out the first `deeper_than` generations."""
    found: list[int] = []
    generation, depth = children(pid), 1
    while generation:
        if depth > deeper_than:
            found += generation
        generation = [child for parent in generation for child in children(parent)]
        depth += 1
    return found


def signal_all(pids: list[int], number: int) -> None:
    """Send `number` to each of `pids`; the ones that are gone, or not ours to signal, are passed over."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:
            continue


def interrupt(pids: list[int]) -> bool:
    """Send SIGINT to those of `pids`, nearest first, that are in the foreground; False if there is none.

    That is the group that has their terminal, or without a terminal the group of the first.
    """
    groups: dict[int, int] = {}
    foreground = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
                _, _, group, _, _, in_terminal, *_ = file.read(4096).rpartition(b")")[2].split()
        except OSError:
            continue
        groups[pid] = int(group)
        # Without a terminal the kernel writes -1.
        foreground = foreground or (int(in_terminal) if int(in_terminal) > 0 else int(group))
    found = [pid for pid, group in groups.items() if group == foreground]
    signal_all(found, signal.SIGINT)
    return bool(found)


def kill_below(pid: int, ended: dict[int, int]) -> bool:
    """End everything below this process `pid`; return whether nothing is left.

    All are stopped before they are killed, so that none can start another meanwhile.
    Its own children are reaped into `ended`, pid → wait status.
    """
    for _ in range(KILL_ROUNDS_MAX):
        found = descendants(pid)
        if not found:
            return True
        signal_all(found, signal.SIGSTOP)
        signal_all(descendants(pid), signal.SIGKILL)
        ended |= reap()
        if children(pid):
            time.sleep(KILL_PAUSE_SECONDS)
    return not descendants(pid)


def reap() -> dict[int, int]:
    """Return pid → wait status of every child that ended, without waiting."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended[pid] = status


def status_of(pid: int, *, also: tuple[str, ...] = ()) -> dict[str, str]:
    """Return what the kernel says of the privileges of `pid`, and of `also`; empty if it is gone."""
    try:
        with open(f"/proc/{pid}/status", "rb", buffering=0) as file:
            lines = file.read(1 << 14).decode("ascii", "replace").splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    # Users and groups come in four kinds; a process that changed for good has one of each.
    return {
        name: " ".join(dict.fromkeys(value.split()))
        for name, value in pairs
        if name in (*STATUS_NAMES, *also)
    }


def namespaces_of(pid: int | str) -> dict[str, str]:
    """Return name → inode of the name spaces of `pid`; those that cannot be read are left out."""
    found: dict[str, str] = {}
    for name in NAMESPACES:
        try:
            found[name] = os.readlink(f"/proc/{pid}/ns/{name}")
        except OSError:
            continue
    return found


def root_is_read_only(pid: int) -> bool:
    """Return whether the file system `pid` sees as `/` is mounted read-only; False if it cannot be told."""
    try:
        with open(f"/proc/{pid}/mountinfo", "rb", buffering=0) as file:
            lines = file.read(1 << 20).splitlines()
    except OSError:
        return False
    options = [
        fields[5].split(b",") for line in lines if len(fields := line.split()) > 5 and fields[4] == b"/"
    ]
    # A later mount on the same place covers the earlier ones.
    return bool(options) and b"ro" in options[-1]
