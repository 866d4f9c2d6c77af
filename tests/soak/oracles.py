"""What must hold of a root when its faults are over, whatever they were."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Final

from rexecop.app.build import open_instance
from rexecop.app.doctor import fold_row
from rexecop.app.evidence import Asked
from rexecop.app.instance import Instance
from rexecop.operations.fold import fold
from rexecop.operations.machine import TERMINAL
from rexecop.proof.chain import Sealed, check_chain, unseal
from rexecop.proof.errors import ProofError
from rexecop.proof.principal import ENGINE
from rexecop.proof.records.approval import Approval
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.command import Command
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.reconciliation import Reconciliation
from rexecop.proof.verify import Rung, verify
from rexecop.proof.verify.trusted import trust_of
from rexecop.proof.vocabulary import Ended, Phase
from tests.app.support import settings
from tests.sim.oracles import one_receipt_per_arrival, stuck
from tests.soak.process import SCENE
from tests.soak.settling import all_operations, effects_file

LATER: Final = timedelta(hours=1)
NEVER_SAID: Final = ("database is locked", "Traceback (most recent", "nobody expected", "never retrieved")
_VERBS: Final = {Phase.DO: "do", Phase.UNDO: "undo"}
# What `doctor` may remark of a root like these: no copy of its checkpoints, keys in it, small disks.
REMARKED: Final = ("sinks", "keys", "storage", "disk")


def hold() -> int:
    """Print everything that does not hold; return how much that is."""
    with open_instance(settings(SCENE.folder)) as instance:
        found = [*_said(), *_of_the_root(instance)]
        for mark, operation in all_operations().items():
            found += [f"{operation} ({mark}): {one}" for one in _of_one(instance, mark, operation)]
    for one in found:
        print(one)
    return min(len(found), 60)


def _said() -> Iterator[str]:
    if SCENE.broken.exists():
        yield from SCENE.broken.read_text().splitlines()
    for told in SCENE.folder.glob("*.out"):
        text = told.read_text(errors="replace")
        yield from (f"{told.name} says `{words}`" for words in NEVER_SAID if words in text)


def _of_the_root(instance: Instance) -> Iterator[str]:
    ledger = instance.parts.ledger
    for check in instance.check().checks:
        if check.status != "ok" and not (check.status == "warning" and check.name in REMARKED):
            yield f"doctor: {check}"
    report = ledger.verify_log()
    if report.bad is not None:
        yield f"the log: {report}"
    before = [row for _, row in ledger.rows(limit=1000)]
    yield from (f"the index: {one}" for one in ledger.rebuild_index(fold_row))
    if before != [row for _, row in ledger.rows(limit=1000)]:
        yield "the index that was made anew is another"
    yield from (f"a lock that stands: {held}" for held in ledger.locks())
    yield from (f"it still waits: {name}" for name, _ in ledger.posted("queue"))
    yield from _window(instance)


def _window(instance: Instance) -> Iterator[str]:
    """Hold that a window over the root's whole life is complete, and holds every effect."""
    path, now = SCENE.folder / "window.rxb", instance.parts.world.clock.now()
    effects = effects_file().read_text().splitlines()
    asyncio.run(instance.parts.evidence.export_window(None, Asked(path=path), now))
    report = verify(path.read_bytes(), trust_of(instance.parts.authority.enrolments()), now=now + LATER)
    yield from (f"the window: {one}" for one in report.findings)
    complete = report.claims.complete
    if effects and (complete is None or complete.changes < len(effects)):
        yield f"the window holds {complete}, and {len(effects)} effects happened"


def _of_one(instance: Instance, mark: str, operation: str) -> Iterator[str]:
    journal = instance.parts.ledger.journal(operation)
    if journal.damaged:
        yield f"damaged: {journal.damaged}"
        return
    records = journal.records
    try:
        check_chain(records)
        one_receipt_per_arrival(records)
    except (ProofError, AssertionError) as error:
        yield f"its records: {error}"
    op = fold(records)
    if op != fold(unseal(sealed.body) for sealed in records):
        yield "two folds of the same records differ"
    if op.state not in TERMINAL or op.receipt_due or op.in_flight or op.unknown:
        yield f"stuck in {stuck(op)}"
    data = instance.parts.evidence.bundle(operation, with_outputs=True)
    now = instance.parts.world.clock.now() + LATER
    report = verify(data, trust_of(instance.parts.authority.enrolments()), now=now)
    yield from (f"its bundle: {one}" for one in report.findings)
    if not report.holds(Rung.LOGGED):
        yield f"its bundle holds {report.rungs}"
    yield from _effects(mark, records)
    yield from _promised(mark, records)


def _effects(mark: str, records: tuple[Sealed, ...]) -> Iterator[str]:
    """No effect without an attempt, none twice, and none that the records do not know to stand."""
    lines = [line for line in effects_file().read_text().splitlines() if line.split()[0] == mark]
    happened = Counter(tuple(line.split()[1:]) for line in lines)
    tried: Counter[tuple[str, ...]] = Counter()
    again: Counter[tuple[str, ...]] = Counter()
    ok: Counter[tuple[str, ...]] = Counter()
    steps: dict[str, tuple[str, ...]] = {}
    for sealed in records:
        record = sealed.record
        if isinstance(record, Attempt) and record.phase in _VERBS:
            name = record.permit.step.partition("@")[0]
            steps[sealed.digest] = (name, record.target, _VERBS[record.phase])
            tried[steps[sealed.digest]] += 1
        elif isinstance(record, Outcome) and record.attempt in steps and record.ended is Ended.OK:
            ok[steps[record.attempt]] += 1
        elif isinstance(record, Reconciliation) and record.attempt in steps:
            if record.happened:
                ok[steps[record.attempt]] += 1
            elif record.by == ENGINE and record.probe is None:
                again[steps[record.attempt]] += 1
    for key, count in happened.items():
        if count > tried[key]:
            yield f"{key} took effect {count} times, and was tried {tried[key]} times"
        # Only what may be made again may happen again: where nobody knew, and that is recorded.
        allowed = 1 + (again[key] if key[0] == "again" and key[2] == "do" else 0)
        if count > allowed:
            yield f"{key} took effect {count} times"
        if not ok[key] and not again[key]:
            yield f"{key} took effect, and the records do not say so"
    for key in ok:
        if key[0] != "look" and not happened[key]:
            yield f"{key} is recorded as done, and was not"


def _promised(mark: str, records: tuple[Sealed, ...]) -> Iterator[str]:
    """What a command that ended well said it recorded is recorded."""
    promises = SCENE.folder / "promises.jsonl"
    for line in promises.read_text().splitlines() if promises.exists() else ():
        said: Mapping[str, str] = json.loads(line)
        if said["mark"] != mark:
            continue
        known = [one.record for one in records]
        reasons = {one.reason for one in known if isinstance(one, Command)}
        reasons |= {one.statement.reason for one in known if isinstance(one, Approval)}
        if said["reason"] not in reasons:
            yield f"`{said['words']}` ended with {said['code']}, and left no record"
