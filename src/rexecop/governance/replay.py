"""Replay: what an answer is beside the one that was given, and what else would have been answered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from rexecop.governance.admission import Answer, Policy, decide
from rexecop.governance.obligations import VERDICT_ORDER, tighter
from rexecop.proof.records.decision import PolicyRequest, Terms
from rexecop.proof.vocabulary import Established, Mode, Verdict

PEOPLE_MAX: Final = 100  # Others that are tried; who is looked for further down is known by name.
SHOWN_MAX: Final = 3  # Names of people in one line.


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How terms differ: `kind` is `stricter`, `wider` or `both`; `words` say in what."""

    kind: str
    words: str


def change(old: Terms, new: Answer) -> Change | None:
    """Return how `new` differs from the terms that were given, None where it asks the same."""
    stricter, wider = tighter(old, new.terms), tighter(new.terms, old)
    if stricter is None and wider is None:
        return None
    kind = "wider" if stricter is None else "stricter" if wider is None else "both"
    if old.verdict is not new.terms.verdict:
        # A blocked answer carries no terms, so the verdict is the whole difference.
        kind = (
            "stricter"
            if VERDICT_ORDER.index(new.terms.verdict) > VERDICT_ORDER.index(old.verdict)
            else "wider"
        )
        return Change(kind=kind, words=f"`{old.verdict}` becomes `{new.terms.verdict}`: {new.reason}")
    parts = (stricter, None if wider is None else f"no more: {wider}")
    return Change(kind=kind, words="; ".join(part for part in parts if part))


def otherwise(policy: Policy, request: PolicyRequest) -> Iterator[str]:
    """Yield in words which single difference in `request` would give a better answer."""
    given = decide(policy, request).terms.verdict
    for words, other in _others(request):
        found = decide(policy, other).terms.verdict
        if VERDICT_ORDER.index(found) < VERDICT_ORDER.index(given):
            yield f"it would be `{found}` {words}"
    people = islice(sorted(policy.entities.people), PEOPLE_MAX)
    may = [
        person
        for person in people
        if person != request.principal.person
        and decide(policy, _asked_by(request, person)).terms.verdict is not Verdict.BLOCKED
    ]
    if given is Verdict.BLOCKED and may:
        yield f"it would not be blocked if asked by {' or '.join(f'`{name}`' for name in may[:SHOWN_MAX])}"


def _others(request: PolicyRequest) -> Iterator[tuple[str, PolicyRequest]]:
    for mode in Mode:
        if mode is not request.mode:
            yield f"in mode `{mode}`", replace(request, mode=mode)
    if not request.pinned:
        yield "if it rested on an observation", replace(request, pinned=True)
    if request.principal.established is not Established.KEY:
        by_key = replace(request.principal, established=Established.KEY)
        yield "if a key established who asks", replace(request, principal=by_key)
    if request.parameters:
        for name in request.parameters:
            left = {key: value for key, value in request.parameters.items() if key != name}
            yield f"without the parameter `{name}`", replace(request, parameters=left or None)
    if len(request.targets) > 1:
        for target in request.targets[:SHOWN_MAX]:
            yield f"for `{target.id}` alone", replace(request, targets=(target,))


def _asked_by(request: PolicyRequest, person: str) -> PolicyRequest:
    return replace(request, principal=replace(request.principal, person=person), sponsor=None)
