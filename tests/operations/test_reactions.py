"""Rules over facts: packs load strictly, every rule that holds is found, one decides, and chains end."""

from __future__ import annotations

import pytest

from rexecop.operations.days import read_day, replay_day
from rexecop.operations.errors import ProfileRefused
from rexecop.operations.profile import load_profile
from rexecop.operations.profile_model import ReactionPack
from rexecop.operations.reactions import PACK_FILE, Chain, react, rule_digest
from rexecop.proof.canonical import Json
from rexecop.proof.reaction import Condition, Operator, Reacts
from tests.operations.folders import SEED, edited, seed


def the_pack() -> ReactionPack:
    pack = load_profile(seed()).reactions
    assert pack is not None
    return pack


def test_a_pack_of_the_seeds_grammar_loads_unchanged_with_and_without_its_name_on_top() -> None:
    bare = SEED[PACK_FILE]
    named = "reaction_pack:\n" + bare.strip().replace("\n", "\n  ").replace("id: seed", "  id: seed", 1)

    under = load_profile(seed(**{PACK_FILE: named})).reactions

    assert under is not None and under.rules == the_pack().rules
    assert [rule.id for rule in the_pack().rules] == ["disk", "clock", "clock_unavailable", "well"]
    assert (the_pack().fallback.priority, the_pack().fallback.when) == (1000, ())


TOO_MANY = "\n".join(f"      - {{path: facts.a{n}, operator: exists}}" for n in range(17))
RULES = "\n".join(
    f"  - {{id: r{n}, when: [{{path: facts.a, operator: equals, value: {n}}}], "
    "finding: {kind: k, severity: low, summary: s}, outcome: no_op}"
    for n in range(129)
)
# old text, new text, what the message names
BROKEN = [
    ("priority: 20", "priority: 20\n    colour: red", "unknown key `colour`"),
    ("max_depth: 3", "max_depth: 33", "1 to 32"),
    ("max_depth: 3", "max_depth: 0", "1 to 32"),
    ("max_reactions: 5", "max_reactions: 1025", "1 to 1024"),
    ("max_reactions: 5", "", "`max_reactions` is missing"),
    ("operator: gte", "operator: about", "one of equals"),
    ("path: facts.offset_ms", "path: offset_ms", "begins with `facts.`"),
    ("path: facts.offset_ms", "path: facts.a..b", "begins with `facts.`"),
    ("value: 100}", "value: soon}", "compares with a number"),
    ("value: 100}", "value: [100]}", "not a single value"),
    ("operator: gte, value: 100", "operator: gte", "compares with a `value`"),
    ("value: [unavailable, unknown]", "value: unknown", "not a list"),
    ("value: [unavailable, unknown]", "value: []", "a list of values"),
    ("outcome: retry_intent\n    intent_ref: look", "outcome: retry_intent", "names the intent it asks for"),
    ("outcome: no_op", "outcome: no_op\n    intent_ref: look", "asks for no intent"),
    ("outcome: no_op", "outcome: apply", "one of run_intent"),
    ("severity: critical", "severity: fatal", "one of info"),
    ("summary: All is well.", f"summary: {'x' * 513}", "longer than 512"),
    ("id: well", "id: clock", "has the same id as `clock`"),
    (
        "[{path: facts.observed_health, operator: equals, value: healthy}]",
        "[{path: facts.offset_ms, operator: gte, value: 100}, "
        "{path: facts.components.clock.status, operator: equals, value: unhealthy}]",
        "has the same conditions as `clock`",
    ),
    ("[{path: facts.observed_health, operator: equals, value: healthy}]", "[]", "1 to 16 conditions"),
    (
        "when: [{path: facts.observed_health, operator: equals, value: healthy}]",
        f"when:\n{TOO_MANY}",
        "at most 16",
    ),
    ("fallback:\n", "fallback:\n  when: []\n", "unknown key `when`"),
    ("intent_ref: look", "intent_ref: lock", "no intent of the profile"),
    ("id: seedlike.readonly", f"id: seedlike.readonly\n# {'x' * 262144}", "at most 262144 bytes"),
]


@pytest.mark.parametrize(("old", "new", "says"), BROKEN, ids=[says for _, _, says in BROKEN])
def test_what_breaks_the_grammar_is_refused_by_file_and_line(old: str, new: str, says: str) -> None:
    with pytest.raises(ProfileRefused) as refused:
        load_profile(edited(PACK_FILE, old, new))

    assert says in refused.value.message
    assert refused.value.facts["file"] == PACK_FILE


def test_no_more_rules_are_read_than_a_pack_may_have() -> None:
    text = SEED[PACK_FILE]
    many = f"{text[: text.index('rules:')]}rules:\n{RULES}\n{text[text.index('fallback:') :]}"

    with pytest.raises(ProfileRefused, match="at most 128"):
        load_profile(seed(**{PACK_FILE: many}))


def test_a_rule_asks_for_no_intent_that_may_change_anything() -> None:
    with pytest.raises(ProfileRefused, match="not all reading"):
        load_profile(edited("intents/look.yaml", "modes: [read_only, dry_run]", "modes: [read_only, apply]"))


def test_what_observes_is_a_step_of_the_workflow() -> None:
    block = SEED["intents/look.yaml"]
    at = block.index("producer_step: ")
    step = block[at:].split("\n", 1)[0].removeprefix("producer_step: ")

    with pytest.raises(ProfileRefused, match="no step of the workflow"):
        load_profile(edited("intents/look.yaml", f"producer_step: {step}", "producer_step: nowhere"))


FACTS: dict[str, Json] = {
    "word": "a",
    "number": 5,
    "digits": "2.50",
    "yes": True,
    "none": None,
    "in": {"one": 1},
}


@pytest.mark.parametrize(
    ("path", "operator", "value", "holds"),
    [
        ("word", "equals", "a", True),
        ("word", "equals", "b", False),
        ("number", "equals", 5, True),
        ("number", "equals", "5", False),
        ("in.one", "equals", True, False),
        ("yes", "equals", True, True),
        ("yes", "equals", 1, False),
        ("in", "equals", "x", False),
        ("word", "not_equals", "b", True),
        ("word", "not_equals", "a", False),
        ("gone", "not_equals", "a", False),
        ("none", "not_equals", "a", False),
        ("word", "in", ["b", "a"], True),
        ("word", "in", ["b"], False),
        ("yes", "in", [1], False),
        ("in.one", "exists", True, True),
        ("in.two", "exists", True, False),
        ("in.two", "exists", False, True),
        ("none", "exists", False, True),
        ("word.deeper", "exists", True, False),
        ("number", "gt", 4, True),
        ("number", "gt", 5, False),
        ("number", "gte", "5.0", True),
        ("digits", "lt", 3, True),
        ("digits", "lt", "2.5", False),
        ("digits", "lte", "2.5", True),
        ("yes", "gte", 0, False),
        ("word", "gt", 0, False),
        ("gone", "lt", 9, False),
    ],
)
def test_a_condition_holds_of_what_is_there_and_of_its_own_kind(
    path: str, operator: str, value: Json, holds: bool
) -> None:
    condition = Condition(path=f"facts.{path}", operator=Operator(operator), value=value)

    assert condition.holds(FACTS) is holds


BAD: dict[str, Json] = {
    "components": {"clock": {"status": "unhealthy"}},
    "offset_ms": 250,
    "disk": {"state": "bad"},
}


def test_all_rules_that_hold_are_found_and_the_lowest_priority_decides() -> None:
    found = react(the_pack(), BAD, Chain())

    assert [rule.id for rule in found.held] == ["disk", "clock"]
    assert (found.rule.id, found.outcome, found.intent, found.why) == ("disk", Reacts.RETRY, "look", None)


def test_the_fallback_stands_for_what_no_rule_knows() -> None:
    found = react(the_pack(), {"weather": "fair"}, Chain())

    assert ([rule.id for rule in found.held], found.outcome) == (["fallback"], Reacts.ESCALATE)


def test_a_chain_that_goes_round_too_deep_or_on_for_too_long_is_for_people() -> None:
    pack, disk = the_pack(), rule_digest(the_pack().rules[0])
    ends = {
        "reaction_cycle_detected": Chain(depth=1, rules=frozenset({disk}), reactions=1),
        "max_reaction_depth_exceeded": Chain(depth=3),
        "reaction_budget_exhausted": Chain(reactions=5),
    }

    for why, chain in ends.items():
        found = react(pack, BAD, chain)
        assert (found.outcome, found.intent, found.why) == (Reacts.ESCALATE, None, why)
    assert react(pack, BAD, Chain(depth=2, reactions=4)).intent == "look"
    cooling = react(pack, BAD, Chain(cooling=frozenset({disk})))
    assert (cooling.outcome, cooling.intent, cooling.why) == (Reacts.NO_OP, None, "reaction_cooling_down")
    # Where nothing is asked for, nothing stands against it.
    assert react(pack, {"observed_health": "healthy"}, Chain(depth=9, reactions=99)).why is None


DAY = """
day:
  observations:
    - {name: one, at: 2026-01-01T00:00:00Z, target: w, facts: {observed_health: healthy},
       expect: {outcome: no_op}}
    - {name: two, at: 2026-01-01T00:01:00Z, target: w, after: one, facts: {},
       expect: {outcome: escalate}}
"""


def test_a_day_says_where_it_came_out_otherwise() -> None:
    good = replay_day(read_day(DAY.encode(), "a.day.yaml"), the_pack())
    other = replay_day(read_day(DAY.replace("outcome: no_op", "outcome: escalate").encode(), "a"), the_pack())

    assert [one.differences for one in good] == [(), ()]
    assert other[0].differences == ("outcome is `no_op`, not `escalate`",)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("after: one", "after: none", "no earlier observation"),
        ("name: two", "name: one", "there already"),
        ("00:01:00Z", "never", "is a time like"),
        ("2026-01-01T00:01", "2025-01-01T00:01", "before the observation it follows"),
        ("outcome: escalate", "outcome: apply", "one of run_intent"),
        ("facts: {},", "", "`facts` is missing"),
    ],
)
def test_a_day_that_is_none_is_refused(old: str, new: str, says: str) -> None:
    with pytest.raises(ProfileRefused) as refused:
        read_day(DAY.replace(old, new).encode(), "a.day.yaml")

    assert says in refused.value.message and refused.value.facts["file"] == "a.day.yaml"
