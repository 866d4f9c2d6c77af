"""Workflows: steps that are done or left out, for each of a list, side by side, and over many targets."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from rexecop.lanes.failures import Failure, retryable
from rexecop.operations import planning
from rexecop.operations.environment import load_environment
from rexecop.operations.errors import ParameterRefused, PlanTooLarge
from rexecop.operations.lint import lint_profile
from rexecop.operations.planning import PlanDraft
from rexecop.proof.canonical import Json
from rexecop.proof.course import RETRYABLE, holds, waves_of
from rexecop.proof.records.plan import CallStep, Guard, Rollout
from rexecop.proof.vocabulary import Mode
from tests.operations.folders import ENVIRONMENTS, FLEET, ROOT, environment_file, folder, plan

SITE = ENVIRONMENTS / "fleet.example.yaml"
WORKFLOW = "workflows/upgrade.yaml"


def edited(old: str, new: str, path: str = WORKFLOW) -> dict[str, bytes]:
    """Return the example's files with one text replaced."""
    files = folder(FLEET)
    assert old.encode() in files[path]
    return {**files, path: files[path].replace(old.encode(), new.encode(), 1)}


def planned(files: Mapping[str, bytes] | None = None, target: str = "web1", **parameters: Json) -> PlanDraft:
    return plan(
        files or folder(FLEET),
        environment_file(SITE),
        "upgrade",
        target,
        Mode.APPLY,
        {"version": "1.5", **parameters},
    )


def step(draft: PlanDraft, name: str) -> CallStep:
    found = next(one for one in draft.steps if one.id == name)
    assert isinstance(found, CallStep)
    return found


def test_a_step_follows_the_one_above_it_or_what_it_names() -> None:
    draft = planned()

    needs = {one.id: one.needs for one in draft.steps}
    assert needs == {
        "read_version": (),
        "read_load": (),
        "install": ("read_version", "read_load"),
        "check_health": ("install",),
    }


def test_there_is_a_step_for_each_value_and_it_knows_its_own() -> None:
    draft = planned(plugins=["cache", "auth"])

    assert [one.id for one in draft.steps if one.id.startswith("plugin")] == ["plugin.1", "plugin.2"]
    said = [step(draft, name).call.request.arguments["parameters"] for name in ("plugin.1", "plugin.2")]  # type: ignore[union-attr]
    assert [one["item"] for one in said] == ["cache", "auth"]  # type: ignore[index,call-overload]
    assert step(draft, "check_health").needs == ("install", "plugin.1", "plugin.2")  # As what is left out.
    assert all(step(draft, name).undo is not None for name in ("plugin.1", "plugin.2"))


def test_a_list_that_is_too_long_or_of_lists_is_refused() -> None:
    more = edited("maxItems: 8", "maxItems: 500", "intents/upgrade.yaml")
    with pytest.raises(ParameterRefused, match="up to 128"):
        planned(more, plugins=["a"] * 129)


@pytest.mark.parametrize(
    ("name", "most", "words"),
    [
        ("PLAN_STEPS_MAX", 20, "the steps of 4 of 5 targets are 24, and one plan holds 20"),
        ("PLAN_BYTES_MAX", 5_000, "bytes, and one plan holds 5000"),
        ("PLAN_CONTAINERS_MAX", 100, "arrays and objects, and one plan holds 100"),
    ],
)
def test_a_plan_that_is_too_large_is_refused_by_the_limit_it_breaks(
    monkeypatch: pytest.MonkeyPatch, name: str, most: int, words: str
) -> None:
    assert len(planned(target="web", plugins=["a"] * 2).steps) == 30
    monkeypatch.setattr(planning, name, most)
    with pytest.raises(PlanTooLarge, match=words) as refused:
        planned(target="web", plugins=["a"] * 2)
    assert refused.value.facts["limit"] == most


def test_more_targets_than_one_screen_shows_are_planned() -> None:
    hosts = ", ".join(f"host{n}" for n in range(150))
    site = SITE.read_bytes().replace(b"web1, web2, web3, web4, web5", hosts.encode())
    large = load_environment({SITE.name: site})
    draft = plan(folder(FLEET), large, "upgrade", "web", Mode.APPLY, {"version": "1.5"})

    assert len(draft.targets) == 150 and len(draft.steps) == 600


def test_what_a_parameter_decides_is_decided_in_the_plan_which_says_so() -> None:
    assert "restart" not in {one.id for one in planned().steps}
    assert planned().notes == {"left_out": {"restart": "parameter `restart` leaves it out"}}
    draft = planned(restart=True)
    assert step(draft, "restart").needs == ("install",) and draft.notes is None


def test_a_guard_on_a_fact_stands_in_the_plan_with_the_values_that_were_asked_for() -> None:
    assert step(planned(), "install").when == (
        Guard(step="read_version", fact="version", among=("1.5",), other=True),
        Guard(step="read_load", fact="load", most=80),
    )


def test_only_what_may_be_left_out_is_said_to_be_gone_on_from() -> None:
    draft = planned(restart=True, plugins=["cache"])

    assert step(draft, "restart").goes_on  # Said so.
    assert not step(draft, "plugin.1").goes_on  # It needs what may be left out.
    assert not step(draft, "read_load").goes_on


@pytest.mark.parametrize(
    ("guard", "found", "held"),
    [
        (Guard(step="s", fact="f", among=("a", 1)), "a", True),
        (Guard(step="s", fact="f", among=("a", 1)), True, False),  # `true` is not 1.
        (Guard(step="s", fact="f", among=("a",), other=True), "b", True),
        (Guard(step="s", fact="f", among=("a",), other=True), "a", False),
        (Guard(step="s", fact="f", least=2, most=4), 4, True),
        (Guard(step="s", fact="f", least=2), 1, False),
        (Guard(step="s", fact="f", most=4), "3", None),
        (Guard(step="s", fact="f", most=4), True, None),
        (Guard(step="s", fact="f", among=("a",)), None, None),
        (Guard(step="s", fact="f", among=("a",)), ["a"], None),
    ],
)
def test_a_guard_holds_for_equal_values_of_one_type_and_what_is_no_fact_decides_nothing(
    guard: Guard, found: Json, held: bool | None
) -> None:
    assert holds(guard, found) is held


def test_a_group_is_gone_over_in_waves_and_one_target_is_not() -> None:
    draft = planned(target="web")

    assert draft.rollout == Rollout(
        waves=(1, 2, 2), targets_max=2, stop_after=2, canary=True, check="check_health", undo=True
    )
    assert planned().rollout is None
    assert {name: step(draft, f"check_health@{name}").needs for name in ("web1", "web5")} == {
        "web1": ("install@web1",),
        "web5": ("install@web5",),
    }


def test_without_a_word_on_waves_it_goes_one_by_one_until_one_fails() -> None:
    text = (FLEET / WORKFLOW).read_text()
    line = next(one for one in text.splitlines() if "waves:" in one)
    rollout = planned(edited(line + "\n", ""), target="web").rollout

    assert rollout == Rollout(waves=(5,), targets_max=1, stop_after=1)


@pytest.mark.parametrize(
    ("waves", "sizes", "stop_after"),
    [
        ("{max_parallel: 2}", (2, 2, 1), 1),
        ("{canary: 30%, max_parallel: 3}", (2, 3), 1),
        ("{size: 100%, max_parallel: 3, stop_after: 50%}", (5,), 3),
        ("{canary: 9, stop_after: 9}", (5,), 5),
    ],
)
def test_amounts_are_counted_off_the_targets_and_never_come_to_nothing(
    waves: str, sizes: tuple[int, ...], stop_after: int
) -> None:
    text = (FLEET / WORKFLOW).read_text()
    line = next(one for one in text.splitlines() if "waves:" in one)
    rollout = planned(edited(line, f"  waves: {waves}"), target="web").rollout

    assert rollout is not None
    assert (rollout.waves, rollout.stop_after) == (sizes, stop_after)


def test_several_targets_and_all_of_them_can_be_asked_for() -> None:
    assert [one.id for one in planned(target="web3,web1").targets] == ["web3", "web1"]
    assert [one.id for one in planned(target="all").targets] == ["web1", "web2", "web3", "web4", "web5"]


def test_steps_run_side_by_side_where_needs_are_written_down_or_it_is_said() -> None:
    assert planned().parallel == 2
    assert planned(edited("  parallel: 2\n", "")).parallel == 4
    hello = plan(
        folder(ROOT / "src/rexecop/app/data/hello"),
        environment_file(ROOT / "src/rexecop/app/data/hello.environment.yaml"),
        "show_greeting",
        "localhost",
    )
    assert hello.parallel == 1


WRONG = [
    ("parallel: 2", "parallel: 0", "workflow.parallel", "from 1 to 8"),
    ("canary: 1", "canary: none", "workflow.waves.canary", "like 3 or 10%"),
    ("stop_after: 25%", "stop_after: 101%", "workflow.waves.stop_after", "no number of targets"),
    ("on_stop: undo", "on_stop: pray", "workflow.waves.on_stop", "one of stop, undo"),
    ("check: check_health", "check: gone", "workflow.waves", "no single step that calls"),
    ("check: check_health", "check: plugin", "workflow.waves", "no single step that calls"),
    ("check: check_health", "check: install", "workflow.waves", "which comes after all other work"),
    ("check: check_health", "check: restart", "restart", "what checks a wave is a read"),
    ("at_most: 80", "at_most: much", "workflow.steps[2].when[1].at_most", "an integer"),
    ("at_most: 80", "equals: 1, at_most: 80", "workflow.steps[2].when[1]", "says one thing"),
    ("fact: load, at_most", "at_most", "workflow.steps[2].when[1]", "looks at `step` and `fact`"),
    ("fact: load, at_most", "fact: loud, at_most", "install", "yields no `loud`"),
    ("step: read_load, fact", "step: restart, fact", "install", "no step above it"),
    ("parameter: restart, equals", "parameter: reboot, equals", "restart", "no parameter `reboot`"),
    ("{parameter: plugins}", "{parameter: plugs}", "plugin", "no parameter `plugs`"),
    ("{parameter: plugins}", "{step: read_load, fact: load}", "workflow.steps[3].for_each", "nobody saw"),
    ("if_skipped: go_on", "if_skipped: hope", "workflow.steps[4].if_skipped", "one of skip, go_on"),
    ("when: [{parameter", "whenever: [{parameter", "workflow.steps[4].whenever", "did you mean `when`"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "field", "words"), WRONG, ids=[new for _, new, _, _ in WRONG])
def test_a_wrong_word_is_named_with_file_line_and_field(old: str, new: str, field: str, words: str) -> None:
    found = [one for one in lint_profile(edited(old, new)) if one.severity == "error"]

    told = [(one.field, words in one.message + str(one.allowed)) for one in found]
    assert (field, True) in told, found
    assert all(one.file == WORKFLOW and one.line > 1 for one in found)


def test_a_change_that_a_stopped_wave_would_leave_is_warned_of() -> None:
    told = [one.message for one in lint_profile(folder(FLEET)) if "on_stop" in one.message]

    assert told == ["`on_stop: undo` leaves `restart` as it is: it has no undo"]
    quiet = lint_profile(edited("on_stop: undo", "on_stop: stop"))
    assert not [one for one in quiet if "on_stop" in one.message]


def test_one_target_is_a_wave_that_is_undone_where_the_workflow_says_always() -> None:
    always = edited("on_stop: undo", "on_stop: undo_always")

    assert planned().rollout is None
    assert planned(always).rollout == Rollout(
        waves=(1,), targets_max=2, stop_after=1, canary=True, check=None, undo=True
    )
    assert planned(always, "web").rollout == planned(target="web").rollout
    assert [one.id for one in planned(always).steps] == [one.id for one in planned().steps]


def test_the_example_has_no_error_and_its_environment_is_read() -> None:
    assert [one for one in lint_profile(folder(FLEET)) if one.severity == "error"] == []
    assert load_environment({"fleet.yaml": SITE.read_bytes()}).id == "fleet"


def test_the_verifier_knows_what_may_pass_by_itself_as_the_engine_does() -> None:
    assert {str(one) for one in Failure if retryable(one)} == RETRYABLE


def test_targets_are_counted_off_into_their_waves() -> None:
    draft = planned(target="web")

    class _Planned:
        rollout, targets = draft.rollout, draft.targets

    assert waves_of(_Planned()) == {"web1": 0, "web2": 1, "web3": 1, "web4": 2, "web5": 2}  # type: ignore[arg-type]
