"""The registry lane: typed handlers of this very process, each a function of its payload.

A handler is given the payload and nothing else: no store, no key, no clock. Its payload
is held to its JSON Schema before it runs. What takes longer than its limit has no
answer: a read then failed, a change may have happened.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from rexecop.lanes.failures import Failure, describe
from rexecop.lanes.port import Capabilities, Chunk, Clearance, LaneEvent, LaneResult
from rexecop.proof.call import Call, HandlerRequest, Limits
from rexecop.proof.canonical import Json
from rexecop.proof.errors import NotCanonical
from rexecop.proof.payload import Value, parse_payload, payload_text
from rexecop.proof.records.outcome import Measured
from rexecop.proof.vocabulary import EFFECT_ORDER, Effect, Ended, Grade, Isolation

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

PAYLOAD_BYTES_MAX: Final = 128 * 1024  # As much as the gate lets a whole call take.
MESSAGE_LENGTH_MAX: Final = 300
ANSWERED: Final = 0  # The status of a handler that returned, as that of a program that ended well.

# A handler shares the process and its network; nothing keeps it from either.
IN_PROCESS: Final = Measured(isolation=Isolation.NONE.value, network="host", protection="in-process")
NOT_RUN: Final = Measured(
    isolation=Isolation.NOT_APPLICABLE.value, network="not-applicable", protection="not-executed"
)

_CAPABILITIES: Final = Capabilities(
    requests=frozenset({HandlerRequest.kind}),
    simulated=False,
    isolation=frozenset({Isolation.NONE}),
    grades=frozenset({Grade.SHAPE}),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """One action: `run` maps a payload that fits `schema` to a JSON value.

    `run` raises ValueError for a payload it cannot take. A `bounded` handler does work in
    proportion to its payload, which is limited, and so may run between two events of the
    loop; any other runs in a thread of its own.
    """

    action: str
    effect: Effect
    schema: Mapping[str, Json]
    bounded: bool
    run: Callable[[Value], Value]


def echo(payload: Value) -> Value:
    """Return the payload under `echo`."""
    return {"echo": payload}


def add(payload: Value) -> Value:
    """Return the sum of `a` and `b`, each 0 when it is left out.

    Raises:
        ValueError: the sum is no number JSON can hold.
    """
    fields = payload if isinstance(payload, dict) else {}
    a, b = fields.get("a", 0), fields.get("b", 0)
    if not isinstance(a, int | float) or not isinstance(b, int | float):
        raise ValueError("`a` and `b` are numbers")
    try:
        return {"sum": a + b}
    except OverflowError as error:
        raise ValueError("the sum is too large") from error


_NUMBER: Final[Mapping[str, Json]] = {"type": "number"}
HANDLERS: Final[Mapping[str, Handler]] = {
    handler.action: handler
    for handler in (
        Handler(action="echo", effect=Effect.READ, schema={"type": "object"}, bounded=True, run=echo),
        Handler(
            action="add",
            effect=Effect.READ,
            schema={"type": "object", "properties": {"a": _NUMBER, "b": _NUMBER}},
            bounded=True,
            run=add,
        ),
    )
}


class RegistryLane:
    """Runs the handlers it was given, by the action a request names."""

    name = "registry"

    def __init__(self, handlers: Mapping[str, Handler] = HANDLERS) -> None:
        self._handlers = handlers
        self._validators: dict[str, Validator] = {}

    @property
    def capabilities(self) -> Capabilities:
        """Handler requests only, in this process and without isolation."""
        return _CAPABILITIES

    async def open(
        self, call: Call, limits: Limits, isolation: Isolation, attempt: int, clearance: Clearance
    ) -> AsyncIterator[LaneEvent]:
        """Run the handler once; its answer is the output, as JSON text."""
        request = call.request
        handler = self._handlers.get(request.action) if isinstance(request, HandlerRequest) else None
        if handler is None or not isinstance(request, HandlerRequest):
            yield _refused(Failure.UNSUPPORTED, f"no handler for `{call.action:.80}`")
            return
        if EFFECT_ORDER.index(handler.effect) > EFFECT_ORDER.index(call.effect):
            yield _refused(
                Failure.EFFECT_REFUSED, f"`{handler.action}` is a {handler.effect}, not a {call.effect}"
            )
            return
        try:
            payload = parse_payload(request.payload, bytes_max=PAYLOAD_BYTES_MAX)
            self._check(handler, payload)
        except NotCanonical as error:
            yield _refused(Failure.REQUEST_INVALID, error.message)
            return
        clearance()
        result = await _run(handler, payload, limits, call.effect)
        if result.stdout:
            yield Chunk(n=0, stream="stdout", data=result.stdout)
        yield result

    def _check(self, handler: Handler, payload: Value) -> None:
        """Return only if `payload` fits the schema of `handler`.

        Raises:
            NotCanonical: it does not; the message names the place and never the value.
        """
        validator = self._validators.get(handler.action)
        if validator is None:
            from jsonschema import Draft202012Validator

            validator = self._validators[handler.action] = Draft202012Validator(handler.schema)
        found = next(validator.iter_errors(payload), None)
        if found is not None:
            place = "payload" + "".join(f".{part}" for part in found.absolute_path)
            raise NotCanonical(f"`{place[:80]}` breaks the rule `{found.validator}` of `{handler.action}`")


async def _run(handler: Handler, payload: Value, limits: Limits, effect: Effect) -> LaneResult:
    began = time.monotonic()
    try:
        if handler.bounded:
            value = handler.run(payload)
        else:
            async with asyncio.timeout(limits.timeout_ms / 1000):
                value = await asyncio.to_thread(handler.run, payload)
        output = payload_text(value).encode("ascii")
    except TimeoutError:
        return _unanswered(effect, began)
    except (ValueError, NotCanonical) as error:
        words = error.message if isinstance(error, NotCanonical) else str(error)
        return _failed(Failure.VALIDATION_FAILED, words, began)
    except Exception as error:  # noqa: BLE001 - whatever a handler raises is how its call ended
        return _failed(Failure.INTERNAL, f"the handler raised {type(error).__name__}", began)
    if _elapsed_ms(began) > limits.timeout_ms:
        return _unanswered(effect, began)
    if len(output) > limits.output_bytes:
        # Half an answer is no JSON: what is kept shows how it began, and the call failed.
        return replace(
            _failed(Failure.OUTPUT_LIMIT, describe(Failure.OUTPUT_LIMIT), began),
            stdout=output[: limits.output_bytes],
            stdout_bytes=len(output),
        )
    return LaneResult(
        ended=Ended.OK,
        duration_ms=_elapsed_ms(began),
        measured=IN_PROCESS,
        status=ANSWERED,
        stdout=output,
        stdout_bytes=len(output),
    )


def _refused(failure: Failure, message: str) -> LaneResult:
    return LaneResult(ended=Ended.REFUSED, duration_ms=0, measured=NOT_RUN, failure=failure, message=message)


def _failed(failure: Failure, message: str, began: float) -> LaneResult:
    return LaneResult(
        ended=Ended.FAILED,
        duration_ms=_elapsed_ms(began),
        measured=IN_PROCESS,
        failure=failure,
        message=message[:MESSAGE_LENGTH_MAX],
    )


def _unanswered(effect: Effect, began: float) -> LaneResult:
    """A thread cannot be ended: what it still does is not seen any more."""
    return LaneResult(
        ended=Ended.FAILED if effect is Effect.READ else Ended.UNKNOWN,
        duration_ms=_elapsed_ms(began),
        measured=IN_PROCESS,
        failure=Failure.TIMEOUT,
        message=describe(Failure.TIMEOUT),
    )


def _elapsed_ms(began: float) -> int:
    return int((time.monotonic() - began) * 1000)
