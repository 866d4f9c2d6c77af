"""Signers: key files, the SSH agent and SSHSIG."""

from rexecop.keys.agent import AgentSigner, agent_signers
from rexecop.keys.file import (
    KeyFileSigner,
    create_key,
    load_signer,
    load_ssh_signer,
    read_allowed_signers,
    read_public_key,
    replace_key,
)

__all__ = [
    "AgentSigner",
    "KeyFileSigner",
    "agent_signers",
    "create_key",
    "load_signer",
    "load_ssh_signer",
    "read_allowed_signers",
    "read_public_key",
    "replace_key",
]
