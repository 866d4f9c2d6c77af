"""Runners: which process on which boot of which machine, and whether it still lives."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from rexecop.operations.ports import Lease, Ledger

UNKNOWN_BOOT = "unknown-boot"


def runner_id() -> str:
    """Return the name of this process: boot id, pid and start time, so that a reused pid is another."""
    pid = os.getpid()
    return f"{boot_id()}:{pid}:{_started(pid)}"


def is_alive(runner: str, ledger: Ledger) -> bool:
    """Return whether `runner` may still act; one of another machine may until it is silent in `ledger`."""
    boot, pid, started = runner.split(":", 2)
    if boot == UNKNOWN_BOOT or boot != boot_id():
        return runner not in ledger.silent()
    return _started(int(pid)) == started


def is_driven(lease: Lease | None, ledger: Ledger, now: datetime) -> bool:
    """Return whether who holds `lease` may still act under it."""
    return lease is not None and lease.expires > now and is_alive(lease.runner, ledger)


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
