"""What surrounds every request: its id, span, figures and line in the log."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime
from itertools import count
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rexecop.app.requests import begin, end
from rexecop.app.tracing import Lines
from rexecop.proof.times import format_time
from rexecop.service.spans import begin_span, trace_named
from rexecop.service.traffic import Run

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER: Final = "other"  # Stands for methods and paths that are none of ours: anybody can make them up.
REQUEST_ID: Final = re.compile(rb"[!-~]{1,128}")  # Names people give; no others are given back.
FOLLOWED: Final = b"text/event-stream"
ABORTED: Final = 499  # What is noted of a request whose sender left before it was answered.


class Around:
    """The application `app`, observed. `begun` begins the ids of requests that bring none."""

    def __init__(
        self, app: ASGIApp, *, run: Run, log: Lines | None, begun: str, now: Callable[[], datetime]
    ) -> None:
        self._app = app
        self._run = run
        self._log = log
        self._begun = begun.encode()
        self._now = now
        self._numbers = count(1)
        self._routes: dict[object, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, run, began = dict(scope["headers"]), self._run, time.perf_counter()
        named = headers.get(b"x-request-id", b"")
        made = b"%b-%d" % (self._begun, next(self._numbers))
        one = _Answer(run, send, named if REQUEST_ID.fullmatch(named) else made)
        method = scope["method"] if scope["method"] in METHODS else OTHER
        one.traceparent = trace_named(headers.get(b"traceparent"))
        span = begin_span(method, one.traceparent)
        if span is not None:
            one.traceparent = span.traceparent
        about, token = begin()
        run.in_flight += 1
        try:
            await self._app(scope, receive, one.send)
        except BaseException:
            one.status = one.status or 500
            raise
        finally:
            end(token)
            run.in_flight -= 1
            run.followers -= one.followed
            status, route, seconds = one.status or ABORTED, self._route(scope), time.perf_counter() - began
            if span is not None:
                span.end(method, route, status, about.operation)
            run.answered(method, route, status, seconds)
            if self._log is not None:
                self._log.write(
                    {
                        "time": format_time(self._now()),
                        "level": "warning" if status >= 500 else "info",
                        "kind": "request",
                        "method": method,
                        "route": route,
                        "status": status,
                        "ms": round(seconds * 1000),
                        "caller": about.caller,
                        "request_id": one.id.decode(),
                        "operation": about.operation,
                        "trace_id": one.traceparent and one.traceparent.split("-")[1],
                    }
                )

    def _route(self, scope: Scope) -> str:
        """Return the template of the route taken: what stands in a path or behind it is written nowhere."""
        endpoint = scope.get("endpoint")
        if endpoint is None:
            return OTHER
        if endpoint not in self._routes:
            named = {getattr(one, "endpoint", None): one.path for one in scope["app"].routes}
            self._routes |= {endpoint: str(named.get(endpoint) or scope.get("root_path") or OTHER)}
        return self._routes[endpoint]


class _Answer:
    """The answer to one request, and what it gets on its way."""

    def __init__(self, run: Run, send: Send, name: bytes) -> None:
        self._run = run
        self._send = send
        self.id = name
        self.traceparent: str | None = None
        self.status = 0
        self.followed = False

    async def send(self, message: Message) -> None:
        """Send a part of the answer; the first names request and trace."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [one for one in message.get("headers", ()) if one[0] != b"x-request-id"]
            headers.append((b"x-request-id", self.id))
            if self.traceparent is not None:
                headers.append((b"traceparent", self.traceparent.encode()))
            self.followed = any(n == b"content-type" and v.startswith(FOLLOWED) for n, v in headers)
            self._run.followers += self.followed
            message = {**message, "headers": headers}
        await self._send(message)
