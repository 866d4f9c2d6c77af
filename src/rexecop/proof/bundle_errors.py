"""Errors of reading and writing bundles, and of what a verifier is given beside them.

ProofError
├── ContainerMalformed   bytes that are not a container, or break a limit
├── BundleMalformed      a container whose members do not make up a bundle
└── TrustFileMalformed   a file of a trust folder that names no key and role
"""

from __future__ import annotations

from rexecop.proof.errors import ProofError


class ContainerMalformed(ProofError):
    """The file is not a container, or breaks a limit; nothing in it can be read."""

    code = "container-malformed"


class BundleMalformed(ProofError):
    """The members of a container do not make up a bundle."""

    code = "bundle-malformed"


class TrustFileMalformed(ProofError):
    """A file of a trust folder does not say which key is trusted for what."""

    code = "trust-file-malformed"
