"""What an instance and its nodes sign for each other: who they are, a permit to act, how it ended.

Identities are proved by SSHSIG, each side in a namespace of its own, over nonces of both.
Permits and outcomes travel in DSSE, each with a payload type of its own. A node's statement
about an outcome stands among the facts of the outcome record, so a verifier finds it there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from rexecop.proof import dsse
from rexecop.proof.canonical import Digest, Json, canonical_bytes, parse_json
from rexecop.proof.codec import decode, encode
from rexecop.proof.permit import Permit
from rexecop.proof.publickey import PublicKey
from rexecop.proof.records.outcome import Measured
from rexecop.proof.signer import Signer
from rexecop.proof.vocabulary import Ended

PLACEMENT: Final = "node"  # Of attempts whose calls a node made.
SIGNED: Final = "signed"  # The measured fact that holds the statement of the node.
NODE_NAMESPACE: Final = "node@rexecop"
SERVER_NAMESPACE: Final = "node-server@rexecop"
PERMIT_TYPE: Final = "application/vnd.rexecop.node-permit+json"
OUTCOME_TYPE: Final = "application/vnd.rexecop.node-outcome+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeHello:
    """What both sides sign when a node connects: who they are, and a nonce of each."""

    kind: ClassVar[str] = "node-hello/1"

    node: str
    node_nonce: str
    server: str
    server_nonce: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeProof:
    """What a node signs for who wants to know whether it is there: a fresh `challenge`."""

    kind: ClassVar[str] = "node-proof/1"

    node: str
    challenge: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePermit:
    """Leave for the node with the key `node` to make the call of `permit`, once: `nonce` is claimed there."""

    kind: ClassVar[str] = "node-permit/1"

    node: str
    nonce: str
    permit: Permit


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOutcome:
    """How the call of `permit` ended, as the node saw it; `outputs` are commitments to what it kept."""

    kind: ClassVar[str] = "node-outcome/1"

    node: str
    nonce: str
    permit: Permit
    ended: Ended
    measured: Measured
    error_class: str | None = None
    status: int | None = None
    signal: int | None = None
    outputs: Mapping[str, Digest] | None = None


def seal(signer: Signer, payload_type: str, value: NodePermit | NodeOutcome) -> Json:
    """Return the envelope, as JSON, in which `signer` says `value`."""
    envelope = dsse.encode(dsse.sign(signer, payload_type, encode(value)))
    return parse_json(envelope, bytes_max=dsse.ENVELOPE_BYTES_MAX)


def open_permit(envelope: Json, public: PublicKey) -> NodePermit:
    """Return the permit in `envelope`, which `public` signed.

    Raises:
        SignatureError, NotCanonical, RecordMalformed, KindUnknown: it is no such envelope.
    """
    return decode(NodePermit, _payload(envelope, public, PERMIT_TYPE))


def open_outcome(envelope: Json, public: PublicKey) -> NodeOutcome:
    """Return the statement in `envelope`, which `public` signed.

    Raises:
        SignatureError, NotCanonical, RecordMalformed, KindUnknown: it is no such envelope.
    """
    return decode(NodeOutcome, _payload(envelope, public, OUTCOME_TYPE))


def _payload(envelope: Json, public: PublicKey, payload_type: str) -> bytes:
    return dsse.verify(dsse.decode(canonical_bytes(envelope)), public, payload_type=payload_type)
