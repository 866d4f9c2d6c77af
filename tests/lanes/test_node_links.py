"""What becomes of calls when links, nodes and services are lost, or are not who they say."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rexecop.app.clock import SystemIds
from rexecop.keys import create_key
from rexecop.lanes.bridge.claims import FILE, Claims
from rexecop.lanes.bridge.dialing import address_of
from rexecop.lanes.bridge.frames import Attach, Hello, Proved, Run
from rexecop.lanes.bridge.hub import Hub
from rexecop.lanes.bridge.node import Myself, Node, Permitted, hear, tell
from rexecop.lanes.errors import AddressRefused, BridgeLost, RequestRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.node import NodeLane
from rexecop.lanes.port import LaneEvent, LaneResult
from rexecop.lanes.secrets import NO_SECRETS
from rexecop.proof import sshsig
from rexecop.proof.call import Call, Limits
from rexecop.proof.canonical import Json
from rexecop.proof.codec import encode
from rexecop.proof.nodes import (
    OUTCOME_TYPE,
    PERMIT_TYPE,
    SERVER_NAMESPACE,
    NodeHello,
    NodeOutcome,
    NodePermit,
    seal,
)
from rexecop.proof.records.outcome import Measured
from rexecop.proof.signer import Signer
from rexecop.proof.vocabulary import Effect, Ended, Isolation
from tests.lanes.bridges import Permitting, Served, node_call, served
from tests.lanes.support import NOON, TellingLane, permit_for, result_of, run

SHORT = Limits(timeout_ms=8_000, output_bytes=4096)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("house")) as house:
        yield house


class Cable:
    """A way to the service that can be cut."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    @asynccontextmanager
    async def plugged(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            self.cut()
            server.close()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, back}
        await asyncio.gather(_copy(reader, back), _copy(there, writer), return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def _until(lane: Permitting, call: Call, then: Callable[[], None]) -> LaneResult:
    """Make `call`, and do `then` once it has put out something."""
    events: list[LaneEvent] = []
    async for event in lane.open(call, SHORT, Isolation.NOT_APPLICABLE, 1, lambda: None):
        events.append(event)
        if len(events) == 1:
            await asyncio.to_thread(then)
    return result_of(events)


def test_an_outcome_survives_the_loss_of_the_link(house: Served, tmp_path: Path) -> None:
    cable, lane, go = Cable(int(house.url.rpartition(":")[2])), Permitting(house.lane()), tmp_path / "go"
    script = f"echo on; while [ ! -e {go} ]; do sleep 0.05; done; echo off"

    async def story() -> LaneResult:
        loop = asyncio.get_running_loop()

        def lose() -> None:
            loop.call_soon_threadsafe(cable.cut)
            go.touch()

        async with cable.plugged():
            node = house.node_running(f"http://127.0.0.1:{cable.port}")
            await asyncio.to_thread(node.__enter__)
            try:
                call = node_call(house.node, "/bin/sh", "-c", script, effect=Effect.CHANGE)
                return await _until(lane, call, lose)
            finally:
                await asyncio.to_thread(node.__exit__, None, None, None)

    result = run(story())

    assert (result.ended, result.stdout) == (Ended.OK, b"on\noff\n"), result.message


def test_a_change_on_a_node_that_died_is_unknown_and_its_permit_stays_used(house: Served) -> None:
    nonce = SystemIds().nonce()
    lane = Permitting(NodeLane(NO_SECRETS, replace(house.lane().access, nonce=lambda: nonce)))
    call = node_call(house.node, "/bin/sh", "-c", "echo on; exec sleep 30", effect=Effect.CHANGE)

    with house.node_running() as dying:
        again = house.node_running()

        def die() -> None:
            dying.send_signal(signal.SIGKILL)
            dying.wait()
            again.__enter__()

        lost = run(_until(lane, call, die))
    try:
        repeated = run(_until(lane, call, lambda: None))
    finally:
        again.__exit__(None, None, None)

    assert (lost.ended, lost.failure) == (Ended.UNKNOWN, Failure.UNKNOWN_OUTCOME)
    assert (repeated.ended, repeated.failure) == (Ended.REFUSED, Failure.PERMIT_MISMATCH)


def test_a_node_that_is_not_connected_was_not_asked(house: Served) -> None:
    call = node_call(house.node, "/bin/true", effect=Effect.CHANGE)

    result = run(_until(Permitting(house.lane()), call, lambda: None))

    assert (result.ended, result.failure) == (Ended.REFUSED, Failure.TRANSIENT_CONNECTOR_ERROR)


# --- both ends over a link in memory ---


class Wire:
    """One end of a link in memory."""

    def __init__(self, mine: asyncio.Queue[bytes | None], theirs: asyncio.Queue[bytes | None]) -> None:
        self._mine, self._theirs = mine, theirs

    async def send_bytes(self, data: bytes) -> None:
        await self._theirs.put(data)

    async def receive_bytes(self) -> bytes:
        if (data := await self._mine.get()) is None:
            raise BridgeLost("cut")
        return data

    def cut(self) -> None:
        self._mine.put_nowait(None)
        self._theirs.put_nowait(None)


def wires() -> tuple[Wire, Wire]:
    one: asyncio.Queue[bytes | None] = asyncio.Queue()
    other: asyncio.Queue[bytes | None] = asyncio.Queue()
    return Wire(one, other), Wire(other, one)


class Pair:
    """A hub and a node, with keys that each knows of the other."""

    def __init__(self, folder: Path) -> None:
        self.server: Signer = create_key(folder / "server", "")
        self.signer: Signer = create_key(folder / "node", "")
        self.folder, self.counts = folder, True

    def hub(self) -> Hub:
        return Hub(
            socket=self.folder / "nodes.sock",
            late=self.folder / "late.jsonl",
            signing=lambda: self.server,
            enrolled=lambda name: self.counts and name == self.signer.public.fingerprint,
            nonce=SystemIds().nonce,
        )

    def myself(self, claims: Claims, **changes: object) -> Myself:
        ids = SystemIds()
        found = Myself(
            signer=self.signer,
            instance=self.server.public,
            claims=claims,
            lane=TellingLane(),
            now=lambda: NOON,
            nonce=ids.nonce,
            key=ids.key,
        )
        return replace(found, **changes)  # type: ignore[arg-type]

    async def connected(self, node: Node, hub: Hub) -> BridgeLost:
        """Let the node serve until the link ends, and return why it did."""
        near, far = wires()
        serving = asyncio.create_task(hub.serve_node(far))
        serving.add_done_callback(lambda _: near.cut())
        try:
            await node.greet(near)
            await node.serve(near)
        except BridgeLost as lost:
            return lost
        finally:
            near.cut()
            await serving
            await hub.close()
        raise AssertionError


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


@pytest.fixture
def claims(tmp_path: Path) -> Iterator[Claims]:
    found = Claims(tmp_path / "state", NOON)
    yield found
    found.close()


def test_a_node_speaks_to_no_other_instance_than_its_own(pair: Pair, claims: Claims, tmp_path: Path) -> None:
    stranger = create_key(tmp_path / "stranger", "").public

    lost = run(pair.connected(Node(pair.myself(claims, instance=stranger)), pair.hub()))

    assert "not the instance" in lost.message


def test_whoever_signs_in_the_name_of_the_instance_with_another_key_is_not_it(
    pair: Pair, claims: Claims, tmp_path: Path
) -> None:
    stranger, node = create_key(tmp_path / "stranger", ""), Node(pair.myself(claims))

    async def pretending(far: Wire) -> None:
        hello = await hear(far)
        assert isinstance(hello, Hello)
        said = NodeHello(
            node=pair.signer.public.fingerprint,
            node_nonce=hello.nonce,
            server=pair.server.public.fingerprint,
            server_nonce="ab" * 16,
        )
        signature = sshsig.sign(stranger, SERVER_NAMESPACE, encode(said))
        await tell(far, Proved(public=pair.server.public.line, nonce="ab" * 16, signature=signature))

    async def story() -> None:
        near, far = wires()
        await asyncio.gather(node.greet(near), pretending(far))

    with pytest.raises(BridgeLost, match="another key"):
        run(story())


def test_an_instance_takes_no_node_whose_key_is_not_enrolled(pair: Pair, claims: Claims) -> None:
    pair.counts = False

    lost = run(pair.connected(Node(pair.myself(claims)), pair.hub()))

    assert "not enrolled" in lost.message


def test_a_node_whose_key_is_revoked_is_cut_off(pair: Pair, claims: Claims) -> None:
    async def story() -> BridgeLost:
        asyncio.get_running_loop().call_later(0.1, setattr, pair, "counts", False)
        async with asyncio.timeout(60):
            return await pair.connected(Node(pair.myself(claims)), pair.hub())

    assert run(story()).message == "cut"


def test_what_a_node_said_before_it_ended_is_kept_by_the_instance_and_said_once(
    pair: Pair, tmp_path: Path
) -> None:
    asked = permitted(pair)
    said = NodeOutcome(
        node=asked.node,
        nonce=asked.nonce,
        permit=asked.permit,
        ended=Ended.OK,
        measured=Measured(isolation="none", network="host", protection="none"),
    )
    before = Claims(tmp_path / "state", NOON)
    before.claim(asked, NOON)
    before.state(asked.nonce, seal(pair.signer, OUTCOME_TYPE, said))
    before.close()

    async def story(claims: Claims) -> None:
        connecting = asyncio.create_task(pair.connected(Node(pair.myself(claims)), pair.hub()))
        async with asyncio.timeout(60):
            while claims.unheard():
                await asyncio.sleep(0.01)
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)

    claims = Claims(tmp_path / "state", NOON)
    run(story(claims))
    claims.close()

    assert len((tmp_path / "late.jsonl").read_bytes().splitlines()) == 1
    after = Claims(tmp_path / "state", NOON)
    assert after.unheard() == {}
    after.close()


# --- permits and claims ---


def permitted(pair: Pair, call: Call | None = None, **changes: object) -> NodePermit:
    node = pair.signer.public.fingerprint
    permit = permit_for(call or node_call(node, "/bin/true"))
    found = NodePermit(node=node, nonce="ab" * 16, permit=permit)
    return replace(found, **changes)  # type: ignore[arg-type]


def examined(pair: Pair, claims: Claims, asked: NodePermit, call: Call, envelope: Json = None) -> None:
    attach = Attach(versions=(1,), capabilities=(), target=pair.signer.public.fingerprint)
    sealed = envelope or seal(pair.server, PERMIT_TYPE, asked)
    run_frame = Run(id=0, call=call, limits=SHORT, secrets={}, permit=sealed)
    Permitted(pair.myself(claims), attach).examine(run_frame)


def test_a_permit_for_another_node_is_refused(pair: Pair, claims: Claims) -> None:
    call = node_call(pair.signer.public.fingerprint, "/bin/true")
    elsewhere = permitted(pair, call, node=pair.server.public.fingerprint)

    examined(pair, claims, permitted(pair, call), call)
    with pytest.raises(RequestRefused, match="another node"):
        examined(pair, claims, elsewhere, call)


def test_an_outcome_is_no_permit_whoever_signed_it(pair: Pair, claims: Claims) -> None:
    call = node_call(pair.signer.public.fingerprint, "/bin/true")
    asked = permitted(pair, call)
    as_outcome = seal(pair.server, OUTCOME_TYPE, asked)

    with pytest.raises(RequestRefused, match="no permit"):
        examined(pair, claims, asked, call, as_outcome)


def test_claims_outlive_the_node_and_a_line_cut_off_by_a_crash(pair: Pair, tmp_path: Path) -> None:
    first = Claims(tmp_path / "state", NOON)
    first.claim(permitted(pair), NOON)
    first.close()
    with (tmp_path / "state" / FILE).open("ab") as file:
        file.write(b'{"at":"2026-01-')

    again = Claims(tmp_path / "state", NOON)
    with pytest.raises(RequestRefused, match="used before"):
        again.claim(permitted(pair), NOON)
    again.close()


def test_claims_are_dropped_when_no_permit_of_their_time_can_count(pair: Pair, tmp_path: Path) -> None:
    first = Claims(tmp_path / "state", NOON)
    first.claim(permitted(pair), NOON)
    first.close()

    Claims(tmp_path / "state", NOON + timedelta(days=2)).close()

    assert (tmp_path / "state" / FILE).read_bytes() == b""


def test_two_nodes_cannot_share_their_claims(claims: Claims, tmp_path: Path) -> None:
    with pytest.raises(AddressRefused, match="another node"):
        Claims(tmp_path / "state", NOON)


def test_a_permit_that_cannot_be_written_down_is_not_acted_on(pair: Pair, claims: Claims) -> None:
    claims.close()

    with pytest.raises(RequestRefused) as refused:
        claims.claim(permitted(pair), NOON)

    assert refused.value.failure is Failure.INTERNAL
    claims.__init__(pair.folder / "state", NOON)  # type: ignore[misc]


@pytest.mark.parametrize("url", ["http://ops.example", "ftp://localhost", "https://a:b@ops.example", "ops"])
def test_a_node_connects_only_where_nobody_listens_in(url: str) -> None:
    with pytest.raises(AddressRefused):
        address_of(url)


def test_loopback_and_tls_are_addresses_of_nodes() -> None:
    assert address_of("http://127.0.0.1:5000") == "ws://127.0.0.1:5000/v1/nodes"
    assert address_of("https://ops.example/x/") == "wss://ops.example/x/v1/nodes"
