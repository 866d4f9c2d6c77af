"""What this machine, as a target, can truthfully say of itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from rexecop.proof.canonical import Digest, digest_of
from rexecop.proof.codec import encode

LOCAL_PROCESS_WEAK: Final = "local-process-weak"
"""Same machine, same user: no isolation beyond the class of each call."""

_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """What was observed of a target. `class_` names how far that can be trusted, never more.

    `facts` hold the host's name only as a digest: evidence travels, names of hosts need not.
    """

    kind: ClassVar[str] = "attestation/1"

    class_: str
    facts: Mapping[str, str]


def attest_local() -> Attestation:
    """Observe this machine: its name's digest, its boot, the user and kernel calls run as."""
    name = os.uname() if hasattr(os, "uname") else None
    facts = {"user": str(os.getuid()) if hasattr(os, "getuid") else "unknown"}
    if name is not None:
        facts |= {"host": digest_of(name.nodename.encode()), "kernel": name.release, "machine": name.machine}
    try:
        with open(_BOOT_ID, encoding="ascii") as file:
            facts["boot"] = file.read(64).strip()
    except OSError:
        facts["boot"] = "unknown"
    return Attestation(class_=LOCAL_PROCESS_WEAK, facts=facts)


def attestation_digest(attestation: Attestation) -> Digest:
    """Return the digest attempts name an attestation by."""
    return digest_of(encode(attestation))
