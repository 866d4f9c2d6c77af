"""A signer whose key lives in the test: deterministic, from a number."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from rexecop.proof.publickey import PublicKey
from rexecop.proof.suites import ED25519, signature_blob


class MemorySigner:
    """Keeps the signer port's promise with a key made from `seed`."""

    def __init__(self, seed: int) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed.to_bytes(32, "big"))
        self._public = PublicKey.from_ed25519(self._private.public_key().public_bytes_raw())

    @property
    def key_id(self) -> str:
        return self._public.fingerprint

    @property
    def public(self) -> PublicKey:
        return self._public

    def sign(self, data: bytes) -> bytes:
        return signature_blob(ED25519, self.bare(data))

    def bare(self, data: bytes) -> bytes:
        return self._private.sign(data)
