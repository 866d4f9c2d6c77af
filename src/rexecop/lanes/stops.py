"""Stop conditions of streams: when a stream ended as it was meant to."""

from __future__ import annotations

from typing import Final

from rexecop.lanes.messages.streams import Stop
from rexecop.proof.canonical import load_foreign
from rexecop.proof.errors import NotCanonical
from rexecop.proof.pointer import pointed

COUNT: Final = "count"
TIME: Final = "time"
CLOSED: Final = "closed"
MATCH: Final = "match"


class Stops:
    """Watches one stream for the conditions of `stop`."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._looks = bool(stop.event) or stop.pointer is not None
        self.seen = 0

    def after(self, kind: str, data: str) -> str | None:
        """Return which condition the next event, of type `kind`, fulfils; None for none."""
        self.seen += 1
        if self._looks and self._matches(kind, data):
            return MATCH
        return COUNT if self._stop.count and self.seen >= self._stop.count else None

    def _matches(self, kind: str, data: str) -> bool:
        stop = self._stop
        if stop.event and kind != stop.event:
            return False
        if stop.pointer is None:
            return True
        try:
            found = pointed(load_foreign(data, bytes_max=len(data)), stop.pointer)
        except NotCanonical:
            return False
        # 1 and true are one value in Python and two in JSON.
        return type(found) is type(stop.equals) and found == stop.equals
