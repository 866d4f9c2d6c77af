"""Reactions of an instance: once each, proven by what the intent names, within bounds, and never a change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from rexecop.app.clock import SystemClock
from rexecop.app.instance import Instance
from rexecop.app.planner import PlanInput
from rexecop.app.reacting import Reacting, ReactionView, as_text, read_observation
from rexecop.cli.main import run
from rexecop.operations.errors import ObservationRefused, OperationUnknown
from rexecop.proof.canonical import Json
from rexecop.proof.records.intent import Intent
from tests.app.support import made, opened, records, scratch, verified
from tests.app.test_notices import by_command, configure, told
from tests.operations.folders import ENVIRONMENTS

SITE = str(ENVIRONMENTS / "monitoring-site.example.yaml")
LOOPING: Mapping[str, str] = {
    "profile.yaml": "profile_contract: {name: looping, version: '1'}",
    "connectors/host.yaml": "connector: {name: host, backends: [mock], capabilities: [see]}",
    "normalizers/seen.yaml": (
        "normalizer: {facts: {level: {from: see, stream: data, pointer: /level, type: integer}}}"
    ),
    "reactions/reaction_pack.yaml": """
id: looping
version: 1
budgets: {max_depth: DEPTH, max_reactions: COUNT}
rules:
  - id: high
    priority: 1
    when: [{path: facts.level, operator: gt, value: 5}]
    finding: {kind: level, severity: low, summary: High.}
    outcome: run_intent
    intent_ref: second
  - id: low
    priority: 2
    when: [{path: facts.level, operator: lte, value: 5}]
    finding: {kind: level, severity: low, summary: Low.}
    outcome: run_intent
    intent_ref: first
fallback: {finding: {kind: none, severity: low, summary: None.}, outcome: escalate}
""",
    **{
        f"intents/{name}.yaml": f"intent: {{workflow: workflows/{name}.yaml, risk: low, modes: [read_only], "
        "enforce_declared_modes: true, reaction_observation: {producer_step: seen}}"
        for name in ("first", "second")
    },
    **{
        f"workflows/{name}.yaml": f"""
workflow:
  intent: {name}
  risk: low
  steps:
    - {{id: see, type: connector, connector: host, action: see}}
    - {{id: seen, type: internal, action: seen}}
"""
        for name in ("first", "second")
    },
    **{
        f"validation_rules/{name}.yaml": f"""
validation_rule:
  intent: {name}
  steps: [{{type: require_truthy_path, path: seen.complete, rule: seen}}]
"""
        for name in ("first", "second")
    },
}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with scratch() as folder:
        asyncio.run(made(folder))
        yield folder


@pytest.fixture
def instance(folder: Path) -> Iterator[Instance]:
    with opened(folder, None) as instance:
        yield instance


async def looked(
    instance: Instance,
    target: str,
    intent: str = "diagnose_monitoring_host",
    *,
    profile: str = "tecrax",
    env: str = SITE,
    mode: str = "read_only",
) -> str:
    """Run a read to its end and return its id."""
    view = await instance.plan(PlanInput(profile=profile, env=env, intent=intent, target=target, mode=mode))
    return (await instance.start(view.operation_id)).operation_id


async def planned(
    instance: Instance, operation: str, env: str = SITE, profile: str | None = None
) -> ReactionView:
    reacting = Reacting(instance)
    return await reacting.plan(reacting.observation(operation), profile, env)


def test_the_same_observation_is_one_read_with_its_cause_in_the_evidence(instance: Instance) -> None:
    async def story() -> None:
        parent = await looked(instance, "mon-1")
        several = await asyncio.gather(*(planned(instance, parent) for _ in range(4)))
        again = await planned(instance, parent)

        [child] = {view.child.operation_id for view in (*several, again) if view.child is not None}
        assert [view.repeated for view in several].count(False) == 1 and again.repeated
        assert (again.outcome, again.intent) == ("run_intent", "check_ntp_health")
        held = [(one.rule, one.decides) for one in again.findings]
        assert ("ntp_unhealthy", True) in held and ("docker_unhealthy", False) in held

        intent = records(instance, child)[0].record
        assert isinstance(intent, Intent)
        origin = intent.origin
        assert (origin.channel, origin.parent) == ("reaction", parent)
        assert (origin.event, origin.rule) == (again.observation, again.rule)

        done = await instance.start(Reacting(instance).child(again.reaction_id).id)
        assert done.state == "failed"  # The clock is still wrong, and the check says so.
        report = verified(instance, child)
        assert report.findings == ()
        assert not {item.what for item in report.not_checked} & {"the observation", "the reaction-rule"}
        replayed = Reacting(instance).replay(again.reaction_id)
        assert (replayed.verdict, replayed.differences) == ("holds", ())
        assert Reacting(instance).explain(child).reaction_id == again.reaction_id

    asyncio.run(story())


def test_a_rule_reacts_on_a_target_again_only_after_its_cooldown(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = SystemClock.now

    def in_hours(hours: int, minutes: int = 0) -> None:
        def later(self: SystemClock) -> datetime:
            return real(self) + timedelta(hours=hours, minutes=minutes)

        monkeypatch.setattr(SystemClock, "now", later)

    async def story(instance: Instance, parent: str | None = None) -> ReactionView:
        return await planned(instance, parent or await looked(instance, "mon-1"))

    in_hours(1)
    with opened(folder, None) as instance:
        first = asyncio.run(story(instance))
        second = asyncio.run(story(instance))
        in_hours(1, 11)
        # What cooled down once may follow from the same facts later.
        third = asyncio.run(story(instance, second.parent))

    assert (first.outcome, second.outcome, third.outcome) == ("run_intent", "no_op", "run_intent")
    assert (second.why, second.child) == ("reaction_cooling_down", None)
    assert first.child and third.child and first.child.operation_id != third.child.operation_id


def test_each_target_of_one_operation_is_an_observation_with_a_chain_of_its_own(
    folder: Path, instance: Instance
) -> None:
    async def story() -> None:
        profile, env = looping(folder, 9, 1)
        both = await looked(instance, "both", intent="first", profile=profile, env=level(env, 9))
        reacting = Reacting(instance)
        with pytest.raises(ObservationRefused, match="several targets"):
            reacting.observation(both)
        views = [
            await reacting.plan(reacting.observation(both, name), profile, str(env)) for name in ("a", "b")
        ]
        assert [(view.outcome, view.target) for view in views] == [("run_intent", "a"), ("run_intent", "b")]

    asyncio.run(story())


def test_what_is_not_known_plans_nothing(instance: Instance) -> None:
    before = instance.list()

    view = asyncio.run(planned(instance, asyncio.run(looked(instance, "mon-2"))))

    assert (view.outcome, view.intent, view.child) == ("escalate", None, None)
    assert len(view.findings) == 8
    assert len(instance.list()) == len(before) + 1


def test_an_observation_is_what_the_records_say_or_nothing(instance: Instance) -> None:
    reacting = Reacting(instance)
    seen = reacting.observation(asyncio.run(looked(instance, "mon-2")))
    other: dict[str, Json] = {**seen.facts, "status": "healthy"}

    assert reacting.recorded(read_observation(as_text(seen).encode())) == seen
    for said in (
        replace(seen, facts=other),
        replace(seen, source=replace(seen.source, intent_id="daily_check")),
        replace(seen, profile_ref=replace(seen.profile_ref, version="9")),
    ):
        with pytest.raises(ObservationRefused, match="recorded"):
            reacting.recorded(said)
    with pytest.raises(OperationUnknown):
        reacting.recorded(replace(seen, source=replace(seen.source, operation_id="op_" + "0" * 32)))
    with pytest.raises(ObservationRefused, match="no facts of `mars`"):
        reacting.observation(seen.source.operation_id, "mars")
    for text in (
        "",
        "[]",
        "{}",
        as_text(seen).replace("facts", "fact"),
        as_text(seen).replace("v0.1", "v9", 9),
    ):
        with pytest.raises(ObservationRefused):
            reacting.recorded(read_observation(text.encode()))


def test_only_completed_reads_that_observe_are_reacted_to(instance: Instance) -> None:
    reacting = Reacting(instance)
    dry = asyncio.run(looked(instance, "mon-1", mode="dry_run"))
    asked = PlanInput(
        profile="tecrax", env=SITE, intent="diagnose_monitoring_host", target="mon-1", mode="read_only"
    )
    waits = asyncio.run(instance.plan(asked))
    blind = asyncio.run(looked(instance, "mon-1", intent="check_docker_services_health"))

    for operation, says in (
        (dry, "would be done"),
        (waits.operation_id, "is approved"),
        (blind, "reaction_observation|is failed"),
    ):
        with pytest.raises(ObservationRefused, match=says):
            reacting.observation(operation)


def looping(folder: Path, depth: int, count: int) -> tuple[str, Path]:
    """Write the profile whose rules ask for one another, and return it with the path of its environment."""
    where = folder / f"looping-{depth}-{count}"
    for path, text in LOOPING.items():
        (where / path).parent.mkdir(parents=True, exist_ok=True)
        (where / path).write_text(text.replace("DEPTH", str(depth)).replace("COUNT", str(count)))
    return str(where), folder / f"looping-{depth}-{count}.environment.yaml"


def level(env: Path, value: int, name: str = "here") -> str:
    """Let every target be at `value` from now on."""
    targets = "{a: {}, b: {}, both: {type: group, members: [a, b]}}"
    script = f"{{host: {{backend: mock, actions: {{see: {{data: {{level: {value}}}}}}}}}}}"
    env.write_text(f"environment: {{id: {name}, profile: looping, targets: {targets}, connectors: {script}}}")
    return str(env)


async def chain(instance: Instance, profile: str, env: Path, levels: list[int]) -> ReactionView:
    """Look at the first level, then do what follows at each of the next; return the last reaction."""
    operation = await looked(instance, "a", intent="first", profile=profile, env=level(env, levels[0]))
    for value in levels[1:]:
        view = await planned(instance, operation, level(env, value), profile)
        assert view.child is not None
        operation = (await instance.start(view.child.operation_id)).operation_id
    return await planned(instance, operation, str(env), profile)


async def looking_up(instance: Instance, profile: Path, env: Path) -> str:
    """Look in a chain that goes round, plan what follows from its end, and return the last operation."""
    operation = await looked(instance, "a", intent="first", profile=str(profile), env=level(env, 9))
    view = await planned(instance, operation, str(env), str(profile))
    assert view.child is not None
    operation = (await instance.start(view.child.operation_id)).operation_id
    assert (await planned(instance, operation, str(env), str(profile))).outcome == "escalate"
    return operation


def test_chains_end_where_they_go_round_or_too_deep_or_on_for_too_long(
    folder: Path, instance: Instance
) -> None:
    wide, deep = looping(folder, 9, 9), looping(folder, 1, 9)

    round_ = asyncio.run(chain(instance, *wide, [9, 9]))
    down = asyncio.run(chain(instance, *deep, [9, 1]))
    further = asyncio.run(chain(instance, *wide, [9, 1]))

    assert (round_.outcome, round_.why, round_.depth) == ("escalate", "reaction_cycle_detected", 2)
    assert (down.outcome, down.why) == ("escalate", "max_reaction_depth_exceeded")
    assert (further.outcome, further.why, further.depth, further.intent) == ("run_intent", None, 2, "first")

    few = looping(folder, 9, 1)
    spent = asyncio.run(chain(instance, *few, [9, 1]))
    assert (spent.outcome, spent.why) == ("escalate", "reaction_budget_exhausted")


def test_a_reaction_is_of_what_was_looked_at_and_only_reads(folder: Path, instance: Instance) -> None:
    async def story() -> None:
        profile, env = looping(folder, 9, 8)
        operation = await looked(instance, "a", intent="first", profile=profile, env=level(env, 9))
        reacting = Reacting(instance)
        seen = reacting.observation(operation)
        with pytest.raises(ObservationRefused, match="only reads"):
            await reacting.plan(seen, profile, str(env), "apply")
        with pytest.raises(ObservationRefused, match="the environment is another"):
            await planned(instance, operation, level(env, 9, "elsewhere"), profile)
        level(env, 9)
        with pytest.raises(ObservationRefused, match="the profile is another"):
            await planned(instance, operation, str(env), looping(folder, 8, 8)[0])
        assert (await planned(instance, operation, str(env), profile)).child is not None

    asyncio.run(story())


def test_policy_answers_a_reaction_like_any_request(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile, env = looping(folder, 9, 7)
    with opened(folder, None) as instance:
        operation = asyncio.run(looked(instance, "a", intent="first", profile=profile, env=level(env, 9)))
    no = folder / "root" / "policy" / "starter" / "no-second.cedar"
    no.write_text('@id("no-second")\nforbid (principal, action == Action::"looping/second", resource);\n')
    try:
        words = ["reaction-plan", "--operation", operation, "--env", str(env), "--profile", profile, "--json"]
        code = run([*words, "--root", str(folder / "root")])
        said = json.loads(capsys.readouterr().out)
    finally:
        no.unlink()

    assert (code, said["child"]["state"], said["outcome"]) == (3, "blocked", "run_intent")


def test_a_reaction_that_does_not_follow_any_more_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    profile, env = looping(folder, 9, 6)
    with opened(folder, None) as instance:
        operation = asyncio.run(looked(instance, "a", intent="first", profile=profile, env=level(env, 9)))
        name = asyncio.run(planned(instance, operation, str(env), profile)).reaction_id
    real = Reacting.observation

    def other(self: Reacting, operation: str, target: str | None = None) -> object:
        return replace(real(self, operation, target), facts={"level": 6})

    words = ["reaction-replay", "--reaction", name, "--root", str(folder / "root"), "--json"]
    assert run(words) == 0
    monkeypatch.setattr(Reacting, "observation", other)
    capsys.readouterr()
    assert run(words) == 7
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "differs" and "observation" in found["differences"][0]


def test_what_a_person_decided_about_a_proposal_stands_and_runs_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with opened(folder, None) as instance:
        reacting = Reacting(instance)
        seen = reacting.observation(asyncio.run(looked(instance, "mon-2")))
        proposal = reacting.proposal(seen, None, None)
        before = len(instance.list())
    file = folder / "proposal.json"
    file.write_text(as_text(proposal))
    words = ["--profile", "tecrax", "--proposal", str(file), "--root", str(folder / "root"), "--json"]
    decide = ["reaction-proposal", "submit", *words, "--reviewer", "bob", "--reason", "seen", "--decision"]

    assert run(["reaction-proposal", "validate", *words]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "valid_untrusted_proposal"
    assert run(["reaction-proposal", "review", *words]) == 0
    assert proposal.explanation not in capsys.readouterr().out
    assert run([*decide, "accept_for_planning"]) == 0
    assert json.loads(capsys.readouterr().out)["may_execute"] is False
    assert run([*decide, "accept_for_planning"]) == 0
    assert run([*decide, "reject"]) == 2
    assert "proposal-decided" in capsys.readouterr().err
    with opened(folder, None) as instance:
        assert len(instance.list()) == before


def test_people_are_told_once_of_what_needs_them(folder: Path) -> None:
    configure(folder, by_command(folder))
    try:
        with opened(folder, None) as instance:
            parent = asyncio.run(looked(instance, "mon-2"))
            for _ in range(2):
                asyncio.run(planned(instance, parent))
    finally:
        (folder / "root" / "notify.yaml").unlink()

    [notice] = told(folder)
    assert (notice["event"], notice["operation"]) == ("reaction-escalated", parent)
    assert "monitoring.component_unavailable" in str(notice["text"])
