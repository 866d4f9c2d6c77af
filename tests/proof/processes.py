"""Runs a tool to its end and returns what it printed."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from conformance.signers import rsa_private

TOOL_SECONDS_MAX: Final = 60


def run(*argv: str, given: bytes = b"") -> str:
    """Return the standard output of `argv`; anything but exit 0 fails the test with what it said."""
    ended = subprocess.run(argv, input=given, capture_output=True, timeout=TOOL_SECONDS_MAX, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    return ended.stdout.decode()


def exit_code(*argv: str, given: bytes = b"") -> int:
    """Return how `argv` ended."""
    return subprocess.run(
        argv, input=given, capture_output=True, timeout=TOOL_SECONDS_MAX, check=False
    ).returncode


def make_key(path: Path, kind: str, bits: str) -> None:
    """Put a private key of OpenSSH at `path` and its public half beside it.

    RSA keys have published primes: finding new ones takes a busy machine a minute.
    """
    if kind != "rsa":
        run("ssh-keygen", "-q", "-t", kind, "-b", bits, "-N", "", "-C", "", "-f", str(path))
        return
    key = rsa_private(int(bits))
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    path.chmod(0o600)
    line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    path.with_name(f"{path.name}.pub").write_bytes(line + b"\n")


@contextmanager
def ssh_agent(path: Path) -> Iterator[None]:
    """Run an ssh-agent without keys, with its socket at `path`."""
    found = re.search(r"SSH_AGENT_PID=(\d+)", run("ssh-agent", "-s", "-a", str(path)))
    assert found is not None
    try:
        yield
    finally:
        os.kill(int(found[1]), signal.SIGTERM)
