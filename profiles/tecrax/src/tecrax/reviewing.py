"""The profile reviewed by doing what it says: lint, golden cases, a rehearsal by what its fixture answers.

Nothing here is known beforehand. Which intents are rehearsed follows from the fixture, what is said
of them from the plans the runner makes and the facts it reads. No call leaves this process.
"""

import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from rexecop import __version__ as runner_version
from rexecop.app.files import read_folder
from rexecop.app.sclite.artifacts import ALGORITHM, CANONICALIZATION, bare_digest
from rexecop.operations.environment import Environment, load_environment
from rexecop.operations.errors import OperationsError
from rexecop.operations.golden import ANY, facts_of_replies, golden_cases, run_case
from rexecop.operations.judging import judge
from rexecop.operations.lint import lint_profile
from rexecop.operations.planning import PlanRequest, compile_plan
from rexecop.operations.profile import load_profile
from rexecop.operations.profile_model import IntentSpec, Profile
from rexecop.operations.step_output import StepOutput
from rexecop.proof.call import ScriptedRequest
from rexecop.proof.canonical import Json, canonical_bytes, digest_of
from rexecop.proof.codec import to_json
from rexecop.proof.preview import call_text
from rexecop.proof.records.plan import CallStep
from rexecop.proof.records.validation import RuleVerdict
from rexecop.proof.vocabulary import Effect, Isolation, Mode
from tecrax import profile_root

FIXTURE: Final = "tecrax_fixture"
SERVICE: Final = "demo-web"
SLUG_LENGTH_MAX: Final = 60
PREFIX: Final = "fixture:service:"
AT: Final = datetime(2026, 1, 1, tzinfo=UTC)  # When fixtures answer: the same review is the same bytes.
NON_CLAIMS: Final = (
    "no system was contacted: every answer is from the fixture",
    "no policy was asked and nobody approved",
    "nothing follows for a system that answers otherwise",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A document for programs, and what is wrong, in words; nothing is a pass."""

    document: Mapping[str, Json]
    problems: tuple[str, ...]


def lint_errors() -> tuple[str, ...]:
    """Return what the runner would refuse of the profile that is installed, in words; nothing is a pass."""
    return _lint(read_folder(profile_root()))


def active_profile() -> tuple[str, ...]:
    """Return what is wrong in the profile that is installed, in words; nothing is a pass."""
    return conformance(read_folder(profile_root()))


def conformance(files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return what is wrong in a profile: what lint says, or cases that differ and intents without one."""
    return _lint(files) or _untested(load_profile(files), files)


def _untested(profile: Profile, files: Mapping[str, bytes]) -> tuple[str, ...]:
    cases = golden_cases(files)
    differing = [f"{case.name}: {one}" for case in cases for one in run_case(case, profile, files)]
    without = sorted(profile.intents.keys() - {case.request.intent for case in cases})
    return (*differing, *(f"intent `{name}` has no golden case" for name in without))


def _lint(files: Mapping[str, bytes]) -> tuple[str, ...]:
    return tuple(one.text() for one in lint_profile(files) if one.severity == "error")


def fixture_review(service: str = SERVICE) -> Review:
    """Return the review of everything that the fixture can answer, on the target named after `service`."""
    return review(read_folder(profile_root()), service)


def review(files: Mapping[str, bytes], service: str) -> Review:
    """Return the review of the profile in `files`; its document holds nothing that was not found in them."""
    name = PREFIX + (re.sub(r"[^a-z0-9]+", "-", service.lower()).strip("-")[:SLUG_LENGTH_MAX] or SERVICE)
    problems = list(_lint(files))
    rehearsed: list[Json] = []
    about: dict[str, Json] = {"digest": None}
    if not problems:
        profile = load_profile(files)
        about = {"name": profile.name, "version": profile.version, "digest": profile.digest}
        rehearsed, wrong = _rehearsals(profile, name)
        problems = [*_untested(profile, files), *wrong]
    receipt: dict[str, Json] = {"target": name, "dry_run": True, "live": False, "rehearsed": rehearsed}
    body, said = canonical_bytes(receipt), list[Json](problems)
    return Review(
        document={
            "artifact_type": "tecrax_local_fixture_review",
            "profile": about,
            "profile_conformance": {"passed": not problems, "problems": said},
            "runtime_snapshot": {"runner": f"rexecop {runner_version}", "python": platform.python_version()},
            "fixture_receipt": receipt,
            "sclite_fixture_receipt_descriptor": {
                "algorithm": ALGORITHM,
                "canonicalization": CANONICALIZATION,
                "digest": bare_digest(body),
                "canonical_bytes": len(body),
            },
            "review_result": {"verdict": "fail" if problems else "pass", "problems": said},
            "non_claims": list(NON_CLAIMS),
        },
        problems=tuple(problems),
    )


def _rehearsals(profile: Profile, target: str) -> tuple[list[Json], list[str]]:
    """Return each rehearsal, and what was wrong in them."""
    rehearsed: list[Json] = []
    problems: list[str] = []
    for intent in _answered(profile):
        try:
            document, wrong = _rehearsed(intent, profile, _environment(profile, target), target)
        except OperationsError as error:
            document, wrong = {"intent": intent.id}, [error.message]
        rehearsed.append(document)
        problems += [f"{intent.id}: {one}" for one in wrong]
    return rehearsed, problems or ([] if rehearsed else [f"fixture `{FIXTURE}` answers no intent"])


def _answered(profile: Profile) -> Iterable[IntentSpec]:
    """Yield the intents every call of which the fixture answers."""
    known = profile.fixtures.get(FIXTURE, {}).keys()
    for intent in profile.intents.values():
        workflow = profile.workflows[intent.workflow]
        asked = {step.action for step in (*workflow.steps, *workflow.rollback) if step.connector}
        if asked and asked <= known:
            yield intent


def _environment(profile: Profile, target: str) -> Environment:
    connectors: dict[str, Json] = {
        step.connector: {"backend": "mock", "fixture": FIXTURE}
        for intent in _answered(profile)
        for step in profile.workflows[intent.workflow].steps
        if step.connector
    }
    whole: dict[str, Json] = {
        "environment": {
            "id": "fixture", "profile": profile.name, "targets": {target: {}}, "connectors": connectors,
        }
    }  # fmt: skip
    return load_environment({"fixture.yaml": canonical_bytes(whole)})  # JSON is YAML.


def _rehearsed(
    intent: IntentSpec, profile: Profile, environment: Environment, target: str
) -> tuple[dict[str, Json], list[str]]:
    """Return the plan of `intent`, calls as approvers see them, and what the fixture's answers come to."""
    mode = next(one for one in intent.modes if one is not Mode.DRY_RUN)
    request = PlanRequest(intent=intent.id, target=target, mode=mode, parameters={})
    draft = compile_plan(
        request, profile, environment, dict.fromkeys(Isolation, True), observed=lambda interpreter: ANY
    )
    calls = [step for step in draft.steps if isinstance(step, CallStep)]
    outside = [step.id for step in calls if not isinstance(step.call.request, ScriptedRequest)]
    found = facts_of_replies(draft, profile, environment, {step.id: _answer(step) for step in calls})
    verdict, results, facts = judge(draft, intent.id, profile, found, draft.parameters, evaluated=True)
    cannot = [step.id for step in calls if step.call.effect is not Effect.READ and step.undo is None]
    document: dict[str, Json] = {
        "intent": intent.id,
        "mode": str(mode),
        "effect": str(draft.effect),
        "supervision_plan": {
            "digest": digest_of(canonical_bytes([to_json(step) for step in draft.steps])),
            "steps": [_step(step) for step in calls],
            "without_undo": list(cannot),
        },
        "facts": {name: dict(values) for name, values in facts.items()},
        "rules": [{"rule": one.rule, "verdict": str(one.verdict)} for one in results],
        "verdict": str(verdict),
    }
    wrong = [f"step `{name}` would leave this process" for name in outside]
    wrong += [f"step `{name}` changes something and has no undo" for name in cannot]
    if verdict is not RuleVerdict.PASSED:
        wrong.append(f"what the fixture answers does not pass: {verdict}")
    return document, wrong


def _step(step: CallStep) -> dict[str, Json]:
    undo = None if step.undo is None else call_text(step.undo)
    return {"id": step.id, "effect": str(step.call.effect), "call": call_text(step.call), "undo": undo}


def _answer(step: CallStep) -> StepOutput:
    request = step.call.request
    reply = request.replies[0] if isinstance(request, ScriptedRequest) and request.replies else None
    if reply is None:
        raise LookupError(step.id)
    return StepOutput(ended=reply.ended, stdout=reply.stdout or "", data=reply.data, status=0, at=AT)
