"""The SSH lane: a command, or a file to transfer, on a host that proves itself by a key known beforehand.

The library that speaks SSH is an extra and is loaded with the first call.
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from rexecop.lanes.errors import RequestRefused
from rexecop.lanes.exchange import read_message, refused
from rexecop.lanes.failures import Failure
from rexecop.lanes.messages.ssh import PROTOCOL, SshMessage, problem
from rexecop.lanes.port import Capabilities, Clearance, LaneEvent, LaneResult
from rexecop.lanes.seat import UNATTENDED, Seat
from rexecop.lanes.secrets import Lease, Secrets
from rexecop.proof.call import Call, ExchangeRequest, Limits, is_attended
from rexecop.proof.canonical import Json
from rexecop.proof.message import secrets_in
from rexecop.proof.vocabulary import Grade, Isolation

if TYPE_CHECKING:
    from rexecop.lanes.ssh_connections import Connections

IDENTITY_BYTES_MAX: Final = 64 * 1024

_CAPABILITIES: Final = Capabilities(
    requests=frozenset({PROTOCOL}),
    simulated=False,
    isolation=frozenset({Isolation.NOT_APPLICABLE}),
    grades=frozenset({Grade.SHAPE}),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One call to make: what it says, what it may use, what must not show in its output, who sits at it."""

    call: Call
    message: SshMessage
    limits: Limits
    secrets: tuple[bytes, ...]
    clearance: Clearance
    seat: Seat | None


class SshLane:
    """Makes calls over SSH. One instance per runner, because it owns the connections."""

    name = "ssh"

    def __init__(self, *, secrets: Secrets, seat: Seat | None = None) -> None:
        self._secrets = secrets
        self._seat = seat
        self._connections: Connections | None = None

    @property
    def capabilities(self) -> Capabilities:
        """Reads over SSH are declared to be reads; nothing of the other side is measured."""
        return _CAPABILITIES

    def close(self) -> None:
        """Close the connections."""
        if self._connections is not None:
            self._connections.close()

    async def open(
        self, call: Call, limits: Limits, isolation: Isolation, attempt: int, clearance: Clearance
    ) -> AsyncIterator[LaneEvent]:
        """Make the exchange of `call` once; see `port.Lane.open`.

        Raises:
            ClearanceRefused: from `clearance`; the host was reached and told nothing.
        """
        request = call.request
        if not isinstance(request, ExchangeRequest) or request.protocol != PROTOCOL:
            yield refused(Failure.UNSUPPORTED, f"`{request.kind}` is no exchange of `{PROTOCOL}`")
            return
        seat = self._seat if is_attended(call) else None
        if is_attended(call) and seat is None:
            yield refused(Failure.LANE_UNAVAILABLE, UNATTENDED)
            return
        try:
            from rexecop.lanes.ssh_command import run_command
            from rexecop.lanes.ssh_connections import Connections
            from rexecop.lanes.ssh_transfer import transfer_file
        except ImportError:
            yield refused(Failure.LANE_UNAVAILABLE, "SSH needs asyncssh: install the extra `rexecop[ssh]`")
            return
        if self._connections is None:
            self._connections = Connections()
        lease = self._secrets.lease(secrets_in(dict(request.message)))
        try:
            try:
                message, secrets = await read(request, lease)
            except RequestRefused as error:
                yield refused(error.failure, error.message)
                return
            work = Work(
                call=call, message=message, limits=limits, secrets=secrets, clearance=clearance, seat=seat
            )
            make = transfer_file if message.transfer is not None else run_command
            async with aclosing(make(work, self._connections)) as events:
                async for event in events:
                    yield await lease.settle(event) if isinstance(event, LaneResult) else event
        finally:
            await lease.end()


async def read(request: ExchangeRequest, lease: Lease) -> tuple[SshMessage, tuple[bytes, ...]]:
    """Begin `lease`; return the message of `request` with the text of every identity, and what must not show.

    Raises:
        RequestRefused: it cannot be sent as written, or a secret cannot be had.
    """
    written = request.message.get("command"), request.message.get("transfer")
    if any(names for part in written for names in secrets_in(_without_stdin(part))):
        # Whoever looks at the processes of the other side would see it.
        raise RequestRefused(Failure.REQUEST_INVALID, "a secret stands elsewhere than in `stdin`")
    message, values = await read_message(request, SshMessage, lease)
    reason = problem(message, request.peers)
    if reason is not None:
        raise RequestRefused(Failure.REQUEST_INVALID, reason)
    route = tuple(replace(host, identity=identity_of(host.identity)) for host in message.route)
    return replace(message, route=route), tuple({*values, *(host.identity.encode() for host in route)})


def identity_of(written: str) -> str:
    """Return the text of the private key that an identity is, or that is in the file it names.

    Raises:
        RequestRefused: the file is not one of this user that nobody else can read.
    """
    if not written or "-----BEGIN" in written:
        return written
    # The path came as a secret, so it is not shown.
    try:
        opened = os.open(written, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        what = f"the identity is neither a private key nor a file that can be read: {type(error).__name__}"
        raise RequestRefused(Failure.SECRET_UNREADABLE, what) from None
    with open(opened, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
            what = "the file of the identity must be a regular one of this user that nobody else can read"
            raise RequestRefused(Failure.SECRET_PERMISSIONS, what)
        return file.read(IDENTITY_BYTES_MAX).decode("utf-8", "replace")


def _without_stdin(part: Json) -> Json:
    return {key: value for key, value in part.items() if key != "stdin"} if isinstance(part, dict) else part
