"""The instance's side of its nodes: who is connected, and which call goes to whom.

Nodes come in over the service; lanes, in whatever process of this user they are, over a Unix
socket in the root. The hub hands frames on and reads none of them but the first. Where a node
is lost, a lane waits as long as its call may take: the node says everything again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rexecop.lanes.bridge.frames import (
    HEAD,
    VERSION,
    Attach,
    Frame,
    Gone,
    Heard,
    Hello,
    Holds,
    Late,
    Proved,
    Refused,
    StreamChannel,
    read_frame,
)
from rexecop.lanes.bridge.listening import Listening
from rexecop.lanes.bridge.node import (
    CONTROL,
    GREETING_SECONDS_MAX,
    Link,
    hear,
    off_channel,
    on_channel,
    tell,
)
from rexecop.lanes.errors import AddressRefused, BridgeLost
from rexecop.lanes.failures import Failure
from rexecop.proof import sshsig
from rexecop.proof.canonical import canonical_bytes
from rexecop.proof.codec import encode
from rexecop.proof.errors import ProofError
from rexecop.proof.nodes import NODE_NAMESPACE, SERVER_NAMESPACE, NodeHello, open_outcome
from rexecop.proof.publickey import PublicKey
from rexecop.proof.signer import Signer

NODES_MAX: Final = 1_024  # Each holds a connection of the service.
BUFFERED_BYTES_MAX: Final = 8 * 1024 * 1024  # For one lane that does not read; then it is given up.
LOOK_SECONDS: Final = 0.5  # Between two looks at whether the keys of connected nodes still count.
PATIENCE_SECONDS: Final = 1.0  # A link that was lost is back in less, or the node is gone for now.
LATE_BYTES_MAX: Final = 64 * 1024 * 1024  # Of statements nobody waited for; somebody has to look before.


@dataclass(slots=True)
class _Linked:
    """A node that is or was connected; `link` is None while it is not."""

    public: PublicKey
    link: Link | None = None
    back: asyncio.Event = field(default_factory=asyncio.Event)
    serving: asyncio.Task[None] | None = None
    dropped: asyncio.Task[None] | None = None

    def drop(self) -> None:
        """End the connection there is."""
        if self.serving is not None:
            self.dropped = self.serving
            self.serving.cancel()


class Hub:
    """Connects lanes to nodes. `enrolled` says whether a key counts for nodes now."""

    def __init__(
        self,
        *,
        socket: Path,
        late: Path,
        signing: Callable[[], Signer],
        enrolled: Callable[[str], bool],
        nonce: Callable[[], str],
    ) -> None:
        self._socket = socket
        self._late = late
        self._signing = signing
        self._enrolled = enrolled
        self._nonce = nonce
        self._nodes: dict[str, _Linked] = {}
        self._lanes: dict[int, tuple[str, StreamChannel]] = {}
        # Numbers of an earlier hub, which nodes may still hold, are not given again.
        self._newest = int(nonce()[:12], 16)
        self._listening: Listening | None = None
        self._looking: asyncio.Task[None] | None = None

    async def serve_node(self, link: Link) -> None:
        """Serve one node until its link closes, or its key counts no more."""
        try:
            async with asyncio.timeout(GREETING_SECONDS_MAX):
                public, holds = await self._greet(link)
            await self._listen()
        except AddressRefused as refused:
            await self._refuse(link, refused.message)
            return
        except (BridgeLost, ProofError) as error:
            await self._refuse(link, error.message)
            return
        except TimeoutError:
            return
        name = public.fingerprint
        node = self._nodes.setdefault(name, _Linked(public))
        self._let_go(name, set(self._lanes) - set(holds.channels))
        node.drop()  # The newest connection counts: the old one may be dead and not know it.
        node.link, node.serving = None, asyncio.current_task()
        try:
            await tell(link, Heard(nonce=""))
            node.link = link
            node.back.set()
            while True:
                number, data = off_channel(await link.receive_bytes())
                await self._from_node(name, node, number, data)
        except BridgeLost:
            pass
        except asyncio.CancelledError:
            if node.dropped is not asyncio.current_task():
                raise
        finally:
            if node.serving is asyncio.current_task():
                node.link = node.serving = None
                node.back.clear()

    async def close(self) -> None:
        """Let go of all nodes and lanes."""
        if self._looking is not None:
            self._looking.cancel()
        if self._listening is not None:
            await self._listening.close()

    async def _greet(self, link: Link) -> tuple[PublicKey, Holds]:
        hello = await hear(link)
        if not isinstance(hello, Hello) or hello.version != VERSION:
            raise BridgeLost(f"only version {VERSION} of the bridge is spoken here")
        public, mine, signer = PublicKey.from_line(hello.public), self._nonce(), self._signing()
        said = encode(
            NodeHello(
                node=public.fingerprint,
                node_nonce=hello.nonce,
                server=signer.public.fingerprint,
                server_nonce=mine,
            )
        )
        signature = sshsig.sign(signer, SERVER_NAMESPACE, said)
        await tell(link, Proved(public=signer.public.line, nonce=mine, signature=signature))
        proved = await hear(link)
        if (
            not isinstance(proved, Proved)
            or sshsig.verify(proved.signature, said, NODE_NAMESPACE).public != public
        ):
            raise BridgeLost("the node did not prove that it holds its key")
        if not self._enrolled(public.fingerprint):
            raise BridgeLost(f"key `{public.fingerprint}` is not enrolled for a node")
        if len(self._nodes) >= NODES_MAX and public.fingerprint not in self._nodes:
            raise BridgeLost(f"{NODES_MAX} nodes are connected, and no more are taken")
        holds = await hear(link)
        if not isinstance(holds, Holds):
            raise BridgeLost("the node did not say what it holds")
        return public, holds

    async def _listen(self) -> None:
        """Let lanes in, from the first node on."""
        if self._listening is None:
            self._listening = Listening(self._serve_lane)
            try:
                await self._listening.on_socket(self._socket)
            except AddressRefused:
                self._listening = None
                raise
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        """End the connections of nodes whose keys count no more, and the calls they make."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for name in [name for name in self._nodes if not self._enrolled(name)]:
                self._nodes.pop(name).drop()
                self._let_go(name, set(self._lanes))

    def _let_go(self, name: str, numbers: set[int]) -> None:
        """Close the channels of `numbers` that lead to node `name`: their lanes wait for nothing more."""
        for number in numbers:
            of, channel = self._lanes.get(number, (None, None))
            if of == name and channel is not None:
                self._lanes.pop(number)
                channel.writer.close()

    async def _from_node(self, name: str, node: _Linked, number: int, data: bytes) -> None:
        if number == CONTROL:
            frame = read_frame(data)
            if isinstance(frame, Late):
                await self._keep(node, frame)
            elif isinstance(frame, Gone):
                self._let_go(name, {frame.channel})
            return
        found = self._lanes.get(number)
        if found is None or found[0] != name:
            if node.link is not None:
                await tell(node.link, Gone(channel=number))
            return
        writer = found[1].writer
        writer.write(HEAD.pack(len(data)) + data)
        if writer.transport.get_write_buffer_size() > BUFFERED_BYTES_MAX:
            # One lane that does not read must not hold up the others of this node.
            writer.transport.abort()

    async def _serve_lane(self, channel: StreamChannel) -> None:
        """Hand frames of one lane to the node it names."""
        self._newest += 1
        number = self._newest
        name = ""
        try:
            first = await channel.receive_bytes()
            asked = read_frame(first)
            name = asked.target if isinstance(asked, Attach) else ""
            node = self._nodes.get(name)
            if node is None or not await _is_there(node) or not self._enrolled(name):
                words = "it is not connected"
                await channel.send(Refused(failure=Failure.TRANSIENT_CONNECTOR_ERROR, message=words))
                return
            self._lanes[number] = (name, channel)
            data = first
            while True:
                await self._to_node(node, number, data)
                data = await channel.receive_bytes()
        except BridgeLost:
            pass
        finally:
            self._lanes.pop(number, None)
            await channel.close()
            node = self._nodes.get(name)
            if node is not None and node.link is not None:
                with suppress(BridgeLost):
                    await tell(node.link, Gone(channel=number))

    async def _to_node(self, node: _Linked, number: int, data: bytes) -> None:
        """Send a frame once the node is there; one that was cut off with a link is not sent again."""
        await node.back.wait()
        if node.link is not None:
            with suppress(BridgeLost):
                await node.link.send_bytes(on_channel(number, data))

    async def _keep(self, node: _Linked, frame: Late) -> None:
        """Keep a statement nobody waited for, for who settles what is unknown; then say it is kept."""
        try:
            said = open_outcome(frame.envelope, node.public)
            await asyncio.to_thread(self._append, canonical_bytes(frame.envelope) + b"\n")
        except (ProofError, OSError):
            return  # It is not one, or cannot be kept; the node says it again when it connects again.
        if node.link is not None:
            await tell(node.link, Heard(nonce=said.nonce))

    def _append(self, line: bytes) -> None:
        opened = os.open(self._late, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(opened).st_size + len(line) > LATE_BYTES_MAX:
                raise OSError("there is no room for more")
            os.write(opened, line)
            os.fsync(opened)
        finally:
            os.close(opened)

    async def _refuse(self, link: Link, message: str) -> None:
        with suppress(BridgeLost):
            await tell(link, _refusal(message))


async def _is_there(node: _Linked) -> bool:
    """Return whether `node` is connected, giving it a moment to come back."""
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await node.back.wait()
    return node.link is not None


def _refusal(message: str) -> Frame:
    return Refused(failure=Failure.AUTH_FAILED, message=message)
