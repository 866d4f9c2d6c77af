"""Which keys a `known_hosts` file knows a host by, read as OpenSSH does (sshd(8) describes the format)."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from rexecop.operations.errors import ConnectorRefused
from rexecop.proof.canonical import sha1

SSH_PORT: Final = 22
_BLOCK: Final = 64  # Of SHA-1, for HMAC (RFC 2104).


@dataclass(slots=True)
class KnownKeys:
    """What is known of one host, each key as `TYPE BASE64`."""

    host_keys: list[str] = field(default_factory=list)
    authorities: list[str] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)


def known_keys(text: str, host: str, port: int, source: str) -> KnownKeys:
    """Return what the file with `text` knows of `host` at `port`.

    As with OpenSSH, a host with nothing under its port is looked for without it; what was taken
    back counts under both.

    Raises:
        ConnectorRefused: a line about the host is broken.
    """
    host = host.lower()
    name = host if port == SSH_PORT else f"[{host}]:{port}"
    found = KnownKeys()
    for wanted in dict.fromkeys((name, host)):
        nothing = not (found.host_keys or found.authorities)
        for marker, key in _lines_for(text, wanted, source):
            if marker == "@revoked":
                found.revoked.append(key)
            elif nothing:
                (found.authorities if marker else found.host_keys).append(key)
    return KnownKeys(
        *(list(dict.fromkeys(keys)) for keys in (found.host_keys, found.authorities, found.revoked))
    )


def is_public_key(key: str) -> bool:
    """Return whether `key` is `TYPE BASE64` and what it encodes says the same type (RFC 4253, 6.6)."""
    kind, _, text = key.partition(" ")
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    size = int.from_bytes(data[:4])
    return data[4 : 4 + size] == kind.encode() and len(data) > 4 + size


def _lines_for(text: str, wanted: str, source: str) -> Iterator[tuple[str, str]]:
    """Yield marker and key of each line about the host written `wanted`."""
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        marker = words.pop(0) if words[0].startswith("@") else ""
        if not words or not _matches(words[0], wanted):
            continue
        key = " ".join(words[1:3])
        if marker not in ("", "@cert-authority", "@revoked") or not is_public_key(key):
            # One that cannot be read may be one that was taken back.
            raise ConnectorRefused(f"`{source}:{number}` is no line of a known_hosts file", found=line[:60])
        yield marker, key


def _matches(patterns: str, wanted: str) -> bool:
    if patterns.startswith("|"):
        return _is_hash_of(patterns, wanted)
    listed = patterns.lower().split(",")
    if any(_fits(one[1:], wanted) for one in listed if one.startswith("!")):
        return False
    return any(_fits(one, wanted) for one in listed)


def _fits(pattern: str, wanted: str) -> bool:
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, wanted) is not None


def _is_hash_of(pattern: str, wanted: str) -> bool:
    parts = pattern.split("|")
    if len(parts) != 4 or parts[1] != "1":
        return False
    try:
        salt, hashed = b64decode(parts[2], validate=True), b64decode(parts[3], validate=True)
    except (binascii.Error, ValueError):
        return False
    key = (salt if len(salt) <= _BLOCK else sha1(salt)).ljust(_BLOCK, b"\0")
    inner = sha1(bytes(byte ^ 0x36 for byte in key) + wanted.encode())
    return sha1(bytes(byte ^ 0x5C for byte in key) + inner) == hashed
