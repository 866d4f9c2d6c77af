"""The decision rule, held against a second, plain implementation and against the engine asked in full."""

import json
import re
from collections.abc import Sequence
from dataclasses import fields, replace

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecop.governance import slicing
from rexecop.governance.admission import Answer, Policy, decide
from rexecop.governance.facts import FACTS
from rexecop.governance.pack import Pack
from rexecop.governance.schema import schema
from rexecop.proof.canonical import INTEGER_MAX
from rexecop.proof.principal import Principal
from rexecop.proof.records.decision import PolicyRequest, Recent, RequestCall, RequestTarget
from rexecop.proof.times import format_time
from rexecop.proof.vocabulary import Effect, Established, Gate, Mode, Verdict
from tests.governance.cases import pack_files, request
from tests.spec import policy as spec
from tests.spec.policy import CONDITIONS, Head, World

VERDICTS = (Verdict.BLOCKED, Verdict.APPROVAL_REQUIRED, Verdict.ALLOWED)
groups_of_people = st.frozensets(st.sampled_from("gh"))
groups_of_targets = st.frozensets(st.sampled_from("tu"))
conditions = st.sampled_from([*(["true"] * len(CONDITIONS)), *CONDITIONS])  # So that many policies match.
heads_of_principals = st.sampled_from(
    [
        Head(),
        Head(),
        *(Head(kind=kind) for kind in ("User", "Agent", "Service")),
        *(Head(equals=who) for who in ('User::"alice"', 'Agent::"bot"', 'Service::"cron"')),
        *(Head(within=who) for who in ('Group::"g"', 'Group::"h"', 'User::"alice"')),
        Head(kind="User", within='Group::"g"'),
    ]
)
heads_of_resources = st.sampled_from(
    [
        Head(),
        Head(),
        Head(kind="Target"),
        Head(equals='Target::"host-0"'),
        *(Head(within=what) for what in ('TargetGroup::"t"', 'TargetGroup::"u"', 'Target::"host-1"')),
        Head(kind="Target", within='TargetGroup::"t"'),
    ]
)
LISTED = {
    "intent:hello/start": "change",
    "intent:hello/stop": "destroy",
    "call:hello/local/kill": "destroy",
    "call:hello/local/look": "read",
}
policies = st.builds(
    spec.Policy,
    word=st.sampled_from(["permit", "permit", "forbid", "require"]),
    principal=heads_of_principals,
    actions=st.sampled_from(
        [
            *((), (), (), ("read",), ("change",), ("read", "change"), ("destroy", "change")),
            *(("intent:hello/start",), ("intent:hello/start", "intent:hello/stop"), ("call:change",)),
            *(("call:hello/local/kill",), ("call:hello/local/look", "intent:hello/stop")),
        ]
    ),
    resource=heads_of_resources,
    when=conditions,
    approvals=st.sampled_from([None, None, (1, "g"), (2, "g"), (1, "h")]),
    output_bytes=st.sampled_from([None, None, 10, 20]),
    no_network=st.booleans(),
)
worlds = st.builds(
    World,
    people=st.fixed_dictionaries({"alice": groups_of_people, "bob": groups_of_people}),
    agents=st.fixed_dictionaries({"bot": st.sampled_from(["alice", "bob"])}),
    services=st.just(frozenset({"cron"})),
    target_groups=st.just(frozenset("tu")),
    listed=st.sampled_from(
        [
            LISTED,
            *[LISTED | {"intent:hello/*": "destroy", "call:hello/*": "destroy"}] * 3,
            LISTED | {"intent:hello/*": "change", "call:hello/*": "change"},
        ]
    ),
)
targets = st.builds(
    spec.Target,
    id=st.sampled_from(["host-0", "host-1", "host-2"]),
    groups=groups_of_targets,
    criticality=st.sampled_from(["low", "high"]),
)
requests = st.builds(
    spec.Request,
    person=st.sampled_from(["alice", "alice", "bob", "bot", "cron"]),
    action=st.sampled_from(["read", "change", "destroy"]),
    targets=st.lists(targets, min_size=1, max_size=3, unique_by=lambda target: target.id).map(tuple),
    mode=st.sampled_from(["dry_run", "apply"]),
    simulated=st.booleans(),
    sponsor=st.sampled_from(["alice", "bob"]),
    step=st.sampled_from([None, "one", "two"]),
    parameters=st.sampled_from([{}, {"p": "v"}, {"p": "w", "q": "v"}]),
    intent=st.sampled_from(["start", "start", "stop", "other"]),
    call=st.none()
    | st.tuples(
        st.sampled_from(["local/kill", "local/look", "local/other"]),
        st.sampled_from(["read", "change", "destroy"]),
    ),
)


def pack(world: World, rules: Sequence[spec.Policy], name: str = "test") -> Pack:
    texts = {True: "", False: ""}
    for number, rule in enumerate(rules):
        texts[rule.word == "require"] += spec.cedar(rule, f"r{number}")
    entities = {
        "groups": ["g", "h"],
        "target_groups": sorted(world.target_groups),
        "people": {person: {"groups": sorted(groups)} for person, groups in world.people.items()},
        "agents": {agent: {"sponsor": sponsor} for agent, sponsor in world.agents.items()},
        "services": sorted(world.services),
        "actions": world.listed,
    }
    files = pack_files(texts[False], texts[True], json.dumps(entities))
    return Pack.parse(files | {"pack.yaml": f"id: {name}\nversion: '1'\n".encode()})


def real(asked: spec.Request) -> PolicyRequest:
    return request(
        principal=Principal(person=asked.person, established=Established.TOKEN, credential="t"),
        gate=Gate.PLAN if asked.call is None else Gate.CALL,
        effect=Effect(asked.action),
        intent=asked.intent,
        call=None if asked.call is None else called(*asked.call),
        mode=Mode(asked.mode),
        simulated=asked.simulated,
        sponsor=asked.sponsor,
        step=asked.step,
        parameters=asked.parameters or None,
        targets=tuple(
            RequestTarget(
                id=target.id, type="host", criticality=target.criticality, groups=tuple(sorted(target.groups))
            )
            for target in asked.targets
        ),
    )


def called(name: str, effect: str) -> RequestCall:
    connector, _, action = name.partition("/")
    return RequestCall(connector=connector, action=action, effect=Effect(effect))


def told(answer: Answer) -> spec.Answer:
    obligations = answer.terms.obligations
    return spec.Answer(
        verdict=str(answer.terms.verdict),
        approvals=frozenset((rule.count, rule.group) for rule in answer.terms.approvals),
        output_bytes=obligations.output_bytes,
        no_network=obligations.no_network,
    )


@given(worlds, st.lists(policies, max_size=8), requests)
def test_the_answer_is_that_of_the_plain_implementation(
    world: World, rules: list[spec.Policy], asked: spec.Request
) -> None:
    answer = decide(Policy([pack(world, rules)]), real(asked))

    assert told(answer) == spec.decide(world, rules, asked)


@given(worlds, st.lists(policies, max_size=4), requests, st.data())
def test_who_or_what_nobody_listed_is_denied_whatever_the_policies_say(
    world: World, rules: list[spec.Policy], asked: spec.Request, data: st.DataObject
) -> None:
    stranger = replace(asked.targets[0], groups=frozenset("tx"))
    unknown = data.draw(
        st.sampled_from(
            [
                replace(asked, person="eve"),
                replace(asked, person="ALICE"),
                replace(asked, person="bot", sponsor=None),
                replace(asked, targets=()),
                replace(asked, targets=(stranger, *asked.targets[1:])),
            ]
        )
    )
    everything = spec.Policy("permit", Head(), (), Head(), "true", None, None, False)

    answer = decide(Policy([pack(world, [everything, *rules])]), real(unknown))

    assert told(answer) == spec.NO == spec.decide(world, [everything, *rules], unknown)
    assert not answer.rules and not answer.errors


@given(worlds, st.lists(policies, max_size=5), requests, st.data())
def test_order_and_duplicates_do_not_matter(
    world: World, rules: list[spec.Policy], asked: spec.Request, data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(rules + rules[:2]))

    one = decide(Policy([pack(world, rules)]), real(asked))
    other = decide(Policy([pack(world, shuffled)]), real(asked))

    assert one.terms == other.terms


@given(worlds, st.lists(policies, max_size=5), policies, st.sampled_from(["forbid", "require"]), requests)
def test_a_new_forbid_or_requirement_never_turns_no_into_yes(
    world: World, rules: list[spec.Policy], added: spec.Policy, word: str, asked: spec.Request
) -> None:
    before = decide(Policy([pack(world, rules)]), real(asked))
    after = decide(Policy([pack(world, [*rules, replace(added, word=word)])]), real(asked))

    assert VERDICTS.index(after.terms.verdict) <= VERDICTS.index(before.terms.verdict)


@given(worlds, st.lists(policies, max_size=5), policies, requests)
def test_errors_deny_whatever_else_the_policies_say(
    world: World, rules: list[spec.Policy], broken: spec.Policy, asked: spec.Request
) -> None:
    condition = "9223372036854775807 + 1 == 0"
    broken = replace(broken, principal=Head(), actions=(), resource=Head(), when=condition)

    answer = decide(
        Policy([pack(world, [*rules, broken])]),
        real(replace(asked, person="alice", action="read", intent="start", call=None)),
    )

    assert answer.terms.verdict is Verdict.BLOCKED
    assert any(f"test/r{len(rules)}" in error for error in answer.errors)


@given(worlds, st.lists(policies, max_size=4), st.lists(policies, max_size=4), requests)
def test_the_pack_of_a_profile_adds_only_forbids_and_requirements(
    world: World, operator: list[spec.Policy], proposed: list[spec.Policy], asked: spec.Request
) -> None:
    policy = Policy([pack(world, operator)], [pack(world, proposed, "proposed")])

    without_permits = [rule for rule in proposed if rule.word != "permit"]
    assert told(decide(policy, real(asked))) == spec.decide(world, [*operator, *without_permits], asked)


@given(
    worlds,
    st.lists(policies, max_size=12),
    st.lists(requests, min_size=1, max_size=3),
    st.sampled_from([0, 1, 64]),
)
def test_sliced_and_unsliced_answers_are_equal(
    world: World, rules: list[spec.Policy], several: list[spec.Request], merged_max: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slicing, "CELL_MERGED_MAX", merged_max)
        policy = Policy([pack(world, rules)])
        for asked in several:
            known = not spec.unknown(world, asked)

            assert not known or found(decide(policy, real(asked))) == unsliced(world, rules, real(asked))


def found(answer: Answer) -> tuple[bool, frozenset[str], frozenset[str]]:
    """Return whether `answer` is a yes, the policies it names and the errors."""
    names = frozenset(rule.id.removeprefix("test/") for rule in answer.rules)
    errors = frozenset(error.replace("`test/", "`") for error in answer.errors)
    return answer.terms.verdict is not Verdict.BLOCKED, frozenset() if errors else names, errors


def unsliced(
    world: World, rules: Sequence[spec.Policy], asked: PolicyRequest
) -> tuple[bool, frozenset[str], frozenset[str]]:
    """Return the same from the engine, given all policies, all entities, all facts and the schema."""
    entities = cedarpy.Entities.from_json_str(json.dumps(all_entities(world, asked)))
    action = f"intent:hello/{asked.intent}"
    if asked.call is not None:
        action = f"call:hello/{asked.call.connector}/{asked.call.action}"
    matching: set[str] = set()
    errors: set[str] = set()
    denied_by: list[set[str]] = []
    for target in asked.targets:
        question = {
            "principal": {"type": kind_of(world, asked.principal.person), "id": asked.principal.person},
            "action": {"type": "Action", "id": action},
            "resource": {"type": "Target", "id": target.id},
            "context": all_facts(asked),
        }
        said: list[tuple[bool, set[str]]] = []
        for requirements in (False, True):
            names = [f"r{n}" for n, rule in enumerate(rules) if (rule.word == "require") is requirements]
            text = "".join(spec.cedar(rules[int(name[1:])], name, to_be_in=True) for name in names)
            result = cedarpy.is_authorized(question, cedarpy.PolicySet.from_str(text), entities)
            said.append((result.allowed, set(result.diagnostics.id_annotations_by_reason.values())))
            for error in result.diagnostics.errors:
                named = re.sub(r"policy(\d+)", lambda place: names[int(place[1])], error)  # noqa: B023
                errors.add(" ".join(named.split()))
        (allowed, reasons), (_, applying) = said
        matching |= reasons | applying
        denied_by += [] if allowed else [reasons]
    if errors:
        return False, frozenset(), frozenset(errors)
    return not denied_by, frozenset(denied_by[0] if denied_by else matching), frozenset()


def kind_of(world: World, person: str) -> str:
    return "Agent" if person in world.agents else "Service" if person in world.services else "User"


def all_entities(world: World, asked: PolicyRequest) -> list[object]:
    """Return everybody and everything there is."""

    def entity(
        of: str, name: str, above: Sequence[tuple[str, str]] = (), **facts: object
    ) -> dict[str, object]:
        parents = [{"type": kind, "id": name} for kind, name in above]
        return {"uid": {"type": of, "id": name}, "attrs": facts, "parents": parents}

    return [
        *(entity("User", who, [("Group", name) for name in groups]) for who, groups in world.people.items()),
        *(
            entity("Agent", agent, sponsor={"__entity": {"type": "User", "id": sponsor}})
            for agent, sponsor in world.agents.items()
        ),
        *(entity("Service", service) for service in world.services),
        *(entity("Group", group) for group in "gh"),
        *(entity("TargetGroup", group) for group in world.target_groups),
        *(
            entity("Target", target.id, [("TargetGroup", group) for group in target.groups],
                   kind=target.type, criticality=target.criticality)
            for target in asked.targets
        ),
        entity("Parameters", "p") | {"tags": asked.parameters or {}},
        *(entity("Action", group + effect) for group in ("", "call:") for effect in Effect),
        entity("Action", f"intent:hello/{asked.intent}", [("Action", str(asked.effect))]),
        *(
            entity("Action", f"call:hello/{call.connector}/{call.action}",
                   [("Action", f"intent:hello/{asked.intent}"), ("Action", f"call:{call.effect}")])
            for call in (asked.call,) if call is not None
        ),
    ]  # fmt: skip


def all_facts(asked: PolicyRequest) -> dict[str, object]:
    """Return the context as the schema describes it."""
    facts: dict[str, object] = {
        "gate": str(asked.gate),
        "mode": str(asked.mode),
        "risk": asked.risk,
        "profile": asked.profile,
        "intent": f"{asked.profile}/{asked.intent}",
        "environment": asked.environment,
        "simulated": asked.simulated,
        "pinned": asked.pinned,
        "origin": asked.origin,
        "principal_established": str(asked.principal.established),
        "now": {"__extn": {"fn": "datetime", "arg": format_time(asked.now)}},
        "parameters": {"__entity": {"type": "Parameters", "id": "p"}},
        "break_glass": asked.break_glass,
        "override_window": asked.override_window,
        "recent": dict.fromkeys((field.name for field in fields(Recent)), INTEGER_MAX),
        "grade": asked.grade,
        "sponsor": asked.sponsor,
        "step": asked.step,
    }
    return {name: value for name, value in facts.items() if value is not None}


@settings(max_examples=15)
@given(requests)
def test_every_fact_that_policies_are_told_is_in_the_schema_and_has_its_type(asked: spec.Request) -> None:
    everybody = World(
        {"alice": frozenset("g"), "bob": frozenset()}, {"bot": "alice"}, frozenset({"cron"}), frozenset("tu")
    )
    rule = spec.Policy("permit", Head(), (), Head(), "{whole: context}.whole.simulated", None, None, False)
    sees_all = Policy([pack(everybody, [rule])])
    told_of = sees_all.facts.of(real(asked))

    named = {"intent:hello": {asked.intent: Effect(asked.action)}}
    named |= {"call:hello": {asked.call[0]: Effect(asked.call[1])}} if asked.call else {}
    in_force = schema(
        named, [("Action", f"{scope}/{rest}") for scope, rests in named.items() for rest in rests]
    )
    result = cedarpy.is_authorized_batch(list(told_of.questions), "", told_of.entities, in_force)

    assert sees_all.facts.read == FACTS.keys() == all_facts(request(grade="g", sponsor="s", step="s")).keys()
    assert not any(answer.diagnostics.errors for answer in result)
    assert json.loads(str(told_of.questions[0]["context"])).keys() == all_facts(real(asked)).keys()
