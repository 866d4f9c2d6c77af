"""Looking at operations: what needs neither policy, lanes nor a key, and waits for nobody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar

from rexecop.app.clock import SystemClock
from rexecop.app.describe import operation_view, record_view
from rexecop.app.ledger import ledger_of
from rexecop.app.queueing import QUEUE, Board, in_words
from rexecop.app.root import Root
from rexecop.app.settings import Settings
from rexecop.app.views import (
    EvidenceView,
    OperationLine,
    OperationView,
    OutputView,
    ReceiptView,
    RecordEvidence,
    RecordView,
)
from rexecop.engines.errors import JournalDamaged
from rexecop.engines.runner import is_driven
from rexecop.operations.fold import Operation, fold
from rexecop.operations.machine import TERMINAL
from rexecop.operations.next import RUNNING
from rexecop.operations.ports import Clock, Journal, Ledger, Row
from rexecop.operations.queue import Verdict
from rexecop.proof.canonical import Json
from rexecop.proof.chain import Sealed
from rexecop.proof.halts import standing, stopping, words
from rexecop.proof.preview import preview
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.base import Record
from rexecop.proof.records.outcome import BlobRef, Outcome
from rexecop.proof.vocabulary import State
from rexecop.store.reading import Reading as LedgerReading

if TYPE_CHECKING:
    from rexecop.app.metrics import Sample
    from rexecop.app.needing import NeedView
    from rexecop.app.replay.drive import ReplayView
    from rexecop.app.reviewing import ReviewView
    from rexecop.proof.verify.trusted import TrustedKeys

R = TypeVar("R", bound=Record)

AT_WORK: Final = frozenset({*RUNNING, State.PAUSED, State.UNDOING, State.INDETERMINATE})
PROGRESS_RECORDS_MAX: Final = 50_000  # Read for the progress in one list; beyond it a list is not at once.
PAGE: Final = 1000  # Rows of the index read at one time while most are left out.
LINES_MAX: Final = 4_096  # Lines of the newest pages.


@contextmanager
def open_reading(settings: Settings) -> Iterator[Reading]:
    """Open the ledger of a root for looking only; nothing else of the root is loaded.

    Raises:
        RootMissing, RootUnsafe: there is no usable root. StoreError: the ledger cannot be read.
    """
    root = Root(settings.root)
    root.require()
    readers = ledger_of(root, settings.storage).readers()
    try:
        with readers.borrow():
            ledger = LedgerReading(readers)  # What is no ledger of ours is refused here.
        yield Reading(ledger, SystemClock(), ledger, settings.capacity)
    finally:
        readers.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An operation as it was read once: `place` is where it stands in the queue, if it does."""

    op: Operation
    view: OperationView
    records: tuple[Sealed, ...]
    place: Verdict | None


class Reading:
    """The reading half of an instance, over its ledger alone."""

    def __init__(self, store: Ledger, clock: Clock, log: LedgerReading, capacity: int | None = None) -> None:
        """Read operations in `store`, and what they prove in `log`, the same ledger; so many run at once."""
        self._store = store
        self._clock = clock
        self._log = log
        self._capacity = capacity

    def resolve(self, name: str) -> str:
        """Return the operation id for an id, a prefix, a short number or `@`.

        Raises:
            OperationUnknown: nothing has that name.
        """
        return self._store.resolve(name)

    def alive(self, operation: str) -> bool:
        """Return whether a runner that may still act holds the operation."""
        return is_driven(self._store.lease(operation), self._store, self._clock.now())

    def operation(self, name: str) -> Operation:
        """Return an operation as its readable records say."""
        return _readable(self._store.journal(self.resolve(name)))

    def status(self, operation: str) -> OperationView:
        """Return an operation as its records say; damaged records are named and set aside."""
        return self.seen(operation).view

    def seen(self, operation: str) -> Seen:
        """Return an operation, and all that its view was made from; damaged records are set aside."""
        name = self.resolve(operation)
        journal = self._store.journal(name)
        op = _readable(journal)
        alive = bool(op.in_flight) and self.alive(name)
        if op.in_flight and not alive:  # Its end may have come between the two looks.
            journal = self._store.journal(name)
            op = _readable(journal)
        # Of what is over nothing runs, and nothing waits.
        found = None if op.state in TERMINAL else self._places([name]).get(name)
        words = in_words(found) if found is not None and op.state is not State.WAITING_FOR_APPROVAL else None
        view = operation_view(
            op,
            self._store.number(name),
            alive=alive,
            now=self._clock.now(),
            damaged=journal.damaged,
            queued=self._halted(op) or words,
        )
        view = view if found is None else replace(view, place=found.place)
        return Seen(op=op, view=view, records=journal.records, place=found)

    def _places(self, operations: Iterable[str]) -> dict[str, Verdict]:
        """Return where those of `operations` stand in the queue that wait there, and what for.

        Only where one does, the whole queue is looked at.
        """
        there = {name for name, _ in self._store.posted(QUEUE)}.intersection(operations)
        found = Board(self._store, self._clock, self._capacity).judged() if there else ()
        return {one.waiting.operation: one for one in found if one.waiting.operation in there}

    def _halted(self, op: Operation) -> str | None:
        """Return in words which halt stops `op`, or None."""
        if op.plan is None or op.state in TERMINAL:
            return None
        halts = standing(self._log.journal(self._log.instance_id).records)
        halt = stopping(halts, op.the_intent, op.the_plan)
        return None if halt is None else words(halt)

    def history(self, operation: str, seen: int = 0, limit: int | None = None) -> tuple[RecordView, ...]:
        """Return records behind the first `seen` in causal order: `limit` of them, or all."""
        name = self.resolve(operation)
        if seen and self._store.records_of(name) <= seen:
            return ()
        records = self._store.journal(name).records[seen:][:limit]
        return tuple(map(record_view, records))

    def records_of_kind(self, operation: str, kind: type[R]) -> tuple[R, ...]:
        """Return the records of `kind`, in order."""
        records = self._store.journal(self.resolve(operation)).records
        return tuple(sealed.record for sealed in records if isinstance(sealed.record, kind))

    def outputs(self, operation: str, step: str | None = None, after: int = -1) -> tuple[OutputView, ...]:
        """Return what calls put out and was kept, in order, behind record `after`.

        `step` is one step, on all targets or on one.
        """
        records = self._store.journal(self.resolve(operation)).records
        attempts = {s.digest: s.record for s in records if isinstance(s.record, Attempt)}
        return tuple(
            self._output(record, attempt, stream, ref)
            for record in (sealed.record for sealed in records)
            if isinstance(record, Outcome) and record.n > after
            if step in (None, record.step, record.step.split("@", 1)[0])
            if record.attempt is not None and (attempt := attempts.get(record.attempt)) is not None
            for stream, ref in sorted((record.blobs or {}).items(), reverse=True)
        )

    def _output(self, record: Outcome, attempt: Attempt, stream: str, ref: BlobRef) -> OutputView:
        blob = self._store.blob(ref.commitment)
        return OutputView(
            n=record.n,
            step=record.step,
            phase=str(attempt.phase),
            target=attempt.target,
            stream=stream,
            ref=ref,
            text=None if blob is None else blob.data.decode("utf-8", "replace"),
        )

    def receipt(self, operation: str) -> ReceiptView:
        """Return the newest receipt, its envelope, and whether its signature holds."""
        from rexecop.app.looking import Looking

        return Looking(self._log).receipt(self.resolve(operation))

    def evidence(self, operation: str, step: str | None = None) -> EvidenceView:
        """Return the records as evidence, or those about one step."""
        from rexecop.app.looking import Looking

        return Looking(self._log).records(self.resolve(operation), step)

    def evidence_record(self, operation: str, which: str) -> RecordEvidence:
        """Return one record, by its place or the beginning of its digest, and what stands behind it."""
        from rexecop.app.looking import Looking

        return Looking(self._log).record(self.resolve(operation), which)

    def needs(self) -> tuple[NeedView, ...]:
        """Return what needs a person now, what presses most first."""
        from rexecop.app.needing import needs

        return tuple(needs(self._log, self.alive, self._clock.now()))

    def metrics(self) -> tuple[Sample, ...]:
        """Return the figures of the ledger now."""
        from rexecop.app.metrics import samples

        halts = standing(self._log.journal(self._log.instance_id).records)
        return samples(self._log, self._clock.now(), len(halts))

    def list(
        self,
        *,
        state: str | None = None,
        after: int = 0,
        limit: int = 100,
        where: Mapping[str, str] | None = None,
        since: datetime | None = None,
    ) -> tuple[OperationLine, ...]:
        """Return at most `limit` operations below number `after`, newest first.

        `where` narrows them down by what they have under these names of a row; `intent` takes
        `profile/intent` too. `since` leaves out what was planned before.
        """
        rows = [*islice(self._rows(state, after, limit, where or {}, since), limit)]
        waits = {name: one.words for name, one in self._places(row.operation for _, row in rows).items()}
        left, found = PROGRESS_RECORDS_MAX, []
        for number, row in rows:
            line = operation_line(number, row, waits.get(row.operation, ""))
            if row.state in AT_WORK and row.records <= left:
                left -= row.records
                line = replace(line, progress=self._progress(row.operation))
            found.append(line)
        return tuple(found)

    def _progress(self, operation: str) -> str:
        from rexecop.app.watching import in_words, progress

        found = progress(_readable(self._store.journal(operation)), self._clock.now())
        return "" if found is None else in_words(found)

    def _rows(
        self, state: str | None, after: int, limit: int, where: Mapping[str, str], since: datetime | None
    ) -> Iterator[tuple[int, Row]]:
        size = PAGE if where else limit
        while rows := self._store.rows(state=state, after=after, limit=size):
            for number, row in rows:
                if since is not None and row.created < since:
                    return  # Numbers are given in the order of planning.
                named = {"intent": f"{row.profile}/{row.intent}"}
                if all(value in (getattr(row, name), named.get(name)) for name, value in where.items()):
                    yield number, row
            after = rows[-1][0]

    def reviews(self) -> tuple[ReviewView, ...]:
        """Return every review that is due, of the newest operation first."""
        from rexecop.app.reviewing import reviews_due

        return tuple(reviews_due(self._store, self._clock.now()))

    def log_verify(
        self, *, trust: TrustedKeys | None = None, held: bytes | None = None
    ) -> Mapping[str, Json]:
        """Recompute the log from its bytes; it must continue the checkpoint `held`.

        With `trust` its own checkpoints, and the one held, must be signed by these keys.

        Raises:
            ProofError: a checkpoint is of another log, or not signed by a trusted key.
        """
        from rexecop.app.logs import CONSISTENT, log_view
        from rexecop.proof.logproof import instance_keys, open_checkpoint
        from rexecop.proof.verify.trusted import NO_KEYS

        earlier = [open_checkpoint(held, trust or NO_KEYS)[0]] if held is not None else []
        report = self._store.verify_log(held=earlier, log_keys=instance_keys(trust) if trust else None)
        return log_view(report, held, None, good=CONSISTENT, signed=trust is not None)

    async def replay(self, operation: str, margin_ms: int) -> ReplayView:
        """Drive an operation again in memory by what was recorded of it, and compare every record.

        Raises:
            ReplayImpossible: something it was driven by is not kept.
        """
        from rexecop.app.replay.drive import replay

        margin = timedelta(milliseconds=margin_ms)
        return await replay(self._store, self.resolve(operation), self._log.instance_id, margin)

    def preview(self, operation: str) -> str:
        """Return the plan as its approvers see and sign it."""
        op = self.operation(operation)
        return preview(op.sealed_intent, op.sealed_plan)


@lru_cache(LINES_MAX)
def operation_line(number: int, row: Row, queued: str = "") -> OperationLine:
    """Return an operation as one line of a list; `queued` is what it waits for in the queue."""
    return OperationLine(
        operation_id=row.operation,
        number=number,
        state=row.state,
        intent=f"{row.profile}/{row.intent}",
        target=row.target,
        mode=row.mode,
        requester=row.requester,
        updated=row.updated,
        waiting=row.waiting or queued,
    )


def _readable(journal: Journal) -> Operation:
    """Return the operation as it was before its first damaged record: what came after rests on that one.

    Raises:
        JournalDamaged: already the first record cannot be read.
    """
    first = min((item.n for item in journal.damaged), default=None)
    if first == 0:
        raise JournalDamaged(
            f"record 0 of operation `{journal.operation}` cannot be read: {journal.damaged[0].reason}",
            n=0,
            next_steps=("rexecop doctor",),
        )
    return fold(sealed for sealed in journal.records if first is None or sealed.record.n < first)
