"""Proposals of programs nobody trusts: read, shown, and accepted or rejected by a person. None is ever run.

What a person decided stands on the board of the root. It is no record, gives nobody leave, and whoever
accepted a proposal still has to ask for what it suggests.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rexecop.app.errors import ProposalDecided
from rexecop.app.identity import os_user
from rexecop.app.instance import Instance
from rexecop.app.profiles import find_profile
from rexecop.operations.profile import load_profile
from rexecop.operations.proposals import BYTES_MAX, Proposal, read_proposal
from rexecop.proof.canonical import Digest, digest_of
from rexecop.proof.codec import decode, encode

BOARD: Final = "proposal"
VALID: Final = "valid_untrusted_proposal"
REASON_MAX: Final = 160
FILE_BYTES_MAX: Final = BYTES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalView:
    """A proposal that is one, without its explanation: whoever wrote it is not trusted with the screen."""

    status: str
    proposal_digest: Digest
    proposal_id: str
    reaction_id: str
    suggested_outcome: str
    intent_ref: str | None
    evidence_refs: tuple[str, ...]
    may_execute: bool
    requires_govengine_admission: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalDecision:
    """What a person said to a proposal; nothing follows from it by itself."""

    proposal: Digest
    decision: str
    reviewer: str
    reason: str
    by: str
    at: datetime
    may_execute: bool = False


def validate(data: bytes, profile: str) -> ProposalView:
    """Return the proposal in `data` as what it is; raises as `operations.proposals.read_proposal`."""
    found = read_proposal(data, load_profile(find_profile(profile).files))
    return ProposalView(
        status=VALID,
        proposal_digest=_digest(found),
        proposal_id=found.proposal_id,
        reaction_id=found.reaction_id,
        suggested_outcome=found.suggested_outcome,
        intent_ref=found.intent_ref,
        evidence_refs=found.evidence_refs,
        may_execute=found.authority.may_execute,
        requires_govengine_admission=found.authority.requires_govengine_admission,
    )


def submit(
    instance: Instance, data: bytes, profile: str, decision: str, reviewer: str, reason: str
) -> ProposalDecision:
    """Keep what `reviewer` decided about a proposal, once.

    Raises:
        ProposalRefused: it is none. ProposalDecided: something else was decided about it.
    """
    digest = validate(data, profile).proposal_digest
    store = instance.parts.world.store
    name = digest.removeprefix("sha256:")
    for known, body in store.posted(BOARD):
        if known == name:
            said = decode(ProposalDecision, body)
            if (said.decision, said.reviewer) != (decision, reviewer):
                raise ProposalDecided(
                    f"`{said.reviewer}` decided already: {said.decision}", found=said.decision
                )
            return said
    made = ProposalDecision(
        proposal=digest,
        decision=decision,
        reviewer=reviewer,
        reason=reason,
        by=os_user().person,
        at=instance.parts.world.clock.now(),
    )
    store.post(BOARD, name, encode(made))
    return made


def _digest(proposal: Proposal) -> Digest:
    return digest_of(encode(proposal))
