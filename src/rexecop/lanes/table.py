"""The table of lanes: one line each, read by `app` only.

Each lane is loaded by the first call that needs it: most commands make none, and most plans use one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rexecop.lanes.messages.bridge import GUEST, NODE
from rexecop.lanes.messages.http import PROTOCOL as HTTP
from rexecop.lanes.messages.jsonrpc import JsonRpcMessage
from rexecop.lanes.messages.ssh import PROTOCOL as SSH
from rexecop.lanes.messages.streams import SseMessage, WebSocketMessage
from rexecop.lanes.port import Lane
from rexecop.lanes.seat import Seat
from rexecop.lanes.secrets import Secrets
from rexecop.lanes.targets import NodeAccess
from rexecop.proof.call import HandlerRequest, ProcessRequest, ScriptedRequest
from rexecop.proof.vocabulary import Grade, Isolation


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSettings:
    """What lanes are made from.

    `isolation` are the classes measured to work here with the best read grade of each
    (`probe.grades_of`). `hidden` are paths no program of a call may see: root, keys, agent.
    `nodes` is how nodes are reached.
    `seat` is where a person sits who has the keys of an attended terminal.
    """

    isolation: Mapping[Isolation, Grade]
    secrets: Secrets
    hidden: Sequence[str]
    nodes: NodeAccess
    seat: Seat | None = None


def _simulated(settings: LaneSettings) -> Lane:
    from rexecop.lanes.simulated import SimulatedLane

    return SimulatedLane()


def _process(settings: LaneSettings) -> Lane:
    from rexecop.lanes.process import ProcessLane

    return ProcessLane(
        isolation=settings.isolation,
        secrets=settings.secrets,
        hidden=settings.hidden,
        seat=settings.seat,
    )


def _jsonrpc(settings: LaneSettings) -> Lane:
    from rexecop.lanes.jsonrpc import JsonRpcLane

    return JsonRpcLane(secrets=settings.secrets, isolation=settings.isolation, hidden=settings.hidden)


def _sse(settings: LaneSettings) -> Lane:
    from rexecop.lanes.sse import SseLane

    return SseLane(secrets=settings.secrets)


def _websocket(settings: LaneSettings) -> Lane:
    from rexecop.lanes.websocket import WebSocketLane

    return WebSocketLane(secrets=settings.secrets)


def _registry(settings: LaneSettings) -> Lane:
    from rexecop.lanes.registry import RegistryLane

    return RegistryLane()


def _http(settings: LaneSettings) -> Lane:
    from rexecop.lanes.http import HttpLane

    return HttpLane(secrets=settings.secrets)


def _ssh(settings: LaneSettings) -> Lane:
    from rexecop.lanes.ssh import SshLane

    return SshLane(secrets=settings.secrets, seat=settings.seat)


def _guest(settings: LaneSettings) -> Lane:
    from rexecop.lanes.guest import GuestLane

    return GuestLane(settings.secrets)


def _node(settings: LaneSettings) -> Lane:
    from rexecop.lanes.node import NodeLane

    return NodeLane(settings.secrets, settings.nodes)


LANES: Final[Mapping[str, Callable[[LaneSettings], Lane]]] = {
    ScriptedRequest.kind: _simulated,
    ProcessRequest.kind: _process,
    HandlerRequest.kind: _registry,
    HTTP: _http,
    SSH: _ssh,
    JsonRpcMessage.protocol: _jsonrpc,
    SseMessage.protocol: _sse,
    WebSocketMessage.protocol: _websocket,
    GUEST: _guest,
    NODE: _node,
}
"""Route (`proof.call.route_of`) → constructor of the lane that takes it."""
