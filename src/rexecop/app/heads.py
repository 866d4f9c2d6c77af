"""Recording heads: how many changes each target has had, at the ends of windows and once a day."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from rexecop.app.cutting import map_of, unfinished_at
from rexecop.engines.session import Session
from rexecop.operations.errors import AppendConflict
from rexecop.operations.ports import Clock
from rexecop.proof.heads import heads_root, unfinished_root
from rexecop.proof.records.instance import Heads, UnfinishedList
from rexecop.store.ledger import LedgerStore

DUE_AFTER: Final = timedelta(days=1)
LOOK_AFTER: Final = timedelta(hours=1)  # A busy process need not ask after every operation.
TRIES_MAX: Final = 50  # Each lost try means that somebody else's change was recorded meanwhile.


class HeadsKeeper:
    """Appends `heads` records to the instance's chain."""

    def __init__(self, store: LedgerStore, clock: Clock, instance: str) -> None:
        self._store = store
        self._clock = clock
        self._instance = instance
        self._looked: datetime | None = None

    async def record(self) -> None:
        """Record the heads as they are now, all changes so far included.

        Raises:
            AppendConflict: changes kept coming in between.
        """
        for left in reversed(range(TRIES_MAX)):
            self._store.settle()
            heads, newest = self._store.heads()
            session = Session.load(self._store, self._clock, self._instance)
            entries = map_of(heads)
            # All changes so far stand below this size, as the record is taken only if no other came.
            size = self._store.size()
            open_ones = unfinished_at(self._store, size)
            listed = UnfinishedList(size=size, operations=len(open_ones), root=unfinished_root(open_ones))
            session.add(Heads, root=heads_root(entries), targets=len(entries), unfinished=listed)
            session.attached.after_change = newest
            try:
                await session.flush()
                return
            except AppendConflict:
                if not left:
                    raise

    async def record_daily(self) -> None:
        """Record the heads if something was changed and that was not done for a day."""
        now = self._clock.now()
        if self._looked is not None and now - self._looked < LOOK_AFTER:
            return
        self._looked = now
        newest = self._store.last_change()
        if newest < 0:
            return
        records = [sealed.record for sealed in self._store.journal(self._instance).records]
        last = next((record for record in reversed(records) if isinstance(record, Heads)), None)
        if last is None or (
            now - last.at >= DUE_AFTER and newest > self._store.leaf_of(self._instance, last.n)
        ):
            await self.record()
