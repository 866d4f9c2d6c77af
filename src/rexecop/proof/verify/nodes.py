"""Step 9, of nodes: what the node of a call signed about its end, beside what the outcome says of it."""

from __future__ import annotations

from rexecop.proof import dsse
from rexecop.proof.canonical import Json, canonical_bytes
from rexecop.proof.errors import ProofError
from rexecop.proof.nodes import NODE_NAMESPACE, PLACEMENT, SIGNED, NodeOutcome, open_outcome
from rexecop.proof.records import Attempt, Outcome
from rexecop.proof.verify.evidence import Evidence, Notes
from rexecop.proof.vocabulary import Ended, Role


def check(evidence: Evidence, notes: Notes) -> None:
    """What a node calls ended well it has signed, and of all it signed the outcome says nothing better."""
    attempts = {sealed.digest: record for sealed, record in evidence.of(Attempt)}
    for sealed, outcome in evidence.of(Outcome):
        attempt = attempts.get(outcome.attempt) if outcome.attempt is not None else None
        if attempt is None or attempt.placement != PLACEMENT:
            continue
        facts = (outcome.measured.facts or {}) if outcome.measured is not None else {}
        if SIGNED not in facts:
            notes.when(outcome.ended is Ended.OK, "E09m", sealed, "is `ok` without the word of its node")
        elif not evidence.bundle.trust.of(Role.NODE):
            notes.skip("what nodes signed", "no key is trusted for nodes")
        else:
            problem = _problem(facts[SIGNED], attempt, outcome, evidence)
            notes.when(problem, "E09m", sealed, problem or "")


def _problem(envelope: Json, attempt: Attempt, outcome: Outcome, evidence: Evidence) -> str | None:
    """Return what is wrong with the statement in `envelope`, or None."""
    trusted = evidence.bundle.trust.of(Role.NODE)
    try:
        named = {entry.key_id for entry in dsse.decode(canonical_bytes(envelope)).signatures}
        keys = [key for key in trusted if key.public.fingerprint in named]
        key = next((key for key in keys if key.counts(NODE_NAMESPACE, outcome.at)), None)
        if key is None:
            return "holds a statement signed by no key trusted for nodes"
        said = open_outcome(envelope, key.public)
    except ProofError as error:
        return f"holds a statement that is none: {error.message}"
    if said.node != key.public.fingerprint or said.permit != attempt.permit:
        return "holds the statement of another call"
    return None if _agrees(said, outcome) else "says something else than its node signed"


def _agrees(said: NodeOutcome, outcome: Outcome) -> bool:
    """Return whether the two fit: what a node calls `ok` may have failed by what was expected of it."""
    worse = said.ended is Ended.OK and outcome.ended in (Ended.FAILED, Ended.UNKNOWN)
    blobs = {name: ref.commitment for name, ref in (outcome.blobs or {}).items()}
    return (
        (worse or said.ended is outcome.ended)
        and (said.status, said.signal) == (outcome.status, outcome.signal)
        and blobs == dict(said.outputs or {})
    )
