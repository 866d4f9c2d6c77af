"""`gc`: what a root need not keep for ever goes, and every proof stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from rexecop.app.fleet import LEFT
from rexecop.app.own_chain import next_records
from rexecop.app.planner import PLANNED
from rexecop.app.queueing import QUEUE, WAITS
from rexecop.app.worker import WORKERS, Beat
from rexecop.engines.runner import is_alive
from rexecop.operations.errors import AppendConflict
from rexecop.operations.fold import fold
from rexecop.operations.machine import TERMINAL
from rexecop.proof.codec import decode
from rexecop.proof.errors import RexecopError
from rexecop.proof.records import Retention

if TYPE_CHECKING:
    from rexecop.app.instance import Instance
    from rexecop.store.retention import Aged

GROUP_OUTPUTS: Final = 200  # Erased in one transaction: others write in between.
SILENT_FOR: Final = timedelta(days=1)  # A worker elsewhere that lives says so every few seconds.
TRIES_MAX: Final = 8  # As many others may write to the instance's chain in the same instant.
_STATES: Final = tuple(sorted(TERMINAL))


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectedView:
    """What goes, or with `applied` went: outputs of operations that ended before `before`, and the rest.

    `recorded` is the place of the record that says so. `bytes` were in outputs, `free_bytes` are free in
    the file; with `cleared` no older state of the ledger is left beside it.
    """

    applied: bool
    before: datetime | None
    operations: int
    outputs: int
    bytes: int
    keys: int
    board: int
    free_bytes: int
    recorded: int | None = None
    cleared: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retaining:
    """How long outputs and idempotency keys of ended operations are kept, and why not longer; recorded."""

    older_than: timedelta
    rule: str
    reason: str


class Collector:
    """Collects what may go from one root."""

    def __init__(self, instance: Instance, progress: Callable[[int, int], None]) -> None:
        self._instance = instance
        self._world = instance.parts.world
        self._store = instance.parts.ledger
        self._progress = progress

    def look(self, older_than: timedelta | None) -> CollectedView:
        """Return what `apply` would take, as the index has it."""
        before = None if older_than is None else self._world.clock.now() - older_than
        aged = [] if before is None else list(self._store.aged_outputs(before, _STATES))
        return CollectedView(
            applied=False,
            before=before,
            operations=len(aged),
            outputs=sum(len(one.outputs) for one in aged),
            bytes=sum(one.bytes for one in aged),
            keys=0 if before is None else self._store.forget_keys(before, _STATES, really=False),
            board=len(list(self._stale())),
            free_bytes=self._store.free_bytes(),
        )

    def apply(self, retaining: Retaining | None) -> CollectedView:
        """Take what may go, and return what went; a record says so before the first output is gone.

        Raises:
            RootIdentityDoubtful, StoreUnavailable: some of it may have gone; the same again takes the rest.
        """
        self._store.require_sure()
        view = self.look(None if retaining is None else retaining.older_than)
        recorded, gone = (None, []) if retaining is None else self._erase(retaining, view)
        if view.before is not None and view.keys:
            self._store.forget_keys(view.before, _STATES, really=True)
        for kind, name in list(self._stale()):
            self._world.store.post(kind, name, None)
        self._instance.parts.lifecycle.queue.tidy()
        free = self._store.free_bytes()
        self._store.give_back()
        return CollectedView(
            applied=True,
            before=view.before,
            operations=len(gone),
            outputs=sum(len(one.outputs) for one in gone),
            bytes=sum(one.bytes for one in gone),
            keys=view.keys,
            board=view.board,
            free_bytes=free,
            recorded=recorded,
            cleared=self._store.clear_wal(),
        )

    # --- outputs ---

    def _erase(self, retaining: Retaining, view: CollectedView) -> tuple[int | None, list[Aged]]:
        """Erase what is old enough; return the place of the record, and whose outputs went."""
        assert view.before is not None
        make = partial(Retention, before=view.before, rule=retaining.rule, reason=retaining.reason)
        recorded, gone = None, []
        for found in self._groups(view.before):
            place, went = self._erase_group(found, make if recorded is None else None)
            recorded = place if recorded is None else recorded
            gone += went
            self._progress(len(gone), view.operations)
        return recorded, gone

    def _groups(self, before: datetime) -> Iterator[list[tuple[Aged, int]]]:
        """Yield what goes in one transaction: what operations kept, and how many records each has."""
        group: list[tuple[Aged, int]] = []
        for one in list(self._store.aged_outputs(before, _STATES)):
            records = self._ended(one.operation, before)
            group += [] if records is None else [(one, records)]
            if sum(len(each.outputs) for each, _ in group) >= GROUP_OUTPUTS:
                yield group
                group = []
        yield group

    def _erase_group(
        self, group: list[tuple[Aged, int]], make: Callable[..., Retention] | None
    ) -> tuple[int | None, list[Aged]]:
        """Erase what `group` kept, but for those that went on meanwhile; return whose that was.

        Beside it stands the place of the record that `make` makes, if it was written.
        """
        for _ in range(TRIES_MAX):
            if not group:
                break
            batch = None
            if make is not None:
                by = self._instance.identity().principal
                batch = next_records(self._store, self._world.clock, by, [make])
            ended = {one.operation: records for one, records in group}
            try:
                self._store.erase_aged(batch, ended, [name for one, _ in group for name in one.outputs])
            except AppendConflict:
                group = [(one, n) for one, n in group if self._store.records_of(one.operation) == n]
            else:
                return None if batch is None else batch.expected, [one for one, _ in group]
        return None, []

    def _ended(self, operation: str, before: datetime) -> int | None:
        """Return how many records `operation` has, if they say that it ended before; the index may err."""
        journal = self._store.journal(operation)
        if journal.damaged or journal.records[-1].record.at >= before:
            return None
        try:
            op = fold(journal.records)
        except RexecopError:
            return None
        return len(journal.records) if op.state in TERMINAL and not op.receipt_due else None

    # --- the board ---

    def _stale(self) -> Iterator[tuple[str, str]]:
        """Yield (kind, name) of what stands on the board and is of use to nobody."""
        store, now = self._world.store, self._world.clock.now()
        for name, _ in store.posted(QUEUE):
            with suppress(RexecopError):
                if store.row(name)[1].state not in WAITS:
                    yield QUEUE, name
        for name, _ in store.posted(PLANNED):
            with suppress(RexecopError):
                if store.row(name)[1].state not in WAITS:
                    yield PLANNED, name
        begun = {row.operation for _, row, _ in store.under_way()}
        yield from ((LEFT, name) for name, _ in store.posted(LEFT) if name not in begun)
        for runner, body in store.posted(WORKERS):
            if not is_alive(runner, store) or decode(Beat, body).seen < now - SILENT_FOR:
                yield WORKERS, runner
