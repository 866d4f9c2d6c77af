"""How long a stranger waits: for a bundle of 10,000 records, and for one operation as a whole process.

The large one beside hashing and parsing the same lines, by the installed package with `cryptography` and by
the single file without it (`python3 -I -S`). The small one is a change that was approved and undone, its
policy decided again, beside the start of a bare interpreter. Medians; the last column is the best.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(ROOT := Path(__file__).resolve().parents[1]))

from scripts.build_verifier import build

from conformance.worlds import TRUSTED, Book, cut, read_step
from rexecop.proof.bundle import from_members
from rexecop.proof.container import unpack
from rexecop.proof.verify import Rung, verify
from rexecop.proof.vocabulary import Effect, Ended, Mode, State, Verdict

RECORDS = 10_000
ROUNDS = 3
STARTS = 21
SMALL = ROOT / "conformance" / "released" / "0.1.0" / "logged_change-approved-and-undone"


def long_operation(records: int) -> Book:
    """A read that failed and was tried again until it worked, `records` records in all."""
    book, look = Book("op_long"), read_step()
    book.intent(mode=Mode.READ_ONLY)
    book.plan((look,), Effect.READ)
    book.decision(Verdict.ALLOWED)
    book.ticket()
    tries = (records - 6) // 2
    for number in range(1, tries + 1):
        ended = Ended.OK if number == tries else Ended.FAILED
        book.outcome("look", book.attempt(look, number=number), ended)
    book.validation()
    book.receipt(State.COMPLETED)
    return book


def times(work: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    """Return how long each of some runs took, in seconds."""
    found = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return found


def run(*words: object) -> None:
    """Run a program to its end, which is to be 0."""
    subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Print both tables."""
    large()
    small()


def large() -> None:
    """Print how long 10,000 records take."""
    data = cut(long_operation(RECORDS), noise=1).bundle()
    lines = from_members(unpack(data).members)[0].records
    report = verify(data, TRUSTED)
    if not report.holds(Rung.LOGGED):
        raise SystemExit(report.answer())

    def floor() -> None:
        for line in lines:
            hashlib.sha256(line).digest()
            json.loads(line)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for index, key in enumerate(TRUSTED.keys):
            (folder / f"{key.role}-{index}.pub").write_text(key.public.line + "\n")
        (folder / "bundle.rxb").write_bytes(data)
        (folder / "verify.pyz").write_bytes(build())
        plain = (sys.executable, "-I", "-S", folder / "verify.pyz", folder / "bundle.rxb", "--trust", folder)
        ways = {
            "with `cryptography`": times(lambda: verify(data, TRUSTED)),
            "without, the single file": times(lambda: run(*plain)),
        }
        at_floor = statistics.median(times(floor))
    print(f"{len(lines)} records, {len(data) / 1e6:.1f} MB     s   sha256 + json  ratio   best  (reach: 3 s)")
    for way, took in ways.items():
        middle = statistics.median(took)
        print(f"{way:<25}{middle:5.2f}  {at_floor:14.3f}  {middle / at_floor:5.1f}  {min(took):5.2f}")


def small() -> None:
    """Print how long the process of `rexecop verify` takes for one operation."""
    verb = Path(sys.executable).with_name("rexecop")
    took = times(lambda: run(verb, "verify", SMALL / "bundle.rxb", "--trust", SMALL / "trust"), STARTS)
    bare = statistics.median(times(lambda: run(sys.executable, "-I", "-c", "pass"), STARTS)) * 1000
    middle, best = statistics.median(took) * 1000, min(took) * 1000
    print("one operation             ms  bare interpreter  ratio   best  (reach: 250 ms)")
    print(f"{'`rexecop verify`':<24}{middle:4.0f}  {bare:16.0f}  {middle / bare:5.1f}  {best:5.0f}")


if __name__ == "__main__":
    main()
