"""Proposals of what should come next, by a program or a model that nobody trusts.

A proposal is words about evidence. It is read strictly, holds no command, and nothing is ever run by it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from rexecop.operations.errors import ProposalRefused
from rexecop.operations.guards import CONTAINER_ENDINGS
from rexecop.operations.profile_model import Profile, ReactionPack
from rexecop.operations.reactions import ASKING, Reaction, only_reads, reaction_id
from rexecop.operations.reading import FOUND_MAX, NAME, listed
from rexecop.proof.canonical import Json, canonical_bytes, digest_of, parse_json
from rexecop.proof.codec import from_json
from rexecop.proof.errors import NotCanonical, ProofError
from rexecop.proof.reaction import Observation, Reacts

ARTIFACT: Final = "escalation_proposal"
SCHEMA: Final = "schemas/escalation_proposal.v0.1.json"
VERSION: Final = "v0.1"
BYTES_MAX: Final = 16 * 1024
EXPLANATION_MAX: Final = 768
REFERENCES_MAX: Final = 16
REFERENCE_MAX: Final = 256
SHOWN_MAX: Final = 8  # Findings and failures in words; the evidence has all.
# What stands in a command, an address or a credential, and not in a sentence about health.
MARKERS: Final = (
    *("-----begin", "bearer ", "://", "sudo", "password", "token", "secret"),
    *("systemctl restart", "systemctl reload"),
    *(f"{ending} {verb}" for ending in CONTAINER_ENDINGS for verb in ("exec", "restart", "compose")),
)
_REFERENCE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*(/[A-Za-z0-9_][A-Za-z0-9_.@-]*){0,15}")
_OPERATION: Final = re.compile(r"op_[0-9a-f]{32}")
_WORD: Final = re.compile(r"[A-Za-z0-9_.@-]{1,64}")


class Why(StrEnum):
    """The codes of what is wrong with a proposal, which every implementation gives; in order of looking."""

    TOO_LARGE = "too-large"
    NOT_JSON = "not-json"
    FIELDS = "fields"
    FORMAT = "format"
    NAMES = "names"
    AUTHORITY = "authority"
    OUTCOME = "outcome"
    INTENT = "intent"
    INTENT_UNKNOWN = "intent-unknown"
    INTENT_CHANGES = "intent-changes"
    EXPLANATION = "explanation"
    REFERENCES = "references"
    DIGEST = "digest"


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
    if len(data) > BYTES_MAX:
        raise _refused(Why.TOO_LARGE, f"it has more than {BYTES_MAX} bytes", "")
    try:
        value = parse_json(data, bytes_max=BYTES_MAX)
        canonical_bytes(value)  # Half a character in a text is found here, and by everybody.
        found = from_json(Proposal, value)
    except ProofError as error:
        why = Why.NOT_JSON if isinstance(error, NotCanonical) else Why.FIELDS
        raise _refused(why, error.message, str(error.facts.get("field", ""))) from error
    check(found, profile)
    return found


def check(found: Proposal, profile: Profile) -> None:
    """Return only if `found` is a proposal about `profile`; raises as `read_proposal`."""
    for field, value, only in (
        ("artifact_type", found.artifact_type, ARTIFACT),
        ("schema_version", found.schema_version, VERSION),
    ):
        _require(value == only, Why.FORMAT, field, value, only)
    fits = len(found.schema_ref) <= REFERENCE_MAX and _REFERENCE.fullmatch(found.schema_ref) is not None
    _require(fits, Why.FORMAT, "schema_ref", found.schema_ref, SCHEMA)
    for field, name in (("proposal_id", found.proposal_id), ("reaction_id", found.reaction_id)):
        _require(NAME.fullmatch(name) is not None, Why.NAMES, field, name, NAME.pattern)
    nothing = "trusted and may_execute false, the rest true"
    _require(found.authority == NONE, Why.AUTHORITY, "authority", "another", nothing)
    _check_suggestion(found, profile)
    text = found.explanation
    fits = 0 < len(text) <= EXPLANATION_MAX and text.isprintable()
    shown = f"{len(text)} characters"
    _require(fits, Why.EXPLANATION, "explanation", shown, f"one line of 1 to {EXPLANATION_MAX}")
    said = " ".join(text.lower().split())
    marker = next((one for one in MARKERS if one in said), None)
    allowed = "words about evidence, no command and no address"
    _require(marker is None, Why.EXPLANATION, "explanation", str(marker), allowed)
    references = found.evidence_refs
    allowed, shown = f"1 to {REFERENCES_MAX} relative paths", f"{len(references)} entries"
    _require(0 < len(references) <= REFERENCES_MAX, Why.REFERENCES, "evidence_refs", shown, allowed)
    for one in references:
        fits = len(one) <= REFERENCE_MAX and _REFERENCE.fullmatch(one) is not None
        _require(fits, Why.REFERENCES, "evidence_refs", one, allowed)


def _check_suggestion(found: Proposal, profile: Profile) -> None:
    """Return only if what is suggested is what a rule may ask for."""
    words = tuple(Reacts)
    outcome, asked = found.suggested_outcome, found.intent_ref
    _require(outcome in words, Why.OUTCOME, "suggested_outcome", outcome, listed(words))
    fits = (outcome in ASKING) is (asked is not None)
    _require(fits, Why.INTENT, "intent_ref", str(asked), f"with {listed(ASKING)} only")
    if asked is not None:
        intent = profile.intents.get(asked)
        reading = listed(name for name, spec in profile.intents.items() if only_reads(spec))
        _require(intent is not None, Why.INTENT_UNKNOWN, "intent_ref", asked, reading)
        _require(intent is not None and only_reads(intent), Why.INTENT_CHANGES, "intent_ref", asked, reading)


def check_about(found: Proposal, observation: Observation, pack: ReactionPack) -> None:
    """Return only if the digests in `found` are those of `observation`, and of a rule that holds of it.

    An id that another program made up by rules of its own is left alone.

    Raises:
        ProposalRefused: they are of something else.
    """
    held = [rule for rule in pack.rules if rule.holds(observation.facts)] or [pack.fallback]
    reactions = [reaction_id(observation, rule) for rule in held]
    made = found.reaction_id in reactions
    _require(made, Why.DIGEST, "reaction_id", found.reaction_id, listed(reactions[:SHOWN_MAX]))
    start = f"{observation.profile_ref.id}-proposal-"
    if re.fullmatch(re.escape(start) + "[0-9a-f]{24}", found.proposal_id):
        only = _number(observation, found.reaction_id, found.suggested_outcome, found.intent_ref)
        _require(found.proposal_id == only, Why.DIGEST, "proposal_id", found.proposal_id, only)
    source = observation.source
    only = f"operations/{source.operation_id}/{source.target_id}"
    listed_there = only in found.evidence_refs
    _require(listed_there, Why.DIGEST, "evidence_refs", listed(found.evidence_refs), only)


def about(found: Proposal) -> tuple[str, str] | None:
    """Return the operation and the target that the evidence of `found` names first, if it names any."""
    for one in found.evidence_refs:
        start, _, rest = one.partition("/")
        operation, _, target = rest.partition("/")
        if start == "operations" and _OPERATION.fullmatch(operation) and NAME.fullmatch(target):
            return operation, target
    return None


def _require(holds: bool, why: Why, field: str, found: str, allowed: str) -> None:
    if not holds:
        shown = found[:FOUND_MAX]
        words = f"`{field}` is `{shown}`; allowed: {allowed}"
        raise _refused(why, words, field, shown, allowed)


def _refused(
    why: Why, words: str, field: str, found: str | None = None, allowed: str | None = None
) -> ProposalRefused:
    return ProposalRefused(f"no proposal: {words}", why=why.value, field=field, found=found, allowed=allowed)


def _number(observation: Observation, reaction: str, outcome: str, intent: str | None) -> str:
    """Return the id of the proposal that `outcome` follows from `observation` as `reaction` says."""
    facts = digest_of(canonical_bytes(observation.facts))
    parts: list[Json] = [observation.source.operation_id, reaction, outcome, intent, facts]
    digits = digest_of(canonical_bytes(parts)).removeprefix("sha256:")[:24]
    return f"{observation.profile_ref.id}-proposal-{digits}"


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
    found = Proposal(
        artifact_type=ARTIFACT,
        schema_ref=SCHEMA,
        schema_version=VERSION,
        proposal_id=_number(observation, identity, outcome, intent),
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
