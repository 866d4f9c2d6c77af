"""What the service tells of itself and whom: figures, a line a request, spans, whether it is well."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from rexecop.app.door import ServiceRole
from rexecop.app.serving import Serving, open_serving
from rexecop.app.settings import Settings
from rexecop.app.tokens import TokenAsked, Tokens
from rexecop.service.application import create_app
from rexecop.service.traffic import Run
from tests.service.conftest import fresh_root

CANARY = "hunter2canary"
PEOPLE = [role for role in ServiceRole if role is not ServiceRole.AGENT]
PARENT = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


@dataclass(frozen=True)
class Told:
    """A service in this process, what it wrote to its log, and the spans it ended."""

    client: TestClient
    serving: Serving
    run: Run
    log: Path
    exported: InMemorySpanExporter
    tokens: Mapping[ServiceRole, str]

    def words(self, role: ServiceRole = ServiceRole.AUDITOR) -> dict[str, str]:
        """What somebody of `role` sends."""
        return {"authorization": f"Bearer {self.tokens[role]}"}

    def lines(self) -> list[dict[str, object]]:
        """The lines of requests in the log, which is emptied."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        self.log.write_text("")
        return [line for line in lines if line["kind"] == "request"]

    def spans(self) -> tuple[ReadableSpan, ...]:
        """The spans that ended since this was asked last."""
        found = self.exported.get_finished_spans()
        self.exported.clear()
        return found

    def figures(self, **headers: str) -> str:
        """The figures, looked for now."""
        self.serving.measuring._due = float("-inf")
        reply = self.client.get("/metrics", headers={**self.words(), **headers})
        assert reply.status_code == 200, reply.text
        return reply.text


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("observed")
    exported, provider, patch = InMemorySpanExporter(), TracerProvider(), pytest.MonkeyPatch()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    patch.setattr("opentelemetry.trace.get_tracer", provider.get_tracer)
    log, run = folder / "log", Run()
    log.touch()
    settings = replace(fresh_root(folder), log=str(log))
    with open_serving(settings) as serving:
        tokens = {role: asyncio.run(token(serving, role)) for role in PEOPLE}
        app = create_app(serving, None, run=run)
        app.router.routes.append(Route("/broken/{secret}", _broken))
        with TestClient(app, raise_server_exceptions=False) as client:
            yield Told(client, serving, run, log, exported, tokens)
    patch.undo()


async def token(serving: Serving, role: ServiceRole) -> str:
    asked = TokenAsked(name=f"{role}-ann", roles=[str(role)])
    made = (await Tokens(serving._instance).new(asked)).token
    assert made is not None
    return made


async def _broken(request: Request) -> Response:
    raise RuntimeError(CANARY)


def execute(told: Told, nonce: str, **headers: str) -> dict[str, object]:
    asked = {"action": "echo", "payload": {"say": CANARY}, "nonce": nonce}
    reply = told.client.post("/execute", json=asked, headers=headers)
    found: dict[str, object] = reply.json()
    return found


# --- figures ---


@pytest.mark.parametrize("role", PEOPLE)
def test_figures_are_for_those_who_may_have_them(told: Told, role: ServiceRole) -> None:
    reply = told.client.get("/metrics", headers=told.words(role))

    may = role in (ServiceRole.AUDITOR, ServiceRole.ADMIN)
    assert (reply.status_code, "rexecop_operations" in reply.text) == ((200, True) if may else (403, False))


def test_a_stranger_gets_no_figure_and_probes_ask_nobody_who_they_are(told: Told) -> None:
    reply = told.client.get("/metrics", headers={"authorization": "Bearer nobody"})
    assert (reply.status_code, reply.json()["code"]) == (401, "caller-unknown")

    for path in ("/healthz", "/readyz", "/health"):
        assert told.client.get(path, headers={"authorization": "Bearer nobody"}).status_code == 200


def value(text: str, line: str) -> float:
    """The value of the figure that is `line` up to it; 0 where there is none."""
    found = re.search(rf"^rexecop_{re.escape(line)} (\S+)$", text, re.MULTILINE)
    return 0 if found is None else float(found[1])


def test_what_runs_is_counted_by_lane_end_and_verdict_whoever_recorded_it(told: Told) -> None:
    counted = {
        'attempts_total{lane="registry",ended="ok"}': 2,
        'ends_total{state="completed"}': 2,
        'ends_total{state="blocked"}': 1,
        'decisions_total{gate="plan",verdict="allowed"}': 2,
        'decisions_total{gate="plan",verdict="blocked"}': 1,
        'http_requests_total{method="POST",route="/execute",status="200"}': 1,
        'http_requests_total{method="POST",route="/execute",status="400"}': 1,
        'http_request_seconds_count{route="/execute"}': 2,
    }
    before = told.figures()
    execute(told, "here")
    told.client.post("/execute", json={"action": "unknown", "payload": {}, "nonce": "no"})
    with open_serving(replace(told.serving._instance.parts.settings, log=None)) as other:
        asyncio.run(other.execute("echo", {}, "elsewhere"))
    after = told.figures()

    assert {name: value(after, name) - value(before, name) for name in counted} == counted
    assert value(after, "evidence_records_total") > value(before, "evidence_records_total")
    assert value(after, "counting_lag_records") == value(after, "http_followers") == 0
    assert value(after, 'operations{state="completed",mode="read_only",intent="execute-demo/echo"}') >= 2


def test_a_figure_has_the_form_that_each_reader_knows(told: Told) -> None:
    plain, newer = told.figures(), told.figures(accept="application/openmetrics-text; version=1.0.0")

    assert "# TYPE rexecop_ends_total counter\n" in plain and "# EOF" not in plain
    assert "# TYPE rexecop_ends counter\n" in newer and newer.endswith("\n# EOF\n")
    buckets = re.findall(
        r'^rexecop_http_request_seconds_bucket\{route="/metrics",le="(.+)"\} (\d+)$', plain, re.M
    )
    assert [int(count) for _, count in buckets] == sorted(int(count) for _, count in buckets)
    assert buckets[-1][0] == "+Inf"
    assert buckets[-1][1] == str(int(value(plain, 'http_request_seconds_count{route="/metrics"}')))
    for text in (plain, newer):
        for line in text.splitlines():
            assert re.fullmatch(r"# .+|rexecop_[a-z_0-9]+(\{.+\})? [0-9.e+-]+", line), line


# --- a line a request ---


def test_each_request_is_a_line_that_names_caller_and_operation_and_holds_no_secret(told: Told) -> None:
    told.lines()
    headers = {"x-request-id": "r-7", "traceparent": PARENT, "cookie": CANARY}
    told.client.get(f"/metrics?token={CANARY}", headers={**told.words(), **headers})
    operation = execute(told, "logged")["operation_id"]
    told.client.get(f"/webhooks/{CANARY}/x?y={CANARY}")
    told.client.post(f"/webhooks/{CANARY}?y={CANARY}", content=CANARY)
    told.client.request(CANARY.upper(), "/health", headers={"authorization": f"Bearer {CANARY}"})
    told.client.get(f"/broken/{CANARY}")
    told.client.get(f"/v1/operations?cursor={CANARY}", headers=told.words(ServiceRole.VIEWER))
    written = told.log.read_text()
    lines = told.lines()

    assert CANARY not in written.lower()
    first, second, *rest = lines
    assert (first["method"], first["route"], first["status"]) == ("GET", "/metrics", 200)
    assert (first["caller"], first["request_id"], first["trace_id"]) == ("auditor-ann", "r-7", "a" * 32)
    assert (second["route"], second["operation"]) == ("/execute", operation) and "caller" not in second
    assert [(line["method"], line["route"], line["status"]) for line in rest] == [
        ("GET", "other", 404),
        ("POST", "/webhooks/{name}", 415),
        ("other", "/health", 405),
        ("GET", "/broken/{secret}", 500),
        ("GET", "/v1/operations", 400),
    ]
    assert rest[-1]["caller"] == "viewer-ann"
    assert all(isinstance(line["ms"], int) and line["time"] for line in lines)
    assert [line["level"] for line in lines] == ["info"] * 5 + ["warning", "info"]


@pytest.mark.parametrize("path", ["/", "/health", "/nothing", "/healthz", "/metrics", "/v1/events"])
def test_the_id_of_a_request_is_given_back_everywhere_and_made_where_there_is_none(
    told: Told, path: str
) -> None:
    given = told.client.get(path, headers={"x-request-id": "my-7"}).headers.get_list("x-request-id")
    made = [told.client.get(path).headers["x-request-id"] for _ in range(2)]
    forged = told.client.get(path, headers={"x-request-id": "a b"}).headers["x-request-id"]

    assert given == ["my-7"] and len({*made, forged, "a b"}) == 4


# --- spans ---


def test_a_request_is_a_span_below_the_one_it_names_and_its_operation_links_to_it(told: Told) -> None:
    told.spans()
    reply = told.client.post(
        "/execute", json={"action": "echo", "nonce": "span"}, headers={"traceparent": PARENT}
    )
    call, whole, served = told.spans()

    assert served.name == "POST /execute" and served.parent is not None and served.context is not None
    assert (served.context.trace_id, served.parent.span_id) == (int("a" * 32, 16), int("b" * 16, 16))
    assert dict(served.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/execute",
        "http.response.status_code": 200,
        "cicd.pipeline.run.id": reply.json()["operation_id"],
    }
    for span in (call, whole):
        assert [link.context.span_id for link in span.links] == [served.context.span_id]
        assert f"op_{span.context.trace_id:032x}" == reply.json()["operation_id"] if span.context else False
    assert reply.headers["traceparent"] == f"00-{'a' * 32}-{served.context.span_id:016x}-01"


@pytest.mark.parametrize(
    "given",
    ["", "00-zz", PARENT.upper(), PARENT + "-x", "ff" + PARENT[2:], PARENT.replace("a", "0"), "x" * 9000],
)
def test_a_trace_that_is_not_well_formed_is_as_none_at_all(told: Told, given: str) -> None:
    told.spans()
    reply = told.client.get("/health", headers={"traceparent": given})
    (served,) = told.spans()

    assert served.parent is None and reply.headers["traceparent"] != given


@pytest.mark.parametrize("given", [PARENT, "00-zz", PARENT.upper(), PARENT + "-x", PARENT.replace("a", "0")])
def test_where_nobody_takes_spans_a_trace_is_given_back_if_it_is_one(
    told: Told, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setattr("rexecop.service.spans.tracer", lambda: None)
    reply = told.client.get("/health", headers={"traceparent": given})

    assert reply.headers.get("traceparent") == (given if given == PARENT else None)


# --- whether it is well ---


def test_a_stranger_learns_whether_it_is_ready_and_nothing_else(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> tuple[str, ...]:
        return ("ledger: secret place",)

    app = create_app(told.serving, None)
    with TestClient(app) as client:
        assert client.get("/healthz").json() == {"healthy": True}
        assert client.get("/readyz").json() == {"ready": True}
    monkeypatch.setattr(told.serving, "problems", broken)
    with TestClient(create_app(told.serving, None)) as client:
        reply = client.get("/readyz")
        assert (reply.status_code, reply.json()) == (503, {"ready": False})
        assert reply.headers["retry-after"] and client.get("/healthz").status_code == 200


def test_while_it_ends_it_is_not_ready_and_still_answers(told: Told) -> None:
    run = Run()
    with TestClient(create_app(told.serving, None, run=run)) as client:
        run.draining = True
        assert client.get("/readyz").status_code == 503
        assert client.get("/health").status_code == 200


def test_who_follows_a_stream_is_counted_and_let_go_when_all_ends(settings: Settings) -> None:
    run, began = Run(), asyncio.Event()

    async def stream(request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b": here\n\n"
            began.set()
            await asyncio.Event().wait()

        return StreamingResponse(parts(), media_type="text/event-stream")

    async def story(serving: Serving) -> tuple[int, int]:
        app = create_app(serving, None, run=run)
        app.router.routes.append(Route("/stream", stream))

        async def receive() -> dict[str, object]:
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: object) -> None:
            pass

        scope: dict[str, object] = {"type": "http", "asgi": {"spec_version": "2.3"}, "method": "GET"}
        scope |= {"path": "/stream", "headers": [], "query_string": b"", "root_path": "", "state": {}}
        followed = asyncio.ensure_future(app(scope, receive, send))
        await asyncio.wait_for(began.wait(), 30)
        during = run.followers
        followed.cancel()
        await asyncio.wait({followed}, timeout=30)
        return during, run.followers

    with open_serving(settings) as serving:
        assert asyncio.run(story(serving)) == (1, 0)
