"""The simulated lane: answers from the script that is part of the call, and touches nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

from rexecop.lanes.errors import ClearanceRefused
from rexecop.lanes.failures import Failure, describe
from rexecop.lanes.output import READ_BYTES, raw_limit
from rexecop.lanes.port import Asks, Capabilities, Chunk, Clearance, LaneEvent, LaneResult, Made
from rexecop.proof.call import Call, Limits, ScriptedReply, ScriptedRequest
from rexecop.proof.records.outcome import Measured
from rexecop.proof.vocabulary import Effect, Ended, Grade, Isolation

SIMULATED: Final = Measured(
    isolation=Isolation.NOT_APPLICABLE.value, network="not-applicable", protection="simulated"
)

_CAPABILITIES: Final = Capabilities(
    requests=frozenset({ScriptedRequest.kind}),
    simulated=True,
    isolation=frozenset({Isolation.NOT_APPLICABLE}),
    grades=frozenset(Grade),
)

# What a reply that names no error class is taken for; neither is tried again unasked.
_DEFAULT: Final = {
    Ended.FAILED: Failure.VALIDATION_FAILED,
    Ended.REFUSED: Failure.POLICY_DENIED,
    Ended.UNKNOWN: Failure.UNKNOWN_OUTCOME,
}


class SimulatedLane:
    """Replies by attempt number: the first reply to attempt 1, the last one to all further ones."""

    name = "simulated"

    @property
    def capabilities(self) -> Capabilities:
        """Scripted requests only, without isolation because nothing runs."""
        return _CAPABILITIES

    async def open(
        self, call: Call, limits: Limits, isolation: Isolation, attempt: int, clearance: Clearance
    ) -> AsyncIterator[LaneEvent]:
        """Answer `call` from its script; a reply later than the timeout never came, a flood is ended."""
        request = call.request
        if not isinstance(request, ScriptedRequest):
            yield _end(Ended.REFUSED, Failure.UNSUPPORTED, f"`{request.kind}` is not scripted")
            return
        reply = request.replies[min(max(attempt, 1), len(request.replies)) - 1]
        clearance()
        if reply.asks is not None:
            asks = Asks(asked_of(call, reply.asks))
            yield asks
            try:
                asks.clear()
            except ClearanceRefused as refused:
                yield _end(Ended.FAILED, refused.failure, f"no leave for `{reply.asks}`: {refused.message}")
                return
            yield Made(asks=asks, result=_end(Ended.OK, None, None))
        delay_ms = min(reply.delay_ms, limits.timeout_ms)
        if delay_ms:
            await asyncio.sleep(delay_ms / 1000)
        if reply.delay_ms >= limits.timeout_ms:
            yield _stopped(call, Failure.TIMEOUT, delay_ms)
            return
        if reply.ended is Ended.UNKNOWN:
            yield _end(reply.ended, _failure(reply), reply.message, duration_ms=delay_ms)
            return
        text = (reply.stdout or "").encode("utf-8", "replace")
        total = len(text) * reply.repeat
        # Only what is kept is ever made; the rest of a flood is counted.
        times = min(reply.repeat, limits.output_bytes // max(len(text), 1) + 1)
        kept = (text * times)[: limits.output_bytes]
        for n, start in enumerate(range(0, len(kept), READ_BYTES)):
            yield Chunk(n=n, stream="stdout", data=kept[start : start + READ_BYTES])
        if total > raw_limit(limits):
            end = _stopped(call, Failure.OUTPUT_LIMIT, delay_ms)
        else:
            end = _end(reply.ended, _failure(reply), reply.message, duration_ms=delay_ms)
            end = replace(end, data=reply.data)
        yield replace(end, stdout=kept, stdout_bytes=total) if total else end


def asked_of(call: Call, action: str) -> Call:
    """Return the call that a script has `call` ask for: `action` with the same arguments, going well."""
    request = call.request
    assert isinstance(request, ScriptedRequest)
    return replace(call, action=action, request=replace(request, replies=(ScriptedReply(ended=Ended.OK),)))


def _failure(reply: ScriptedReply) -> Failure | None:
    return _DEFAULT.get(reply.ended) if reply.error_class is None else Failure(reply.error_class)


def _stopped(call: Call, failure: Failure, duration_ms: int) -> LaneResult:
    """Return how a call ends that was ended here: a change may have happened, as with a real target."""
    ended = Ended.FAILED if call.effect is Effect.READ else Ended.UNKNOWN
    return _end(ended, failure, describe(failure), duration_ms=duration_ms)


def _end(ended: Ended, failure: Failure | None, message: str | None, *, duration_ms: int = 0) -> LaneResult:
    return LaneResult(
        ended=ended, duration_ms=duration_ms, measured=SIMULATED, failure=failure, message=message
    )
