"""The node lane: a program on a node that dialled in, by a permit that the node checks itself.

It finds the node through the hub of `rexecop serve` over a Unix socket in the root, has it
prove by a fresh challenge that it holds the key the call names, and takes the node's signed
statement for how the call ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from typing import Final

from rexecop.lanes.bridge.asking import CONNECT_SECONDS_MAX, Asking, attach, of_program
from rexecop.lanes.bridge.frames import VERSION, Attach, End, Run, Statement, StreamChannel
from rexecop.lanes.errors import BridgeLost, RequestRefused
from rexecop.lanes.exchange import read_message, refused, without_answer
from rexecop.lanes.failures import Failure
from rexecop.lanes.messages.bridge import NODE, NodeMessage, Program
from rexecop.lanes.port import Capabilities, Clearance, LaneEvent, LaneResult
from rexecop.lanes.secrets import Secrets
from rexecop.lanes.targets import NODE_KEY, Attestation, NodeAccess, attested
from rexecop.proof import sshsig
from rexecop.proof.call import Call, ExchangeRequest, Limits
from rexecop.proof.canonical import Json, commit, same
from rexecop.proof.codec import encode
from rexecop.proof.errors import ProofError
from rexecop.proof.message import secrets_in
from rexecop.proof.nodes import (
    NODE_NAMESPACE,
    PERMIT_TYPE,
    PLACEMENT,
    SIGNED,
    NodePermit,
    NodeProof,
    open_outcome,
    seal,
)
from rexecop.proof.permit import Permit
from rexecop.proof.publickey import PublicKey
from rexecop.proof.vocabulary import Ended, Grade, Isolation

_ANY_PROGRAM: Final = Program(argv=())  # To look at a node nothing more is asked of it.
_CAPABILITIES: Final = Capabilities(
    requests=frozenset({NODE}),
    simulated=False,
    isolation=frozenset({Isolation.NOT_APPLICABLE}),
    grades=frozenset({Grade.SHAPE}),
    placement=PLACEMENT,
)


class NodeLane:
    """Runs programs on nodes, each call under `permit`; without one it asks for nothing."""

    name = "node"

    def __init__(self, secrets: Secrets, access: NodeAccess, permit: Permit | None = None) -> None:
        self._secrets = secrets
        self.access: Final = access
        self._permit = permit

    @property
    def capabilities(self) -> Capabilities:
        """Node exchanges only; nothing runs on this machine."""
        return _CAPABILITIES

    def under(self, permit: Permit) -> NodeLane:
        """Return the lane that makes calls under `permit`; see `port.UnderPermit`."""
        return NodeLane(self._secrets, self.access, permit)

    async def attest(self, call: Call, now: datetime) -> Attestation:
        """Have the node prove its key; see `targets.Attesting.attest`."""
        channel, public = await self._reach(str(_request(call).message.get("node")), _ANY_PROGRAM)
        await channel.close()
        return attested(call.target, NODE_KEY, {"node": public.fingerprint, "key": public.line}, now)

    async def open(
        self, call: Call, limits: Limits, isolation: Isolation, attempt: int, clearance: Clearance
    ) -> AsyncIterator[LaneEvent]:
        """Run the program of `call` once; see `port.Lane.open`."""
        try:
            if self._permit is None:
                raise RequestRefused(Failure.PERMIT_MISMATCH, "a node acts on a permit, and there is none")
            request = _request(call)
        except RequestRefused as refusal:
            yield refused(refusal.failure, refusal.message)
            return
        lease = self._secrets.lease(secrets_in(dict(request.message)))
        channel: StreamChannel | None = None
        try:
            try:
                message, values = await read_message(request, NodeMessage, lease)
                channel, public = await self._reach(message.node, message.program)
            except RequestRefused as refusal:
                yield await lease.settle(refused(refusal.failure, refusal.message))
                return
            asked = NodePermit(node=message.node, nonce=self.access.nonce(), permit=self._permit)
            envelope = seal(self.access.signing(), PERMIT_TYPE, asked)
            run = Run(id=0, call=call, limits=limits, secrets=of_program(request, values), permit=envelope)
            asking = Asking(channel, run, values, {"node": public.fingerprint, "nonce": asked.nonce})
            clearance()
            async for event in asking.events():
                if isinstance(event, LaneResult):
                    event = await lease.settle(_held(event, asking, asked, public))  # noqa: PLW2901
                yield event
        finally:
            if channel is not None:
                await channel.close()
            await lease.end()

    async def _reach(self, node: str, program: Program) -> tuple[StreamChannel, PublicKey]:
        """Return a channel to `node`, attached for `program`, and the key it proved to hold.

        Raises:
            RequestRefused: it is not connected, or is another one.
        """
        channel: StreamChannel | None = None
        try:
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                channel = StreamChannel(*await asyncio.open_unix_connection(self.access.socket))
                challenge = self.access.nonce()
                needs = program.needs
                asked = Attach(versions=(VERSION,), capabilities=needs, target=node, challenge=challenge)
                answer = await attach(channel, asked, program.isolation)
            said = encode(NodeProof(node=node, challenge=challenge))
            public = sshsig.verify(answer.proof, said, NODE_NAMESPACE).public
            if public.fingerprint == node:
                return channel, public
            failure, words = Failure.TARGET_UNATTESTED, f"it showed the key `{public.fingerprint}`"
        except ProofError as error:
            failure, words = Failure.TARGET_UNATTESTED, error.message
        except RequestRefused as refusal:
            failure, words = refusal.failure, refusal.message
        except BridgeLost as lost:
            failure, words = Failure.TRANSIENT_CONNECTOR_ERROR, lost.message
        except TimeoutError:
            failure, words = Failure.TRANSIENT_CONNECTOR_ERROR, "it did not answer in time"
        except OSError:
            failure, words = (
                Failure.TRANSIENT_CONNECTOR_ERROR,
                "no node is connected: `rexecop serve` has none",
            )
        if channel is not None:
            await channel.close()
        raise RequestRefused(failure, f"node `{node:.60}`: {words}")


def _request(call: Call) -> ExchangeRequest:
    request = call.request
    if not isinstance(request, ExchangeRequest) or request.protocol != NODE:
        raise RequestRefused(Failure.UNSUPPORTED, f"`{request.kind}` is not for a node")
    return request


def _held(result: LaneResult, asking: Asking, asked: NodePermit, public: PublicKey) -> LaneResult:
    """Return `result` with the statement of the node that it is held to.

    An end that the node did not sign, or signed otherwise, is no answer. What was refused
    did not happen and is signed by nobody.
    """
    if asking.end is None or result.ended is Ended.REFUSED:
        return result
    signed = asking.signed
    problem = (
        "the node did not sign it" if signed is None else _problem(signed, asking.end, asking, asked, public)
    )
    if signed is not None and problem is None:
        facts = {**(result.measured.facts or {}), SIGNED: signed.envelope}
        keys = {name: bytes.fromhex(key) for name, key in signed.keys.items()}
        return replace(result, measured=replace(result.measured, facts=facts), keys=keys)
    ended = without_answer(asking.call, sent=True)
    return replace(
        result,
        ended=ended,
        failure=Failure.UNKNOWN_OUTCOME,
        message=f"how it ended is nobody's word: {problem}",
    )


def _problem(signed: Statement, end: End, asking: Asking, asked: NodePermit, public: PublicKey) -> str | None:
    try:
        said = open_outcome(signed.envelope, public)
        kept = {name: data for name, data in asking.outputs.items() if data}
        commitments = {name: commit(bytes.fromhex(signed.keys[name]), data) for name, data in kept.items()}
    except (ProofError, ValueError, KeyError):
        return "it is no statement of this node"
    failure = None if end.failure is None else str(end.failure)
    told = (asked.node, asked.nonce, asked.permit, end.ended, failure, end.status, end.signal, end.measured)
    stated = (
        said.node,
        said.nonce,
        said.permit,
        said.ended,
        said.error_class,
        said.status,
        said.signal,
        said.measured,
    )
    outputs: dict[str, Json] = dict(said.outputs or {})
    if told != stated:
        return "its statement says something else"
    if outputs.keys() != commitments.keys() or not all(
        same(str(outputs[name]), found) for name, found in commitments.items()
    ):
        return "it signed other outputs"
    return None
