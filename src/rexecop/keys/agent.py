"""Signing through an SSH agent: the private key never comes here.

Speaks the agent protocol over a Unix socket, one connection for each request, so an
agent that restarts in between does no harm.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rexecop.keys.errors import AgentAnswerMalformed, AgentRefused, AgentUnreachable
from rexecop.proof import publickey
from rexecop.proof.errors import PublicKeyMalformed, SignatureError
from rexecop.proof.publickey import PublicKey
from rexecop.proof.sshwire import SshReader, ssh_string, ssh_uint32
from rexecop.proof.suites import RSA, SUITES

FRAME_BYTES_MAX: Final = 256 * 1024  # What OpenSSH itself accepts.
IDENTITIES_MAX: Final = 2048  # As OpenSSH's own client.
ANSWER_SECONDS_MAX: Final = 60.0  # The agent may ask a person to confirm.

_FAILURE: Final = 5
_REQUEST_IDENTITIES: Final = 11
_IDENTITIES_ANSWER: Final = 12
_SIGN_REQUEST: Final = 13
_SIGN_RESPONSE: Final = 14
_RSA_SHA512: Final = 4  # Unasked, an agent signs with SHA-1, which nobody takes.


@dataclass(frozen=True, slots=True, repr=False)
class AgentSigner:
    """Signs with one key that the agent at `socket_path` holds."""

    socket_path: Path
    public: PublicKey
    comment: str

    def sign(self, data: bytes) -> bytes:
        """Return the signature blob over `data`, checked against the public key.

        Raises:
            AgentUnreachable, AgentRefused: the agent is gone, locked, or was told no.
            AgentAnswerMalformed: the answer is no signature by this key over `data`.
        """
        flags = _RSA_SHA512 if self.public.algorithm == RSA else 0
        request = ssh_string(self.public.wire) + ssh_string(data) + ssh_uint32(flags)
        reader = _ask(self.socket_path, _SIGN_REQUEST, request, _SIGN_RESPONSE)
        try:
            signature = reader.string()
            reader.end()
            publickey.verify(self.public, data, signature)
        except (ValueError, SignatureError) as error:
            raise AgentAnswerMalformed(
                f"agent gave no good signature by `{self.public.fingerprint}`: {error}"
            ) from error
        return signature

    def __repr__(self) -> str:
        return f"AgentSigner({self.public.fingerprint})"


def agent_signers(socket_path: Path) -> tuple[AgentSigner, ...]:
    """Return a signer for each key of the agent at `socket_path` whose signatures can be checked here.

    Keys of other algorithms, certificates, and keys nobody should use are left out.

    Raises:
        AgentUnreachable, AgentRefused, AgentAnswerMalformed: see their names.
    """
    reader = _ask(socket_path, _REQUEST_IDENTITIES, b"", _IDENTITIES_ANSWER)
    found = []
    try:
        count = reader.uint32()
        if count > IDENTITIES_MAX:
            raise ValueError(f"it offers {count} keys, at most {IDENTITIES_MAX} are read")
        for _ in range(count):
            wire, comment = reader.string(), reader.string()
            try:
                public = PublicKey.from_wire(wire)
            except PublicKeyMalformed:
                continue  # Such as an RSA key of 1024 bits: no reason to refuse its neighbours.
            if SUITES.of_key(public.algorithm):
                found.append(AgentSigner(socket_path, public, comment.decode("utf-8", "replace")))
        reader.end()
    except ValueError as error:
        raise AgentAnswerMalformed(f"agent's list of keys cannot be read: {error}") from error
    return tuple(found)


def _ask(socket_path: Path, kind: int, body: bytes, answer: int) -> SshReader:
    frame = bytes([kind]) + body
    if len(frame) > FRAME_BYTES_MAX:
        raise AgentRefused(f"{len(body)} bytes are too many for an agent to sign", limit=FRAME_BYTES_MAX)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_SECONDS_MAX)
            connection.connect(str(socket_path))
            connection.sendall(ssh_string(frame))
            length = int.from_bytes(_receive(connection, 4), "big")
            if not 0 < length <= FRAME_BYTES_MAX:
                raise AgentAnswerMalformed(f"agent answers with {length} bytes", limit=FRAME_BYTES_MAX)
            found = _receive(connection, length)
    except (OSError, ValueError) as error:
        raise AgentUnreachable(
            f"no SSH agent answers at `{socket_path}`", path=str(socket_path), next_steps=("ssh-add -l",)
        ) from error
    if found[0] == _FAILURE:
        raise AgentRefused(f"SSH agent at `{socket_path}` refuses", path=str(socket_path))
    if found[0] != answer:
        raise AgentAnswerMalformed(f"agent answers with message {found[0]}, not {answer}")
    return SshReader(found[1:])


def _receive(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise AgentAnswerMalformed("agent closes before its answer is complete")
        data += more
    return bytes(data)
