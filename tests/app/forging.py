"""What the forgeries that the seed accepts have in common: edit the roles, make every digest fit again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from rexecop.app.sclite.artifacts import Artifact, bare_digest, descriptor
from rexecop.app.sclite.folder import CHAIN, FILES, GUARD
from rexecop.proof.canonical import canonical_bytes

Roles = dict[str, Any]
TRUST: Final = "trust_profile_ref.json"
CARRIER: Final = "carrier_profile_ref.json"
REVIEW: Final = "verification_receipt.json"


def roles_of(files: Mapping[str, bytes]) -> Roles:
    """Return the roles in `files`, as a forger reads them."""
    return {role: json.loads(files[name]) for role, name in FILES.items() if name in files}


def forged(files: Mapping[str, bytes], edit: Callable[[Roles], object]) -> dict[str, bytes]:
    """Return `files` with the roles edited, and every link, digest and root made to fit again."""
    roles = roles_of(files)
    edit(roles)
    for artifact in roles.values():
        kept = {
            role: link
            for role, link in artifact.get("links", {}).items()
            if link.get("digest", "0").strip("0")
        }
        artifact.get("links", {}).update({role: descriptor(roles[role]) for role in kept})
        if "integrity" in artifact:
            contract = descriptor(roles["execution_contract"])["digest"]
            artifact["integrity"]["ticket_binds_execution_contract_digest"] = contract
    chain = json.loads(files[CHAIN])
    previous = None
    for entry in chain["entries"]:
        described = descriptor(roles[entry["role"]])
        transcript: Artifact = {
            "previous_chain_digest": previous,
            "role": entry["role"],
            "artifact_digest": described["digest"],
            "artifact_type": described["artifact_type"],
            "canonicalization": described["canonicalization"],
            "algorithm": described["algorithm"],
        }
        entry["descriptor"], entry["previous_chain_digest"] = described, previous
        previous = entry["chain_digest"] = bare_digest(canonical_bytes(transcript))
    chain["root_chain_digest"] = previous
    others = {name: json.loads(files[name]) for name in (TRUST, CARRIER, REVIEW)}
    others[TRUST]["subject"] = descriptor(roles["execution_ticket"])
    others[CARRIER]["root_chain_digest"] = others[REVIEW]["root_chain_digest"] = previous
    made = {FILES[role]: artifact for role, artifact in roles.items()} | others | {CHAIN: chain}
    whole = dict(files) | {name: canonical_bytes(value) + b"\n" for name, value in made.items()}
    return {name: data for name, data in whole.items() if name != GUARD}


def seed_accepts(files: Mapping[str, bytes]) -> bool:
    """Return whether digests, links and the chain fit: all that the forgeries had to get right."""
    roles = roles_of(files)
    linked = (
        link.get("digest", "0").strip("0") == "" or link == descriptor(roles[role])
        for artifact in roles.values()
        for role, link in artifact.get("links", {}).items()
    )
    entries = json.loads(files[CHAIN])["entries"]
    return all(linked) and all(entry["descriptor"] == descriptor(roles[entry["role"]]) for entry in entries)
