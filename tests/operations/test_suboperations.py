"""Operations within operations: what a step calls is planned with its caller, and keeps what is its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import pytest

from rexecop.operations.errors import (
    ModeRefused,
    OperationsError,
    ParameterRefused,
    PlanTooLarge,
    ProfileRefused,
)
from rexecop.operations.golden import golden_cases, run_case
from rexecop.operations.judging import judge
from rexecop.operations.lint import lint_profile
from rexecop.operations.planning import PlanDraft
from rexecop.operations.planning_suboperations import CALLS_MAX, DEPTH_MAX, gravest
from rexecop.operations.profile import load_profile
from rexecop.operations.queue import touched
from rexecop.proof.called import contradictions
from rexecop.proof.canonical import Json
from rexecop.proof.course import holds
from rexecop.proof.records.plan import CalledIntent, CallStep, Guard
from rexecop.proof.records.validation import RuleVerdict
from rexecop.proof.vocabulary import Effect, Mode
from tests.operations.folders import ENVIRONMENTS, FLEET, environment, environment_file, folder, plan

SITE: Final = environment_file(ENVIRONMENTS / "fleet.example.yaml")
FILES: Final = folder(FLEET)
PATCH: Final = "workflows/patch.yaml"
DRAIN: Final = "workflows/drain.yaml"
CALL: Final = "{id: drain, type: operation, intent: drain, parameters: {pool: blue}"


def edited(path: str, old: str, new: str, files: Mapping[str, bytes] = FILES) -> dict[str, bytes]:
    """Return the example's files with one text replaced."""
    assert old.encode() in files[path]
    return {**files, path: files[path].replace(old.encode(), new.encode(), 1)}


def calling(steps: str, more: str = "", files: Mapping[str, bytes] = FILES) -> dict[str, bytes]:
    """Return the example's files with a workflow of these steps for `patch`."""
    lines = "".join(f"    - {line}\n" for line in steps.splitlines())
    return {**files, PATCH: f"workflow:\n  intent: patch\n{more}  steps:\n{lines}".encode()}


def planned(
    files: Mapping[str, bytes] = FILES, target: str = "web1", mode: Mode = Mode.APPLY, **parameters: Json
) -> PlanDraft:
    given = {"version": "1.5", "pool": "blue", **parameters}
    return plan(files, SITE, "patch", target, mode, given)


def steps(draft: PlanDraft) -> dict[str, CallStep]:
    return {one.id: one for one in draft.steps if isinstance(one, CallStep)}


def errors(files: Mapping[str, bytes]) -> list[str]:
    return [one.message for one in lint_profile(files) if one.severity == "error"]


def warnings(files: Mapping[str, bytes]) -> str:
    return "\n".join(one.message for one in lint_profile(files) if one.severity == "warning")


def left_out(draft: PlanDraft, facts: Mapping[str, Json]) -> set[str]:
    """Return the steps that are not done where each step found the fact that `facts` say."""
    out: set[str] = set()
    for step in draft.steps:
        guards = step.when if isinstance(step, CallStep) else ()
        goes_on = isinstance(step, CallStep) and step.goes_on
        follows = not goes_on and out.intersection(step.needs)
        if follows or any(one.step in out or not holds(one, facts.get(one.step)) for one in guards):
            out.add(step.id)
    return out


# --- what becomes of a call ---


def test_the_steps_of_what_is_called_are_steps_of_the_plan_after_what_the_call_needs() -> None:
    found = steps(planned())

    assert list(found) == [
        "read_version", "drain/look", "drain/take_out", "drain/empty", "install", "put_in", "read_health",
    ]  # fmt: skip
    assert found["drain/look"].needs == ("read_version",)
    assert found["drain/take_out"].needs == ("drain/look",)
    assert found["install"].needs == ("drain/empty",)  # The last step of the call: all others are done.
    assert found["put_in"].when == (Guard(step="drain/look", fact="member", among=(True,)),)
    assert found["drain/take_out"].undo is not None
    assert not errors(FILES)


def test_the_plan_says_what_it_calls_by_which_parameters_and_how_far_it_goes() -> None:
    draft = planned()
    said = {"prefix": "drain", "intent": "drain", "targets": ("web1",), "parameters": {"pool": "blue"}}
    one = CalledIntent(**said, effect=Effect.CHANGE, risk="high")  # type: ignore[arg-type]

    assert draft.called == (one,)
    assert draft.risk == "high"  # As what it calls; by itself it is medium.
    assert planned(target="web").called[0].targets == ("web1", "web2", "web3", "web4", "web5")
    assert "drain/look@web3" in {step.id for step in planned(target="web").steps}
    assert plan(FILES, SITE, "drain", "web1", Mode.APPLY, {"pool": "blue"}).called == ()


def test_what_differs_from_target_to_target_is_said_for_each() -> None:
    own = edited(DRAIN, "{id: look", "{id: look", edited("intents/drain.yaml", "'^[a-z]+$'", "'^[a-z0-9]+$'"))
    each = planned(edited(PATCH, '"{pool}"', '"{target}"', own), target="web").called

    assert [(one.targets, one.parameters) for one in each[:2]] == [
        (("web1",), {"pool": "web1"}),
        (("web2",), {"pool": "web2"}),
    ]


GUARDED: Final = f"""{{id: read_load, type: connector, connector: host, action: read_load, normalize: load}}
{CALL}, when: [{{step: read_load, fact: load, at_most: 80}}]}}
{{id: after, type: connector, connector: host, action: install, needs: [drain]}}
{{id: beside, type: connector, connector: host, action: install, needs: [drain], if_skipped: go_on}}"""


@pytest.mark.parametrize(
    ("load", "member", "out"),
    [
        (20, True, set()),
        (20, False, {"drain/take_out"}),  # It leaves that out by itself, and was done all the same.
        (90, True, {"drain/look", "drain/take_out", "drain/empty", "after"}),
        (90, False, {"drain/look", "drain/take_out", "drain/empty", "after"}),
    ],
)
def test_a_call_is_left_out_as_a_whole_and_what_it_leaves_out_by_itself_stays_within(
    load: int, member: bool, out: set[str]
) -> None:
    files, facts = calling(GUARDED), {"read_load": load, "drain/look": member}
    assert left_out(planned(files), facts) == out
    # Where its last step goes with the one before it, what comes after the call is done all the same.
    shorter = edited(DRAIN, "if_skipped: go_on", "if_skipped: skip", files)
    assert left_out(planned(shorter), facts) == out | ({"drain/empty"} if out else set())


def test_a_step_that_may_be_left_out_takes_the_call_with_it_that_needs_it() -> None:
    files = calling(
        "{id: read_load, type: connector, connector: host, action: read_load, normalize: load}\n"
        f"{INSTALL[:-1]}, when: [{{step: read_load, fact: load, at_most: 9}}]}}\n"
        f"{CALL}, needs: [install]}}\n"
        "{id: restart, type: connector, connector: host, action: restart}"
    )

    draft = planned(files)
    assert left_out(draft, {"read_load": 5, "drain/look": False}) == {"drain/take_out"}
    assert left_out(draft, {"read_load": 50, "drain/look": True}) == {
        "install", "drain/look", "drain/take_out", "drain/empty",
    }  # fmt: skip
    free = planned(edited(PATCH, "needs: [install]", "needs: [install], if_skipped: go_on", files))
    assert left_out(free, {"read_load": 50, "drain/look": True}) == {"install"}


def test_what_a_parameter_leaves_out_is_not_called_and_the_notes_say_so() -> None:
    files = calling(f"{CALL}, when: [{{parameter: version, equals: other}}]}}\n" + INSTALL)
    draft = planned(files)

    assert draft.called == () and [step.id for step in draft.steps] == ["install"]
    assert draft.notes == {"left_out": {"drain": "parameter `version` leaves it out"}}


INSTALL: Final = "{id: install, type: connector, connector: host, action: install}"


def test_there_is_a_call_for_each_value_and_all_are_waited_for() -> None:
    files = edited(
        "intents/patch.yaml", "pool: {type", "pools: {type: array, items: {type: string}}\n      pool: {type"
    )
    files = calling(
        CALL.replace("blue", '"{item}"') + ", for_each: {parameter: pools}}\n" + INSTALL, files=files
    )
    draft = planned(files, pools=["red", "green"])

    assert [(one.prefix, one.parameters) for one in draft.called] == [
        ("drain.1", {"pool": "red"}),
        ("drain.2", {"pool": "green"}),
    ]
    assert steps(draft)["install"].needs == ("drain.1/empty", "drain.2/empty")
    assert not errors(files)
    more = CALL.replace("blue", '"{item}"') + ", for_each: {parameter: pools}}"
    twice = "\n".join(more.replace("drain, type", f"d{number}, type") for number in (1, 2))
    with pytest.raises(PlanTooLarge, match=str(CALLS_MAX)):
        planned(calling(twice, files=files), pools=["a"] * 100)


def test_one_call_leads_to_another_and_the_ids_say_how() -> None:
    draft = planned(chain_of(2))

    assert [one.prefix for one in draft.called] == ["call", "call/call"]
    assert {one.id for one in draft.steps} == {f"call/call/{name}" for name in ("look", "take_out", "empty")}
    assert list(contradictions(draft)) == []


def chain_of(depth: int) -> dict[str, bytes]:
    """Return the example with so many calls one within the other: patch, i1, i2 and at last drain."""
    files = {**FILES, PATCH: calls("patch", "i1" if depth > 1 else "drain")}
    for number in range(1, depth):
        name = f"i{number}"
        for folder_name in ("intents", "validation_rules"):
            text = FILES[f"{folder_name}/drain.yaml"].decode()
            text = text.replace("workflows/drain", f"workflows/{name}").replace(
                "intent: drain", f"intent: {name}"
            )
            files[f"{folder_name}/{name}.yaml"] = text.encode()
        callee = f"i{number + 1}" if number + 1 < depth else "drain"
        files[f"workflows/{name}.yaml"] = calls(name, callee)
    return files


def calls(name: str, callee: str) -> bytes:
    step = f'{{id: call, type: operation, intent: {callee}, parameters: {{pool: "{{pool}}"}}}}'
    return f"workflow:\n  intent: {name}\n  steps:\n    - {step}\n".encode()


def test_calls_go_so_deep_and_no_deeper() -> None:
    assert len(planned(chain_of(DEPTH_MAX)).called) == DEPTH_MAX
    deeper = chain_of(DEPTH_MAX + 1)
    with pytest.raises(ProfileRefused, match=f"{DEPTH_MAX} deep.*`patch` → `i1` → .*`drain`"):
        planned(deeper)
    assert any("deep at the most" in message for message in errors(deeper))


def test_what_would_call_itself_is_refused_and_the_way_round_is_named() -> None:
    round_trip = {**chain_of(2), "workflows/i1.yaml": calls("i1", "patch")}
    with pytest.raises(ProfileRefused, match="would call itself: `patch` → `i1` → `patch`"):
        planned(round_trip)
    assert any("`patch` → `i1` → `patch`" in message for message in errors(round_trip))


# --- what it keeps ---


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("intent: drains, parameters: {pool: blue}", "no intent of the profile.*`drain`"),
        ("intent: drain, parameters: {pol: blue}", "takes no parameter `pol`.*`pool`"),
        ("intent: drain", "needs the parameter `pool`"),
        ("intent: drain, parameters: {pool: BLUE}", "BLUE"),
        ('intent: drain, parameters: {pool: "{pol}"}', "`{pol}` names nothing"),
        ('intent: drain, parameters: {pool: "{slot.pool}"}', "names nothing"),
        ("parameters: {pool: blue}", "names the `intent`"),
        (
            "intent: drain, parameters: {pool: blue}, retry: {max_attempts: 1}",
            "`retry` goes with the steps of",
        ),
        (
            "intent: drain, parameters: {pool: blue}, approvals: [1 of sre]",
            "`approvals` goes with the steps of",
        ),
        ("intent: drain, parameters: {pool: blue}, metadata: {continue_on_error: true}", "continue_on_error"),
    ],
)
def test_a_call_that_does_not_fit_is_refused_by_lint_and_plan_alike(call: str, words: str) -> None:
    files = calling(f"{{id: drain, type: operation, {call}}}")
    found = errors(files)
    assert any(re.search(words, message) for message in found), found
    with pytest.raises(OperationsError):
        planned(files)


def test_other_steps_call_no_intent() -> None:
    files = calling(INSTALL.replace("}", ", intent: drain}"))
    assert any("`intent` goes with steps of type `operation`" in message for message in errors(files))


def test_parameters_are_held_to_the_schema_of_what_is_called_when_they_are_known() -> None:
    files = edited("intents/patch.yaml", "pool: {type: string, pattern: '^[a-z]+$'}", "pool: {type: string}")
    assert not errors(files)
    with pytest.raises(ParameterRefused, match=r"step `drain`, which calls `drain`: parameter `pool`.*BLUE"):
        planned(files, pool="BLUE")


def test_a_parameter_that_was_not_given_is_not_passed_on() -> None:
    files = edited("intents/patch.yaml", "required: [version, pool]", "required: [version]")
    files = edited("intents/drain.yaml", "'^[a-z]+$'}", "'^[a-z]+$', default: all}", files)
    profile = load_profile(files)
    draft = plan(profile, SITE, "patch", "web1", Mode.APPLY, {"version": "1.5"})
    assert draft.called[0].parameters == {"pool": "all"}


def test_a_reading_caller_calls_nothing_that_changes_and_the_modes_of_what_is_called_bind() -> None:
    reading = edited("intents/patch.yaml", "modes: [dry_run, apply]", "modes: [dry_run, apply, read_only]")
    reads = calling(CALL + "}", files=reading)
    with pytest.raises(ModeRefused, match="`patch` is a change, and mode `read_only` only reads"):
        planned(reads, mode=Mode.READ_ONLY)
    assert any("only reads" in message for message in errors(reads))
    dry = edited("intents/drain.yaml", "modes: [dry_run, apply]", "modes: [dry_run]")
    with pytest.raises(ModeRefused, match="`drain` does not run in mode `apply`"):
        planned(dry)
    assert any("`drain` does not run in mode `apply`" in message for message in errors(dry))
    assert planned(dry, mode=Mode.DRY_RUN).called


def test_recovery_goes_through_where_all_of_it_restores() -> None:
    own = edited("intents/patch.yaml", "risk: medium", "risk: medium\n  restores: true")
    with pytest.raises(ModeRefused, match="`drain` does not run in mode `recovery`"):
        planned(own, mode=Mode.RECOVERY)
    both = edited("intents/drain.yaml", "risk: high", "risk: high\n  restores: true", own)
    assert planned(both, mode=Mode.RECOVERY).called


def test_what_rests_on_an_observation_is_an_operation_of_its_own() -> None:
    files = edited("intents/drain.yaml", "risk: high", "risk: high\n  observe: drain")
    with pytest.raises(ProfileRefused, match="rests on what `drain` observes"):
        planned(files)
    assert any("rests on what `drain` observes" in message for message in errors(files))


def test_what_is_called_undoes_by_its_own_rollback_and_the_callers_takes_only_its_own_changes() -> None:
    drain = edited(
        "connectors/pool.yaml",
        "take_out: {effect: change, idempotent: true, undo: put_in}",
        "take_out: {effect: change}",
    )
    drain[DRAIN] += (
        b"  rollback:\n    steps: [{id: back, type: connector, connector: pool, action: put_in}]\n"
    )
    host = edited(
        "connectors/host.yaml",
        "install: {effect: change, idempotent: true, undo: install_back}",
        "install: {effect: change}",
        drain,
    )
    files = calling(f"{INSTALL}\n{CALL}}}", files=host)
    files[PATCH] += (
        b"  rollback:\n    steps: [{id: back, type: connector, connector: host, action: install_back}]\n"
    )
    undo = {name: step.undo.action for name, step in steps(planned(files)).items() if step.undo is not None}

    assert undo == {"install": "install_back", "drain/take_out": "put_in"}
    named = edited(PATCH, "{id: back,", "{id: back, undoes: drain/take_out,", files)
    assert errors(named)


def test_side_by_side_go_no_more_steps_than_any_of_them_bears() -> None:
    assert planned().parallel == 4
    assert planned(edited(DRAIN, "mode: apply", "parallel: 1")).parallel == 1
    assert planned(calling(INSTALL + "\n" + CALL + "}")).parallel == 1
    assert (
        planned(calling(CALL + "}", "  parallel: 8\n")).parallel == 4
    )  # As many as `drain` says by its needs.


def test_the_waves_of_who_calls_govern() -> None:
    files = edited(DRAIN, "mode: apply", "waves: {max_parallel: 3, check: empty}")
    rollout = planned(files, target="web").rollout

    assert rollout is not None and (rollout.targets_max, rollout.check) == (2, None)
    assert "the `waves` of `drain` give way" in warnings(files)


def test_the_gravest_of_the_usual_words_counts() -> None:
    assert gravest(["low", "critical", "medium"]) == "critical"
    assert gravest(["odd", "low"]) == "low" and gravest(["odd", "unknown"]) == "odd"


# --- another target ---

ANY_VERSION: Final = edited(
    "intents/patch.yaml", "version: {type: string, pattern: '^[0-9]+\\.[0-9]+$'}", "version: {type: string}"
)


def test_a_call_may_work_on_another_target_which_the_plan_then_has_too() -> None:
    draft = planned(calling(CALL + ', target: "{version}"}\n' + INSTALL, files=ANY_VERSION), version="web2")

    assert [target.id for target in draft.targets] == ["web1", "web2"]
    assert {step.id: step.target for step in draft.steps} == {
        "drain/look": "web2", "drain/take_out": "web2", "drain/empty": "web2", "install": "web1",
    }  # fmt: skip
    assert draft.called[0].targets == ("web2",) and draft.rollout is None
    assert touched(draft) == {"web1": True, "web2": True}  # type: ignore[arg-type]  # Both are locked.
    assert list(contradictions(draft)) == []


@pytest.mark.parametrize(("target", "words"), [("web", "stands for 5"), ("nowhere", "no target `nowhere`")])
def test_it_is_one_target_of_the_environment(target: str, words: str) -> None:
    with pytest.raises(OperationsError, match=words):
        planned(calling(CALL + f", target: {target}}}"))


def test_several_targets_are_gone_over_by_themselves_only() -> None:
    files = calling(CALL + ", target: web5}", "  waves: {max_parallel: 2}\n")
    assert planned(files, target="web5").called[0].targets == ("web5",)
    with pytest.raises(ProfileRefused, match="ask for one target at a time"):
        planned(files, target="web1,web2")
    assert "refused on several targets" in warnings(files)


# --- facts and rules ---


def test_golden_cases_see_the_facts_and_the_rules_of_what_is_called() -> None:
    profile = load_profile(FILES)
    cases = {case.name: case for case in golden_cases(FILES)}

    assert set(cases) == {"patch_leaves_connections", "patch_outside_the_pool"}
    assert [run_case(case, profile, FILES) for case in cases.values()] == [(), ()]
    lax = load_profile(edited("validation_rules/drain.yaml", "value: 0", "value: 3"))
    assert run_case(cases["patch_leaves_connections"], lax, FILES) == ("verdict is `passed`, not `failed`",)


def judged(
    draft: PlanDraft, found: Mapping[str, Mapping[str, Json]], **how: object
) -> tuple[RuleVerdict, dict[str, str]]:
    given = {"evaluated": True, **how}
    verdict, results, _ = judge(draft, "patch", load_profile(FILES), found, draft.parameters, **given)  # type: ignore[arg-type]
    where = ((f"{r.rule} on {(r.details or {}).get('target', 'it')}", str(r.verdict)) for r in results)
    return verdict, dict(where)


UP: Final[Mapping[str, Mapping[str, Json]]] = {
    "read_health": {"state": "up"},
    "drain/empty": {"connections": 0},
}


def test_the_rules_of_what_is_called_are_judged_by_its_own_facts_and_one_that_fails_fails_the_whole() -> None:
    draft = planned()
    assert judged(draft, UP) == (
        RuleVerdict.PASSED,
        {"patch.up on it": "passed", "drain/drain.empty on it": "passed"},
    )
    busy: dict[str, Mapping[str, Json]] = {**UP, "drain/empty": {"connections": 3}}
    assert judged(draft, busy)[0] is RuleVerdict.FAILED
    # A fact of the caller's own does not stand in for it.
    assert (
        judged(draft, {"read_health": {"state": "up"}, "empty": {"connections": 0}})[0] is RuleVerdict.FAILED
    )
    assert judged(draft, {"read_health": {"state": "up"}}, evaluated=False)[0] is RuleVerdict.NOT_EVALUATED


def test_what_was_not_called_is_not_judged() -> None:
    draft = planned(target="web1,web2")
    found = {f"{name}@{host}": facts for name, facts in UP.items() for host in ("web1", "web2")}
    del found["drain/empty@web2"]
    within = {step.id for step in draft.steps if step.id.startswith("drain/") and step.target == "web2"}

    assert judged(draft, found)[0] is RuleVerdict.FAILED
    verdict, rules = judged(draft, found, skipped=within)
    assert verdict is RuleVerdict.PASSED and "drain/drain.empty on it" in rules
    assert judged(draft, found, skipped=within - {"drain/look@web2"})[0] is RuleVerdict.FAILED


def test_each_target_is_judged_by_the_rules_of_the_intent_that_works_on_it() -> None:
    draft = planned(calling(f"{CALL}, target: web5}}\n{INSTALL}"))
    verdict, rules = judged(draft, {"drain/empty": {"connections": 0}, "read_health": {"state": "up"}})
    assert rules == {"patch.up on it": "failed", "drain/drain.empty on it": "passed"}  # No step reads it.
    assert verdict is RuleVerdict.FAILED


def test_an_environment_that_lacks_the_connector_of_what_is_called_is_refused() -> None:
    host = "host: {backend: mock, actions: {read_version: {data: {}}}}"
    text = f"environment:\n  id: x\n  targets: {{web1: {{type: host}}}}\n  connectors: {{{host}}}\n"
    with pytest.raises(OperationsError, match="pool"):
        plan(FILES, environment(text), "patch", "web1", Mode.APPLY, {"version": "1.5", "pool": "blue"})
