"""The course of a plan: which fact lets a step be done, and which wave a target is of.

Shared by who runs a plan and who verifies that it ran so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rexecop.proof.canonical import Json
from rexecop.proof.message import Scalar
from rexecop.proof.records.plan import Guard, Plan, Rollout, Step

RETRYABLE: Final = frozenset(
    {
        *("name_unresolved", "not_yet", "permit_expired", "quota_exceeded", "secret_source_down"),
        *("stream_ended", "timeout", "transient_connector_error"),
    }
)
"""Classes of failures that may pass by themselves."""


def holds(guard: Guard, found: Json) -> bool | None:
    """Return whether `guard` lets its step be done where its fact is `found`; None where that is no fact."""
    if not isinstance(found, str | int):
        return None
    if guard.among and any(_same(found, one) for one in guard.among) is guard.other:
        return False
    if guard.least is None and guard.most is None:
        return True
    if isinstance(found, bool) or not isinstance(found, int):
        return None
    return (guard.least is None or found >= guard.least) and (guard.most is None or found <= guard.most)


def fact_in(facts: Mapping[str, Json] | None, path: str) -> Json:
    """Return the fact at dotted `path`, or None."""
    found: Json = facts
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def waves_of(plan: Plan) -> dict[str, int]:
    """Return the wave of each target, from 0; without a rollout all are of one."""
    if plan.rollout is None:
        return dict.fromkeys((target.id for target in plan.targets), 0)
    numbers = (n for n, size in enumerate(plan.rollout.waves) for _ in range(size))
    return dict(zip((target.id for target in plan.targets), numbers, strict=False))


def is_check(rollout: Rollout | None, step: Step) -> bool:
    """Return whether `step` looks at its target after the other work of its wave."""
    return rollout is not None and rollout.check is not None and step.id == f"{rollout.check}@{step.target}"


def _same(found: Scalar, wanted: Scalar) -> bool:
    return type(found) is type(wanted) and found == wanted
