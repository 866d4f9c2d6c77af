"""The port through which anything here gets signed; the private key stays behind it."""

from __future__ import annotations

from typing import Protocol

from rexecop.proof.publickey import PublicKey
from rexecop.proof.suites import ED25519, bare_signature


class Signer(Protocol):
    """One private key that can be asked to sign.

    `sign` returns an SSH signature blob (the name of the suite, then the signature) over
    exactly `data`, made by the private key of `public`, or raises a RexecopError.
    """

    @property
    def public(self) -> PublicKey:
        """The public key that verifies what `sign` returns."""
        ...

    def sign(self, data: bytes) -> bytes:
        """Return the signature blob over `data`."""
        ...


def sign_bare(signer: Signer, data: bytes) -> bytes:
    """Return the 64 bytes of the Ed25519 signature by `signer` over `data`.

    Raises:
        SignatureUnsupported: the signer's key is of another algorithm; nothing was signed.
    """
    _ = signer.public.raw  # Refuses before anybody is asked to sign.
    return bare_signature(ED25519, signer.sign(data))
