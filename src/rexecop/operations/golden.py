"""Golden cases: given these replies, these calls, these facts, this verdict.

A profile keeps them as `tests/<name>.yaml`; each names an environment file beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from rexecop.operations.environment import Environment, load_environment
from rexecop.operations.errors import ProfileRefused
from rexecop.operations.judging import judge
from rexecop.operations.moments import moment
from rexecop.operations.normalize import run_normalizer
from rexecop.operations.planning import PlanDraft, PlanRequest, compile_plan
from rexecop.operations.profile_model import Profile
from rexecop.operations.reading import FOUND_MAX, STEP, Node, Problems, close_to
from rexecop.operations.step_output import StepOutput
from rexecop.operations.validation import value_at
from rexecop.proof.call import ProcessRequest
from rexecop.proof.canonical import Digest, Json
from rexecop.proof.records.plan import CallStep, DeriveStep
from rexecop.proof.records.validation import RuleVerdict
from rexecop.proof.vocabulary import Ended, Isolation, Mode

FOLDER: Final = "tests/"
ANY: Final = Digest("sha256:" + "0" * 64)  # Of every interpreter: cases are not about those either.
AT: Final = datetime(2026, 1, 1, tzinfo=UTC)  # Of cases that do not say when.
_KEYS: Final = "intent target mode parameters environment at replies calls facts verdict"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One golden case. `calls` are command lines and `facts` values by target and dotted path.

    `at` is when its calls are tried.
    """

    name: str
    environment: str
    request: PlanRequest
    replies: Mapping[str, StepOutput]
    at: datetime
    calls: Mapping[str, tuple[str, ...]]
    facts: Mapping[str, Json]
    verdict: RuleVerdict


def golden_cases(files: Mapping[str, bytes]) -> tuple[Case, ...]:
    """Return the cases among the files of a profile.

    Raises:
        ProfileRefused: a case breaks the format.
    """
    problems = Problems(ProfileRefused.code)
    names = [path for path in sorted(files) if path.startswith(FOLDER) and path.endswith(".case.yaml")]
    found = [case for path in names if (case := _case(path, files[path], problems)) is not None]
    problems.raise_first(ProfileRefused)
    return tuple(found)


def run_case(case: Case, profile: Profile, files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return how the case differs from what the profile does now; nothing means that it holds.

    Raises:
        OperationsError: the request cannot be planned.
    """
    path = FOLDER + case.environment
    if path not in files:
        raise ProfileRefused(f"case `{case.name}` names `{path}`, which is no file", file=path)
    reached = dict.fromkeys(Isolation, True)  # A case is about the profile, not about this machine.
    environment = load_environment({path: files[path]})
    draft = compile_plan(case.request, profile, environment, reached, observed=lambda interpreter: ANY)
    return (
        *_call_differences(case, draft),
        *_result_differences(case, draft, profile, environment),
    )


def _case(path: str, data: bytes, problems: Problems) -> Case | None:
    root = problems.parse(data, path)
    if root is None:
        return None
    fields = root.section("case").fields(_KEYS, "intent target mode environment verdict")
    return Case(
        name=path.removeprefix(FOLDER).removesuffix(".case.yaml"),
        environment=fields.text("environment"),
        request=PlanRequest(
            intent=fields.token("intent"),
            target=fields.token("target"),
            mode=fields.one_of("mode", Mode, Mode.DRY_RUN),
            parameters=fields.mapping("parameters"),
        ),
        replies={step: _reply(node) for step, node in fields.entries("replies", STEP)},
        at=fields.maybe("at", _moment) or AT,
        calls={
            step: tuple(item.text() for item in node.items(256))
            for step, node in fields.entries("calls", STEP)
        },
        facts=fields.mapping("facts"),
        verdict=fields.one_of("verdict", RuleVerdict, RuleVerdict.PASSED),
    )


def _reply(node: Node) -> StepOutput:
    reply = node.fields("stdout stderr status data ended")
    ended = reply.one_of("ended", Ended, Ended.OK)
    status = reply.maybe("status", lambda item: item.integer(0, 999))
    return StepOutput(
        ended=ended,
        status=0 if status is None and ended is Ended.OK else status,
        stdout=reply.text("stdout", most=64 * 1024),
        stderr=reply.text("stderr", most=64 * 1024),
        data=reply.mapping("data") or None,
    )


def _call_differences(case: Case, draft: PlanDraft) -> Iterator[str]:
    steps = {step.id: step for step in draft.steps if isinstance(step, CallStep)}
    for name in case.replies.keys() - steps.keys():
        # Whoever misspells a step would look for the fault in the facts.
        yield f"reply `{name}` is of no step of the plan{close_to(name, steps)}"
    for name, expected in case.calls.items():
        step = steps.get(name)
        if step is None:
            yield f"step `{name}` is not in the plan"
            continue
        request = step.call.request
        found = tuple(map(str, request.argv)) if isinstance(request, ProcessRequest) else (step.call.action,)
        if found != expected:
            yield f"step `{name}` calls `{' '.join(found)}`, not `{' '.join(expected)}`"


def _result_differences(
    case: Case, draft: PlanDraft, profile: Profile, environment: Environment
) -> Iterator[str]:
    replies = {name: replace(reply, at=case.at) for name, reply in case.replies.items()}
    outcomes = facts_of_replies(draft, profile, environment, replies)
    intent, given = case.request.intent, draft.parameters
    skipped = [
        step.id for step in draft.steps if step.id not in replies
    ]  # What answers nothing was not called.
    verdict, _, facts = judge(draft, intent, profile, outcomes, given, evaluated=True, skipped=skipped)
    for path, expected in case.facts.items():
        target = next((name for name in facts if path.startswith(f"{name}.")), "")
        found = value_at(facts.get(target, {}), path.removeprefix(f"{target}."))
        if found != expected:
            yield f"fact `{path}` is `{str(found)[:FOUND_MAX]}`, not `{str(expected)[:FOUND_MAX]}`"
    if verdict is not case.verdict:
        yield f"verdict is `{verdict}`, not `{case.verdict}`"


def facts_of_replies(
    draft: PlanDraft, profile: Profile, environment: Environment, replies: Mapping[str, StepOutput]
) -> Mapping[str, Mapping[str, Json] | None]:
    """Return the facts of every step of `draft` that has some, where its calls are answered by `replies`."""
    found: dict[str, Mapping[str, Json] | None] = {}
    outputs = dict(replies)
    for step in draft.steps:
        if step.normalizer is None:
            continue
        if step.normalizer not in profile.normalizers:
            raise ProfileRefused(f"`{step.normalizer}` is a handler in Python; cases are about data")
        names = step.needs if isinstance(step, DeriveStep) else (step.id,)
        inputs = {name: outputs[name] for name in names if name in outputs}
        facts = run_normalizer(profile.normalizers[step.normalizer], inputs, environment.site(step.target))
        found[step.id] = facts
        if isinstance(step, DeriveStep):
            outputs[step.id] = StepOutput(ended=Ended.OK, data=facts)
    return found


def _moment(node: Node) -> datetime:
    found = moment(node.text(64))
    if found is None:
        node.refuse("`at` is no moment", allowed="like 2026-01-31T12:00:00Z")
    return found or AT
