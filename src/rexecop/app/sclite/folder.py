"""The files around the six roles: chain manifest, references, review, guard. All follow from the bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rexecop.app.sclite.artifacts import (
    ALGORITHM,
    CANONICALIZATION,
    ROLES,
    Artifact,
    Artifacts,
    bare_digest,
    common,
    descriptor,
    make_artifacts,
)
from rexecop.app.sclite.review import make_review
from rexecop.app.sclite.story import Story, read_story
from rexecop.proof.canonical import Json, canonical_bytes, commit, digest_of

CHAIN: Final = "artifact_chain_manifest.json"
GUARD: Final = "kernel_guard_manifest.json"
FILES: Final[Mapping[str, str]] = {role: f"{n:02}_{role}.json" for n, role in enumerate(ROLES, 1)}


def make_folder(bundle: bytes, guard_key: bytes | None) -> dict[str, bytes]:
    """Return the files that `bundle` yields, itself among them; the same bundle and key are the same bytes.

    With `guard_key` there is a guard over all of them.

    Raises:
        ProofError: see `read_story`.
    """
    story = read_story(bundle)
    artifacts = make_artifacts(story)
    chain, review = _chain(story, artifacts), make_review(story, artifacts, bundle)
    carrier, root = f"{story.contents.operation}.rxb", {"root_chain_digest": chain["root_chain_digest"]}
    made = {FILES[role]: artifact for role, artifact in artifacts.items()} | {
        CHAIN: chain,
        "trust_profile_ref.json": {
            **common("trust_profile_ref", "v0.2", story.records[-1]),
            "profile": "rexecop/ledger@v1",
            "subject": descriptor(artifacts.get("execution_ticket") or list(artifacts.values())[-1]),
            "instance": story.contents.instance,
            "checkpoint_digest": digest_of(story.contents.checkpoint),
        },
        "carrier_profile_ref.json": {
            **common("carrier_profile_ref", "v0.2", story.records[-1]),
            "profile": "rexecop/bundle@v1",
            "carrier": {"path": carrier, "digest": digest_of(bundle), "bytes": len(bundle)},
            **root,
        },
        "verification_receipt.json": {**review.record(story), **root},
    }
    files = {name: canonical_bytes(value) + b"\n" for name, value in made.items()}
    files |= {"REVIEW.md": review.page(carrier).encode(), carrier: bundle}
    if guard_key is not None:
        files[GUARD] = canonical_bytes(_guard(story, chain, files, guard_key)) + b"\n"
    return files


def _chain(story: Story, artifacts: Artifacts) -> Artifact:
    """Return the manifest: each entry's digest takes in the one before it, and the last is the root."""
    entries: list[Json] = []
    form: Artifact = {"canonicalization": CANONICALIZATION, "algorithm": ALGORITHM}
    previous: str | None = None
    for role, artifact in artifacts.items():
        described = descriptor(artifact)
        link: Artifact = {"role": role, "previous_chain_digest": previous}
        of: Artifact = {"artifact_digest": described["digest"], "artifact_type": role}
        previous = bare_digest(canonical_bytes({**link, **of, **form}))
        named: Artifact = {"path": FILES[role], "required": True, "descriptor": described}
        entries.append({**link, **named, "chain_digest": previous})
    return {
        **common("artifact_chain_manifest", "v0.2", story.records[-1]),
        "chain_id": story.contents.operation,
        "profile": "rexecop",
        "canonicalization": CANONICALIZATION,
        "hash_algorithm": ALGORITHM,
        "signature_policy": {"mode": "integrity_only"},
        "entries": entries,
        "root_chain_digest": previous,
    }


def _guard(story: Story, chain: Artifact, files: Mapping[str, bytes], key: bytes) -> Artifact:
    """Return a tag for every file, each taking in the one before it, and one over them all.

    There is no nonce: guarding again gives nothing new to compare.
    """
    known: Artifact = {
        "chain_id": story.contents.operation,
        "key_id": commit(key, b"rexecop kernel guard key/1").removeprefix("sha256:")[:16],
        "entry_count": len(files),
        "root_chain_digest": chain["root_chain_digest"],
        "manifest_metadata_digest": digest_of(files[CHAIN]),
    }
    guards: list[Artifact] = []
    for sequence, name in enumerate(sorted(files)):
        entry: Artifact = {"sequence": sequence, "path": name, "digest": digest_of(files[name])}
        entry["previous_tag"] = guards[-1]["tag"] if guards else None
        guards.append({**entry, "tag": commit(key, canonical_bytes({**known, **entry}))})
    root: Artifact = {**known, "first_tag": guards[0]["tag"], "last_tag": guards[-1]["tag"]}
    made = common("kernel_guard_manifest", "v1", story.records[-1])
    return {**made, **root, "entry_guards": guards, "root_tag": commit(key, canonical_bytes(root))}
