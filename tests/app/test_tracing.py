"""What is told of operations: a line and a span for what happened, and nothing that could stop it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rexecop.app.build import open_instance
from rexecop.app.views import OperationView
from tests.app.support import asked, made, scratch, settings


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with scratch() as folder:
        asyncio.run(made(folder))
        yield folder


def run(folder: Path, log: str | None) -> OperationView:
    async def story() -> OperationView:
        with open_instance(replace(settings(folder, folder / "alice"), log=log)) as instance:
            view = await instance.plan(asked(folder, "show_greeting", "read_only"))
            return await instance.start(view.operation_id)

    return asyncio.run(story())


def test_each_record_is_a_line_that_names_operation_and_attempt(folder: Path) -> None:
    log = folder / "rexecop.log"

    view = run(folder, str(log))

    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["record"] for line in lines] == list(range(view.records))
    assert {line["operation"] for line in lines} == {view.operation_id}
    attempt, outcome = (line for line in lines if "attempt" in line)
    assert (attempt["kind"], outcome["kind"]) == ("attempt/1", "outcome/1")
    assert attempt["attempt"] == outcome["attempt"] and view.operation_id.endswith(outcome["trace_id"])
    assert log.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("log", ["/dev/full", "/nowhere/at/all", "stderr"])
def test_a_log_that_cannot_be_written_changes_no_run(
    folder: Path, log: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", None)

    assert run(folder, log).state == "completed"


def test_a_log_that_nobody_reads_does_not_hold_up_a_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(folder / "log")
    assert run(folder, str(folder / "log")).state == "completed"

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 65_536)
    os.set_blocking(writer, True)
    with open(writer, "w") as full, open(reader):
        monkeypatch.setattr("sys.stderr", full)
        assert run(folder, "stderr").state == "completed"


def test_operation_and_attempt_are_spans_of_one_trace_that_has_the_operations_id(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    monkeypatch.setattr("opentelemetry.trace.get_tracer", provider.get_tracer)

    view = run(folder, None)

    call, whole = spans.get_finished_spans()
    assert (call.name, whole.name) == ("do read_greeting", "read_only hello/show_greeting")
    assert {f"op_{span.context.trace_id:032x}" for span in (call, whole) if span.context} == {
        view.operation_id
    }
    assert dict(call.attributes or {})["cicd.pipeline.task.run.result"] == "ok"
    assert call.start_time and call.end_time and call.end_time >= call.start_time
