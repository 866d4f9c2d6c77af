"""One run of the service: whether it is about to end, and figures of the requests that it answered."""

from __future__ import annotations

from collections import Counter
from typing import Final

from rexecop.app.metrics import Sample, Spread, sample, spread


class Run:
    """What all requests of one process share; they are counted by the route they took."""

    def __init__(self) -> None:
        self.draining = False  # No more requests are wanted; those that come are answered.
        self.in_flight = 0
        self.followers = 0
        self.refused: Final = Counter[tuple[str]]()
        self._answered = Counter[tuple[str, str, str]]()
        self._seconds: dict[str, Spread] = {}

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer."""
        self._answered[method, route, str(status)] += 1
        if route not in self._seconds:
            self._seconds[route] = spread("http_request_seconds")
        self._seconds[route].add(seconds)

    def samples(self) -> tuple[Sample, ...]:
        """Return what was counted."""
        return (
            sample("http_requests_total", *sorted(self._answered.items())),
            sample("http_request_seconds", *(((name,), one) for name, one in sorted(self._seconds.items()))),
            sample("http_requests_in_flight", ((), self.in_flight)),
            sample("http_followers", ((), self.followers)),
            sample("http_connections_refused_total", *sorted(self.refused.items())),
        )
