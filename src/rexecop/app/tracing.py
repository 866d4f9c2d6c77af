"""What becomes durable, told to a log and to OpenTelemetry; whoever cannot be told changes nothing.

The trace of an operation has its id, so that logs, spans and records are found from each other.
"""

from __future__ import annotations

import os
import select
import sys
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Final, cast

from rexecop.app.describe import summary
from rexecop.operations.ports import Appended, Batch, Row, Store
from rexecop.proof.canonical import Digest, canonical_bytes
from rexecop.proof.chain import Sealed
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.times import format_time
from rexecop.proof.vocabulary import GOOD_ENDS

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

STDERR: Final = "stderr"
MESSAGE_LENGTH_MAX: Final = 800  # A line then fits what a pipe takes at once; the record has the whole.


class Telling:
    """A store that tells of what it appended; everything else is the store's own.

    `log` is `stderr` or the path of a file that is added to; `tracer` takes the spans.
    """

    def __init__(self, store: Store, log: str | None, tracer: Tracer | None) -> None:
        self._store = store
        self._log = log
        self._tracer = tracer
        self._open: dict[Digest, Attempt] = {}

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def append(self, batch: Batch) -> Appended:
        """Append `batch` as the store does, and tell of it."""
        appended = await self._store.append(batch)
        for sealed in batch.records:
            with suppress(Exception):
                self._write(sealed)
            with suppress(Exception):
                self._span(sealed, batch.row)
        return appended

    def _write(self, sealed: Sealed) -> None:
        record = sealed.record
        bad = isinstance(record, Outcome) and record.ended not in GOOD_ENDS
        line = {
            "time": format_time(record.at),
            "level": "warning" if bad else "info",
            "operation": record.operation,
            "trace_id": record.operation.removeprefix("op_"),
            "attempt": sealed.digest if isinstance(record, Attempt) else getattr(record, "attempt", None),
            "record": record.n,
            "kind": record.kind,
            "message": summary(record)[:MESSAGE_LENGTH_MAX],
        }
        data = canonical_bytes({name: value for name, value in line.items() if value is not None}) + b"\n"
        if self._log == STDERR:
            handle = sys.stderr.fileno()
            # Who does not read must not stop the work: of a pipe that is full no line is waited for.
            ready = select.poll()
            ready.register(handle, select.POLLOUT)
            if ready.poll(0):
                os.write(handle, data)
        elif self._log is not None:
            how = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            with open(os.open(self._log, how, 0o600), "wb", buffering=0) as file:
                file.write(data)

    def _span(self, sealed: Sealed, row: Row | None) -> None:
        record = sealed.record
        if self._tracer is None or row is None:
            return
        if isinstance(record, Attempt):
            self._open[sealed.digest] = record
        elif isinstance(record, Outcome) and record.attempt in self._open:
            attempt = self._open.pop(record.attempt)
            about = {"cicd.pipeline.task.name": record.step, "rexecop.target": attempt.target}
            about["cicd.pipeline.task.run.result"] = str(record.ended)
            self._emit(f"{attempt.phase} {record.step}", row, attempt.at, record.at, about)
        elif isinstance(record, Receipt):
            about = {"cicd.pipeline.result": str(record.state)}
            self._emit(f"{row.mode} {row.profile}/{row.intent}", row, row.created, record.at, about)

    def _emit(self, name: str, row: Row, start: datetime, end: datetime, about: dict[str, str]) -> None:
        from opentelemetry import trace

        number = int(row.operation.removeprefix("op_"), 16)
        flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
        within = trace.SpanContext(number, number & (2**64 - 1), is_remote=True, trace_flags=flags)
        about |= {
            "cicd.pipeline.name": f"{row.profile}/{row.intent}",
            "cicd.pipeline.run.id": row.operation,
        }
        assert self._tracer is not None
        self._tracer.start_span(
            name,
            context=trace.set_span_in_context(trace.NonRecordingSpan(within)),
            attributes=about,
            start_time=int(start.timestamp() * 1e9),
        ).end(int(end.timestamp() * 1e9))


def telling(store: Store, log: str | None) -> Store:
    """Return `store`, telling of what it appends where a `log` is named or a tracer is there to hear."""
    tracer = None
    if "opentelemetry.sdk" in sys.modules:  # Whoever starts us set it up, as `opentelemetry-instrument` does.
        from opentelemetry import trace

        tracer = trace.get_tracer("rexecop")
    return store if log is None and tracer is None else cast(Store, Telling(store, log, tracer))
