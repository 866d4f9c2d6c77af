"""Nodes: the hub they connect to, and the agent that runs on one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rexecop.app.clock import SystemClock, SystemIds
from rexecop.app.errors import ExtraMissing
from rexecop.app.guests import local_programs, stopped
from rexecop.app.instance import Instance
from rexecop.app.root import Root
from rexecop.keys import load_signer, read_public_key
from rexecop.lanes.bridge.claims import Claims
from rexecop.lanes.bridge.dialing import MESSAGE_BYTES_MAX, address_of, dial
from rexecop.lanes.bridge.hub import Hub
from rexecop.lanes.bridge.node import Myself, Node
from rexecop.lanes.errors import BridgeLost
from rexecop.proof.trust import in_force
from rexecop.proof.vocabulary import Role

__all__ = ["MESSAGE_BYTES_MAX", "BridgeLost", "NodeAsked", "hub_of", "run_node"]


def hub_of(instance: Instance) -> Hub:
    """Return the hub for the nodes of `instance`."""
    parts = instance.parts
    root, now = Root(parts.settings.root), parts.world.clock.now

    def enrolled(fingerprint: str) -> bool:
        return in_force(parts.authority.enrolments(), Role.NODE, fingerprint, now())

    return Hub(
        socket=root.nodes,
        late=root.late,
        signing=parts.key.signer,
        enrolled=enrolled,
        nonce=parts.world.ids.nonce,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeAsked:
    """What a node is run with: the service's `url`, its private `key`, the `instance`'s public key
    (a file or line), and the folder of what it remembers."""

    url: str
    key: Path
    instance: str
    state: Path


def run_node(asked: NodeAsked, report: Callable[[str], None]) -> None:
    """Run programs here for the instance, by its permits, until SIGINT or SIGTERM.

    Raises:
        KeyRefused: one of the keys cannot be used. ExtraMissing: `websockets` is not installed.
        AddressRefused: the address is none, or the claims are held by another node.
    """
    if find_spec("websockets") is None:
        raise ExtraMissing(
            "`node` needs the extra `node` (`websockets` is not installed)",
            next_steps=("pip install -e '.[node]'  # in a clone",),
            extra="node",
        )
    address_of(asked.url)
    signer = load_signer(asked.key)
    is_line = asked.instance.startswith("ssh-")
    instance = read_public_key(asked.instance if is_line else Path(asked.instance))
    clock, ids = SystemClock(), SystemIds()
    claims = Claims(asked.state, clock.now())
    lane = local_programs(asked.key, asked.state)
    try:
        myself = Myself(
            signer=signer,
            instance=instance,
            claims=claims,
            lane=lane,
            now=clock.now,
            nonce=ids.nonce,
            key=ids.key,
        )
        asyncio.run(_serve(Node(myself), asked.url, report))
    finally:
        lane.close()
        claims.close()


async def _serve(node: Node, url: str, report: Callable[[str], None]) -> None:
    dialing = asyncio.create_task(dial(node, url, report))
    stopping = asyncio.create_task(stopped())
    await asyncio.wait({dialing, stopping}, return_when=asyncio.FIRST_COMPLETED)
    for task in (dialing, stopping):
        task.cancel()
    await asyncio.gather(dialing, stopping, return_exceptions=True)
    await node.close()
    if not dialing.cancelled():
        dialing.result()
