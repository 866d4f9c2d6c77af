"""How long a stranger waits: verify a bundle of 10,000 records, beside hashing and parsing the same lines."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from conformance.worlds import TRUSTED, Book, cut, read_step
from rexecop.proof.bundle import from_members
from rexecop.proof.container import unpack
from rexecop.proof.verify import Rung, verify
from rexecop.proof.vocabulary import Effect, Ended, Mode, State, Verdict

RECORDS = 10_000
ROUNDS = 3


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


def best(work: Callable[[], object]) -> float:
    """Return the shortest of a few runs, in seconds."""
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


def main() -> None:
    """Print one row."""
    data = cut(long_operation(RECORDS), noise=1).bundle()
    lines = from_members(unpack(data).members)[0].records
    report = verify(data, TRUSTED)
    if not report.holds(Rung.LOGGED):
        raise SystemExit(report.answer())

    def floor() -> None:
        for line in lines:
            hashlib.sha256(line).digest()
            json.loads(line)

    at_floor, took = best(floor), best(lambda: verify(data, TRUSTED))
    print(
        f"verify  {len(lines)} records, {len(data) / 1e6:.1f} MB: {took:.2f} s, "
        f"{took / at_floor:.1f} x sha256 + json of the same lines ({at_floor * 1000:.0f} ms); reach: 3 s"
    )


if __name__ == "__main__":
    main()
