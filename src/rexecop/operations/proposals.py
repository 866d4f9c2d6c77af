"""Proposals of what should come next, by a program or a model that nobody trusts.

A proposal is words about evidence. It is read strictly, holds no command, and nothing is ever run by it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rexecop.operations.errors import ProposalRefused
from rexecop.operations.guards import CONTAINER_ENDINGS
from rexecop.operations.profile_model import Profile
from rexecop.operations.reactions import ASKING, Reaction, only_reads, reaction_id
from rexecop.operations.reading import FOUND_MAX, NAME, listed
from rexecop.proof.canonical import Json, canonical_bytes, digest_of, parse_json
from rexecop.proof.codec import from_json
from rexecop.proof.errors import ProofError
from rexecop.proof.reaction import Observation, Reacts

ARTIFACT: Final = "escalation_proposal"
SCHEMA: Final = "schemas/escalation_proposal.v0.1.json"
VERSION: Final = "v0.1"
BYTES_MAX: Final = 16 * 1024
EXPLANATION_MAX: Final = 768
REFERENCES_MAX: Final = 16
SHOWN_MAX: Final = 8  # Findings and failures in words; the evidence has all.
# What stands in a command, an address or a credential, and not in a sentence about health.
MARKERS: Final = (
    *("-----begin", "bearer ", "://", "sudo", "password", "token", "secret"),
    *("systemctl restart", "systemctl reload"),
    *(f"{ending} {verb}" for ending in CONTAINER_ENDINGS for verb in ("exec", "restart", "compose")),
)
_REFERENCE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*(/[A-Za-z0-9_][A-Za-z0-9_.@-]*){0,15}")
_WORD: Final = re.compile(r"[A-Za-z0-9_.@-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """What a proposal may: nothing, and it says so."""

    trusted: bool
    may_execute: bool
    requires_profile_validation: bool
    requires_govengine_admission: bool


NONE: Final = Authority(
    trusted=False, may_execute=False, requires_profile_validation=True, requires_govengine_admission=True
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """`suggested_outcome` is what somebody thinks should follow, with the intent where it asks for one."""

    artifact_type: str
    schema_ref: str
    schema_version: str
    proposal_id: str
    reaction_id: str
    created_at: datetime
    suggested_outcome: str
    intent_ref: str | None
    explanation: str
    evidence_refs: tuple[str, ...]
    authority: Authority


def read_proposal(data: bytes, profile: Profile) -> Proposal:
    """Return the proposal that the JSON object `data` is.

    Raises:
        ProposalRefused: it is none, or says what no proposal may; with the field.
    """
    try:
        found = from_json(Proposal, parse_json(data, bytes_max=BYTES_MAX))
    except ProofError as error:
        field = str(error.facts.get("field", ""))
        raise ProposalRefused(f"no proposal: {error.message}", field=field) from error
    check(found, profile)
    return found


def check(found: Proposal, profile: Profile) -> None:
    """Return only if `found` is a proposal about `profile`; raises as `read_proposal`."""
    for field, value, only in (
        ("artifact_type", found.artifact_type, ARTIFACT),
        ("schema_version", found.schema_version, VERSION),
    ):
        _require(value == only, field, value, only)
    for field, name in (("proposal_id", found.proposal_id), ("reaction_id", found.reaction_id)):
        _require(NAME.fullmatch(name) is not None, field, name, NAME.pattern)
    _require(found.authority == NONE, "authority", "another", "trusted and may_execute false, the rest true")
    words = tuple(Reacts)
    _require(found.suggested_outcome in words, "suggested_outcome", found.suggested_outcome, listed(words))
    asks = found.suggested_outcome in ASKING
    with_intent = found.intent_ref is not None
    _require(asks is with_intent, "intent_ref", str(found.intent_ref), f"with {listed(ASKING)} only")
    if found.intent_ref is not None:
        intent = profile.intents.get(found.intent_ref)
        reading = listed(name for name, spec in profile.intents.items() if only_reads(spec))
        _require(intent is not None and only_reads(intent), "intent_ref", found.intent_ref, reading)
    text = found.explanation
    fits = 0 < len(text) <= EXPLANATION_MAX and text.isprintable()
    _require(fits, "explanation", f"{len(text)} characters", f"one line of 1 to {EXPLANATION_MAX}")
    said = " ".join(text.lower().split())
    marker = next((one for one in MARKERS if one in said), None)
    _require(marker is None, "explanation", str(marker), "words about evidence, no command and no address")
    references = found.evidence_refs
    allowed = f"1 to {REFERENCES_MAX} relative paths"
    _require(0 < len(references) <= REFERENCES_MAX, "evidence_refs", f"{len(references)} entries", allowed)
    for one in references:
        _require(len(one) <= 256 and _REFERENCE.fullmatch(one) is not None, "evidence_refs", one, allowed)


def _require(holds: bool, field: str, found: str, allowed: str) -> None:
    if not holds:
        message = f"no proposal: `{field}` is `{found[:FOUND_MAX]}`; allowed: {allowed}"
        raise ProposalRefused(message, field=field, found=found[:FOUND_MAX], allowed=allowed)


def propose(
    observation: Observation, reaction: Reaction, outcome: str | None, intent: str | None, profile: Profile
) -> Proposal:
    """Return the proposal that `outcome` follows from `observation`; where none is named, what the rules say.

    Raises:
        ProposalRefused: `outcome` and `intent` are none that may be proposed.
    """
    if outcome is None:
        outcome, intent = reaction.outcome, reaction.intent
    identity = reaction_id(observation, reaction.rule)
    operation = observation.source.operation_id
    parts: list[Json] = [operation, identity, outcome, intent, digest_of(canonical_bytes(observation.facts))]
    number = digest_of(canonical_bytes(parts)).removeprefix("sha256:")[:24]
    found = Proposal(
        artifact_type=ARTIFACT,
        schema_ref=SCHEMA,
        schema_version=VERSION,
        proposal_id=f"{observation.profile_ref.id}-proposal-{number}",
        reaction_id=identity,
        created_at=observation.observed_at,
        suggested_outcome=outcome,
        intent_ref=intent,
        explanation=_in_words(observation.facts, reaction),
        evidence_refs=(f"operations/{operation}/{observation.source.target_id}",),
        authority=NONE,
    )
    check(found, profile)
    return found


def _in_words(facts: Mapping[str, Json], reaction: Reaction) -> str:
    health = facts.get("observed_health", facts.get("status"))
    coverage = facts.get("coverage_status", "complete" if facts.get("complete") is True else "partial")
    kinds = [f"{rule.id} ({rule.finding.severity})" for rule in reaction.held]
    failures = facts.get("continued_failures", facts.get("missing"))
    lost = failures if isinstance(failures, list) else []
    steps = [_word(item.get("step_id") if isinstance(item, dict) else item) for item in lost]
    text = f"health {_word(health)}, coverage {_word(coverage)}; findings: {listed(kinds[:SHOWN_MAX])}"
    return (f"{text}; not read: {listed(steps[:SHOWN_MAX])}" if steps else text)[:EXPLANATION_MAX]


def _word(value: Json) -> str:
    """Return `value` where it is one plain word: what hosts say never gets into a sentence."""
    word = str(value)
    return word if _WORD.fullmatch(word) and not any(one in word.lower() for one in MARKERS) else "unreadable"
