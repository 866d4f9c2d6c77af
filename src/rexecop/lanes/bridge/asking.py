"""The near end of the bridge: attaches, asks for one call, and says honestly how it ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from rexecop.lanes.bridge.agent import CAPABILITIES
from rexecop.lanes.bridge.frames import (
    VERSION,
    Attach,
    Attached,
    Channel,
    Close,
    End,
    Exit,
    Frame,
    Output,
    Refused,
    Run,
    Statement,
)
from rexecop.lanes.errors import BridgeLost, RequestRefused
from rexecop.lanes.exchange import MESSAGE_LENGTH_MAX, measured, refused, without_answer
from rexecop.lanes.failures import Failure, describe
from rexecop.lanes.output import Redactor
from rexecop.lanes.port import Chunk, LaneEvent, LaneResult
from rexecop.proof.base64text import decode_base64
from rexecop.proof.call import Call, ExchangeRequest
from rexecop.proof.canonical import Json
from rexecop.proof.codec import to_json
from rexecop.proof.message import secrets_in
from rexecop.proof.vocabulary import Ended, Isolation

CONNECT_SECONDS_MAX: Final = 5.0  # A guest is near; a node that is connected answers at once.
BACKSTOP_SECONDS: Final = 10.0  # The other side enforces the timeout; past this more it is taken for lost.

_ANSWERS: Final = frozenset({Ended.OK, Ended.FAILED, Ended.REFUSED, Ended.UNKNOWN})


async def attach(channel: Channel, asked: Attach, isolation: Isolation = Isolation.NONE) -> Attached:
    """Return what the other side gives to a session that has to reach `isolation` there.

    Raises:
        RequestRefused: it refuses the session, or has measured no such class.
        BridgeLost: it closed, or speaks something else.
    """
    await channel.send(asked)
    answer = await channel.receive()
    if isinstance(answer, Refused):
        raise RequestRefused(answer.failure, answer.message[:MESSAGE_LENGTH_MAX])
    if not isinstance(answer, Attached) or answer.version != VERSION:
        raise BridgeLost(f"`{answer.kind}` is no answer to `{Attach.kind}`")
    given = frozenset(answer.capabilities)
    if not set(asked.capabilities) <= given or not given <= CAPABILITIES:
        raise BridgeLost("the other side gives other capabilities than were asked for")
    if isolation not in answer.classes:
        raise RequestRefused(Failure.ISOLATION_UNAVAILABLE, f"it does not reach class `{isolation}`")
    return answer


def of_program(request: ExchangeRequest, values: Sequence[bytes]) -> dict[str, str]:
    """Return by name the secrets that the program of `request` has places for.

    `values` are those of the whole message, in the order of their names, as a lease reads them.
    """
    named = dict(zip(sorted(set(secrets_in(dict(request.message)))), values, strict=True))
    return {name: named[name].decode() for name in secrets_in(request.message["program"])}


class Asking:
    """One call over a channel. `facts` are what was observed of the other side; `signed` is its statement."""

    def __init__(
        self, channel: Channel, run: Run, secrets: Sequence[bytes], facts: Mapping[str, Json]
    ) -> None:
        self._channel = channel
        self._run = run
        self._redactors = {name: Redactor(secrets) for name in ("stdout", "stderr")}
        self._kept = {name: bytearray() for name in self._redactors}
        self._facts = facts
        self._heard = 0
        self._told = 0
        self.signed: Statement | None = None
        self.end: End | None = None

    async def events(self) -> AsyncIterator[LaneEvent]:
        """Send the call and yield its events, the result last; what does not answer is lost."""
        began, limits = time.monotonic(), self._run.limits
        give_up = began + (limits.timeout_ms + limits.grace_ms) / 1000 + BACKSTOP_SECONDS
        try:
            await self._channel.send(self._run)
            while True:
                async with asyncio.timeout(max(0.0, give_up - time.monotonic())):
                    frame = await self._channel.receive()
                if isinstance(frame, Attached):
                    continue  # A node says everything again after its connection was lost.
                if isinstance(frame, Output):
                    for chunk in self._output(frame):
                        yield chunk
                    continue
                for chunk in self._rest():
                    yield chunk
                result = self._result(frame)
                break
            await self._channel.send(Close(id=self._run.id))
        except TimeoutError:
            result = self._lost("no answer came in time")
        except BridgeLost as lost:
            result = self._lost(lost.message) if self.end is None else self._answered(self.end)
        yield replace(
            result,
            duration_ms=result.duration_ms or int((time.monotonic() - began) * 1000),
            stdout=bytes(self._kept["stdout"]),
            stderr=bytes(self._kept["stderr"]),
            redactions=result.redactions + sum(one.redactions for one in self._redactors.values()),
        )

    @property
    def call(self) -> Call:
        """The call that is asked for."""
        return self._run.call

    @property
    def outputs(self) -> dict[str, bytes]:
        """What was kept of the output."""
        return {name: bytes(kept) for name, kept in self._kept.items()}

    def _output(self, frame: Output) -> list[Chunk]:
        if frame.id != self._run.id or frame.stream not in self._kept:
            raise BridgeLost("output of something nobody asked for")
        if frame.n < self._heard:
            return []  # Said again after the connection was lost.
        if frame.n > self._heard:
            raise BridgeLost(f"event {frame.n} came where {self._heard} belongs")
        self._heard += 1
        try:
            data = decode_base64(frame.data)
        except ValueError as error:
            raise BridgeLost(f"output that is {error}") from error
        return self._shown(frame.stream, self._redactors[frame.stream].feed(data))

    def _rest(self) -> list[Chunk]:
        return [chunk for name, one in self._redactors.items() for chunk in self._shown(name, one.finish())]

    def _shown(self, stream: str, data: bytes) -> list[Chunk]:
        data = data[: self._run.limits.output_bytes - len(self._kept[stream])]
        self._kept[stream] += data
        if not data:
            return []
        self._told += 1
        return [Chunk(n=self._told - 1, stream=stream, data=data)]

    def _result(self, frame: Frame) -> LaneResult:
        if isinstance(frame, Refused):
            return refused(frame.failure, frame.message)
        if not isinstance(frame, Exit) or frame.id != self._run.id:
            raise BridgeLost(f"`{frame.kind}` came where the end of the call belongs")
        if frame.n != self._heard or frame.end.ended not in _ANSWERS:
            raise BridgeLost("output is missing, or the call ended in no way that calls end")
        self.end, self.signed = frame.end, frame.signed
        return self._answered(frame.end)

    def _answered(self, end: End) -> LaneResult:
        if end.ended is Ended.REFUSED:
            return refused(end.failure or Failure.INTERNAL, end.message or describe(Failure.INTERNAL))
        good = end.ended is Ended.OK
        failure = None if good else end.failure or Failure.INTERNAL
        return LaneResult(
            ended=end.ended,
            duration_ms=end.duration_ms,
            measured=measured({**self._facts, "there": to_json(end.measured)}, end.measured.protection),
            failure=failure,
            message=None if end.message is None else end.message[:MESSAGE_LENGTH_MAX],
            status=end.status,
            signal=end.signal,
            stdout_bytes=max(end.stdout_bytes, len(self._kept["stdout"])),
            stderr_bytes=max(end.stderr_bytes, len(self._kept["stderr"])),
            redactions=end.redactions,
        )

    def _lost(self, message: str) -> LaneResult:
        ended = without_answer(self._run.call, sent=True)
        return LaneResult(
            ended=ended,
            duration_ms=0,
            measured=measured(self._facts, "other-side-ends-tree"),
            failure=Failure.UNKNOWN_OUTCOME if ended is Ended.UNKNOWN else Failure.TRANSIENT_CONNECTOR_ERROR,
            message=message[:MESSAGE_LENGTH_MAX],
            stdout_bytes=len(self._kept["stdout"]),
            stderr_bytes=len(self._kept["stderr"]),
        )
