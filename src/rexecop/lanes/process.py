"""The process lane: one program, an exact argument list, no shell, nothing inherited.

The program is started by the spawner's keeper, waits at a gate until its isolation was
measured and the clearance given, and ends with its whole tree: at its own end, at its
timeout, when it floods its output, when the call is closed, or when the runner dies. What it left
running in the background ends with it.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Final

from rexecop.lanes import egress, proctree, wire
from rexecop.lanes.channels import Channels
from rexecop.lanes.errors import RequestRefused, SpawnerLost
from rexecop.lanes.failures import Failure
from rexecop.lanes.handover import CONFINED, PLAIN
from rexecop.lanes.kernel import boot_ms
from rexecop.lanes.live import Live
from rexecop.lanes.port import Capabilities, Chunk, Clearance, LaneEvent, LaneResult
from rexecop.lanes.private import LOOK_SECONDS, PrivateFolder
from rexecop.lanes.sandbox import (
    BASE_ENVIRONMENT,
    Given,
    grade_of,
    network_of,
    prepare,
    why_not_held,
    why_not_reached,
)
from rexecop.lanes.script import check_script, script_argv
from rexecop.lanes.seat import UNATTENDED, Seat
from rexecop.lanes.secrets import Secrets
from rexecop.lanes.spawning import Keeper, Spawner
from rexecop.lanes.targets import Attestation, attest_local
from rexecop.lanes.verdicts import end_of, execution_failure, not_started, unanswered
from rexecop.proof.call import Call, Hole, Limits, ProcessRequest, SecretRef, Text, secrets_of
from rexecop.proof.canonical import Json
from rexecop.proof.records.outcome import Measured
from rexecop.proof.vocabulary import PRIVATE_NETWORK, Effect, Ended, Grade, Isolation

GO_VALID_MS: Final = 2_000  # From clearance to execution: a runner frozen in between must not act when thawed
BACKSTOP_SECONDS: Final = 10.0  # The keeper enforces the timeout; past this more it is taken for lost.
DRAIN_SECONDS: Final = 2.0  # Once the tree is gone its pipes are at their end; what holds them longer escaped


class ProcessLane:
    """Runs programs on this machine. One instance per runner, because it owns the spawner.

    `isolation` are the classes measured to work here, with the best read grade of each.
    `hidden` are paths no program may see; a class that cannot hide them says so.
    """

    name = "process"

    def __init__(
        self,
        *,
        isolation: Mapping[Isolation, Grade],
        secrets: Secrets,
        hidden: Sequence[str],
        spawner: Spawner | None = None,
        seat: Seat | None = None,
    ) -> None:
        self._capabilities = Capabilities(
            requests=frozenset({ProcessRequest.kind}),
            simulated=False,
            isolation=frozenset(isolation),
            grades=frozenset({Grade.SHAPE, *isolation.values()}),
        )
        self._secrets = secrets
        self._hidden = tuple(hidden)
        self._host = proctree.namespaces_of("self")
        self.spawner = spawner or Spawner()
        self.seat = seat
        self.live: Live | None = None

    def spoken_to(self, live: Live) -> ProcessLane:
        """Return this lane for one call, which is spoken to through `live` while it runs."""
        lane = copy.copy(self)
        lane.live = live
        return lane

    @property
    def capabilities(self) -> Capabilities:
        """The classes and grades that were measured when the lane was made."""
        return self._capabilities

    def close(self) -> None:
        """End the spawner and everything that still runs."""
        self.spawner.close()

    async def attest(self, call: Call, now: datetime) -> Attestation:
        """Attest this machine; see `targets.Attesting.attest`."""
        return attest_local(call.target, now)

    async def open(
        self, call: Call, limits: Limits, isolation: Isolation, attempt: int, clearance: Clearance
    ) -> AsyncIterator[LaneEvent]:
        """Run the program of `call` once; see `port.Lane.open`.

        Raises:
            ClearanceRefused: from `clearance`; the program was not executed.
        """
        request = call.request
        if not isinstance(request, ProcessRequest):
            yield not_started(Failure.UNSUPPORTED, f"`{request.kind}` is not a process")
            return
        run = _Run(self, call, request, limits, isolation)
        lease = self._secrets.lease(secrets_of(call))
        try:
            try:
                await run.prepare(await lease.begin(), self._hidden, self._host)
            except RequestRefused as refused:
                yield not_started(refused.failure, refused.message, run.facts)
                return
            except (SpawnerLost, OSError) as error:
                yield not_started(Failure.LANE_UNAVAILABLE, f"the program was not started: {error}")
                return
            clearance()
            async for event in run.execute():
                yield await lease.settle(event) if isinstance(event, LaneResult) else event
        finally:
            await run.close()
            await lease.end()


class _Run:
    """One call while it is made."""

    def __init__(
        self, lane: ProcessLane, call: Call, request: ProcessRequest, limits: Limits, isolation: Isolation
    ) -> None:
        self.facts: dict[str, Json] = {}
        self._lane = lane
        self._call = call
        self._request = request
        self._limits = limits
        self._isolation = isolation
        self._keeper: Keeper | None = None
        self._channels: Channels | None = None
        self._egress = egress.Egress(request.egress) if request.egress else None
        self._private: PrivateFolder | None = None
        self._frame: asyncio.Task[list[bytes]] | None = None
        self._events = 0

    async def prepare(
        self, secrets: Mapping[str, bytes], hidden: Sequence[str], host: Mapping[str, str]
    ) -> None:
        """Bring the process up to its gate and measure it there.

        Raises:
            RequestRefused: it cannot be started or its isolation was not reached.
            SpawnerLost, OSError: the machinery failed. In all cases nothing was executed.
        """
        if self._request.tty is not None and self._request.tty.attended and self._lane.seat is None:
            raise RequestRefused(Failure.LANE_UNAVAILABLE, UNATTENDED)
        argv = [_filled(text, secrets) for text in self._request.argv]
        env = self._environment(secrets)
        stdin = None if self._request.stdin is None else _filled(self._request.stdin, secrets)
        if (script := self._request.script) is not None:
            check_script(self._request, script)
            argv = script_argv(script, argv)
        ports = (0, 0) if self._egress is None else await self._egress.start()
        given = Given(argv=argv, env=env, hidden=hidden, ports=ports)
        request = self._request
        if script is not None and request.cwd is None and self._call.effect is not Effect.READ:
            self._private = PrivateFolder(request.user, self._limits)
            own = self._private.path
            request = replace(request, cwd=own, writable=(*request.writable, own))
        launch, self.facts = prepare(self._call, request, given, self._isolation, self._limits)
        fields = await self._begin(launch.fields(), stdin, tuple(secrets.values()))
        if fields[0] != wire.READY:
            raise _refusal(fields, await self._complaint())
        measured = wire.from_pairs(fields[1:])
        self.facts |= {name: _number(value) for name, value in sorted(measured.items())}
        reason = why_not_reached(self._isolation, measured, host) or why_not_held(launch, measured)
        if reason is not None:
            raise RequestRefused(
                Failure.ISOLATION_UNAVAILABLE, f"class `{self._isolation}` was not reached: {reason}"
            )
        self.facts["grade"] = grade_of(self._isolation, self._request.egress, self.facts).value
        if self._egress is not None:
            self._egress.open()

    def _environment(self, secrets: Mapping[str, bytes]) -> dict[bytes, bytes]:
        """Return all that the program inherits: of a script nothing but where its proxy is."""
        own = {} if self._request.script is not None else BASE_ENVIRONMENT
        proxy = {} if self._egress is None else egress.ENVIRONMENT
        env = {name.encode(): text.encode() for name, text in {**own, **proxy}.items()}
        return env | {
            name.encode(): _filled(text, secrets) for name, text in (self._request.env or {}).items()
        }

    async def _begin(self, launch: list[bytes], stdin: bytes | None, secrets: Sequence[bytes]) -> list[bytes]:
        """Return the keeper's first answer. A spawner just lost is replaced once: nothing ran yet."""
        for last in (False, True):
            try:
                self._keeper = await self._hand_over(stdin, secrets)
                await self._keeper.send(launch)
                return await self._keeper.receive()
            except SpawnerLost:
                if last:
                    raise
                await self._give_back()
        raise AssertionError

    async def _hand_over(self, stdin: bytes | None, secrets: Sequence[bytes]) -> Keeper:
        asked, lane = self._request, self._lane
        self._channels = Channels(asked, self._limits, stdin, secrets, self._egress, lane.seat, lane.live)
        try:
            kind = CONFINED if self._isolation in PRIVATE_NETWORK else PLAIN
            return await self._lane.spawner.hand_over(kind, self._channels.given)
        finally:
            self._channels.release()

    async def execute(self) -> AsyncIterator[LaneEvent]:
        """Let the program start, yield its output, and last its result."""
        assert self._keeper is not None and self._channels is not None
        started = time.monotonic()
        happened = asyncio.Event()
        await self._channels.sit()
        self._channels.start(happened.set)
        try:
            await self._keeper.send([wire.GO, str(boot_ms() + GO_VALID_MS).encode()])
        except SpawnerLost as error:
            # It may have read the word before it ended.
            yield unanswered(self._call.effect, str(error), self._measured())
            return
        self._frame = asyncio.create_task(self._keeper.receive())
        self._frame.add_done_callback(lambda _: happened.set())
        give_up = started + (self._limits.timeout_ms + self._limits.grace_ms) / 1000 + BACKSTOP_SECONDS
        stopping = False
        while not (self._frame.done() and self._channels.at_end):
            for chunk in self._chunks():
                yield chunk
            folder = self._private
            if not stopping and (self._channels.flooded or (folder is not None and folder.is_over_now())):
                stopping = True
                await self._tell([wire.STOP, b"output"])
            if self._lane.live is not None and self._lane.live.take_interrupt():
                await self._tell([wire.INTERRUPT])
            if self._frame.done():
                give_up = min(give_up, time.monotonic() + DRAIN_SECONDS)
            left = max(0.0, give_up - time.monotonic())
            try:
                async with asyncio.timeout(left if self._private is None else min(left, LOOK_SECONDS)):
                    await happened.wait()
            except TimeoutError:
                if time.monotonic() >= give_up:
                    break
            happened.clear()
        for chunk in self._chunks():
            yield chunk
        yield self._result(int((time.monotonic() - started) * 1000))

    async def _tell(self, fields: list[bytes]) -> None:
        assert self._keeper is not None
        with suppress(SpawnerLost):  # Then the call has ended, and its last word says how, or nobody knows.
            await self._keeper.send(fields)

    def _chunks(self) -> Iterator[Chunk]:
        assert self._channels is not None
        for name, data in self._channels.take():
            yield Chunk(n=self._events, stream=name, data=data)
            self._events += 1

    def _result(self, duration_ms: int) -> LaneResult:
        assert self._channels is not None
        stdout, *others = self._channels.streams
        stderr = bytes(others[0].kept) if others else b""
        if self._lane.live is not None and self._lane.live.feeds:
            self.facts["input_bytes"] = self._lane.live.bytes
        over = self._private is not None and self._private.is_over()
        if self._private is not None:
            self.facts |= self._private.facts
        frame = self._frame
        if frame is None or not frame.done() or frame.exception() is not None:
            end = unanswered(self._call.effect, "the keeper of the call gave no answer", self._measured())
        else:
            # A terminal has one stream, and what a wrapper says is in it too.
            said = stderr if others else bytes(stdout.kept)
            end = end_of(frame.result(), self._call.effect, self._isolation, said, self.facts, self._measured)
        if over and end.failure in (None, Failure.NONZERO_EXIT, Failure.OUTPUT_LIMIT):
            end = replace(
                end,
                ended=Ended.FAILED if end.ended is Ended.OK else end.ended,
                failure=Failure.OUTPUT_LIMIT,
                message="the script left more in its folder than a call may put out",
            )
        return replace(
            end,
            duration_ms=duration_ms,
            stdout=bytes(stdout.kept),
            stderr=stderr,
            stdout_bytes=stdout.raw_bytes,
            stderr_bytes=sum(stream.raw_bytes for stream in others),
            redactions=sum(stream.redactions for stream in self._channels.streams),
        )

    def _measured(self) -> Measured:
        return Measured(
            isolation=self._isolation.value,
            network=network_of(self._isolation, self._request.egress),
            protection="spawner-kills-tree",
            facts={**self.facts, **(self._egress.facts if self._egress is not None else {})},
        )

    async def _complaint(self) -> str:
        return "" if self._channels is None else await self._channels.complaint()

    async def close(self) -> None:
        """End everything that still runs and give all descriptors back."""
        try:
            if self._frame is not None:
                self._frame.cancel()
                # Its reader goes before its descriptor: the next one of that number would never be heard.
                await asyncio.wait([self._frame])
        finally:
            await self._give_back()
            if self._private is not None:
                self._private.close()
            if self._egress is not None:
                await self._egress.close()

    async def _give_back(self) -> None:
        if self._keeper is not None:
            await self._keeper.end(self._limits.grace_ms / 1000)
        if self._channels is not None:
            self._channels.close()


def _filled(text: Text, secrets: Mapping[str, bytes]) -> bytes:
    """Return `text` with the values of its secrets."""
    if isinstance(text, str):
        return text.encode()
    if any(isinstance(part, Hole) for part in text):
        raise RequestRefused(Failure.TEMPLATE_MISMATCH, "the call still has holes")
    return b"".join(
        secrets[part.secret] if isinstance(part, SecretRef) else str(part).encode() for part in text
    )


def _refusal(fields: list[bytes], complaint: str) -> RequestRefused:
    """Return why the process did not get to its gate."""
    _, stage, number, reason = (field.decode("utf-8", "replace") for field in fields)
    if stage == "exec":
        return RequestRefused(execution_failure(int(number)), f"it could not be executed: {reason}")
    if stage == "cwd":
        failure = Failure.PERMISSION_DENIED if int(number) in (1, 13) else Failure.NOT_FOUND
        return RequestRefused(failure, f"working directory cannot be entered: {reason}")
    return RequestRefused(
        Failure.ISOLATION_UNAVAILABLE, f"class was not reached at `{stage}`: {complaint or reason}"
    )


def _number(value: str) -> Json:
    """Return numbers as numbers; bit sets with leading zeros stay text, and what no record can hold."""
    return int(value) if len(value) < 16 and value.isdigit() and str(int(value)) == value else value
