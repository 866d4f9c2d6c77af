"""Files made to keep a verifier busy or to fill its memory: `python conformance/traps.py NAME` verifies one.

Each is near a limit of the format. They are built when they are asked for: together they would
take a gigabyte.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from conformance.memory_signer import MemorySigner
from conformance.worlds import (
    APPROVER_KEY,
    JAN,
    PATHS,
    STRANGER_KEY,
    TARGET,
    TRUSTED,
    VALUES,
    Book,
    a_read,
    change_step,
    cut,
    enrol,
    instance_chain,
    read_step,
)
from rexecop.proof.call import Slot
from rexecop.proof.container import CONTAINER_BYTES_MAX, MEMBERS_MAX, pack, unpack
from rexecop.proof.principal import Principal
from rexecop.proof.records.command import Command, Verb
from rexecop.proof.records.decision import ApprovalRule
from rexecop.proof.records.plan import DeriveStep
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.verify import Report, verify
from rexecop.proof.vocabulary import Effect, Ended, Established, Mode, Role, State, Verdict

TRAPS: Final[dict[str, Callable[[], bytes]]] = {}
# These take a minute to build: what they are for is that verifying them takes less.
SLOW: Final[dict[str, Callable[[], bytes]]] = {}


def trap(make: Callable[[], bytes]) -> Callable[[], bytes]:
    TRAPS[make.__name__] = make
    return make


def slow_trap(make: Callable[[], bytes]) -> Callable[[], bytes]:
    SLOW[make.__name__] = make
    return make


def with_member(name: str, data: bytes) -> bytes:
    return pack({**unpack(cut(a_read()).bundle()).members, name: data})


# --- the file and what is parsed ---


@trap
def a_bomb_of_one_member() -> bytes:
    return pack({"records.jsonl": b"\0" * (CONTAINER_BYTES_MAX - 1000)})


@trap
def a_file_beyond_the_limit() -> bytes:
    return b"PK\x03\x04" + b"\0" * CONTAINER_BYTES_MAX


@trap
def a_deflated_bomb() -> bytes:
    import io
    import zipfile

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as written:
        written.writestr("records.jsonl", b"\0" * (1 << 28))
    return file.getvalue()


@trap
def as_many_members_as_there_may_be() -> bytes:
    return pack({f"blobs/{index:064x}.bin": b"" for index in range(MEMBERS_MAX)})


@trap
def a_member_more_than_there_may_be() -> bytes:
    local = b"".join(
        pack({f"{index:05}": b""}).partition(b"PK\x01\x02")[0] for index in range(MEMBERS_MAX + 1)
    )
    return local + b"PK\x05\x06" + b"\0" * 18


@trap
def names_of_every_length() -> bytes:
    return pack({"x" * length: b"" for length in range(1, 161)})


def of_every_member(data: bytes, records: bytes, proofs: bytes) -> bytes:
    found = {name: data for name in unpack(cut(a_read()).bundle()).members if name[:5] != "blobs"}
    return pack({**found, "records.jsonl": records + b"\n", "proofs.json": proofs})


@trap
def a_million_levels_in_every_member() -> bytes:
    return of_every_member(b"[" * 1_000_000, b"[" * 262_000, b'{"a":' * 6_000_000)


@trap
def millions_of_digits_in_every_member() -> bytes:
    return of_every_member(b"9" * 250_000, b"9" * 262_000, b"9" * (32 << 20))


@trap
def millions_of_empty_arrays() -> bytes:
    return with_member("proofs.json", b'{"growth":[' + b"[]," * 11_000_000 + b'[]],"kind":"proofs/1"}')


@trap
def millions_of_empty_strings() -> bytes:
    return with_member("proofs.json", b'{"kind":"proofs/1","nodes":[' + b'"",' * 11_000_000 + b'""]}')


@trap
def as_many_lines_as_there_may_be() -> bytes:
    return with_member("records.jsonl", b"x\n" * 100_000)


@trap
def records_full_of_empty_arrays() -> bytes:
    return with_member("records.jsonl", (b'{"a":[' + b"[]," * 87_000 + b"[]]}\n") * 50)


@trap
def a_checkpoint_of_line_breaks() -> bytes:
    return with_member("checkpoint.txt", b"\n" * 262_000)


@trap
def a_proof_that_names_one_node_a_million_times() -> bytes:
    path = b"0," * 5_000_000 + b"0"
    places = b'"instance":[],"kind":"proofs/1","nodes":["%s"],"operation":[{"leaf":0,"path":[%s]}]'
    return with_member("proofs.json", b"{" + places % (b"0" * 64, path) + b"}")


# --- what is walked through ---


@trap
def revocations_of_thousands() -> bytes:
    made = [enrol(f"x{n}", Role.APPROVER, APPROVER_KEY, fingerprint=f"f{n}") for n in range(5000)]
    made += [enrol("y", Role.APPROVER, APPROVER_KEY, fingerprint="none", revoked=True)] * 5000
    return cut(a_read(), instance=instance_chain(made), noise=1).bundle()


@trap
def slots_that_match_slowly() -> bytes:
    book, look = Book("op_x"), read_step()
    names = [f"s{index}" for index in range(200)]
    slow = Slot(step="look", fact="f", type="string", pattern="[a-z]+[a-z]+0", length_max=99)
    change = change_step(slots={**(change_step().slots or {}), **dict.fromkeys(names, slow)})
    book.intent()
    book.plan((look, change), Effect.CHANGE)
    book.decision(Verdict.ALLOWED)
    book.ticket()
    book.run(look, facts={**PATHS, "f": "a" * 99})
    for number in range(1, 40):
        attempt = book.attempt(change, values={**VALUES, **dict.fromkeys(names, "a" * 99)}, number=number)
        book.outcome("set", attempt, Ended.FAILED)
    return cut(book, noise=1).bundle()


@slow_trap
def outcomes_of_many_steps() -> bytes:
    book = Book("op_x")
    book.intent(mode=Mode.READ_ONLY)
    book.plan(
        [DeriveStep(id=f"d{n}", target=TARGET, normalizer="n", needs=()) for n in range(1500)], Effect.READ
    )
    book.decision(Verdict.ALLOWED)
    book.ticket()
    for _ in range(20_000):
        book.outcome("d0", None, facts={"a": 1})
    return cut(book, noise=1).bundle()


@slow_trap
def receipts_over_many_attempts() -> bytes:
    book, look = Book("op_x"), read_step()
    book.intent(mode=Mode.READ_ONLY)
    book.plan((look,), Effect.READ)
    book.decision(Verdict.ALLOWED)
    book.ticket()
    for number in range(1, 10_001):
        book.attempt(look, number=number)
    for _ in range(1000):
        head = book.records[-1].digest
        book.add(Receipt, state=State.FAILED, head=head, attempts=1, outcomes={}, reason="x")
        book.add(Command, by=JAN, verb=Verb.RETRY)
    return cut(book, noise=1).bundle()


@slow_trap
def approvals_and_tickets_and_enrolments() -> bytes:
    keys = [MemorySigner(1000 + number) for number in range(1000)]
    people = [
        Principal(person=f"p{number}", established=Established.KEY, credential=key.key_id)
        for number, key in enumerate(keys)
    ]
    book = Book("op_x")
    book.intent()
    book.plan((read_step(),), Effect.READ)
    book.decision(Verdict.APPROVAL_REQUIRED, ApprovalRule(count=len(keys), group="ops"))
    for person, key in zip(people, keys, strict=True):
        book.approve(person, key)
    for _ in range(16):
        book.ticket()
    made = [enrol(f"z{n}", Role.APPROVER, STRANGER_KEY, fingerprint=f"z{n}") for n in range(9000)]
    made += [enrol(p.person, Role.APPROVER, key) for p, key in zip(people, keys, strict=True)]
    found = cut(book, instance=instance_chain(made), noise=1)
    return replace(found, contents=replace(found.contents, inputs=())).bundle()


def main(argv: list[str]) -> int:
    """Build the trap named in `argv`, verify it, and say what it cost."""
    import resource

    known = {**TRAPS, **SLOW}
    if len(argv) != 1 or argv[0] not in known:
        print(f"usage: traps.py NAME, one of {', '.join(known)}", file=sys.stderr)
        return 2
    data = known[argv[0]]()
    begun = time.process_time()
    report: Report = verify(data, TRUSTED)
    seconds = time.process_time() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{argv[0]}: {len(data) / 1e6:.1f} MB, {seconds:.1f} s, peak {peak} MiB: {report.answer():.100}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
