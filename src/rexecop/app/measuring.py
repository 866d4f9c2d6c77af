"""The figures of one opened root, as a service gives them: of its index, its records and its files."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Final

from rexecop.app.counting import Counting
from rexecop.app.instance import Instance
from rexecop.app.metrics import Sample, sample, samples
from rexecop.app.root import Root
from rexecop.app.worker import workers_alive
from rexecop.proof.errors import RexecopError

FRESH_SECONDS: Final = 1.0  # Several who ask at one time are answered by one look.
REST: Final = 10  # After a look so many times as long is rested: looking takes a tenth of one core at most.


class Measuring:
    """Looks at one instance; counters begin when this is made."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._parts = instance.parts
        self._root = Root(self._parts.settings.root)
        self._counting = Counting(self._parts.ledger)
        self._turn = threading.Lock()
        self._found: tuple[Sample, ...] = ()
        self._due = float("-inf")

    def samples(self) -> tuple[Sample, ...]:
        """Return the figures now; it may take some tenths of a second, and may be called in any thread.

        Raises:
            StoreError: the ledger cannot be read.
        """
        with self._turn:
            if (began := time.monotonic()) >= self._due:
                self._counting.look()
                now, halts = self._parts.world.clock.now(), len(self._parts.authority.halts())
                index = samples(self._parts.ledger, now, halts)
                self._found = (*index, *self._counting.samples(), *self._files(), self._workers())
                self._due = time.monotonic() + max(FRESH_SECONDS, REST * (time.monotonic() - began))
            return self._found

    def _workers(self) -> Sample:
        return sample("workers", ((), len(workers_alive(self._instance))))

    def _files(self) -> Iterator[Sample]:
        """Yield what the files of the root say; one that cannot be read says nothing."""
        try:
            behind = self._parts.sinks.behind()
        except RexecopError:
            behind = ()
        yield sample("evidence_sink_lag_records", *(((name,), lag) for name, lag in behind))
        try:
            yield sample("notices_undelivered", ((), sum(1 for _ in self._root.undelivered.glob("*.json"))))
            if self._root.anchor == self._root.ledger:
                yield sample("evidence_ledger_bytes", ((), self._root.ledger.stat().st_size))
        except OSError:
            return
