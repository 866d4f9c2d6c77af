"""Calls over SSH for tests, and the lane that makes them."""

from __future__ import annotations

from collections.abc import Mapping

from rexecop.lanes.port import Clearance, LaneResult
from rexecop.lanes.ssh import SshLane
from rexecop.proof.call import Call, ExchangeRequest, Limits
from rexecop.proof.canonical import Json
from rexecop.proof.vocabulary import Effect, Isolation
from tests.lanes.sshd import Sshd
from tests.lanes.support import LIMITS, call_lane, result_of, secrets_of


def host(server: Sshd, **changes: Json) -> dict[str, Json]:
    """How `server` is reached and known."""
    return {
        "host": "127.0.0.1",
        "port": server.port,
        "user": server.user,
        "host_keys": [server.host_key],
        "identity": {"secret": "key"},
        **changes,
    }


def exchange(
    route: list[dict[str, Json]], part: Mapping[str, Json], effect: Effect = Effect.READ, **more: Json
) -> Call:
    """A call that does `part` at the end of `route`."""
    message: dict[str, Json] = {"route": [*route], **part, **more}
    peers = tuple(f"{hop['host']}:{hop['port']}" for hop in route)
    request = ExchangeRequest(protocol="ssh/1", message=message, peers=peers)
    return Call(target="db-1", connector="host", action="look", effect=effect, request=request)


def command(server: Sshd, *argv: str, effect: Effect = Effect.READ, **more: Json) -> Call:
    """A call that runs `argv` on `server`."""
    return exchange([host(server)], {"command": {"argv": [*argv], **more}}, effect)


def shell(server: Sshd, script: str, effect: Effect = Effect.READ, **more: Json) -> Call:
    """A call whose program is a shell with `script`; the lane itself hands no text to one."""
    return command(server, "/bin/sh", "-c", script, effect=effect, **more)


def lane_for(server: Sshd, **secrets: str) -> SshLane:
    known = {"key": server.key.read_text(), **secrets}
    return SshLane(secrets=secrets_of(**{name: value.encode() for name, value in known.items()}))


def result(
    lane: SshLane, call: Call, limits: Limits = LIMITS, clearance: Clearance = lambda: None
) -> LaneResult:
    isolation = Isolation.NOT_APPLICABLE
    return result_of(call_lane(lane, call, limits=limits, isolation=isolation, clearance=clearance))


async def result_in_loop(lane: SshLane, call: Call, limits: Limits = LIMITS) -> LaneResult:
    """The result of one of several calls that share a loop, and so a connection."""
    opened = lane.open(call, limits, Isolation.NOT_APPLICABLE, 1, lambda: None)
    return result_of([event async for event in opened])


def transfer(
    server: Sshd, operation: str, path: object, effect: Effect = Effect.CHANGE, **more: Json
) -> Call:
    """A call that puts or gets the file at `path`."""
    part: Json = {"operation": operation, "path": str(path), **more}
    return exchange([host(server)], {"transfer": part}, Effect.READ if operation == "get" else effect)


def facts(found: LaneResult) -> Mapping[str, Json]:
    assert found.measured.facts is not None
    return found.measured.facts
