"""Runners: which process on which boot of which machine, and whether it still lives."""

from __future__ import annotations

import os
from pathlib import Path

UNKNOWN_BOOT = "unknown-boot"


def runner_id() -> str:
    """Return the name of this process: boot id, pid and start time, so that a reused pid is another."""
    pid = os.getpid()
    return f"{boot_id()}:{pid}:{_started(pid)}"


def is_alive(runner: str) -> bool:
    """Return whether `runner` may still act; another machine's runner always may."""
    boot, pid, started = runner.split(":", 2)
    if boot == UNKNOWN_BOOT or boot != boot_id():
        return True
    return _started(int(pid)) == started


def boot_id() -> str:
    """Return the id of this boot of this machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return UNKNOWN_BOOT


def _started(pid: int) -> str:
    """Return the start time of a process in clock ticks, or `gone` (a zombie cannot act either)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "gone"
    fields = stat.rpartition(")")[2].split()
    return "gone" if fields[0] in ("Z", "X") else fields[19]
