"""The span of a request, where OpenTelemetry was set up by whoever starts us."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from rexecop.app.tracing import tracer

if TYPE_CHECKING:
    from opentelemetry.trace import Span

TRACEPARENT: Final = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def trace_named(given: bytes | None) -> str | None:
    """Return the `traceparent` that a request brought, if it is well-formed."""
    return given.decode() if given is not None and TRACEPARENT.fullmatch(given) else None


class RequestSpan:
    """The span around the answer to one request, the current one until it ends; `traceparent` names it."""

    def __init__(self, span: Span) -> None:
        from opentelemetry import context, trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._span = span
        self._before = context.attach(trace.set_span_in_context(span))
        sent: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(sent)
        self.traceparent: Final = sent.get("traceparent")

    def end(self, method: str, route: str, status: int, operation: str | None) -> None:
        """End it, with what became of the request."""
        from opentelemetry import context, trace

        context.detach(self._before)
        self._span.update_name(f"{method} {route}")
        self._span.set_attribute("http.request.method", method)
        self._span.set_attribute("http.route", route)
        self._span.set_attribute("http.response.status_code", status)
        if operation is not None:
            self._span.set_attribute("cicd.pipeline.run.id", operation)
        if status >= 500:
            self._span.set_status(trace.StatusCode.ERROR)
        self._span.end()


def begin_span(method: str, traceparent: str | None) -> RequestSpan | None:
    """Return a span that began now and is the current one here; None where nobody takes spans."""
    spans = tracer()
    if spans is None:
        return None
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    given = {} if traceparent is None else {"traceparent": traceparent}
    within = TraceContextTextMapPropagator().extract(given, Context())
    return RequestSpan(spans.start_span(method, context=within, kind=SpanKind.SERVER))
