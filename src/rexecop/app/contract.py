"""In which mode `/execute` is served, and what a request has to bring beside what policy asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from rexecop.app.clock import SystemClock, hyphened, uuid7_hex
from rexecop.app.errors import ModeUnsupported
from rexecop.governance.artifacts import (
    ISSUER,
    Artifact,
    Issuing,
    action_hash,
    mint,
    read_artifact,
    require,
    require_authentic,
)
from rexecop.governance.errors import ArtifactRefused
from rexecop.keys import load_signer
from rexecop.operations.ports import Claim, PinnedInput
from rexecop.proof.canonical import canonical_bytes, digest_of
from rexecop.proof.errors import ProofError
from rexecop.proof.origins import ARTIFACT_ROLE
from rexecop.proof.payload import Value, parse_payload
from rexecop.proof.publickey import PublicKey
from rexecop.proof.times import format_time

DEMO: Final = "demo"
CLAWSHIELD: Final = "clawshield"
ARTIFACTS: Final = "execute-artifact"
PAYLOAD_BYTES_MAX: Final = 64 * 1024
SECRET_BYTES_MIN: Final = 16
FRAMINGS: Final = ("strict", "concatenated")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What became of a request before policy is asked: `refusal` says why it is blocked.

    Only one that is `authentic` may be answered with what was recorded for its nonce. `artifact` is what
    it brought, `claim` what uses that up.
    """

    refusal: str | None = None
    authentic: bool = True
    artifact: PinnedInput | None = None
    claim: Claim | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """A mode, the actions allowed in it (None: all that policy allows), and whose artifacts count."""

    mode: str = DEMO
    allowed: frozenset[str] | None = None
    tenant: str = ""
    issuing: Issuing | None = None
    problems: tuple[str, ...] = field(default=())

    def judge(
        self, action: str, payload: Value, brought: Mapping[str, Value] | None, now: datetime
    ) -> Judged:
        """Return what becomes of a request at `now` that came with the artifact `brought`."""
        if self.allowed is not None and action not in self.allowed:
            return Judged(refusal=f"Action not allowed: {action}", authentic=False)
        if self.mode == DEMO:
            return Judged()
        if self.issuing is None:
            return Judged(refusal=f"Approval cannot be checked: {self.problems[0]}", authentic=False)
        if brought is None:
            return Judged(refusal="Approval artifact required", authentic=False)
        try:
            artifact = read_artifact(brought)
            wanted = action_hash(action, payload)
            require_authentic(artifact, self.issuing, wanted)
        except ArtifactRefused as error:
            return Judged(refusal=error.message, authentic=False)
        fields = {
            "approval_id": artifact.approval_id,
            "action_hash": artifact.action_hash,
            "signature": artifact.signature,
            "issued_by": artifact.issued_by,
            "issued_at": artifact.issued_at,
            "tenant_id": artifact.tenant_id,
            **({"expires_at": artifact.expires_at} if artifact.expires_at is not None else {}),
        }
        data = canonical_bytes(fields)
        pinned = PinnedInput(digest=digest_of(data), role=ARTIFACT_ROLE, data=data)
        key = digest_of(canonical_bytes([self.tenant, artifact.approval_id]))
        claim, refusal = Claim(space=ARTIFACTS, key=key), None
        try:
            require(artifact, self.issuing, wanted, now)
        except ArtifactRefused as error:
            refusal = error.message
        return Judged(refusal=refusal, artifact=pinned, claim=claim)


def contract_of(environ: Mapping[str, str]) -> Contract:
    """Return the mode that the environment asks for, by the names its clients know.

    A key or tenant that is missing is a problem of the mode and refuses every request: the service says
    so, and is not ready.

    Raises:
        ModeUnsupported: it asks for something that is not served here, or contradicts itself.
    """
    mode = environ.get("OPENEXEC_MODE") or DEMO
    if mode not in (DEMO, CLAWSHIELD):
        raise ModeUnsupported(
            f"`OPENEXEC_MODE` is `{mode:.40}`; allowed: `{DEMO}`, `{CLAWSHIELD}`", found=mode[:40]
        )
    if environ.get("OPENEXEC_DB_URL"):
        name = "OPENEXEC_DB_URL"
        raise ModeUnsupported(f"`{name}` is set; the ledger is the root's: `--root`, `--storage`", found=name)
    listed = environ.get("OPENEXEC_ALLOWED_ACTIONS")
    allowed = frozenset(filter(None, map(str.strip, listed.split(",")))) if listed else None
    if mode == DEMO:
        return Contract(allowed=allowed)
    tenant, problems = environ.get("CLAWSHIELD_TENANT_ID", ""), []
    secret, public = _keys(environ)
    if not tenant:
        problems.append("no tenant is configured (`CLAWSHIELD_TENANT_ID`)")
    if secret is None and public is None:
        problems.append("no key is configured (`CLAWSHIELD_PUBLIC_KEY` or `CLAWSHIELD_SECRET_KEY`)")
    issuing = None
    if not problems:
        concatenated = _framing(environ) == "concatenated"
        issuing = Issuing(tenant=tenant, secret=secret, public=public, concatenated=concatenated)
    return Contract(mode=mode, allowed=allowed, tenant=tenant, issuing=issuing, problems=tuple(problems))


def _framing(environ: Mapping[str, str]) -> str:
    framing = environ.get("REXECOP_ARTIFACT_FRAMING") or FRAMINGS[0]
    if framing not in FRAMINGS:
        raise ModeUnsupported(
            f"`REXECOP_ARTIFACT_FRAMING` is `{framing:.40}`; allowed: `strict`, `concatenated`",
            found=framing[:40],
        )
    return framing


def _keys(environ: Mapping[str, str]) -> tuple[bytes | None, PublicKey | None]:
    """Return the shared secret and the issuer's key; what cannot be used is told without repeating it."""
    secret, pem = environ.get("CLAWSHIELD_SECRET_KEY"), environ.get("CLAWSHIELD_PUBLIC_KEY")
    if secret and pem:
        words = "`CLAWSHIELD_SECRET_KEY` and `CLAWSHIELD_PUBLIC_KEY` are both set: one of them counts"
        raise ModeUnsupported(words, found="CLAWSHIELD_SECRET_KEY")
    if secret and len(secret.encode("utf-8")) < SECRET_BYTES_MIN:
        words = f"`CLAWSHIELD_SECRET_KEY` is shorter than {SECRET_BYTES_MIN} bytes"
        raise ModeUnsupported(words, found="CLAWSHIELD_SECRET_KEY")
    if not pem:
        return secret.encode("utf-8") if secret else None, None
    try:
        return None, PublicKey.from_pem(pem.replace("\\n", "\n"))
    except ProofError as error:
        words = f"`CLAWSHIELD_PUBLIC_KEY` is no Ed25519 key in PEM: {error.message}"
        raise ModeUnsupported(words, found="CLAWSHIELD_PUBLIC_KEY") from error


def minted(
    action: str,
    payload: str,
    tenant: str,
    name: str | None,
    key: Path | None,
    lifetime: timedelta,
    concatenated: bool,
    environ: Mapping[str, str],
) -> Artifact:
    """Return an approval of `action` on the JSON `payload`, signed with `key` or the secret of `environ`.

    Raises:
        NotCanonical: `payload` is no JSON. ArtifactRefused: it is no object, or an id cannot be signed so.
        ModeUnsupported: there is neither a key nor a secret. KeyError: the key cannot be read.
    """
    value, now = parse_payload(payload, bytes_max=PAYLOAD_BYTES_MAX), SystemClock().now()
    if not isinstance(value, dict):
        raise ArtifactRefused("a payload is a JSON object", field="payload")
    secret = None if key is not None else _keys(environ)[0]
    if key is None and secret is None:
        words = "there is nothing to sign with: `--key FILE`, or a secret in `CLAWSHIELD_SECRET_KEY`"
        raise ModeUnsupported(words, found="")
    artifact = Artifact(
        approval_id=name or hyphened(uuid7_hex()),
        action_hash=action_hash(action, value),
        signature="",
        issued_at=format_time(now),
        tenant_id=tenant,
        issued_by=ISSUER,
        expires_at=format_time(now + lifetime) if secret is None else None,
    )
    signer = load_signer(key) if key is not None else secret
    assert signer is not None
    return mint(artifact, signer, concatenated=concatenated)


def pem_of(key: Path) -> str:
    """Return the public half of the SSH key at `key` as `CLAWSHIELD_PUBLIC_KEY` takes it.

    Raises:
        KeyError: it cannot be read. SignatureUnsupported: it is no Ed25519 key.
    """
    return load_signer(key).public.pem
