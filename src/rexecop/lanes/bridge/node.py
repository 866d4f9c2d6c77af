"""A node: dials out to its instance, proves itself and asks for the same, and acts on permits alone.

What it says on a channel is kept until the other end of that channel is gone, and said again
after the connection was lost. A call that runs meanwhile runs on, within its own limits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from rexecop.lanes.bridge.agent import CAPABILITIES, Admit, Programs, Session, Warrant
from rexecop.lanes.bridge.claims import Claims
from rexecop.lanes.bridge.frames import (
    VERSION,
    Attach,
    End,
    Frame,
    Gone,
    Heard,
    Hello,
    Holds,
    Late,
    Proved,
    Run,
    Statement,
    read_frame,
)
from rexecop.lanes.errors import BridgeLost, RequestRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.messages.bridge import NODE
from rexecop.proof import sshsig
from rexecop.proof.call import ExchangeRequest, call_digest
from rexecop.proof.canonical import commit
from rexecop.proof.codec import encode
from rexecop.proof.errors import ProofError
from rexecop.proof.nodes import (
    NODE_NAMESPACE,
    OUTCOME_TYPE,
    SERVER_NAMESPACE,
    NodeHello,
    NodeOutcome,
    NodePermit,
    NodeProof,
    open_permit,
    seal,
)
from rexecop.proof.publickey import PublicKey
from rexecop.proof.signer import Signer

PERMIT_LIFE_MAX: Final = timedelta(seconds=60)
CLOCK_SKEW_MAX: Final = timedelta(seconds=5)  # Between two machines that keep time; a permit lasts no longer.
GREETING_SECONDS_MAX: Final = 10.0
WAITS: Final = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # Between tries to connect, in seconds; the last one repeats.
CHANNEL_BYTES: Final = 8
CONTROL: Final = 0  # The channel on which both ends speak for themselves.
KEPT_BYTES_MAX: Final = 96 * 1024 * 1024  # The largest output a call may keep, in base64.
WAITING_MAX: Final = 256  # Frames for one channel that were not taken yet.


class Link(Protocol):
    """Messages to and from the instance, or a node: whole, in order, until it closes."""

    async def send_bytes(self, data: bytes) -> None:
        """Send one. Raises BridgeLost: it closed."""
        ...

    async def receive_bytes(self) -> bytes:
        """Return the next one. Raises BridgeLost: it closed."""
        ...


def on_channel(channel: int, data: bytes) -> bytes:
    """Return the message that carries the frame `data` on `channel`."""
    return channel.to_bytes(CHANNEL_BYTES) + data


def off_channel(message: bytes) -> tuple[int, bytes]:
    """Return the channel and the frame of a message.

    Raises:
        BridgeLost: it is too short.
    """
    if len(message) < CHANNEL_BYTES:
        raise BridgeLost("a message without a channel")
    return int.from_bytes(message[:CHANNEL_BYTES]), message[CHANNEL_BYTES:]


async def tell(link: Link, frame: Frame) -> None:
    """Send `frame` on the channel on which both ends speak for themselves."""
    await link.send_bytes(on_channel(CONTROL, encode(frame)))


async def hear(link: Link) -> Frame:
    """Return the next frame of a greeting.

    Raises:
        BridgeLost: the link closed, or something else came.
    """
    channel, data = off_channel(await link.receive_bytes())
    if channel != CONTROL:
        raise BridgeLost("a call came before the greeting was over")
    return read_frame(data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Myself:
    """What a node is made of: its key, its instance's public key, time, chance, memory and lane."""

    signer: Signer
    instance: PublicKey
    claims: Claims
    lane: Programs
    now: Callable[[], datetime]
    nonce: Callable[[], str]
    key: Callable[[], bytes]

    @property
    def name(self) -> str:
        """The fingerprint of its key."""
        return self.signer.public.fingerprint


class Permitted:
    """The warrant of a session on a node: a permit for each call, and a signature under each end."""

    capabilities: Final = CAPABILITIES

    def __init__(self, myself: Myself, frame: Attach) -> None:
        self._me = myself
        self._permits: dict[int, NodePermit] = {}
        said = NodeProof(node=myself.name, challenge=frame.challenge)
        self.proof: Final = sshsig.sign(myself.signer, NODE_NAMESPACE, encode(said))

    def check(self) -> None:
        """As `agent.Warrant.check`: a session gives nothing by itself."""

    def examine(self, run: Run) -> None:
        """As `agent.Warrant.examine`: the permit is the instance's, for this node and this very call."""
        try:
            found = open_permit(run.permit, self._me.instance)
        except ProofError as error:
            raise RequestRefused(
                Failure.PERMIT_MISMATCH, f"no permit of the instance: {error.message}"
            ) from error
        request = run.call.request
        named = request.message.get("node") if isinstance(request, ExchangeRequest) else None
        if not isinstance(request, ExchangeRequest) or request.protocol != NODE:
            raise RequestRefused(Failure.UNSUPPORTED, f"only `{NODE}` is done here")
        if found.node != self._me.name or named != self._me.name:
            raise RequestRefused(Failure.PERMIT_MISMATCH, "the permit is for another node")
        if found.permit.call != call_digest(run.call):
            raise RequestRefused(Failure.PERMIT_MISMATCH, "the permit is for another call")
        self._check_time(found)
        self._permits[run.id] = found

    def clear(self, run: Run) -> None:
        """As `agent.Warrant.clear`: the nonce is claimed on disk."""
        found = self._permits[run.id]
        self._check_time(found)
        self._me.claims.claim(found, self._me.now())

    def seal(self, run: Run, end: End, outputs: Mapping[str, bytes]) -> Statement | None:
        """As `agent.Warrant.seal`; kept until it was heard."""
        found = self._permits[run.id]
        keys = {name: self._me.key() for name, data in outputs.items() if data}
        said = NodeOutcome(
            node=self._me.name,
            nonce=found.nonce,
            permit=found.permit,
            ended=end.ended,
            measured=end.measured,
            error_class=None if end.failure is None else str(end.failure),
            status=end.status,
            signal=end.signal,
            outputs={name: commit(key, outputs[name]) for name, key in keys.items()} or None,
        )
        envelope = seal(self._me.signer, OUTCOME_TYPE, said)
        self._me.claims.state(found.nonce, envelope)
        return Statement(envelope=envelope, keys={name: key.hex() for name, key in keys.items()})

    @property
    def nonces(self) -> frozenset[str]:
        """The permits of calls whose end nobody has heard."""
        return frozenset(found.nonce for found in self._permits.values())

    def heard(self, number: int) -> None:
        """As `agent.Warrant.heard`."""
        found = self._permits.pop(number, None)
        if found is not None:
            self._me.claims.settle(found.nonce)

    def _check_time(self, found: NodePermit) -> None:
        left = found.permit.expires - self._me.now()
        if left <= timedelta():
            raise RequestRefused(Failure.PERMIT_EXPIRED, "the permit expired before the call was made")
        if left > PERMIT_LIFE_MAX + CLOCK_SKEW_MAX:
            raise RequestRefused(Failure.PERMIT_MISMATCH, "the permit lasts longer than permits may")


class _Channel:
    """One session's end on the node; it outlives the link."""

    def __init__(self, node: Node, number: int) -> None:
        self._node = node
        self.number = number
        self.kept: list[bytes] = []
        self.warrant: Permitted | None = None
        self._kept_bytes = 0
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue(WAITING_MAX)
        self._over = False

    def put(self, data: bytes | None) -> None:
        """Hand on a frame; None: whoever was there is gone."""
        self._over = self._over or data is None
        with suppress(asyncio.QueueFull):  # Who sends more than anybody asks for is not listened to.
            self._waiting.put_nowait(data)

    async def send(self, frame: Frame) -> None:
        """As `Channel.send`; without a link it is said later."""
        message = on_channel(self.number, encode(frame))
        self._kept_bytes += len(message)
        if self._over or self._kept_bytes > KEPT_BYTES_MAX:
            raise BridgeLost("nobody is at the other end of the channel")
        await self._node.send(self, message)

    async def receive(self) -> Frame:
        """As `Channel.receive`."""
        data = None if self._over and self._waiting.empty() else await self._waiting.get()
        if data is None:
            raise BridgeLost("nobody is at the other end of the channel")
        return read_frame(data)

    async def close(self) -> None:
        """As `Channel.close`."""
        self._over = True
        await self._node.forget(self)


class Node:
    """Everything a node does, over one link after the other."""

    def __init__(self, myself: Myself) -> None:
        self._me = myself
        self._link: Link | None = None
        self._speaking = asyncio.Lock()
        self._channels: dict[int, _Channel] = {}
        self._sessions: set[asyncio.Task[None]] = set()
        self._late: dict[str, None] = dict.fromkeys(myself.claims.unheard())

    async def greet(self, link: Link) -> None:
        """Return once both sides have proved who they are.

        Raises:
            BridgeLost: the other side is not the instance, does not want this node, or is gone.
        """
        me, mine = self._me, self._me.nonce()
        async with asyncio.timeout(GREETING_SECONDS_MAX):
            await tell(link, Hello(version=VERSION, public=me.signer.public.line, nonce=mine))
            answer = await hear(link)
            if not isinstance(answer, Proved):
                raise BridgeLost(f"the instance does not greet: {getattr(answer, 'message', answer.kind)}")
            said = NodeHello(
                node=me.name, node_nonce=mine, server=me.instance.fingerprint, server_nonce=answer.nonce
            )
            try:
                signed = sshsig.verify(answer.signature, encode(said), SERVER_NAMESPACE)
            except ProofError as error:
                raise BridgeLost(f"the other side is not the instance: {error.message}") from error
            if signed.public != me.instance:
                raise BridgeLost(f"the instance shows another key, `{signed.public.fingerprint}`")
            signature = sshsig.sign(me.signer, NODE_NAMESPACE, encode(said))
            await tell(link, Proved(public=me.signer.public.line, nonce=mine, signature=signature))
            await tell(link, Holds(channels=tuple(self._channels)))
            welcome = await hear(link)
            if not isinstance(welcome, Heard):
                raise BridgeLost(f"the instance refuses: {getattr(welcome, 'message', welcome.kind)}")

    async def serve(self, link: Link) -> None:
        """Serve until `link` closes, saying again first what may not have been heard.

        Raises:
            BridgeLost: it closed, or something else came.
        """
        async with self._speaking:
            for channel in self._channels.values():
                for message in channel.kept:
                    await link.send_bytes(message)
            for nonce, envelope in self._me.claims.unheard().items():
                if nonce in self._late:
                    await tell(link, Late(nonce=nonce, envelope=envelope))
            self._link = link
        try:
            while True:
                number, data = off_channel(await link.receive_bytes())
                if number == CONTROL:
                    self._take(read_frame(data))
                else:
                    self._channel(number).put(data)
        finally:
            self._link = None

    async def send(self, channel: _Channel, message: bytes) -> None:
        """Keep `message` for `channel`, and send it if there is a link."""
        async with self._speaking:
            channel.kept.append(message)
            if self._link is not None:
                with suppress(BridgeLost):  # It is kept; whoever reads the link finds out.
                    await self._link.send_bytes(message)

    async def forget(self, channel: _Channel) -> None:
        """Drop `channel`, say so, and say for itself what nobody there has heard."""
        if self._channels.pop(channel.number, None) is None:
            return
        unheard = self._me.claims.unheard()
        late = [nonce for nonce in (channel.warrant.nonces if channel.warrant else ()) if nonce in unheard]
        self._late |= dict.fromkeys(late)
        if self._link is not None:
            with suppress(BridgeLost):
                await tell(self._link, Gone(channel=channel.number))
                for nonce in late:
                    await tell(self._link, Late(nonce=nonce, envelope=unheard[nonce]))

    async def close(self) -> None:
        """End everything that runs."""
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    def _take(self, frame: Frame) -> None:
        if isinstance(frame, Gone):
            channel = self._channels.get(frame.channel)
            if channel is not None:
                channel.put(None)
        elif isinstance(frame, Heard):
            self._late.pop(frame.nonce, None)
            self._me.claims.settle(frame.nonce)
        else:
            raise BridgeLost(f"`{frame.kind}` is not for a node")

    def _channel(self, number: int) -> _Channel:
        found = self._channels.get(number)
        if found is None:
            found = self._channels[number] = _Channel(self, number)
            session = asyncio.create_task(Session(found, self._me.lane, self._admit(found)).serve())
            self._sessions.add(session)
            session.add_done_callback(self._sessions.discard)
        return found

    def _admit(self, channel: _Channel) -> Admit:
        def admit(frame: Attach) -> Warrant:
            if frame.target != self._me.name:
                raise RequestRefused(Failure.TARGET_UNKNOWN, "this is another node")
            channel.warrant = Permitted(self._me, frame)
            return channel.warrant

        return admit
