"""Step 11: changes are counted, and a window holds all that its two ends say there were.

Each change of a target has the next number, and names the change before it. A `heads`
record commits to the number and the last change of every target at its place in the log.
So between two of them a missing change leaves a gap, a cut tail disagrees with the end,
and one too many has no number left. The record at the end also says which operations had
not ended, so what came of a change cannot be left out either.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final

from rexecop.proof.bundle import Window
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.errors import HeadsProofWrong
from rexecop.proof.heads import (
    TARGETS_MAX,
    Head,
    HeadProof,
    UnfinishedProof,
    check_target,
    check_unfinished,
    check_whole,
    has_ended,
)
from rexecop.proof.records import Attempt, Heads, Outcome, Reconciliation
from rexecop.proof.records.instance import UnfinishedList
from rexecop.proof.records.plan import CallStep
from rexecop.proof.scope import template_for
from rexecop.proof.verify.evidence import Evidence, Notes, Opened, steps_by_key
from rexecop.proof.verify.report import Completeness
from rexecop.proof.vocabulary import Effect, Ended, Mode


@dataclass(frozen=True, slots=True)
class _Change:
    """A counted change, and the leaf its attempt is."""

    sealed: Sealed
    record: Attempt
    n: int
    leaf: int


@dataclass(frozen=True, slots=True)
class _End:
    """One end of a window: the heads there, by target, its place in the log, and what had not ended."""

    heads: Mapping[str, Head]
    leaf: int
    at: datetime
    unfinished: UnfinishedList | None = None

    def of(self, target: str) -> tuple[int, Digest | None]:
        """Return how many changes `target` had had, and the last."""
        head = self.heads.get(target)
        return (0, None) if head is None else (head.n, head.attempt)


_BEGINNING: Final = _End({}, -1, datetime.min.replace(tzinfo=UTC))


def check(evidence: Evidence, notes: Notes) -> None:
    """Step 11 for one operation: its changes are counted, one after the other."""
    plan, intent = evidence.plan, evidence.intent
    steps = steps_by_key(plan) if plan is not None else {}
    last: dict[str, tuple[int, Digest]] = {}
    for sealed, attempt in evidence.of(Attempt):
        number, prev = attempt.target_n, attempt.target_prev
        if number is None:
            step = steps.get((attempt.target, attempt.permit.step))
            call = template_for(step, attempt.phase) if isinstance(step, CallStep) else None
            dry = intent is not None and intent.mode is Mode.DRY_RUN
            uncounted = call is not None and call.effect is not Effect.READ and not dry
            notes.when(uncounted, "E11g", sealed, f"changes `{attempt.target:.64}` and is not counted")
            continue
        count, digest = last.get(attempt.target, (0, None))
        if number < 1 or (number == 1) != (prev is None):
            notes.when(True, "E11a", sealed, "has no place among the changes of its target")
        elif number <= count or (digest and number == count + 1 and prev != digest):
            notes.when(True, "E11a", sealed, "is not counted after the change before it")
        last[attempt.target] = (number, sealed.digest)


def check_bundle(opened: Opened, notes: Notes) -> None:
    """Step 11 for the window of a bundle, where it is of one."""
    window, heads = opened.contents.window, opened.contents.heads
    if window is None or heads is None:
        notes.skip("that nothing else was done", "a bundle of one operation claims nothing about others")
        return
    end = _end(opened, window.end, heads.end, window.target, notes)
    start: _End | None = _BEGINNING
    if window.start is not None:
        start = _end(opened, window.start, heads.start, window.target, notes)
    elif heads.start:
        notes.fault("E11e", "a window from the beginning of the log has heads at its start")
    if start is None or end is None:
        return
    if start.leaf >= end.leaf:
        notes.fault("E11f", "the window ends before it begins")
        return
    before = len(notes.findings)
    changes = _changes(opened)
    for target in sorted({*start.heads, *end.heads, *changes} if window.target is None else {window.target}):
        _target(target, changes.get(target, []), start, end, notes)
    _extras(opened, changes, window, (start.leaf, end.leaf), notes)
    if end.unfinished is None:
        why = "the heads at its end do not say which had not ended"
        notes.skip("whether the newest records of the window's operations are here", why)
    else:
        _tails(opened, end.unfinished, end.leaf, heads.unfinished, notes)
    if len(notes.findings) == before:
        notes.complete = _claim(opened, changes, window, (start, end))


def _end(
    opened: Opened, digest: Digest, proofs: tuple[HeadProof, ...], target: str | None, notes: Notes
) -> _End | None:
    """Return the heads at one end of the window, as far as the window is about them; None if not shown."""
    places = zip(opened.instance, opened.contents.proofs.instance, strict=False)
    found = next(((sealed, place.leaf) for sealed, place in places if sealed.digest == digest), None)
    if found is None or not isinstance(found[0].record, Heads):
        notes.fault("E11f", f"the window ends at `{digest}`, which is no `heads` record of the instance here")
        return None
    record = found[0].record
    try:
        if not 0 <= record.targets <= TARGETS_MAX:
            raise HeadsProofWrong(f"a map of {record.targets} targets, at most {TARGETS_MAX} are read")
        if target is None:
            heads = check_whole(proofs, record.targets, record.root)
        else:
            head = check_target(proofs, target, record.targets, record.root)
            heads = {} if head is None else {target: head}
    except HeadsProofWrong as error:
        notes.fault("E11e", error.message, found[0].digest)
        return None
    return _End(heads, found[1], record.at, record.unfinished)


def _changes(opened: Opened) -> dict[str, list[_Change]]:
    """Return all counted changes by target, in the order of their numbers."""
    found: dict[str, list[_Change]] = defaultdict(list)
    for sealed, leaf in opened.leaves:
        record = sealed.record
        if isinstance(record, Attempt) and record.target_n is not None:
            found[record.target].append(_Change(sealed, record, record.target_n, leaf))
    for changes in found.values():
        changes.sort(key=lambda change: change.n)
    return found


def _target(target: str, changes: list[_Change], start: _End, end: _End, notes: Notes) -> None:
    """The changes of `target` are all that lie between its two heads."""
    (first, before), (count, last) = start.of(target), end.of(target)
    if count < first or (count == first and last != before):
        text = (
            f"of `{target:.64}` the heads name change {first} at the start, and {count} at the end, another"
        )
        notes.fault("E11c", text)
        return
    inside = {change.n: change for change in changes if first < change.n <= count}
    numbers = (first, *inside)
    for before_it, n in pairwise(numbers):
        if n > before_it + 1:
            notes.fault("E11b", f"{_span(before_it + 1, n - 1)} of `{target:.64}` is missing")
    if (tail := numbers[-1]) < count:
        notes.fault("E11c", f"{_span(tail + 1, count)} of `{target:.64}` is cut off")
    elif count > first and inside[count].sealed.digest != last:
        notes.fault("E11c", f"change {count} of `{target:.64}` is not the last one that the heads name")
    for one, other in pairwise(changes):
        text = f"is change {other.n} of `{target:.64}` once more"
        notes.when(one.n == other.n, "E11d", other.sealed, text)
    digests = {first: before} | {n: change.sealed.digest for n, change in inside.items()}
    for change in changes:
        inside_log = start.leaf < change.leaf < end.leaf
        moved = (first < change.n <= count) != inside_log
        text = f"is change {change.n} of `{target:.64}`, and stands elsewhere in the log"
        notes.when(moved, "E11h", change.sealed, text)
        known = change.n in inside and change.n - 1 in digests
        astray = known and change.record.target_prev != digests[change.n - 1]
        notes.when(astray, "E11a", change.sealed, f"does not name the change of `{target:.64}` before it")


def _extras(
    opened: Opened,
    changes: Mapping[str, list[_Change]],
    window: Window,
    between: tuple[int, int],
    notes: Notes,
) -> None:
    """An operation without a change in the window has no place in it."""
    about = [
        change
        for target, all_of_it in changes.items()
        for change in all_of_it
        if window.target in (None, target) and between[0] < change.leaf < between[1]
    ]
    for operation in sorted(opened.operations.keys() - {change.record.operation for change in about}):
        notes.fault("E11i", f"operation `{operation:.64}` changed nothing in the window")


def _tails(
    opened: Opened, said: UnfinishedList, end: int, proofs: Sequence[UnfinishedProof], notes: Notes
) -> None:
    """An operation has either ended or all the records it had when the log was of the size that is said."""
    try:
        if not 0 <= said.operations <= TARGETS_MAX:
            raise HeadsProofWrong(f"a list of {said.operations} operations, at most {TARGETS_MAX} are read")
        if said.size > end:
            raise HeadsProofWrong(f"it was looked at {said.size} records, and stands at {end}")
        unfinished = check_unfinished(proofs, said.operations, said.root)
    except HeadsProofWrong as error:
        notes.fault("E11e", f"of what had not ended: {error.message}")
        return
    covered: dict[str, list[Sealed]] = defaultdict(list)
    for sealed, leaf in opened.leaves:
        if leaf < said.size:
            covered[sealed.record.operation].append(sealed)
        counted = isinstance(sealed.record, Attempt) and sealed.record.target_n is not None
        notes.when(
            counted and said.size <= leaf < end, "E11e", sealed, "is not looked at by the heads behind it"
        )
    for operation, records in sorted(covered.items()):
        last = unfinished.pop(operation, records[-1].digest if has_ended(records) else None)
        if last != records[-1].digest:
            notes.fault("E11j", f"records of operation `{operation:.64}` are cut off")
    for operation in sorted(unfinished):
        notes.fault("E11e", f"operation `{operation:.64}` had not ended, and is not here")


def _claim(
    opened: Opened, changes: Mapping[str, list[_Change]], window: Window, ends: tuple[_End, _End]
) -> Completeness:
    start, end = ends
    inside = [
        change.sealed.digest
        for target, all_of_it in changes.items()
        for change in all_of_it
        if window.target in (None, target) and start.leaf < change.leaf < end.leaf
    ]
    outcomes = dict(_endings(opened))
    ended = Counter(outcomes.get(digest, "open") for digest in inside)
    return Completeness(
        target=window.target,
        start=None if window.start is None else start.at,
        end=end.at,
        targets=sum(end.of(target) != start.of(target) for target in end.heads),
        changes=len(inside),
        ended=dict(sorted(ended.items())),
        unknown=tuple(digest for digest in inside if outcomes.get(digest) in (None, Ended.UNKNOWN)),
    )


def _endings(opened: Opened) -> Iterator[tuple[Digest, str]]:
    """Yield (attempt, how it ended); what settled an unknown comes later and stands."""
    for sealed in opened.records:
        record = sealed.record
        if isinstance(record, Outcome) and record.attempt is not None:
            yield record.attempt, record.ended
        elif isinstance(record, Reconciliation):
            yield record.attempt, "happened" if record.happened else "not-happened"


def _span(first: int, last: int) -> str:
    return f"change {first}" if first == last else f"changes {first} to {last}"
