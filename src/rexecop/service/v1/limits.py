"""How often one caller may ask: a bucket of tokens for each, refilled as time goes by."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rexecop.service.errors import RateExceeded

PER_SECOND: Final = 1_000.0  # A third of what the service answers: one caller leaves room for others.
BURST: Final = 2_000.0  # A page that loads everything at once, many times over.
CALLERS_MAX: Final = 4_096  # Of some 200 bytes each; who was not heard of for longest is forgotten.


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class Limits:
    """The buckets of all callers; a request of a caller takes one token."""

    def __init__(
        self,
        per_second: float = PER_SECOND,
        burst: float = BURST,
        *,
        clock: Callable[[], float] = time.monotonic,
        callers_max: int = CALLERS_MAX,
    ) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._callers_max = callers_max
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, caller: str, tokens: float = 1.0) -> None:
        """Return only if `caller` may ask now.

        Raises:
            RateExceeded: with the whole seconds after which there is a token again.
        """
        now, bucket = self._clock(), self._buckets.get(caller)
        if bucket is None:
            bucket = self._buckets[caller] = _Bucket(self._burst, now)
            if len(self._buckets) > self._callers_max:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(caller)
        bucket.left = min(self._burst, bucket.left + (now - bucket.at) * self._per_second)
        bucket.at = now
        if bucket.left < tokens:
            wait = max(1, math.ceil((tokens - bucket.left) / self._per_second))
            words = f"more than {self._per_second:.0f} requests a second; ask again in {wait} s"
            raise RateExceeded(words, seconds=wait)
        bucket.left -= tokens
