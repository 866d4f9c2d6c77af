"""The port through which anything here gets signed; the private key stays behind it."""

from __future__ import annotations

from typing import Protocol

from rexecop.proof.publickey import PublicKey


class Signer(Protocol):
    """One private key that can be asked to sign.

    `sign` returns the bare signature of the algorithm (64 bytes for Ed25519) over
    exactly `data`, made by the private key of `public`, or raises a RexecopError.
    """

    @property
    def public(self) -> PublicKey:
        """The public key that verifies what `sign` returns."""
        ...

    def sign(self, data: bytes) -> bytes:
        """Return the signature over `data`."""
        ...
