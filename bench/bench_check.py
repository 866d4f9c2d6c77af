"""The daily check of 1,000 targets: planned, run, told and signed off, beside a floor of the same run.

The floor commits twice for each call, flushed, with bare SQLite: the attempt before it, and what came of it;
and has the simulated lane answer. Answers are scripted: all seven components, units expected and limits by
target, one target in ten with something wrong and one in a hundred that does not answer. The check is in a
process of its own, so that the memory is its own; its CPU time counts, as the machine may be shared.
`python bench/bench_check.py TARGETS` measures another size.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import apsw
import yaml

from rexecop.app.build import init_root, open_instance
from rexecop.app.evidence import Asked
from rexecop.app.planner import PlanInput
from rexecop.app.settings import load_settings
from rexecop.lanes.simulated import SimulatedLane
from rexecop.proof.call import Call, Limits, ScriptedReply, ScriptedRequest
from rexecop.proof.vocabulary import Effect, Ended, Isolation

TARGETS: Final = 1_000
FLOOR_CALLS: Final = 400
_DF: Final = "Filesystem 1-blocks Used Available Capacity Mounted on\n"
_UNIT: Final = "{}.service loaded active running {}\n"
_ABSENT: Final = "LoadState=not-found\nActiveState=inactive\nSubState=dead\nUnitFileState=\n"
_UNITS: Final = ("cron", "dbus", "nginx", "postgresql", "rsyslog", "ssh", "systemd-journald", "systemd-udevd")
_NONE: Final[dict[str, object]] = {"ended": "failed", "error_class": "nonzero_exit"}
_ZFS: Final = "  pool: tank\n state: ONLINE\n  scan: resilvered 0B in 0:01\nerrors: No known data errors\n"
ANSWERS: Final[Mapping[str, Mapping[str, str | dict[str, object]]]] = {
    "monitoring_host": {
        "read_os_release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n',
        "read_kernel_identity": "Linux 6.1.0-21-amd64 x86_64\n",
        "read_hostname": "host\n",
        "read_uptime": "86400.5 1.0\n",
        "read_load_average": "0.5 0.4 0.3 1/200 42\n",
        "read_filesystem_usage": f"{_DF}/dev/sda1 1000 600 400 60% /\n",
        "read_memory_summary": "MemTotal: 2048000 kB\nMemFree: 512000 kB\nMemAvailable: 1024000 kB\n",
        "read_ntp_sync_state": "NTPSynchronized=yes\nNTP=yes\n",
        "read_time_daemons": "chrony.service loaded active running chrony, an NTP client/server\n",
        "read_docker_service_state": _ABSENT,
        "read_docker_socket_state": _ABSENT,
    },
    "host_storage": {
        "read_space": f"{_DF}/dev/sda1 100 60 40 60% /\n/dev/sdb1 1000 700 300 70% /srv/data\n",
        "read_inodes": "/dev/sda1 1000 100 900 10% /\n/dev/sdb1 1000 200 800 20% /srv/data\n",
        "read_zfs_pools": "tank\tONLINE\t40\t12\n",
        "read_zfs_status": _ZFS,
        "read_md_arrays": "md0 : active raid1 sdb1[1] sda1[0]\n      1000 blocks [2/2] [UU]\n",
    },
    "host_units": {
        "read_failed_units": "",
        "read_active_units": "".join(_UNIT.format(name, f"The {name} service") for name in _UNITS),
        "read_timers": "",
        "read_recent_errors": "",
    },
    "host_updates": {
        "read_upgrades": "0 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n",
        "read_needrestart": "NEEDRESTART-VER: 3.6\nNEEDRESTART-KSTA: 1\n",
        "read_reboot_marker": "",
    },
    "host_exposure": {
        "read_listening": "tcp   LISTEN 0      128          0.0.0.0:22       0.0.0.0:*\n",
        "read_authorized_keys": _NONE,
        "read_sudoers": _NONE,
        "read_sshd": _NONE,
        "read_fail2ban": _NONE,
    },
}
CALLS: Final = sum(map(len, ANSWERS.values()))  # Of one target.
FAULTS: Final = (
    ("host_storage", "read_space", f"{_DF}/dev/sda1 100 91 9 91% /\n"),
    ("host_storage", "read_space", f"{_DF}/dev/sda1 100 99 1 99% /var\n"),
    ("host_units", "read_failed_units", "backup.service loaded failed failed Nightly backup\n"),
    ("host_units", "read_active_units", _UNIT.format("ssh", "OpenSSH")),
    (
        "host_updates",
        "read_upgrades",
        "Inst openssl [3.0] (3.1 Debian-Security:12/stable-security)\n",
    ),
    ("host_updates", "read_reboot_marker", "reboot-required\n"),
    ("host_storage", "read_zfs_pools", "tank\tDEGRADED\t40\t12\n"),
    ("monitoring_host", "read_ntp_sync_state", "NTPSynchronized=no\nNTP=yes\n"),
    ("monitoring_host", "read_memory_summary", "MemTotal: 2048000 kB\nMemAvailable: 20000 kB\n"),
)


class _Plain(yaml.SafeDumper):
    """Writes a value out as often as it is there: an environment takes no anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _reply(answer: str | dict[str, object]) -> dict[str, object]:
    return {"stdout": answer} if isinstance(answer, str) else answer


def environment(folder: Path, targets: int) -> Path:
    """Write an environment of so many hosts."""
    names = [f"host{number:04}" for number in range(targets)]
    own: dict[str, dict[str, object]] = {
        name: {"expected": {"units": ["nginx.service", "ssh.service"]}} for name in names
    }
    for name in names[::7]:
        own[name] |= {"thresholds": {"space_percent_high": 75}}
    odd: dict[tuple[str, str], dict[str, object]] = {}
    for place, name in enumerate(names[3::10]):
        connector, action, answer = FAULTS[place % len(FAULTS)]
        odd.setdefault((connector, action), {})[name] = {"stdout": answer}
    gone = {name: {"ended": "failed", "error_class": "timeout"} for name in names[50::100]}
    connectors = {
        connector: {
            "backend": "mock",
            "actions": {
                action: {**_reply(answer), "targets": {**odd.get((connector, action), {}), **gone}}
                for action, answer in answers.items()
            },
        }
        for connector, answers in ANSWERS.items()
    }
    written = folder / "site.yaml"
    site = {"id": "site", "profile": "tecrax", "targets": own, "connectors": connectors}
    dumped = yaml.dump({"environment": site}, Dumper=_Plain, sort_keys=False, width=200)
    written.write_text(dumped, encoding="utf-8")
    return written


def _commits(folder: Path) -> float:
    """Return the seconds that two flushed inserts with bare SQLite take."""
    connection = apsw.Connection(str(folder / "floor.sqlite"))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.execute("CREATE TABLE t(x BLOB)")
    started = time.perf_counter()
    for _ in range(2 * FLOOR_CALLS):
        connection.execute("INSERT INTO t VALUES(?)", (bytes(800),))
    return (time.perf_counter() - started) / FLOOR_CALLS


async def _answers() -> float:
    """Return the seconds of CPU that the simulated lane takes for one call."""
    reply = ScriptedReply(ended=Ended.OK, stdout=_DF)
    request = ScriptedRequest(arguments={}, replies=(reply,))
    call = Call(target="host", connector="c", action="a", effect=Effect.READ, request=request)
    limits, lane = Limits(timeout_ms=10_000, output_bytes=65_536), SimulatedLane()
    started = time.process_time()
    for _ in range(FLOOR_CALLS):
        async for _ in lane.open(call, limits, Isolation.NOT_APPLICABLE, 1, lambda: None):
            pass
    return (time.process_time() - started) / FLOOR_CALLS


def _memory() -> float:
    """Return the most memory that was resident so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def _told(what: str) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(f"  {what:<26} {wall:6.1f} s {cpu:6.1f} s of CPU, at most {_memory():4.0f} MB", flush=True)


async def measure(folder: Path, targets: int) -> None:
    """Print how long each part takes."""
    settings = load_settings({"root": str(folder / ".rexecop")}, {}, folder, folder)
    await init_root(replace(settings, quiet=True))
    asked = PlanInput(
        profile="tecrax",
        env=str(environment(folder, targets)),
        intent="daily_check",
        target="all",
        mode="read_only",
        channel="bench",
    )
    with open_instance(settings, {}) as instance, _told("everything"):
        with _told("planned"):
            view = await instance.plan(asked)
        with _told("run and judged"):
            view = await instance.start(view.operation_id)
        with _told("report and sheet"):
            instance.export(view.operation_id, Asked(form="check", path=folder / "check.html"))
    found = json.loads((folder / "check.json").read_bytes())
    wrong = sum(one["state"] not in ("healthy", "not_applicable") for one in found["targets"])
    if len(found["targets"]) != targets or not found["holds"] or not wrong:
        raise SystemExit(f"the check of the benchmark says {found['answer']}: {wrong} of {targets} wrong")
    sizes = ", ".join(
        f"{one.name} {one.stat().st_size / 1e6:.1f} MB" for one in sorted(folder.glob("check*"))
    )
    print(f"  {wrong} of {targets} targets want a look: {sizes}")


def main(targets: int = TARGETS) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("REXECOP_BENCH_DIR")) as name:
        folder = Path(name)
        calls = targets * CALLS
        print(f"daily_check of {targets:,} targets, {calls:,} scripted calls, synchronous=FULL")
        print(f"  floor: bare commits        {calls * _commits(folder):6.1f} s")
        print(
            f"  floor: simulated answers            {calls * asyncio.run(_answers()):6.1f} s of CPU",
            flush=True,
        )
        subprocess.run([sys.executable, __file__, str(folder), str(targets)], check=True)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        asyncio.run(measure(Path(sys.argv[1]), int(sys.argv[2])))
    else:
        main(*map(int, sys.argv[1:2]))
