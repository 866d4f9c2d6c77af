"""Approval artifacts of the `/execute` contract: who approved which request, read strictly and judged.

An artifact is bound to a request by a hash over action and payload, to a tenant, and to a time. It
comes signed with a shared secret (HMAC-SHA256), which whoever checks could have used as well,
or with a key of its issuer (Ed25519). The older way to sign put the fields one after another with nothing
in between; it is taken only where that is asked for, and only with ids that cannot be cut elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from rexecop.governance.errors import ArtifactRefused
from rexecop.proof.canonical import canonical_bytes, commit, same, sha256
from rexecop.proof.errors import ProofError
from rexecop.proof.payload import Value, payload_text
from rexecop.proof.publickey import PublicKey, verify_bare
from rexecop.proof.signer import Signer, sign_bare

ISSUER: Final = "clawshield"
AGE_MAX: Final = timedelta(seconds=300)  # Of one that says only when it was issued.
LIFETIME_MAX: Final = timedelta(hours=24)  # Of one that says when it ends: an approval is no standing right.
AHEAD_MAX: Final = timedelta(seconds=5)  # So far the issuer's clock may be ahead of ours.
FIELD_MAX: Final = 256
SIGNATURE_MAX: Final = 1024
FRAME: Final = "rexecop-artifact/1"

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|\+00:00)?")
_TEXT: Final = ("approval_id", "action_hash", "signature", "issued_at", "tenant_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """An approval as its issuer wrote it; `expires_at` is None where its age alone counts."""

    approval_id: str
    action_hash: str
    signature: str
    issued_at: str
    tenant_id: str
    issued_by: str
    expires_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuing:
    """Whose artifacts count: those by the shared `secret`, or by the issuer's `public` key, for `tenant`.

    With `concatenated` the signature is over the fields with nothing in between.
    """

    tenant: str
    secret: bytes | None = None
    public: PublicKey | None = None
    concatenated: bool = False


def action_hash(action: str, payload: Value) -> str:
    """Return the hash that binds an artifact to a request: SHA-256, 64 hex digits.

    Raises:
        NotCanonical: the payload holds NaN or infinity, or is nested too deep.
    """
    return sha256(payload_text({"action": action, "payload": payload}).encode("ascii")).hex()


def read_artifact(fields: Mapping[str, Value]) -> Artifact:
    """Return the artifact that `fields` are; those it does not know are ignored, as the contract says.

    Raises:
        ArtifactRefused: a field is missing, no text, or too long.
    """
    found: dict[str, str | None] = {}
    for name in (*_TEXT, "issued_by", "expires_at"):
        value = fields.get(name)
        if value is None and name not in _TEXT:
            found[name] = ISSUER if name == "issued_by" else None
        elif not isinstance(value, str) or not value.isascii() or not value.isprintable():
            raise ArtifactRefused(f"Invalid approval artifact: `{name}` is no ASCII text", field=name)
        elif len(value) > (SIGNATURE_MAX if name == "signature" else FIELD_MAX):
            raise ArtifactRefused(f"Invalid approval artifact: `{name}` is too long", field=name)
        else:
            found[name] = value
    return Artifact(**found)  # type: ignore[arg-type]


def require(artifact: Artifact, issuing: Issuing, wanted: str, now: datetime) -> None:
    """Return only if `artifact` approves the request whose hash is `wanted`, here and `now`.

    Raises:
        ArtifactRefused: it does not; the message says why and repeats nothing that is configured here.
    """
    require_authentic(artifact, issuing, wanted)
    issued = _moment(artifact.issued_at, "issued_at")
    if issued > now + AHEAD_MAX:
        raise ArtifactRefused("Approval artifact is issued in the future", field="issued_at")
    if issuing.secret is not None and artifact.expires_at is None:
        if now - issued > AGE_MAX:
            raise ArtifactRefused("Approval artifact has expired", field="issued_at")
        return
    if artifact.expires_at is None:
        raise ArtifactRefused("Approval artifact has no expires_at", field="expires_at")
    expires = _moment(artifact.expires_at, "expires_at")
    if expires <= now:
        raise ArtifactRefused("Approval artifact has expired", field="expires_at")
    if expires - issued > LIFETIME_MAX:
        raise ArtifactRefused("Approval artifact is good for more than 24 hours", field="expires_at")


def require_authentic(artifact: Artifact, issuing: Issuing, wanted: str) -> None:
    """Return only if `artifact` is by its issuer, for the request whose hash is `wanted` and for this tenant.

    Raises:
        ArtifactRefused: it is not.
    """
    if not _HASH.fullmatch(artifact.action_hash) or not same(artifact.action_hash, wanted):
        raise ArtifactRefused("Action hash mismatch: approved was another request", field="action_hash")
    if not _signed(artifact, issuing):
        raise ArtifactRefused("Invalid approval signature", field="signature")
    if not same(artifact.tenant_id, issuing.tenant):
        raise ArtifactRefused("Tenant mismatch: approved was another tenant's request", field="tenant_id")
    if issuing.secret is not None and artifact.issued_by != ISSUER:
        raise ArtifactRefused("Approval artifact is from another issuer", field="issued_by")


def signing_input(artifact: Artifact, *, shared: bool, concatenated: bool) -> bytes:
    """Return the bytes that are signed: `shared` with the secret, else with the issuer's key.

    Raises:
        ArtifactRefused: put together without marks they could be cut elsewhere.
    """
    one = artifact
    if shared:
        if any(":" in part for part in (one.approval_id, one.tenant_id)):
            raise ArtifactRefused("Invalid approval artifact: an id holds a colon", field="approval_id")
        return ":".join((one.approval_id, one.action_hash, one.tenant_id, one.issued_at)).encode("ascii")
    expires = one.expires_at or ""
    if concatenated:
        if not _UUID.fullmatch(one.approval_id) or not all(map(_TIME.fullmatch, (one.issued_at, expires))):
            raise ArtifactRefused("Invalid approval artifact: `approval_id` is no UUID", field="approval_id")
        fields = (one.approval_id, one.tenant_id, one.action_hash, one.issued_at, expires)
        return "".join(fields).encode("ascii")
    framed = [FRAME, one.approval_id, one.tenant_id, one.action_hash, one.issued_at, expires]
    return canonical_bytes(framed)


def mint(artifact: Artifact, key: bytes | Signer, *, concatenated: bool = False) -> Artifact:
    """Return `artifact`, signed with `key`: a shared secret or the issuer's key.

    Raises:
        ArtifactRefused: as `signing_input`.
    """
    shared = isinstance(key, bytes)
    message = signing_input(artifact, shared=shared, concatenated=concatenated)
    if isinstance(key, bytes):
        return replace(artifact, signature=_tag(key, message))
    return replace(artifact, signature=base64.b64encode(sign_bare(key, message)).decode("ascii"))


def _tag(secret: bytes, message: bytes) -> str:
    return commit(secret, message).removeprefix("sha256:")


def _signed(artifact: Artifact, issuing: Issuing) -> bool:
    message = signing_input(artifact, shared=issuing.secret is not None, concatenated=issuing.concatenated)
    if issuing.secret is not None:
        return same(artifact.signature, _tag(issuing.secret, message))
    if issuing.public is None:
        return False
    try:
        signature = base64.b64decode(artifact.signature, validate=True)
        verify_bare(issuing.public, message, signature)
    except (binascii.Error, ProofError):
        return False
    # One signature has one text: another one would be another artifact.
    return base64.b64encode(signature).decode("ascii") == artifact.signature


def _moment(text: str, name: str) -> datetime:
    """Return the moment an ISO 8601 text in UTC says, with or without saying that it is UTC."""
    if not _TIME.fullmatch(text):
        raise ArtifactRefused(f"Invalid approval artifact: `{name}` is no time in UTC", field=name)
    try:
        return datetime.fromisoformat(text.removesuffix("Z").removesuffix("+00:00")).replace(tzinfo=UTC)
    except ValueError as error:
        raise ArtifactRefused(f"Invalid approval artifact: `{name}` is no time", field=name) from error
