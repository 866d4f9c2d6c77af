"""The fault campaign: `python -m tests.soak`, with `--seed`, `--rounds`, `--seconds`, `--engine`.

Every round has a seed, and prints it. One that finds something keeps its folder, and the command that
repeats it is printed; the same seed draws the same faults, and the machine decides when they strike.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import statistics
import sys
import time

from tests.soak.process import install
from tests.soak.round import ENGINES, SECONDS, Round, Tally, fresh_folder
from tests.store import servers


def main(words: list[str]) -> int:
    """Play rounds; return how many of them found something, at most 60."""
    told = _told(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _load(told.engine)
    install(elsewhere=told.elsewhere)
    whole, failed, began, played = Tally(), 0, time.monotonic(), 0
    if any("postgres" in engine for engine in told.engine):
        servers.url()  # Before anything is forked: it is of this process.
    try:
        while played < told.rounds and (not told.minutes or time.monotonic() - began < 60 * told.minutes):
            seed, engine = told.seed + played, told.engine[played % len(told.engine)]
            played += 1
            failed += _play(seed, engine, told.seconds, whole)
    finally:
        servers.stop()
    _tell(whole, played, failed, told.seed, time.monotonic() - began)
    return min(failed, 60)


def _told(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--rounds", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--engine", action="append", choices=ENGINES)
    parser.add_argument("--elsewhere", action="store_true", help="every process on a machine of its own")
    told = parser.parse_args(words)
    told.engine = told.engine or [*ENGINES]
    return told


def _load(engines: list[str]) -> None:
    """Load what processes would load each by itself."""
    import rexecop.app.fleet
    import rexecop.cli.commands.approve
    import rexecop.cli.commands.worker
    import rexecop.lanes.process

    if any("dbos" in engine for engine in engines):
        import rexecop.engines.dbos  # noqa: F401


def _play(seed: int, engine: str, seconds: float, whole: Tally) -> int:
    folder = fresh_folder()
    tally = Round(seed, engine, folder, seconds).run()
    whole.add(tally)
    kills = sum(count for what, count in tally.faults.items() if what.startswith("kill -9"))
    print(f"seed {seed} {engine}: {sum(tally.faults.values())} faults, {kills} kills", flush=True)
    if not tally.found:
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    for one in tally.found:
        print(f"  {one}")
    print(f"  kept in {folder}; again: SEED={seed} ROUNDS=1 ENGINE='{engine}' make soak", flush=True)
    return 1


def _tell(whole: Tally, played: int, failed: int, seed: int, seconds: float) -> None:
    print(f"\n{played} rounds from seed {seed} in {seconds:.0f} s, {failed} found something")
    for counted in (whole.faults, whole.seen):
        for what, count in sorted(counted.items()):
            print(f"  {count:6} {what}")
    for kind, found in sorted(whole.owned.items()):
        found.sort()
        late = sum(one > 5 for one in found)
        tail = found[int(0.99 * (len(found) - 1))]
        print(
            f"  to the next owner, {kind}: {len(found)} times, median {statistics.median(found):.2f} s, "
            f"99 of 100 within {tail:.2f} s, longest {found[-1]:.2f} s, over 5 s {late}"
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
