"""What a handler of a profile is asked, from what the operation has on record."""

from __future__ import annotations

from collections.abc import Mapping

from rexecop.engines.closing import outcomes
from rexecop.operations.fold import Operation
from rexecop.operations.handlers import HandlersRef, Handling, failures_of, result_of
from rexecop.operations.profile_model import Profile
from rexecop.operations.step_output import StepOutput
from rexecop.operations.validation import own_id
from rexecop.proof.records.plan import CallStep, DeriveStep


def handler_request(
    op: Operation, step: DeriveStep, inputs: Mapping[str, StepOutput], profile: Profile, handlers: HandlersRef
) -> Handling:
    """Return the request for `step`: over what the calls before it put out, by their ids in the workflow."""
    before = [one.step for name, one in op.course.named.items() if name in step.needs]
    derived = [one for one in before if isinstance(one, DeriveStep)]
    handled = [one for one in (*derived, step) if one.normalizer not in profile.normalizers]
    calls = {one.id: one.call.request for one in before if isinstance(one, CallStep)}
    results = {own_id(name): result_of(inputs[name], request) for name, request in calls.items()}
    said = {
        own_id(one.step): (one.error_class or str(one.ended), one.message or str(one.ended))
        for one in outcomes(op)
        if one.step in step.needs
    }
    return Handling(
        handlers=handlers,
        operation=op.id,
        target=step.target,
        mode=op.the_intent.mode,
        actions={own_id(one.id): one.normalizer for one in handled},
        results={step: result for step, result in results.items() if result is not None},
        failures=failures_of({own_id(name): inputs[name] for name in calls}, said),
    )
