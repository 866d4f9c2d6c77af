"""Errors of keys and signatures.

ProofError
└── SignatureError
    ├── PublicKeyMalformed         bytes that are no usable public key
    ├── SignatureMalformed         bytes that are no signature, or break a limit
    ├── SignatureUnsupported       an algorithm nobody here can check: never a pass
    ├── SignatureWrong             the key did not sign this
    ├── SignatureNamespaceMismatch signed for another purpose
    ├── SignatureRepeated          one key counted twice
    └── SignerUnknown              no signature by the key that was asked for
"""

from __future__ import annotations

from rexecop.proof.errors import ProofError


class SignatureError(ProofError):
    """Something that should be signed is not shown to be."""

    code = "signature-error"


class PublicKeyMalformed(SignatureError):
    """A public key cannot be read, or is one that signatures prove nothing under."""

    code = "public-key-malformed"


class SignatureMalformed(SignatureError):
    """A signature or the envelope around it breaks its format or a limit."""

    code = "signature-malformed"


class SignatureUnsupported(SignatureError):
    """The algorithm cannot be checked here, so nothing is shown."""

    code = "signature-unsupported"


class SignatureWrong(SignatureError):
    """The key did not sign these bytes."""

    code = "signature-wrong"


class SignatureNamespaceMismatch(SignatureError):
    """The signature was made for another purpose."""

    code = "signature-namespace-mismatch"


class SignatureRepeated(SignatureError):
    """The same key signs the same thing more than once."""

    code = "signature-repeated"


class SignerUnknown(SignatureError):
    """None of the signatures is by the key that was asked for."""

    code = "signer-unknown"
