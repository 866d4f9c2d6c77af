"""What becomes durable, told to a log and to OpenTelemetry; whoever cannot be told changes nothing.

The trace of an operation has its id, so that logs, spans and records are found from each other.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Final, cast

from rexecop.app.describe import summary
from rexecop.app.requests import note
from rexecop.operations.ports import Appended, Batch, Row, Store
from rexecop.proof.canonical import Digest, Json, canonical_bytes
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


class Lines:
    """A log of lines of JSON: `stderr`, or the path of a file that is added to."""

    def __init__(self, where: str) -> None:
        self._where = where

    def write(self, line: Mapping[str, Json]) -> None:
        """Write one line; nothing is raised."""
        with suppress(Exception):
            self._write(
                canonical_bytes({name: value for name, value in line.items() if value is not None}) + b"\n"
            )

    def _write(self, data: bytes) -> None:
        if self._where == STDERR:
            handle = sys.stderr.fileno()
            # Who does not read must not stop the work: of a pipe that is full no line is waited for.
            ready = select.poll()
            ready.register(handle, select.POLLOUT)
            if ready.poll(0):
                os.write(handle, data)
        else:
            how = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            with open(os.open(self._where, how, 0o600), "wb", buffering=0) as file:
                file.write(data)


class Telling:
    """A store that tells of what it appended; everything else is the store's own.

    `log` takes the lines and `tracer` the spans.
    """

    def __init__(self, store: Store, log: Lines | None, tracer: Tracer | None) -> None:
        self._store = store
        self._log = log
        self._tracer = tracer
        self._open: dict[Digest, Attempt] = {}

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def append(self, batch: Batch) -> Appended:
        """Append `batch` as the store does, and tell of it."""
        appended = await self._store.append(batch)
        if batch.row is not None:
            note(operation=batch.operation)
        for sealed in batch.records:
            with suppress(Exception):
                self._write(sealed)
            with suppress(Exception):
                self._span(sealed, batch.row)
        return appended

    def _write(self, sealed: Sealed) -> None:
        record = sealed.record
        if self._log is None:
            return
        bad = isinstance(record, Outcome) and record.ended not in GOOD_ENDS
        self._log.write(
            {
                "time": format_time(record.at),
                "level": "warning" if bad else "info",
                "operation": record.operation,
                "trace_id": record.operation.removeprefix("op_"),
                "attempt": sealed.digest if isinstance(record, Attempt) else getattr(record, "attempt", None),
                "record": record.n,
                "kind": record.kind,
                "message": summary(record)[:MESSAGE_LENGTH_MAX],
            }
        )

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
        asked = trace.get_current_span().get_span_context()  # Of the request it came with, if it came so.
        self._tracer.start_span(
            name,
            links=[trace.Link(asked)] if asked.is_valid else None,
            context=trace.set_span_in_context(trace.NonRecordingSpan(within)),
            attributes=about,
            start_time=int(start.timestamp() * 1e9),
        ).end(int(end.timestamp() * 1e9))


def tracer() -> Tracer | None:
    """Return who takes spans, None where nobody set OpenTelemetry up, as `opentelemetry-instrument` does."""
    if "opentelemetry.sdk" not in sys.modules:
        return None
    from opentelemetry import trace

    return trace.get_tracer("rexecop")


def telling(store: Store, log: str | None) -> Store:
    """Return `store`, telling of what it appends where a `log` is named or a tracer is there to hear."""
    found = tracer()
    lines = None if log is None else Lines(log)
    return store if log is None and found is None else cast(Store, Telling(store, lines, found))
