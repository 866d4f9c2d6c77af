"""Real ends of the bridge for tests: `rexecop guest` as a process, and calls that go there."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, is_dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from rexecop.app.build import open_instance
from rexecop.app.clock import SystemClock, SystemIds
from rexecop.app.guests import GrantFile
from rexecop.keys import load_signer
from rexecop.lanes.bridge.asking import attach
from rexecop.lanes.bridge.frames import (
    Attach,
    Close,
    Eof,
    Exit,
    Frame,
    Interrupt,
    Output,
    Refused,
    Run,
    Start,
    Stdin,
    StreamChannel,
)
from rexecop.lanes.failures import Failure
from rexecop.lanes.messages.bridge import GUEST, NODE
from rexecop.lanes.node import NodeLane
from rexecop.lanes.port import Capabilities, Clearance, LaneEvent, LaneResult
from rexecop.lanes.targets import NodeAccess
from rexecop.proof.base64text import decode_base64, encode_base64
from rexecop.proof.call import Call, ExchangeRequest, Limits, Terminal
from rexecop.proof.canonical import Json
from rexecop.proof.codec import to_json
from rexecop.proof.nodes import PERMIT_TYPE, NodePermit, seal
from rexecop.proof.vocabulary import Effect, Ended, Isolation
from tests.app.support import made, settings
from tests.forked import Forked, rexecop
from tests.lanes.contract import ProgramContract, gone
from tests.lanes.support import LIMITS, permit_for, run, secrets_of
from tests.needs import needs

GRANT: Final = "guest-grant"  # The name of the secret that holds the token.


@contextmanager
def program(*arguments: str, ready: str, said: list[str] | None = None) -> Iterator[Forked]:
    """Run `rexecop` with `arguments`; it is ready once it says a line that holds `ready`."""
    process = Forked(rexecop, arguments, NO_COLOR="1")
    try:
        line = process.stderr.readline()
        assert ready in line, line + process.stderr.read()
        if said is not None:
            said.append(line)
        yield process
        process.terminate()
        process.wait()
    finally:
        process.close()


def guest_message(place: Mapping[str, Json], *argv: Json, **program: Json) -> dict[str, Json]:
    return {"program": {"argv": list(argv), **program}, "grant": {"secret": GRANT}, **place}


def guest_call(
    place: Mapping[str, Json],
    *argv: Json,
    effect: Effect = Effect.READ,
    peers: tuple[str, ...] = (),
    **program: Json,
) -> Call:
    """A call that runs `argv` in the guest at `place`."""
    request = ExchangeRequest(protocol=GUEST, message=guest_message(place, *argv, **program), peers=peers)
    return Call(target="box-1", connector="box", action="look", effect=effect, request=request)


def token_of(grants: Path, name: str = "tests", hours: int = 1, *capabilities: str) -> str:
    token = GrantFile(grants).issue(name, hours, capabilities).token
    assert token is not None
    return token


def node_call(node: str, *argv: Json, effect: Effect = Effect.READ, **program: Json) -> Call:
    """A call that runs `argv` on the node with the key `node`."""
    message: dict[str, Json] = {"program": {"argv": list(argv), **program}, "node": node}
    request = ExchangeRequest(protocol=NODE, message=message)
    return Call(target="edge-1", connector="edge", action="look", effect=effect, request=request)


@dataclass
class Permitting:
    """A lane that is given a permit for every call, as the gate gives it."""

    lane: NodeLane
    changes: dict[str, object] = field(default_factory=dict)

    name = "node"

    @property
    def capabilities(self) -> Capabilities:
        return self.lane.capabilities

    def open(
        self, call: Call, limits: Limits, isolation: Isolation, attempt: int, clearance: Clearance
    ) -> AsyncIterator[LaneEvent]:
        expires = SystemClock().now() + timedelta(seconds=30)
        permit = replace(permit_for(call), **{"expires": expires, **self.changes})  # type: ignore[arg-type]
        return self.lane.under(permit).open(call, limits, isolation, attempt, clearance)


@dataclass
class Served:
    """A root whose service runs, and a node of it that has a key and may be started."""

    folder: Path
    url: str
    node: str

    @property
    def root(self) -> Path:
        return self.folder / "root"

    def lane(self, **secrets: str) -> NodeLane:
        signer = load_signer(self.root / "keys" / "instance")
        access = NodeAccess(
            socket=str(self.root / "nodes.sock"), signing=lambda: signer, nonce=SystemIds().nonce
        )
        return NodeLane(secrets_of(**{name: value.encode() for name, value in secrets.items()}), access)

    @asynccontextmanager
    async def session(self, *needed: str) -> AsyncIterator[StreamChannel]:
        """A channel to the node, attached."""
        channel = StreamChannel(*await asyncio.open_unix_connection(self.root / "nodes.sock"))
        try:
            await attach(
                channel, Attach(versions=(1,), capabilities=needed, target=self.node, challenge="a" * 32)
            )
            yield channel
        finally:
            await channel.close()

    def permitted(self, frame: Run) -> Run:
        """`frame` with a permit for its call."""
        ids, signer = SystemIds(), load_signer(self.root / "keys" / "instance")
        permit = replace(permit_for(frame.call), expires=SystemClock().now() + timedelta(seconds=30))
        asked = NodePermit(node=self.node, nonce=ids.nonce(), permit=permit)
        return replace(frame, permit=seal(signer, PERMIT_TYPE, asked))

    @contextmanager
    def node_running(self, url: str = "") -> Iterator[Forked]:
        instance = str(self.root / "keys" / "instance.pub")
        keys = ("--key", str(self.folder / "edge-1"), "--instance", instance)
        arguments = ("node", "--connect", url or self.url, *keys, "--state", str(self.folder / "state"))
        with program(*arguments, ready="connected") as process:
            yield process


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    """A root below `folder` with a service on it and an enrolled key for the node `edge-1`."""

    async def prepare() -> str:
        await made(folder)
        with open_instance(settings(folder)) as instance:
            return (await instance.key_new("edge-1", "node", folder / "edge-1")).fingerprint

    node = asyncio.run(prepare())
    with serving(folder / "root") as (_, url):
        yield Served(folder, url, node)


@contextmanager
def serving(root: Path, port: int = 0) -> Iterator[tuple[Forked, str]]:
    """The service of `root`, and its address."""
    said: list[str] = []
    arguments = ("serve", "--port", str(port), "--root", str(root))
    with program(*arguments, ready="serving", said=said) as process:
        yield process, said[0].split(" on ")[1].split()[0]


async def until_end(channel: StreamChannel) -> tuple[bytes, Frame]:
    """What a call still puts out, and how it ends."""
    said = b""
    while isinstance(frame := await channel.receive(), Output):
        said += decode_base64(frame.data)
    return said, frame


async def heard(channel: StreamChannel, wanted: bytes) -> bytes:
    """What a call puts out until it has said `wanted`."""
    said = b""
    async with asyncio.timeout(60):
        while wanted not in said:
            frame = await channel.receive()
            assert isinstance(frame, Output), frame
            said += decode_base64(frame.data)
    return said


def as_message(options: Mapping[str, object]) -> dict[str, Json]:
    """The options of a process as the message of a bridge holds them."""
    return {
        name: to_json(value) if is_dataclass(value) else value  # type: ignore[misc]
        for name, value in options.items()
    }


def root_of(result: LaneResult) -> Json:
    """What the other side says of how its own files were seen."""
    there = (result.measured.facts or {})["there"]
    facts = there["facts"] if isinstance(there, dict) else None
    return facts["root"] if isinstance(facts, dict) else None


class BridgeContract(ProgramContract):
    """What both bridges promise beyond what a program gets: a call is spoken to while it runs."""

    @abstractmethod
    def session(self, *needed: str) -> AbstractAsyncContextManager[StreamChannel]:
        """A channel to the other side, attached."""

    def asking(self, script: str, number: int = 0, effect: Effect = Effect.CHANGE, **options: object) -> Run:
        """The frame that asks for a shell's `script`."""
        cls = Start if options.get("live") else Run
        call = replace(self.shell(script, **options), effect=effect)
        return cls(id=number, call=call, limits=LIMITS, secrets={})

    def test_input_reaches_a_program_that_runs_until_its_end(self) -> None:
        async def fed() -> Frame:
            async with self.session("start") as channel:
                script = 'while read x; do echo "got $x"; done; echo end'
                await channel.send(self.asking(script, 3, live=True, stdin="zero\n"))
                assert await heard(channel, b"zero") == b"got zero\n"
                for word in ("one", "two"):
                    await channel.send(Stdin(id=3, data=encode_base64(f"{word}\n".encode())))
                    assert await heard(channel, b"\n") == f"got {word}\n".encode()
                await channel.send(Eof(id=3))
                said, last = await until_end(channel)
                assert said == b"end\n"
                return last

        last = run(fed())

        assert isinstance(last, Exit) and (last.id, last.end.status) == (3, 0)
        assert (last.end.measured.facts or {})["input_bytes"] == len("zero\none\ntwo\n")

    def test_a_terminal_is_typed_into_while_the_program_runs(self) -> None:
        async def typed() -> Frame:
            async with self.session("start", "tty") as channel:
                await channel.send(self.asking("stty -echo; echo ready; cat", live=True, tty=Terminal()))
                await heard(channel, b"ready\r\n")
                await channel.send(Stdin(id=0, data=encode_base64(b"hello\n")))
                assert await heard(channel, b"\n") == b"hello\r\n"
                await channel.send(Eof(id=0))
                return (await until_end(channel))[1]

        last = run(typed())

        assert isinstance(last, Exit) and last.end.ended is Ended.OK

    def test_input_for_a_call_that_does_not_say_so_is_refused(self) -> None:
        call = self.asking("cat").call

        answer = run(self.answer(self.permitted(Start(id=0, call=call, limits=LIMITS, secrets={}))))

        assert isinstance(answer, Refused) and answer.failure is Failure.REQUEST_INVALID

    def permitted(self, frame: Run) -> Run:
        """`frame` with what the other side wants to see."""
        return frame

    async def answer(self, frame: Run) -> Frame:
        """What is said first to `frame`."""
        async with self.session() as channel:
            await channel.send(frame)
            return await channel.receive()

    def test_an_interrupt_is_for_the_foreground_which_may_go_on(self) -> None:
        async def interrupted() -> Frame:
            async with self.session("start", "interrupt") as channel:
                # What a shell starts with `&` ignores the signal anyway, so that would show nothing.
                script = (
                    "p=$(setsid -f sh -c 'echo $$; exec sleep 30 >/dev/null 2>&1'); trap 'echo caught' INT; "
                    'echo on; until read x; do :; done; kill -0 $p && echo "on with $x"'
                )
                await channel.send(self.asking(script, live=True))
                await heard(channel, b"on\n")
                for _ in range(3):
                    await channel.send(Interrupt(id=0))
                    await heard(channel, b"caught\n")
                await channel.send(Stdin(id=0, data=encode_base64(b"it\n")))
                assert await heard(channel, b"\n") == b"on with it\n"
                return (await until_end(channel))[1]

        last = run(interrupted())

        assert isinstance(last, Exit) and last.end.ended is Ended.OK
        assert (last.end.measured.facts or {})["interrupts"] == 3

    def test_a_change_that_an_interrupt_ended_is_unknown_also_where_it_came_with_the_call(self) -> None:
        async def interrupted() -> Frame:
            async with self.session("run", "interrupt") as channel:
                await channel.send(self.asking("exec sleep 30"))
                await channel.send(Interrupt(id=0))
                return (await until_end(channel))[1]

        last = run(interrupted())

        assert isinstance(last, Exit)
        assert (last.end.ended, last.end.failure, last.end.signal) == (Ended.UNKNOWN, Failure.KILLED, 2)

    def test_closing_a_call_ends_all_of_it_and_its_session_goes_on(self) -> None:
        async def closed() -> tuple[int, bytes]:
            async with self.session("run") as channel:
                await channel.send(self.asking("trap '' INT TERM; setsid sleep 30 & echo $!; exec sleep 30"))
                pid = int(await heard(channel, b"\n"))
                await channel.send(Close(id=0))
                assert await gone(pid)
                await channel.send(self.asking("echo again", 1))
                return pid, (await until_end(channel))[0]

        assert run(closed())[1] == b"again\n"

    def test_a_class_that_was_not_reached_there_is_refused_and_no_other_taken(self) -> None:
        result = self.result(self.program("/bin/true", isolation="gvisor"))
        answer = run(self.answer(self.asking("true", isolation="gvisor")))

        assert (result.ended, result.failure) == (Ended.REFUSED, Failure.ISOLATION_UNAVAILABLE)
        assert "it does not reach" in (result.message or "")  # It was not even asked.
        assert isinstance(answer, Refused) and answer.failure is Failure.ISOLATION_UNAVAILABLE

    @abstractmethod
    def private(self) -> Path:
        """A file of the other side's own."""

    @needs("bwrap")
    def test_what_the_other_side_keeps_for_itself_is_hidden_from_programs_or_said_to_be_seen(self) -> None:
        hidden = self.result(self.program("/bin/cat", str(self.private()), isolation="bubblewrap"))
        seen = self.result(self.program("/bin/cat", str(self.private())))

        assert (hidden.stdout, root_of(hidden)) == (b"", "hidden")
        assert (seen.stdout, root_of(seen)) == (self.private().read_bytes(), "visible")

    def test_a_terminal_for_a_person_is_refused_where_nobody_sits(self) -> None:
        result = self.result(self.program("/bin/true", tty=Terminal(attended=True)))

        assert (result.ended, result.failure) == (Ended.REFUSED, Failure.UNSUPPORTED)
