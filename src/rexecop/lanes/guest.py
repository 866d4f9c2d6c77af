"""The guest lane: a program in a guest, asked for over a Unix socket or TLS.

What was observed of the other side stands in the outcome: the user behind the socket, or the
certificate that was shown. What the guest says of the isolation there stands beside it, as
its own word.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rexecop.lanes.bridge.asking import CONNECT_SECONDS_MAX, Asking, attach, of_program
from rexecop.lanes.bridge.frames import VERSION, Attach, Run, StreamChannel
from rexecop.lanes.errors import BridgeLost, RequestRefused
from rexecop.lanes.exchange import read_message, refused
from rexecop.lanes.failures import Failure, describe
from rexecop.lanes.messages.bridge import GUEST, GuestMessage
from rexecop.lanes.port import Capabilities, Clearance, LaneEvent, LaneResult
from rexecop.lanes.secrets import Secrets
from rexecop.lanes.targets import GUEST_SOCKET, GUEST_TLS, Attestation, attested
from rexecop.proof.call import Call, ExchangeRequest, Limits
from rexecop.proof.canonical import Json, digest_of
from rexecop.proof.message import secrets_in
from rexecop.proof.vocabulary import Grade, Isolation

PEER: Final = struct.Struct("iII")  # Process, user and group of the other end (`unix(7)`, SO_PEERCRED).

_CAPABILITIES: Final = Capabilities(
    requests=frozenset({GUEST}),
    simulated=False,
    isolation=frozenset({Isolation.NOT_APPLICABLE}),
    grades=frozenset({Grade.SHAPE}),
    placement="guest",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reached:
    """A guest that was connected to, and what was observed of it."""

    channel: StreamChannel
    class_: str
    measured: dict[str, Json]


class GuestLane:
    """Runs programs in guests; one connection a call, which ends the call where it closes."""

    name = "guest"

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    @property
    def capabilities(self) -> Capabilities:
        """Guest exchanges only; nothing runs on this machine."""
        return _CAPABILITIES

    async def attest(self, call: Call, now: datetime) -> Attestation:
        """Connect, look and attach; see `targets.Attesting.attest`."""
        request = _request(call)
        lease = self._secrets.lease(secrets_in(dict(request.message)))
        try:
            message, _ = await read_message(request, GuestMessage, lease)
            reached = await _reach(request, message, call.target)
        finally:
            await lease.end()
        await reached.channel.close()
        return attested(call.target, reached.class_, reached.measured, now)

    async def open(
        self, call: Call, limits: Limits, isolation: Isolation, attempt: int, clearance: Clearance
    ) -> AsyncIterator[LaneEvent]:
        """Run the program of `call` once; see `port.Lane.open`."""
        try:
            request = _request(call)
        except RequestRefused as refusal:
            yield refused(refusal.failure, refusal.message)
            return
        lease = self._secrets.lease(secrets_in(dict(request.message)))
        reached: _Reached | None = None
        try:
            try:
                message, values = await read_message(request, GuestMessage, lease)
                reached = await _reach(request, message, call.target)
            except RequestRefused as refusal:
                yield await lease.settle(refused(refusal.failure, refusal.message))
                return
            run = Run(id=0, call=call, limits=limits, secrets=of_program(request, values))
            observed: dict[str, Json] = {"guest": {"class": reached.class_, **reached.measured}}
            clearance()
            async for event in Asking(reached.channel, run, values, observed).events():
                yield await lease.settle(event) if isinstance(event, LaneResult) else event
        finally:
            if reached is not None:
                await reached.channel.close()
            await lease.end()


def _request(call: Call) -> ExchangeRequest:
    request = call.request
    if not isinstance(request, ExchangeRequest) or request.protocol != GUEST:
        raise RequestRefused(Failure.UNSUPPORTED, f"`{request.kind}` is not for a guest")
    return request


async def _reach(request: ExchangeRequest, message: GuestMessage, target: str) -> _Reached:
    """Return the guest of `message`, attached to.

    Raises:
        RequestRefused: it is not there, is not who it has to be, or refuses.
    """
    channel: StreamChannel | None = None
    try:
        async with asyncio.timeout(CONNECT_SECONDS_MAX):
            channel, class_, measured = await _connect(request, message)
            needs = message.program.needs
            asked = Attach(versions=(VERSION,), capabilities=needs, target=target, grant=message.grant)
            await attach(channel, asked, message.program.isolation)
            return _Reached(channel=channel, class_=class_, measured=measured)
    except ssl.SSLCertVerificationError as error:
        failure, words = Failure.HOST_KEY_MISMATCH, error.verify_message
    except TimeoutError:
        failure, words = Failure.TRANSIENT_CONNECTOR_ERROR, "the guest did not answer in time"
    except (BridgeLost, RequestRefused) as error:
        failure = error.failure if isinstance(error, RequestRefused) else Failure.TRANSIENT_CONNECTOR_ERROR
        words = error.message
    except OSError as error:
        failure, words = Failure.TRANSIENT_CONNECTOR_ERROR, (error.strerror or type(error).__name__).lower()
    if channel is not None:
        await channel.close()
    raise RequestRefused(failure, f"guest of `{target:.80}`: {words}")


async def _connect(
    request: ExchangeRequest, message: GuestMessage
) -> tuple[StreamChannel, str, dict[str, Json]]:
    if message.socket is not None:
        channel = StreamChannel(*await asyncio.open_unix_connection(message.socket))
        raw: socket.socket = channel.writer.get_extra_info("socket")
        _, uid, _ = PEER.unpack(raw.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
        if message.uid is not None and uid != message.uid:
            await channel.close()
            words = f"the socket is held by user {uid}, not {message.uid}"
            raise RequestRefused(Failure.TARGET_UNATTESTED, words)
        return channel, GUEST_SOCKET, {"socket": message.socket, "uid": uid}
    if message.host is None or f"{message.host}:{message.port}" not in request.peers or not message.ca:
        raise RequestRefused(
            Failure.REQUEST_INVALID, "the message names no peer of its call, or no authority"
        )
    host = message.host.strip("[]")
    channel = StreamChannel(
        *await asyncio.open_connection(host, message.port, ssl=client_tls(message.ca), server_hostname=host)
    )
    tls: ssl.SSLObject = channel.writer.get_extra_info("ssl_object")
    shown = tls.getpeercert(binary_form=True) or b""
    measured: dict[str, Json] = {"certificate": digest_of(shown), "tls": tls.version() or ""}
    return channel, GUEST_TLS, measured


def client_tls(authorities: str) -> ssl.SSLContext:
    """Return what trusts `authorities` (PEM) alone, checks names, and speaks TLS 1.3.

    Raises:
        RequestRefused: they are no certificates.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with suppress(ssl.SSLError, ValueError):
        context.load_verify_locations(cadata=authorities)
        return context
    raise RequestRefused(
        Failure.REQUEST_INVALID, f"`ca` is no certificate: {describe(Failure.REQUEST_INVALID)}"
    )
