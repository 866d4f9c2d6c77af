"""What both stream lanes share: waiting, stopping, connecting again, and one line for each event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final, TypeVar

from rexecop.lanes.dialing import failure_of
from rexecop.lanes.errors import Broken, ClearanceRefused, Lost, Stopped
from rexecop.lanes.exchanging import Exchange
from rexecop.lanes.failures import Failure, retryable
from rexecop.lanes.messages.streams import SseMessage, WebSocketMessage, problems
from rexecop.lanes.port import Chunk
from rexecop.lanes.stops import CLOSED, TIME, Stops
from rexecop.proof.canonical import Json, trusted_bytes
from rexecop.proof.vocabulary import Effect

DELAY_MS: Final = 1_000  # Before connecting again, where the peer does not say how long.

T = TypeVar("T")


class Listening:
    """One stream, over as many connections as it takes."""

    def __init__(self, exchange: Exchange, message: SseMessage | WebSocketMessage) -> None:
        self.retry_ms = DELAY_MS
        self.met: str | None = None
        self._exchange = exchange
        self._message = message
        self._stop = message.stop
        self._stops = Stops(message.stop)
        self._bounds = message.bounds
        self._reconnect = message.reconnect
        self._total = 0
        self._connections = 0

    def check(self) -> None:
        """Return only if the message can be followed within the limits of the call.

        Raises:
            ValueError: it cannot.
        """
        for problem in problems(self._message, self._exchange.call.effect):
            raise ValueError(problem)
        timeout_ms = self._exchange.limits.timeout_ms
        if self._stop.after_ms >= timeout_ms:
            what = f"`stop` after {self._stop.after_ms} ms is not before the timeout of {timeout_ms} ms"
            raise ValueError(what)

    async def chunks(self, connect: Callable[[], AsyncGenerator[Chunk]]) -> AsyncGenerator[Chunk]:
        """Yield the chunks of all connections until the stream ends as it was meant to.

        `connect` listens on one connection. It ends where the peer ended the stream, and raises
        `Stopped` or what came in between.

        Raises:
            Broken, TimeoutError: it ended otherwise.
        """
        try:
            while True:
                self._connections += 1
                try:
                    async with aclosing(connect()) as chunks:
                        async for chunk in chunks:
                            yield chunk
                    if self._stop.closed:
                        raise Stopped(CLOSED)
                    raise Lost("the other side ended the stream before it was to end")
                except (Broken, ClearanceRefused, Stopped, TimeoutError):
                    raise
                except Exception as error:  # noqa: BLE001 - whatever a connection raises is judged by one table
                    self._give_up_or_go_on(error)
                await self.patiently(self._pause)
        except Stopped as stopped:
            self._conclude(stopped.condition)
        finally:
            stream = self._exchange.out.commitment()
            self._exchange.facts |= {"connections": self._connections, "stream": stream}

    def take(self, kind: str, data: str, line: dict[str, Json]) -> Chunk | None:
        """Keep an event of type `kind` as `line`; then `met` is the stop condition it fulfils, if any."""
        self.met = self._stops.after(kind, data)
        return self._exchange.chunk(self._exchange.out, trusted_bytes(line) + b"\n")

    def count(self, received: int) -> None:
        """Count `received` bytes.

        Raises:
            Broken: there were too many in all.
        """
        self._total += received
        if self._total > self._bounds.total_bytes:
            raise Broken(Failure.OUTPUT_LIMIT, f"the stream is longer than {self._bounds.total_bytes} bytes")

    async def patiently(self, work: Callable[[], Awaitable[T]], silence_ms: int = 0) -> T:
        """Return what `work` does, within what is left of the call and of the stream.

        Raises:
            Stopped: the time to stop has come. TimeoutError: the call's own time is over.
            Lost: it took longer than `silence_ms`, where that is not 0.
        """
        left = [self._exchange.left_seconds]
        if self._stop.after_ms:
            left.append((self._stop.after_ms - self._exchange.spent_ms) / 1000)
        if silence_ms:
            left.append(silence_ms / 1000)
        # What is always ready never waits, so a flood would never see its time run out.
        if min(left) > 0:
            try:
                async with asyncio.timeout(min(left)):
                    return await work()
            except TimeoutError:
                pass
        if self._stop.after_ms and self._exchange.spent_ms >= self._stop.after_ms:
            raise Stopped(TIME)
        if self._exchange.left_seconds <= 0 or not silence_ms:
            raise TimeoutError
        raise Lost(f"nothing came for {silence_ms} ms")

    async def _pause(self) -> None:
        most = self._reconnect.delay_ms_max if self._reconnect is not None else 0
        await asyncio.sleep(min(self.retry_ms, most) / 1000)

    def _give_up_or_go_on(self, error: Exception) -> None:
        """Return only if connecting again may help and is allowed."""
        known = (Failure.STREAM_ENDED, error.message) if isinstance(error, Lost) else failure_of(error)
        if known is None:
            raise error
        allowed = self._reconnect.count if self._reconnect is not None else 0
        if self._connections > allowed or not retryable(known[0]):
            raise Broken(*known) from error

    def _conclude(self, condition: str) -> None:
        exchange = self._exchange
        exchange.facts["stopped_by"] = condition
        exchange.data = {"stopped_by": condition, "events": self._stops.seen}
        if condition == TIME and exchange.call.effect is not Effect.READ:
            # Time passing is no answer, and the other side may have done what it was told.
            raise Broken(Failure.TIMEOUT, "the other side did not say in time what ends the stream")
