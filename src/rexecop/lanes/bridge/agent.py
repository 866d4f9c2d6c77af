"""The far end of the bridge: takes calls over a channel and runs them through the process lane.

A session rests on a warrant, which is looked at again before every call and all the time in
between: when it no longer holds, what runs ends with everything it started, and so it does
when the channel closes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, cast

from rexecop.lanes.bridge.frames import (
    PIECE_BYTES,
    VERSION,
    Attach,
    Attached,
    Channel,
    Close,
    End,
    Eof,
    Exit,
    Frame,
    Interrupt,
    Output,
    Refused,
    Run,
    Start,
    Statement,
    Stdin,
)
from rexecop.lanes.errors import BridgeLost, RequestRefused
from rexecop.lanes.failures import Failure, describe
from rexecop.lanes.live import WAITING_BYTES_MAX, Live
from rexecop.lanes.messages.bridge import Program
from rexecop.lanes.output import Redactor
from rexecop.lanes.port import Chunk, Lane, LaneEvent, LaneResult
from rexecop.lanes.structure import check_structure
from rexecop.proof.base64text import decode_base64, encode_base64
from rexecop.proof.call import Call, ExchangeRequest, ProcessRequest
from rexecop.proof.codec import from_json
from rexecop.proof.errors import ProofError
from rexecop.proof.message import fill_secrets, secrets_in
from rexecop.proof.records.outcome import Measured
from rexecop.proof.vocabulary import Effect, Ended, Isolation

ATTACH_SECONDS_MAX: Final = 10.0  # Who connects and says nothing must not hold a descriptor.
WATCH_SECONDS: Final = 0.2  # Between two looks at whether the warrant still holds.
CALLS_MAX: Final = 64  # Of one session at a time.
CAPABILITIES: Final = frozenset({"run", "start", "interrupt", "tty", "user"})

ENDED_THERE: Final = Measured(
    isolation=Isolation.NOT_APPLICABLE.value, network="not-applicable", protection="agent-ends-tree"
)


class Programs(Lane, Protocol):
    """A lane that runs programs and lets them be spoken to; `process.ProcessLane` is one."""

    def spoken_to(self, live: Live) -> Lane:
        """Return the lane for one call that is spoken to through `live`."""
        ...


class Warrant(Protocol):
    """What a session rests on."""

    @property
    def capabilities(self) -> frozenset[str]:
        """What the session may ask for."""
        ...

    @property
    def proof(self) -> str:
        """The answer to the challenge of who attached; empty where there is none to give."""
        ...

    def check(self) -> None:
        """Return only if it still holds. Raises RequestRefused: it does not."""
        ...

    def examine(self, run: Run) -> None:
        """Return only if `run` may be prepared. Raises RequestRefused: it may not."""
        ...

    def clear(self, run: Run) -> None:
        """Return only if `run` may act now, which is on disk then. Raises RequestRefused: it may not."""
        ...

    def seal(self, run: Run, end: End, outputs: Mapping[str, bytes]) -> Statement | None:
        """Return a signed statement of how `run` ended; None where nobody signs."""
        ...

    def heard(self, number: int) -> None:
        """Take note that whoever asked has heard how call `number` ended."""
        ...


Admit = Callable[[Attach], Warrant]
"""Returns the warrant of a session; raises RequestRefused for who may not attach."""


@dataclass(slots=True)
class _Call:
    run: Run
    live: Live
    task: asyncio.Task[None] | None = None
    cleared: bool = False
    ended: bool = False
    outputs: dict[str, bytearray] = field(
        default_factory=lambda: {"stdout": bytearray(), "stderr": bytearray()}
    )
    events: int = 0

    @property
    def kept(self) -> dict[str, bytes]:
        """The output that was sent."""
        return {name: bytes(kept) for name, kept in self.outputs.items()}


class Session:
    """One session over `channel`, whose programs run through `lane`."""

    def __init__(self, channel: Channel, lane: Programs, admit: Admit) -> None:
        self._channel = channel
        self._lane = lane
        self._admit = admit
        self._calls: dict[int, _Call] = {}
        self._newest = -1
        self._given: frozenset[str] = frozenset()

    async def serve(self) -> None:
        """Serve until the channel closes or the warrant no longer holds; then nothing of it runs any more."""
        try:
            async with asyncio.timeout(ATTACH_SECONDS_MAX):
                frame = await self._channel.receive()
            if not isinstance(frame, Attach):
                raise BridgeLost(f"`{frame.kind}` stands where `{Attach.kind}` belongs")
            warrant = self._attach(frame)
            await self._channel.send(
                Attached(
                    version=VERSION,
                    capabilities=tuple(sorted(self._given)),
                    classes=tuple(sorted(self._lane.capabilities.isolation)),
                    proof=warrant.proof,
                )
            )
            await self._serve(warrant)
        except RequestRefused as refused:
            await self._refuse(refused.failure, refused.message)
        except BridgeLost as lost:
            await self._refuse(Failure.REQUEST_INVALID, lost.message)
        except TimeoutError:
            pass
        finally:
            await self._end_all()
            await self._channel.close()

    def _attach(self, frame: Attach) -> Warrant:
        if VERSION not in frame.versions:
            raise RequestRefused(Failure.UNSUPPORTED, f"only version {VERSION} of the bridge is spoken here")
        warrant = self._admit(frame)
        self._given = warrant.capabilities & able_here()
        self._require(*frame.capabilities)
        return warrant

    def _require(self, *capabilities: str) -> None:
        missing = set(capabilities) - self._given
        if missing:
            raise RequestRefused(Failure.UNSUPPORTED, f"capability `{min(missing):.40}` is not given here")

    async def _serve(self, warrant: Warrant) -> None:
        watching = asyncio.create_task(_watch(warrant))
        receiving = asyncio.create_task(self._channel.receive())
        try:
            while True:
                await asyncio.wait({watching, receiving}, return_when=asyncio.FIRST_COMPLETED)
                if watching.done():
                    watching.result()
                frame = receiving.result()
                receiving = asyncio.create_task(self._channel.receive())
                await self._take(frame, warrant)
        finally:
            for task in (watching, receiving):
                task.cancel()
            await asyncio.gather(watching, receiving, return_exceptions=True)

    async def _take(self, frame: Frame, warrant: Warrant) -> None:
        if isinstance(frame, Run):
            await self._begin(frame, warrant)
            return
        if not isinstance(frame, Stdin | Eof | Interrupt | Close):
            raise BridgeLost(f"`{frame.kind}` is not for this side")
        call = self._calls.get(frame.id)
        if isinstance(frame, Close) and (call is None or call.ended):
            warrant.heard(frame.id)
        if call is None:
            return  # It ended before the word arrived.
        if isinstance(frame, Stdin):
            _feed(call, frame)
        elif isinstance(frame, Eof):
            call.live.end()
        elif isinstance(frame, Interrupt):
            self._require("interrupt")
            call.live.interrupt()
        elif call.task is not None:
            call.task.cancel()

    async def _begin(self, run: Run, warrant: Warrant) -> None:
        if run.id <= self._newest:
            raise BridgeLost(f"call {run.id} was asked for before")
        self._newest = run.id
        if len(self._calls) >= CALLS_MAX:
            await self._refuse(Failure.QUOTA_EXCEEDED, f"{CALLS_MAX} calls run here already", run.id)
            return
        call = self._calls[run.id] = _Call(run, Live(feeds=isinstance(run, Start)))
        call.task = asyncio.create_task(self._run(call, warrant))

    async def _run(self, call: _Call, warrant: Warrant) -> None:
        """Run one call to its end and say how it ended."""
        run = call.run
        try:
            warrant.check()
            warrant.examine(run)
            process, program = process_of(run)
            self._require(*program.needs)
            isolation = program.isolation
            if isolation not in self._lane.capabilities.isolation:
                raise RequestRefused(Failure.ISOLATION_UNAVAILABLE, f"`{isolation}` is not reached here")
            result = await self._perform(call, process, isolation, warrant)
            call.ended = True
            await self._tell(call, warrant, result)
        except RequestRefused as refused:
            await self._refuse(refused.failure, refused.message, run.id)
        except asyncio.CancelledError:
            # Nobody waits for the end any more. What was begun is sealed all the same, for who settles it.
            if call.cleared and not call.ended:
                warrant.seal(run, _end(_cancelled(run.call.effect)), call.kept)
            raise
        except BridgeLost:
            pass  # Nobody is left to be told; the session ends by itself.
        finally:
            self._calls.pop(run.id, None)

    async def _perform(
        self, call: _Call, process: Call, isolation: Isolation, warrant: Warrant
    ) -> LaneResult:
        run, redactors = call.run, {name: Redactor(_values(call.run)) for name in call.outputs}

        def clear() -> None:
            warrant.clear(run)
            call.cleared = True

        opened = self._lane.spoken_to(call.live).open(process, run.limits, isolation, 1, clear)
        result: LaneResult | None = None
        async with aclosing(cast("_Closing", opened)) as events:
            async for event in events:
                if isinstance(event, LaneResult):
                    result = event
                elif isinstance(event, Chunk):
                    await self._say(call, event.stream, redactors[event.stream].feed(event.data))
        assert result is not None
        for name, redactor in redactors.items():
            await self._say(call, name, redactor.finish())
        return replace(result, redactions=sum(one.redactions for one in redactors.values()))

    async def _say(self, call: _Call, stream: str, data: bytes) -> None:
        """Send output, cut to the limit again: what stands for a secret may be longer than it."""
        kept = call.outputs[stream]
        data = data[: call.run.limits.output_bytes - len(kept)]
        kept += data
        for at in range(0, len(data), PIECE_BYTES):
            piece = encode_base64(data[at : at + PIECE_BYTES])
            await self._channel.send(Output(id=call.run.id, n=call.events, stream=stream, data=piece))
            call.events += 1

    async def _tell(self, call: _Call, warrant: Warrant, result: LaneResult) -> None:
        end = _end(result)
        signed = warrant.seal(call.run, end, call.kept)
        await self._channel.send(Exit(id=call.run.id, n=call.events, end=end, signed=signed))

    async def _refuse(self, failure: Failure, message: str, number: int | None = None) -> None:
        with suppress(BridgeLost):
            await self._channel.send(Refused(failure=failure, message=message, id=number))

    async def _end_all(self) -> None:
        tasks = [call.task for call in self._calls.values() if call.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Closing(Protocol):
    """What the events of a lane are: they can be closed early."""

    def __aiter__(self) -> _Closing: ...

    async def __anext__(self) -> LaneEvent: ...

    async def aclose(self) -> None: ...


async def _watch(warrant: Warrant) -> None:
    """Return never; raises RequestRefused once `warrant` does not hold."""
    while True:
        warrant.check()
        await asyncio.sleep(WATCH_SECONDS)


def able_here() -> frozenset[str]:
    """Return the capabilities of this machine and user."""
    return CAPABILITIES if os.geteuid() == 0 else CAPABILITIES - {"user"}


def process_of(run: Run) -> tuple[Call, Program]:
    """Return the process that the call of `run` describes, secrets filled in, and the program it is from.

    Raises:
        RequestRefused: it describes none, or one that cannot be run.
    """
    request = run.call.request
    program = request.message.get("program") if isinstance(request, ExchangeRequest) else None
    if not isinstance(program, Mapping):
        raise RequestRefused(Failure.REQUEST_INVALID, "the call has no `program`")
    if any(secrets_in(program.get("argv"))):
        raise RequestRefused(Failure.REQUEST_INVALID, "an argument holds a secret; every user could read it")
    try:
        found = from_json(Program, fill_secrets(program, run.secrets))
    except ProofError:
        # What is wrong may be wrong with a secret, and an error may not show it.
        raise RequestRefused(Failure.REQUEST_INVALID, "`program` is no program") from None
    if found.live != isinstance(run, Start):
        words = "more input comes" if found.live else "no more input comes"
        raise RequestRefused(Failure.REQUEST_INVALID, f"the call says that {words} while it runs")
    if found.tty is not None and found.tty.attended:
        raise RequestRefused(Failure.UNSUPPORTED, "nobody sits at a terminal here")
    process = ProcessRequest(
        argv=found.argv,
        stdin=found.stdin,
        env=found.env,
        cwd=found.cwd,
        writable=found.writable,
        tty=found.tty,
        umask=found.umask,
        user=found.user,
        rlimits=found.rlimits,
        egress=found.egress,
    )
    call = replace(run.call, request=process)
    check_structure(call, 0, run.limits)
    return call, found


def _feed(call: _Call, frame: Stdin) -> None:
    try:
        data = decode_base64(frame.data)
    except ValueError as error:
        raise BridgeLost(f"input that is {error}") from error
    if not call.live.feeds:
        raise BridgeLost(f"call {frame.id} takes no more input")
    try:
        call.live.put(data)
    except OverflowError as error:
        raise BridgeLost(f"call {frame.id} is at its end, or {WAITING_BYTES_MAX} bytes wait") from error


def _values(run: Run) -> tuple[bytes, ...]:
    return tuple(value.encode() for value in run.secrets.values())


def _end(result: LaneResult) -> End:
    return End(
        ended=result.ended,
        duration_ms=result.duration_ms,
        measured=result.measured,
        failure=result.failure,
        message=result.message,
        status=result.status,
        signal=result.signal,
        stdout_bytes=result.stdout_bytes,
        stderr_bytes=result.stderr_bytes,
        redactions=result.redactions,
    )


def _cancelled(effect: Effect) -> LaneResult:
    return LaneResult(
        ended=Ended.FAILED if effect is Effect.READ else Ended.UNKNOWN,
        duration_ms=0,
        measured=ENDED_THERE,
        failure=Failure.CANCELLED,
        message=describe(Failure.CANCELLED),
    )
