"""One round: a root of its own, workers and people on it, and faults drawn from the seed until it is over."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from psycopg.conninfo import conninfo_to_dict

from tests.soak import oracles, profile, settling
from tests.soak.process import LEASE_SECONDS, PERMIT_SECONDS, SCENE, Fate, commanding, fork, write_line
from tests.soak.settling import Ordered
from tests.store import servers
from tests.store.wire import wire

ENGINES: Final = ("embedded on sqlite", "embedded on postgres", "dbos on postgres")
KINDS: Final = ("everything", "everything", "kills", "takeovers")
"""Everything at once; nothing but deaths; or a death only once what the last one left is owned again."""
ASKS: Final = "a call under way, and only a person can tell"
OWNED_SECONDS_MAX: Final = 15.0
SECONDS: Final = 12.0  # So long faults go on, in one round.
WAIT_SECONDS_MAX: Final = 600
DOCUMENTED: Final = (0, 1, 2, 3, 4, 5, 6, 8, 9, 130)  # 7 would be evidence that does not verify.
WORKERS_END: Final = (0, 8)
FULL_MIB: Final = 24


@dataclass(slots=True)
class Tally:
    """What was done to a round and found in it; `owned` are seconds from a kill to the next owner."""

    faults: Counter[str] = field(default_factory=Counter)
    found: list[str] = field(default_factory=list)
    owned: dict[str, list[float]] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Take in what another round counted."""
        self.faults += other.faults
        self.seen += other.seen
        for kind, seconds in other.owned.items():
            self.owned.setdefault(kind, []).extend(seconds)


@dataclass(slots=True)
class _Worker:
    """A process, whether it stands still until a moment, and whether it was to die by itself."""

    name: str
    fate: Fate
    thaws: float | None = None
    born: float = 0.0


class Round:
    """Everything the seed decides; how long things take is the machine's."""

    def __init__(self, seed: int, engine: str, folder: Path, seconds: float = SECONDS) -> None:
        self.random = random.Random(f"{seed} {engine}")
        self.engine, _, self.storage = engine.partition(" on ")
        self.folder, self.seconds = folder, seconds
        self.tally = Tally()
        self.kind = self.random.choice(KINDS)
        self.workers: dict[int, _Worker] = {}
        self.commands: dict[int, tuple[str, ...]] = {}
        self.kills: list[tuple[int, float, bool]] = []
        self.names: dict[str, str] = {}
        self.late: set[str] = set()
        self.asking: set[str] = set()
        self.paused: set[str] = set()
        self.wire, self._wire = "", 0
        self._count = 0
        self._wrong = 0.0
        self._stack = ExitStack()
        self._due: list[tuple[float, Callable[[], None]]] = []

    def run(self) -> Tally:
        """Play the round to its end, and hold everything against what it left."""
        SCENE.folder = self.folder
        with self._stack, _at(self.folder):
            self._begin()
            self.tally.seen[f"rounds of {self.kind}"] += 1
            end = time.monotonic() + self.seconds * (1 if self.kind == "everything" else 2)
            while time.monotonic() < end:
                self._reap()
                self._thaw()
                self._keep_workers()
                self._strike()
                time.sleep(self.random.uniform(0.02, 0.2 if self.kind == "everything" else 0.1))
            self._calm()
            if not self.tally.found:
                self._judge()
        self._measure()
        return self.tally

    # --- before ---

    def _begin(self) -> None:
        where = "sqlite"
        if self.storage == "postgres":
            where = self._stack.enter_context(servers.schema())
            self._lay_wire(where)
        elif self.kind == "everything" and self.random.random() < 0.3 and self._mounts():
            self.tally.seen["rounds on a disk that fills up"] += 1
        orders = self._orders()
        made = fork(lambda: settling.make_root(where, orders), self._told("make"))
        if self._ended(made) != 0:
            raise AssertionError(self._told("make").read_text())
        operations = settling.all_operations()
        self.names = {operation: mark for mark, operation in operations.items()}
        self.late = {operations[one.mark] for one in orders if one.late and one.intent != "look"}
        self.asking = {operations[one.mark] for one in orders if one.intent == "asked"}

    def _orders(self) -> list[Ordered]:
        draw, found = self.random, []
        many = 20 if self.storage == "postgres" else 28 if self.kind == "everything" else 45
        for number in range(max(4, int(many * min(1.0, self.seconds / SECONDS)))):
            intent = draw.choice(("look", *profile.CHANGES))
            found.append(
                Ordered(
                    mark=f"m{number}",
                    intent=intent,
                    target=profile.GROUP if intent == "waves" else draw.choice(profile.TARGETS),
                    pace=draw.choice((0.02, 0.1, 0.3)),
                    late=draw.random() < 0.3,
                    fails=draw.random() < 0.15,
                )
            )
        return found

    def _lay_wire(self, url: str) -> None:
        """Let a process pass on what workers and the server say, until it is told to hang up."""
        folder = self.folder / "wire"
        folder.mkdir()
        named = conninfo_to_dict(servers.url())
        where = f"{named['dbname']}?host={folder}&schema={url.rpartition('=')[2]}"
        self.wire = f"postgresql://{named.get('user', 'postgres')}@/{where}"
        self._wire = fork(lambda: _pass_on(servers.url(), folder), self._told("wire"))
        self._stack.callback(self._ended, self._wire)
        self._stack.callback(os.kill, self._wire, signal.SIGKILL)

    def _mounts(self) -> bool:
        """Put the root on a small disk of its own, where this process may."""
        root = self.folder / "root"
        root.mkdir(mode=0o700)
        told = ["mount", "-t", "tmpfs", "-o", f"mode=700,size={FULL_MIB}m", "soak", str(root)]
        if subprocess.run(told, capture_output=True, check=False).returncode:
            return False
        self._stack.callback(self._unmount, root)
        return True

    def _unmount(self, root: Path) -> None:
        if self.tally.found:  # What failed is kept.
            shutil.copytree(root, self.folder / "root.kept", ignore=shutil.ignore_patterns("ballast"))
        subprocess.run(["umount", "-l", str(root)], capture_output=True, check=False)

    # --- in the course of it ---

    def _keep_workers(self) -> None:
        wanted = 1 if self.random.random() < 0.2 and self.kind == "everything" else 3
        while len(self.workers) < wanted:
            self._employ(self._fate())

    def _fate(self) -> Fate:
        draw = self.random
        kind = {"kills": "dies", "takeovers": "well"}.get(self.kind) or draw.choice(
            ("well", "dies", "dies", "disk")
        )
        if kind == "dies":
            return Fate(append=draw.randint(1, 12), when=draw.choice(("before", "after")))
        if kind == "disk" and self.storage == "sqlite":
            return Fate(disk=draw.choice(("full", "no flush", "answer lost")), place=draw.randint(1, 60))
        return Fate()

    def _employ(self, fate: Fate) -> int:
        self._count += 1
        name = f"worker{self._count}"
        poll = self.random.choice(("0.05", "0.2", "1"))
        words = ("worker", "run", "--poll-interval", poll, "--engine", self.engine)
        wired = ("--storage", self.wire) if self.wire and self._falls(0.5) else ()
        process = fork(commanding(*words, *wired), self._told(name), fate)
        self.workers[process] = _Worker(name, fate, born=time.monotonic())
        if fate.disk:
            self.tally.faults[f"disk: {fate.disk}"] += 1
        return process

    def _strike(self) -> None:
        if self.kind != "everything":
            kill = self._kill if self.kind == "kills" or not self._orphans() else lambda: None
            self.random.choices((kill, self._type_a_yes), (6, 1))[0]()
            return
        strikes: tuple[tuple[float, Callable[[], None]], ...] = (
            (8, self._kill),
            (1.5, self._freeze),
            (6, self._say),
            (0.7, self._move_clock),
            (1.5 if self.storage == "postgres" else 0, self._cut),
            (0.4 if self.storage == "postgres" else 0, self._restart),
            (3 if (self.folder / "root").is_mount() else 0, self._fill),
            (2, lambda: None),
        )
        [strike] = self.random.choices([what for _, what in strikes], [weight for weight, _ in strikes])
        strike()

    def _kill(self) -> None:
        """Kill a worker that has work in hand, if any has."""
        log = _log(self.folder)
        busy = [one for one in self.workers if _in_hand(log, one, time.monotonic())]
        if not busy:
            return
        process = self.random.choice(busy)
        beside = any(one.thaws is None for number, one in self.workers.items() if number != process)
        self.kills.append((process, time.monotonic(), beside))
        os.kill(process, signal.SIGKILL)
        still = self.workers[process].thaws is not None
        self.tally.faults["kill -9 at random" + (" while frozen" if still else "")] += 1
        self._ended(process)
        del self.workers[process]

    def _orphans(self) -> list[str]:
        """Return what the last one killed had in hand, and nobody owns yet."""
        if not self.kills or time.monotonic() - self.kills[-1][1] > OWNED_SECONDS_MAX:
            return []
        process, moment, _ = self.kills[-1]
        log = _log(self.folder)
        owned = {one["operation"] for one in log if one["takes"] and one["at"] > moment}
        held = _in_hand(log, process, moment)
        return [name for name, what in held.items() if what != ASKS and name not in owned]

    def _freeze(self) -> None:
        moving = [number for number, one in self.workers.items() if one.thaws is None]
        if not moving:
            return
        process = self.random.choice(moving)
        os.kill(process, signal.SIGSTOP)
        still = self.random.uniform(0.5, 1.2) * (LEASE_SECONDS + PERMIT_SECONDS)
        self.workers[process].thaws = time.monotonic() + still
        self.tally.faults["SIGSTOP, thawed later"] += 1

    def _thaw(self, *, all_of_them: bool = False) -> None:
        for process, one in self.workers.items():
            if one.thaws is not None and (all_of_them or one.thaws < time.monotonic()):
                os.kill(process, signal.SIGCONT)
                one.thaws = None
        due, self._due = self._due, []
        for moment, act in due:
            if all_of_them or moment < time.monotonic():
                act()
            else:
                self._due.append((moment, act))

    def _say(self) -> None:
        """Let somebody type a command about an operation where it has a chance to be heard."""
        log = _log(self.folder)
        seen = dict.fromkeys(one["operation"] for one in log if one["operation"] in self.names)
        going = {name for process in self.workers for name in _in_hand(log, process, time.monotonic())}
        rest = [name for name in seen if name not in going]
        verb = self.random.choice(
            ("pause",) * 4 + ("resume",) * 3 + ("cancel", "approve", "approve", "step", "step")
            + ("retry", "rollback", "start", "reconcile")
        )  # fmt: skip
        among = {
            "pause": going, "cancel": going, "start": going, "resume": self.paused, "approve": self.late,
            "step": self.asking, "retry": rest, "rollback": rest, "reconcile": rest,
        }[verb]  # fmt: skip
        if not among:
            return
        operation = self.random.choice(sorted(among))
        if verb == "pause":
            self.paused.add(operation)
        self._type(verb, operation)

    def _type(self, verb: str, operation: str) -> None:
        self._count += 1
        reason = f"said{self._count}"
        key = ("--key", str(self.folder / "root" / "keys" / "approver"), "--yes")
        words: tuple[str, ...] = {
            "approve": ("approve", operation, *key, "--reason", reason),
            "step": ("approve", operation, *key, "--step", "probed2", "--reason", reason),
            "reconcile": ("reconcile", operation, "--probe"),
            "start": ("start", operation, "--timeout", "2"),
        }.get(verb, (verb, operation, "--reason", reason))
        fate = Fate(append=1, when=self.random.choice(("before", "after"))) if self._falls(0.15) else Fate()
        process = fork(commanding(*words), self._told(f"said{self._count}"), fate)
        promised = "" if verb in ("reconcile", "start") else reason
        self.commands[process] = (self.names[operation], promised, *words)
        self.tally.faults[f"command: {verb}"] += 1

    def _type_a_yes(self) -> None:
        if self.late:
            self._type("approve", self.late.pop())

    def _falls(self, share: float) -> bool:
        return self.random.random() < share

    def _move_clock(self) -> None:
        by = self.random.choice((-4.0, -60.0, -600.0, 4.0, 60.0, 3600.0))
        self._set_clock(self._wrong + by)
        if by > 0:
            self._wrong += by
        else:  # Nothing changing goes on until somebody sets it right.
            back = time.monotonic() + self.random.uniform(0.2, 1.0)
            self._due.append((back, lambda: self._set_clock(self._wrong)))
        self.tally.faults["clock moved " + ("back" if by < 0 else "on")] += 1

    def _set_clock(self, seconds: float) -> None:
        part = self.folder / "clock.part"
        part.write_text(str(seconds))
        part.rename(SCENE.clock)

    def _restart(self) -> None:
        mode = self.random.choice(("fast", "immediate"))
        servers.restart(mode)
        self.tally.faults[f"PostgreSQL restarted, {mode}"] += 1

    def _cut(self) -> None:
        """Let the next commit on the wire get lost, or its answer, and at times everything for a while."""
        what = self.random.choice([*_CUTS])
        os.kill(self._wire, _CUTS[what])
        if what.endswith("down"):
            back = time.monotonic() + self.random.uniform(0.5, 3)
            self._due.append((back, lambda: os.kill(self._wire, signal.SIGWINCH)))
        self.tally.faults[f"wire: {what}"] += 1

    def _fill(self) -> None:
        ballast = self.folder / "root" / "ballast"
        with suppress(OSError), ballast.open("wb") as file:
            for _ in range(FULL_MIB * 256):
                file.write(bytes(4096))
                file.flush()
        self._due.append(
            (time.monotonic() + self.random.uniform(0.2, 1.5), lambda: ballast.unlink(missing_ok=True))
        )
        self.tally.faults["disk full"] += 1

    # --- the end ---

    def _calm(self) -> None:
        """Let no fault go on: all that stands still moves, clocks are right, disks have room."""
        self._thaw(all_of_them=True)
        if self._wire:
            os.kill(self._wire, signal.SIGWINCH)
        self._set_clock(self._wrong)
        for process, one in [*self.workers.items()]:
            if self.random.random() < 0.5:
                self.kills.append((process, time.monotonic(), False))
                os.kill(process, signal.SIGKILL)
                self.tally.faults["kill -9 at random"] += 1
                self._ended(process)
                del self.workers[process]
            else:
                os.kill(process, signal.SIGTERM)
                self.tally.faults["SIGTERM"] += 1
                self._over(process, self._ended(process), one)
                del self.workers[process]
        for process in [*self.commands]:
            self._answered(process, self._ended(process))
        process = self._employ(Fate())
        settled = self._ended(fork(settling.settle, self._told("settled")))
        if settled:
            self.tally.found.append(self._told("settled").read_text())
        if not self._gone(process):
            os.kill(process, signal.SIGTERM)
        self._over(process, self._ended(process), self.workers.pop(process))

    def _judge(self) -> None:
        if self._ended(fork(oracles.hold, self._told("held"))):
            self.tally.found.append(self._told("held").read_text())

    # --- processes ---

    def _told(self, name: str) -> Path:
        return self.folder / f"{name}.out"

    def _reap(self) -> None:
        for process in [*self.workers]:
            if (status := status_of(process)) is not None:
                self._over(process, status, self.workers.pop(process))
        for process in [*self.commands]:
            if (status := status_of(process)) is not None:
                self._answered(process, status)

    def _gone(self, process: int) -> bool:
        if process not in _ENDED and (status := status_of(process)) is not None:
            _ENDED[process] = status
        return process in _ENDED

    def _ended(self, process: int) -> int:
        """Wait until a process ended, and return its code, or less than 0 for a signal."""
        end = time.monotonic() + WAIT_SECONDS_MAX
        while not self._gone(process):
            if time.monotonic() > end:
                self.tally.found.append(f"process {process} never ended")
                os.kill(process, signal.SIGKILL)
            time.sleep(0.005)
        return _ENDED.pop(process)

    def _over(self, process: int, status: int, worker: _Worker) -> None:
        """A worker ended by itself: killed at an append it was to die at, or with a code it may end with."""
        if status == -signal.SIGKILL and worker.fate.append:
            self.tally.faults[f"kill -9 {worker.fate.when} an append"] += 1
            moment = _deaths(self.folder).get(process, time.monotonic())
            beside = any(one.thaws is None for one in self.workers.values())
            self.kills.append((process, moment, beside))
        elif status in WORKERS_END or status == -signal.SIGTERM:  # It came before anybody listened for it.
            self.tally.seen[f"workers ended with {status}"] += 1
        else:
            told = self._told(worker.name).read_text()
            self.tally.found.append(f"{worker.name} ended with {status}: {told}")

    def _answered(self, process: int, status: int) -> None:
        mark, reason, *words = self.commands.pop(process)
        if status == -signal.SIGKILL:
            self.tally.faults["kill -9 of a command at its append"] += 1
            return
        self.tally.seen[f"commands ended with {status}"] += 1
        if status not in DOCUMENTED:
            self.tally.found.append(f"`{' '.join(words)}` ended with {status}")
        if status == 0 and reason:
            said = {"mark": mark, "reason": reason, "words": " ".join(words), "code": str(status)}
            write_line(self.folder / "promises.jsonl", json.dumps(said))

    # --- how long ---

    def _measure(self) -> None:
        """Find who took what a killed worker had in hand, and when; the scene's log knows."""
        log = _log(self.folder)
        for process, moment, beside in self.kills:
            held = _in_hand(log, process, moment)
            self.tally.seen["kills with work in hand" if held else "kills without work in hand"] += 1
            for operation, calling in held.items():
                later = [
                    one["at"]
                    for one in log
                    if one["operation"] == operation and one["at"] > moment and one["takes"]
                ]
                kind = calling + (", another worker there" if beside else ", no other worker there")
                if self.kind == "takeovers" and not later:
                    self.tally.seen[f"nobody owned what was left, {kind}"] += 1
                elif self.kind == "takeovers":
                    self.tally.owned.setdefault(kind, []).append(min(later) - moment)


_CUTS: Final = {
    "the answer to a commit lost": signal.SIGUSR1,
    "a commit lost": signal.SIGUSR2,
    "the answer to a commit lost, and down": signal.SIGHUP,
}


def _pass_on(url: str, folder: Path) -> int:
    with wire(url, folder) as found:

        def heard(number: int, _: object) -> None:
            found.breaking = "before" if number == signal.SIGUSR2 else "after"
            found.stays_down = number == signal.SIGHUP
            if number == signal.SIGWINCH:
                found.breaking, found.down = None, False

        for number in (*_CUTS.values(), signal.SIGWINCH):
            signal.signal(number, heard)
        while True:
            signal.pause()


_ENDED: Final[dict[int, int]] = {}


def status_of(process: int) -> int | None:
    """Return how a process ended, None while it has not."""
    found, status = os.waitpid(process, os.WNOHANG)
    return None if found == 0 else os.waitstatus_to_exitcode(status)


def _deaths(folder: Path) -> dict[int, float]:
    path = folder / "deaths"
    lines = path.read_text().splitlines() if path.exists() else []
    return {int(process): float(moment) for process, moment in (line.split() for line in lines)}


def _log(folder: Path) -> list[dict[str, Any]]:
    path = folder / "appends.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _in_hand(log: list[dict[str, Any]], process: int, moment: float) -> dict[str, str]:
    """Return the operations whose lease a process held, and what was under way of each."""
    held: dict[str, int] = {}
    asks: set[str] = set()
    for one in log:
        operation = one["operation"]
        if one["at"] > moment or one["pid"] != process:
            continue
        if one["takes"]:
            held[operation] = 0
        if operation in held:
            held[operation] += one["begun"] - one["ended"]
            asks = asks | {operation} if one["asks"] else asks - {operation}
        if one["gives"]:
            held.pop(operation, None)
    return {
        operation: "no call under way" if not calls
        else ASKS if operation in asks
        else "a call under way"
        for operation, calls in held.items()
    }  # fmt: skip


class _at:
    """Everything of a round happens with its folder as home."""

    def __init__(self, folder: Path) -> None:
        self._home = {"HOME": str(folder), "REXECOP_ROOT": str(folder / "root")}

    def __enter__(self) -> None:
        self._old = {name: os.environ.get(name) for name in self._home}
        os.environ.update(self._home)

    def __exit__(self, *_: object) -> None:
        for name, value in self._old.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def fresh_folder() -> Path:
    """Return a new folder that calls can see."""
    return Path(tempfile.mkdtemp(prefix="rexecop-soak-", dir="/var/tmp"))
