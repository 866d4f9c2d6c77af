"""Errors of private keys and the SSH agent.

KeysError
├── KeyFileUnsafe           others could read or replace the key
├── KeyFileMissing          no such file, or it cannot be opened or written
├── KeyFileMalformed        the file holds no key that can be read
├── KeyPassphraseProtected  the key file is encrypted
├── KeyUnsupported          a private key of another algorithm
├── KeyExists               a key would be overwritten
├── AgentUnreachable        no agent answers at the socket
├── AgentAnswerMalformed    the agent breaks its protocol or a limit
└── AgentRefused            the agent will not sign
"""

from __future__ import annotations

from rexecop.proof.errors import RexecopError


class KeysError(RexecopError):
    """A key cannot be used."""

    code = "keys-error"


class KeyFileUnsafe(KeysError):
    """Someone else could have read or replaced the key file."""

    code = "key-file-unsafe"


class KeyFileMissing(KeysError):
    """There is no such key file, or it cannot be opened."""

    code = "key-file-missing"


class KeyFileMalformed(KeysError):
    """The file holds no key that can be read."""

    code = "key-file-malformed"


class KeyPassphraseProtected(KeysError):
    """The key file is encrypted, and nobody is there to type a passphrase."""

    code = "key-passphrase-protected"


class KeyUnsupported(KeysError):
    """The private key is of an algorithm we do not sign with."""

    code = "key-unsupported"


class KeyExists(KeysError):
    """A file is already where the new key would go."""

    code = "key-exists"


class AgentUnreachable(KeysError):
    """No SSH agent answers at the socket."""

    code = "agent-unreachable"


class AgentAnswerMalformed(KeysError):
    """The SSH agent breaks its protocol or a limit."""

    code = "agent-answer-malformed"


class AgentRefused(KeysError):
    """The SSH agent will not do what was asked."""

    code = "agent-refused"
