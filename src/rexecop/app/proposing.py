"""Proposals of programs nobody trusts: read, shown, handed in, and accepted or rejected by a person.

None is ever run. What a person decided stands on the board of the root. It is no record, gives nobody
leave, and whoever accepted a proposal still has to ask for what it suggests.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rexecop.app.errors import ProposalDecided
from rexecop.app.escalations import PROPOSED, OpenProposal, close, proposals_open
from rexecop.app.identity import os_user
from rexecop.app.instance import Instance
from rexecop.app.profiles import find_profile, lasting_name
from rexecop.app.reacting import Reacting, read_observation
from rexecop.operations.errors import ObservationRefused, ProposalRefused
from rexecop.operations.ports import Ledger
from rexecop.operations.profile import load_profile
from rexecop.operations.proposals import BYTES_MAX, Proposal, about, check_about, read_proposal
from rexecop.proof.canonical import Digest, digest_of
from rexecop.proof.codec import decode, encode

BOARD: Final = "proposal"
VALID: Final = "valid_untrusted_proposal"
REASON_MAX: Final = 160
OPEN_MAX: Final = 200  # As many as people are shown; programs can hand in more than anybody reads.
FILE_BYTES_MAX: Final = BYTES_MAX + 1  # Of a larger file; that it is one can be said then.


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


def validate(data: bytes, profile: str, observation: bytes | None = None) -> ProposalView:
    """Return the proposal in `data` as what it is, and about `observation` where that is given.

    Raises:
        ProposalRefused: it is none, or about something else. ObservationRefused: that is none.
    """
    known = load_profile(find_profile(profile).files)
    found = read_proposal(data, known)
    if observation is not None:
        if known.reactions is None:
            raise ObservationRefused(f"profile `{known.name}` has no reactions")
        check_about(found, read_observation(observation), known.reactions)
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


def hand_in(instance: Instance, data: bytes, profile: str) -> OpenProposal | ProposalDecision:
    """Lay a proposal before people, once; return what one of them decided if they did already.

    Raises:
        ProposalRefused: it is none, not of what this ledger recorded, or too many wait.
    """
    view, store = _checked(instance, data, profile), instance.parts.world.store
    decided, waiting = _decided(store, view.proposal_digest), proposals_open(store)
    for known in (decided, *waiting):
        if known is not None and known.proposal == view.proposal_digest:
            return known
    if len(waiting) >= OPEN_MAX:
        words = f"{len(waiting)} proposals wait already; decide about some of them first"
        raise ProposalRefused(words, next_steps=("rexecop ops",))
    made = OpenProposal(
        proposal=view.proposal_digest,
        name=view.proposal_id,
        suggests=f"{view.suggested_outcome} {view.intent_ref or ''}".rstrip(),
        profile=lasting_name(profile),
        text=data.decode(),
        by=os_user().person,
        at=instance.parts.world.clock.now(),
    )
    store.post(PROPOSED, _name(made.proposal), encode(made))
    return made


def handed_in(instance: Instance, digest: str) -> OpenProposal:
    """Return the proposal that waits under `digest`.

    Raises:
        ProposalRefused: none does.
    """
    for one in proposals_open(instance.parts.world.store):
        if one.proposal == digest:
            return one
    raise ProposalRefused(f"no proposal `{digest:.80}` waits", found=digest[:80], next_steps=("rexecop ops",))


def submit(
    instance: Instance, data: bytes, profile: str, decision: str, reviewer: str, reason: str
) -> ProposalDecision:
    """Keep what `reviewer` decided about a proposal, once; nobody has to look at it or its reaction again.

    Raises:
        ProposalRefused: it is none, or not of what this ledger recorded.
        ProposalDecided: something else was decided about it.
    """
    view, store = _checked(instance, data, profile), instance.parts.world.store
    said = _decided(store, view.proposal_digest)
    if said is not None and (said.decision, said.reviewer) != (decision, reviewer):
        raise ProposalDecided(f"`{said.reviewer}` decided already: {said.decision}", found=said.decision)
    made = said or ProposalDecision(
        proposal=view.proposal_digest,
        decision=decision,
        reviewer=reviewer,
        reason=reason,
        by=os_user().person,
        at=instance.parts.world.clock.now(),
    )
    if said is None:
        store.post(BOARD, _name(made.proposal), encode(made))
    store.post(PROPOSED, _name(made.proposal), None)
    close(store, lambda one: one.reaction == view.reaction_id)
    return made


def _checked(instance: Instance, data: bytes, profile: str) -> ProposalView:
    """Return the proposal in `data`; where it names an observation of this ledger, it must be of that."""
    view = validate(data, profile)
    found = read_proposal(data, load_profile(find_profile(profile).files))
    named, reacting = about(found), Reacting(instance)
    if named is not None and instance.parts.world.store.records_of(named[0]):
        seen = reacting.observation(*named)
        check_about(found, seen, reacting.pack(seen))
    return view


def _decided(store: Ledger, proposal: Digest) -> ProposalDecision | None:
    body = dict(store.posted(BOARD)).get(_name(proposal))
    return None if body is None else decode(ProposalDecision, body)


def _name(proposal: Digest) -> str:
    return proposal.removeprefix("sha256:")


def _digest(proposal: Proposal) -> Digest:
    return digest_of(encode(proposal))
