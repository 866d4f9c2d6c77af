"""Scopes: which calls a ticket covers, as one root a verifier recomputes from the plan.

The root is that of an RFC 6962 tree over the canonical bytes of the entries, sorted
and each once. A probe is a read that belongs to its step's work; undoing has a
scope of its own, so leave to act is never leave to compensate, nor the reverse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rexecop.proof.call import Call, call_digest
from rexecop.proof.canonical import Digest
from rexecop.proof.codec import encode
from rexecop.proof.merkle import leaf_hash, root_of
from rexecop.proof.records.plan import CallStep, Plan
from rexecop.proof.vocabulary import Effect, Phase


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ScopeEntry:
    """One call template that step `step` may fill and make on `target`."""

    kind: ClassVar[str] = "scope-entry/1"

    target: str
    step: str
    template: Digest


def template_for(step: CallStep, phase: Phase) -> Call | None:
    """Return what `step` would do in `phase`, or None when the plan has nothing for it."""
    if phase is Phase.DO:
        return step.call
    if phase is Phase.UNDO:
        return step.undo
    if step.probe is not None:
        return step.probe.call
    # To look again at what a read found is to read again.
    return step.call if step.call.effect is Effect.READ else None


def scope_entries(plan: Plan, *phases: Phase) -> tuple[ScopeEntry, ...]:
    """Return the entries of what the plan may do in `phases`, sorted."""
    found = {
        ScopeEntry(target=template.target, step=step.id, template=call_digest(template))
        for step in plan.steps
        if isinstance(step, CallStep)
        for phase in phases
        if (template := template_for(step, phase)) is not None
    }
    return tuple(sorted(found))


def scope_root(plan: Plan) -> Digest:
    """Return the root over the entries of the plan's work and probes."""
    return _root(scope_entries(plan, Phase.DO, Phase.PROBE))


def undo_scope_root(plan: Plan) -> Digest | None:
    """Return the root over the entries of the plan's compensations, or None when nothing can be undone."""
    entries = scope_entries(plan, Phase.UNDO)
    return _root(entries) if entries else None


def _root(entries: tuple[ScopeEntry, ...]) -> Digest:
    return Digest("sha256:" + root_of([leaf_hash(encode(entry)) for entry in entries]).hex())
