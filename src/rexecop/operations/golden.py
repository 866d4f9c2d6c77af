"""Golden cases: given these replies, these calls, these facts, this verdict.

A profile keeps them as `tests/<name>.yaml`; each names an environment file beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from rexecop.operations.environment import load_environment
from rexecop.operations.errors import ProfileRefused
from rexecop.operations.normalize import StepOutput, run_normalizer
from rexecop.operations.planning import PlanDraft, PlanRequest, compile_plan
from rexecop.operations.profile_model import Profile
from rexecop.operations.profile_steps import MODES
from rexecop.operations.reading import FOUND_MAX, STEP, Fields, Problems
from rexecop.operations.validation import Facts, evaluate, gather, place
from rexecop.proof.call import ProcessRequest, Text
from rexecop.proof.canonical import Json
from rexecop.proof.records.plan import CallStep, DeriveStep
from rexecop.proof.records.validation import RuleVerdict
from rexecop.proof.vocabulary import Ended, Isolation, Mode

FOLDER: Final = "tests/"
_KEYS: Final = (
    "intent",
    "target",
    "mode",
    "parameters",
    "environment",
    "replies",
    "calls",
    "facts",
    "verdict",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One golden case. `calls` are command lines and `facts` values by target and dotted path."""

    name: str
    environment: str
    request: PlanRequest
    replies: Mapping[str, StepOutput]
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
    reached = {Isolation.BUBBLEWRAP: True}
    draft = compile_plan(case.request, profile, load_environment({path: files[path]}), reached)
    return (*_call_differences(case, draft), *_result_differences(case, draft, profile))


def _case(path: str, data: bytes, problems: Problems) -> Case | None:
    root = problems.parse(data, path)
    top = root.fields(("case",), ("case",)).get("case") if root is not None else None
    if top is None:
        return None
    fields = top.fields(_KEYS, ("intent", "target", "mode", "environment", "verdict"))
    calls = {
        step: tuple(item.text() for item in node.items(256)) for step, node in fields.entries("calls", STEP)
    }
    return Case(
        name=path.removeprefix(FOLDER).removesuffix(".case.yaml"),
        environment=fields.text("environment"),
        request=PlanRequest(
            intent=fields.token("intent"),
            target=fields.token("target"),
            mode=Mode(fields.one_of("mode", MODES, Mode.DRY_RUN)),
            parameters=fields.mapping("parameters"),
        ),
        replies=_replies(fields),
        calls=calls,
        facts=fields.mapping("facts"),
        verdict=RuleVerdict(fields.one_of("verdict", tuple(map(str, RuleVerdict)), RuleVerdict.PASSED)),
    )


def _replies(fields: Fields) -> dict[str, StepOutput]:
    found: dict[str, StepOutput] = {}
    for step, node in fields.entries("replies", STEP):
        reply = node.fields(("stdout", "stderr", "status", "data", "ended"))
        status = reply.get("status")
        found[step] = StepOutput(
            ended=Ended(reply.one_of("ended", tuple(map(str, Ended)), Ended.OK)),
            status=0 if status is None else status.integer(0, 255),
            stdout=reply.text("stdout", most=64 * 1024),
            stderr=reply.text("stderr", most=64 * 1024),
            data=reply.mapping("data") or None,
        )
    return found


def _call_differences(case: Case, draft: PlanDraft) -> Iterator[str]:
    steps = {step.id: step for step in draft.steps if isinstance(step, CallStep)}
    for name, expected in case.calls.items():
        step = steps.get(name)
        if step is None:
            yield f"step `{name}` is not in the plan"
            continue
        request = step.call.request
        found = (
            tuple(map(_shown, request.argv)) if isinstance(request, ProcessRequest) else (step.call.action,)
        )
        if found != expected:
            yield f"step `{name}` calls `{' '.join(found)}`, not `{' '.join(expected)}`"


def _shown(text: Text) -> str:
    return text if isinstance(text, str) else str(text)


def _result_differences(case: Case, draft: PlanDraft, profile: Profile) -> Iterator[str]:
    facts = _facts(case, draft, profile)
    flat: dict[str, Json] = {
        f"{target}.{key}": value for target, of in facts.items() for key, value in of.items()
    }
    tree: dict[str, Json] = {}
    for key, value in flat.items():
        place(tree, key, value)
    for path, expected in case.facts.items():
        found = _at(tree, path)
        if found != expected:
            yield f"fact `{path}` is `{str(found)[:FOUND_MAX]}`, not `{str(expected)[:FOUND_MAX]}`"
    verdict, _ = evaluate(profile.rules.get(case.request.intent, ()), facts, evaluated=True)
    if verdict is not case.verdict:
        yield f"verdict is `{verdict}`, not `{case.verdict}`"


def _facts(case: Case, draft: PlanDraft, profile: Profile) -> Facts:
    found: dict[str, Mapping[str, Json] | None] = {}
    for step in draft.steps:
        names = step.needs if isinstance(step, DeriveStep) else (step.id,)
        if step.normalizer is not None:
            inputs = {name: case.replies[name] for name in names if name in case.replies}
            found[step.id] = run_normalizer(profile.normalizers[step.normalizer], inputs)
    return gather(draft, profile.normalizers, found, draft.parameters)


def _at(tree: Mapping[str, Json], path: str) -> Json:
    value: Json = tree
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
