"""The system's clock and randomness: the only place time and ids come from."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class SystemClock:
    """Wall time in UTC, and the boot clock."""

    _last = (0, _EPOCH)

    def now(self) -> datetime:
        """Return the time, UTC, whole milliseconds."""
        milliseconds, last = time.time_ns() // 1_000_000, self._last
        if last[0] != milliseconds:  # One operation asks dozens of times within a millisecond.
            last = self._last = (milliseconds, _EPOCH + timedelta(milliseconds=milliseconds))
        return last[1]

    def boot_ms(self) -> int:
        """Return milliseconds since boot, suspended time included."""
        clock = getattr(time, "CLOCK_BOOTTIME", None)
        return (time.clock_gettime_ns(clock) if clock is not None else time.monotonic_ns()) // 1_000_000


class SystemIds:
    """Ids and keys from the system's random source."""

    def operation(self) -> str:
        """Return `op_` and the 32 hex digits of a UUIDv7 (RFC 9562)."""
        return "op_" + uuid7_hex()

    def nonce(self) -> str:
        """Return 32 fresh hex digits."""
        return os.urandom(16).hex()

    def key(self) -> bytes:
        """Return 32 fresh random bytes."""
        return os.urandom(32)


def uuid7_hex() -> str:
    """Return a UUIDv7: 48 bits of milliseconds, then version, variant and 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10)) >> 6
    high = (milliseconds << 16) | (0x7 << 12) | (random >> 62)
    low = (0b10 << 62) | (random & ((1 << 62) - 1))
    return f"{high:016x}{low:016x}"


def hyphened(digits: str) -> str:
    """Return 32 hex digits as a UUID is written, with hyphens."""
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def after(moment: datetime, seconds: float) -> datetime:
    """Return the moment `seconds` later."""
    return moment + timedelta(seconds=seconds)
