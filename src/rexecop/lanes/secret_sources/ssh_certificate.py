"""An SSH key made for one call, with a certificate that a Vault or OpenBao server signs for minutes.

Nothing revokes an SSH certificate, so it is short: the key is forgotten with the call, and
the certificate is worth nothing without it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from rexecop.lanes.errors import RequestRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.secret_sources.vault import VaultSecret, mapping
from rexecop.lanes.secrets import Held
from rexecop.proof.canonical import Json

SECONDS: Final = 180  # To connect; a session that stands is not ended by its certificate.
SECONDS_MAX: Final = 600
BACKDATED_SECONDS_MAX: Final = 60  # Signers let certificates begin a little earlier, for clocks that differ.


@dataclass(frozen=True, slots=True, kw_only=True)
class SshCertificate(VaultSecret):
    """A new Ed25519 key (`key`, OpenSSH form) and its user certificate (`certificate`) from `role`."""

    mount: str
    role: str
    principals: tuple[str, ...]
    seconds: int

    @property
    def where(self) -> str:
        """The role."""
        return f"{self.server.where}, SSH certificate of `{self.mount}/{self.role}`, made for each call"

    async def get(self, token: str) -> Held:
        """Return a new key and its certificate."""
        from cryptography.hazmat.primitives import serialization as form
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        key = Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH)
        body: Json = {
            "public_key": public.decode(),
            "cert_type": "user",
            "valid_principals": ",".join(self.principals),
            "ttl": f"{self.seconds}s",
        }
        answer = await self.server.ask(token, "POST", f"{self.mount}/sign/{self.role}", body)
        signed = mapping(answer.get("data")).get("signed_key")
        certificate = signed.strip().encode() if isinstance(signed, str) else b""
        self._check(certificate, public)
        private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption())
        return Held(fields={"key": private, "certificate": certificate})

    def _check(self, certificate: bytes, public: bytes) -> None:
        """Return only if `certificate` is one of `public`, for a user, and as short as asked for."""
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization as form

        lasts = -1
        with suppress(ValueError, UnsupportedAlgorithm):
            found = form.load_ssh_public_identity(certificate)
            if isinstance(found, form.SSHCertificate) and found.type is form.SSHCertificateType.USER:
                ours = (
                    found.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH)
                    == public
                )
                lasts = found.valid_before - found.valid_after if ours else -1
        if lasts < 0:
            words = f"{self.where}: what it gave is no user certificate of the key"
            raise RequestRefused(Failure.SECRET_REFUSED, words)
        if lasts > self.seconds + BACKDATED_SECONDS_MAX:
            words = f"{self.where}: the certificate lasts {lasts} s, asked for were {self.seconds} s"
            raise RequestRefused(Failure.SECRET_UNUSABLE, words)
