"""Long records are read entry by entry and within limits; large plans are told so that people can read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecop.proof import bundle, canonical, codec
from rexecop.proof.alike import STEPS_MAX
from rexecop.proof.call import Limits
from rexecop.proof.canonical import Json, digest_of, trusted_bytes
from rexecop.proof.chain import Sealed, seal, unseal
from rexecop.proof.errors import BundleMalformed, KindUnknown, NotCanonical, ProofError, RecordMalformed
from rexecop.proof.preview import preview
from rexecop.proof.records.intent import EnvironmentRef, Intent, Origin, ProfileRef
from rexecop.proof.records.plan import CallStep, Plan, PlannedTarget
from rexecop.proof.records.validation import RuleResult, RuleVerdict, Validation
from rexecop.proof.vocabulary import Effect, Isolation, Mode, Phase
from tests.governance.cases import ALICE, NOW, SOME
from tests.sim.world import scripted

LIMITS = Limits(timeout_ms=1_000, output_bytes=4096, grace_ms=100)


def step(target: str, name: str = "set", timeout_ms: int = 1_000) -> CallStep:
    return CallStep(
        id=f"{name}@{target}",
        target=target,
        call=scripted("op", name, Phase.DO, target, Effect.CHANGE),
        limits=replace(LIMITS, timeout_ms=timeout_ms),
        isolation=Isolation.NOT_APPLICABLE,
        idempotent=False,
        needs=() if name == "set" else (f"set@{target}",),
    )


def asked() -> Sealed:
    return seal(
        Intent(
            operation="op",
            n=0,
            prev=None,
            at=NOW,
            by=ALICE,
            profile=ProfileRef(name="sim", version="1", digest=SOME),
            environment=EnvironmentRef(id="here", digest=SOME),
            intent="sim",
            target="all",
            mode=Mode.APPLY,
            origin=Origin(channel="test"),
        )
    )


def plan_of(steps: Sequence[CallStep], **fields: object) -> Plan:
    names = list(dict.fromkeys(one.target for one in steps))
    plan = Plan(
        operation="op",
        n=1,
        prev=asked().digest,
        at=NOW,
        by=ALICE,
        intent=asked().digest,
        profile=SOME,
        environment=SOME,
        effect=Effect.CHANGE,
        risk="low",
        targets=tuple(PlannedTarget(id=name, type="host", criticality="low") for name in names),
        steps=tuple(steps),
    )
    return replace(plan, **fields)  # type: ignore[arg-type]


def names(count: int) -> list[str]:
    return [f"h{n:04}" for n in range(count)]


PLAN = plan_of([step(name, which) for name in names(600) for which in ("set", "look")])


@pytest.mark.parametrize("count", [1, codec.LONG - 1, codec.LONG, 600])
@settings(max_examples=5)
@given(note=st.text(max_size=5))
def test_a_long_record_has_the_bytes_it_would_have_written_whole(count: int, note: str) -> None:
    plan = plan_of(
        [step(name) for name in names(count)], notes={"note": note} if note.isprintable() else None
    )

    assert codec.encode(plan) == trusted_bytes(codec.to_json(plan))
    assert unseal(seal(plan).body).record == plan


def refusal(body: bytes) -> ProofError:
    with pytest.raises(ProofError) as found:
        unseal(body)
    return found.value


def test_a_long_record_is_refused_for_what_any_record_is_refused_for() -> None:
    body = seal(PLAN).body
    assert len(body) > codec.RECORD_BYTES_MAX

    for old, new, kind in (
        (b'"id":"set@h0300"', b'"id": "set@h0300"', NotCanonical),
        (b'"id":"set@h0300",', b"", RecordMalformed),
        (b'"kind":"plan/1"', b'"kind":"plan/9"', KindUnknown),
        (b'"risk":"low"', b'"risk":1.5', NotCanonical),
        (b'"steps":[', b'"steps":[[', RecordMalformed),
        (b'"steps":[', b'"steps":[,', NotCanonical),
        (b'"steps":[', b'"steps":[7,', RecordMalformed),
    ):
        assert body.count(old) >= 1
        assert isinstance(refusal(body.replace(old, new, 1)), kind), new
    for cut in (body[:-1], body + b"}", body[1:], body[: len(body) // 2]):
        assert isinstance(refusal(cut), NotCanonical)
    assert "steps[0]" in refusal(body.replace(b'"steps":[', b'"steps":[7,', 1)).message


def test_each_kind_has_its_own_limit_and_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    results = tuple(
        RuleResult(rule="r", verdict=RuleVerdict.PASSED, path="a", found="x" * 1000) for _ in range(300)
    )
    record = Validation(
        operation="op",
        n=0,
        prev=None,
        at=NOW,
        by=ALICE,
        verdict=RuleVerdict.PASSED,
        rules=results,
        facts=SOME,
    )
    body = seal(record).body
    assert len(body) > codec.RECORD_BYTES_MAX and unseal(body).record == record

    monkeypatch.setattr(Validation, "bytes_max", 300_000)
    with pytest.raises(RecordMalformed, match="at most 300000"):
        seal(record)
    assert "at most 300000" in refusal(body).message
    monkeypatch.setattr(canonical, "CONTAINERS_MAX", 200)
    assert "200 arrays and objects" in refusal(seal(PLAN).body).message


def test_the_long_lines_of_a_bundle_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    long = b"x" * (codec.RECORD_BYTES_MAX + 1)
    monkeypatch.setattr(bundle, "LONG_BYTES_MAX", 3 * len(long))
    assert len(bundle._lines((long + b"\n") * 3 + b"y\n" * 10, "records.jsonl")) == 13
    with pytest.raises(BundleMalformed, match=r"long lines of `records.jsonl`"):
        bundle._lines((long + b"\n") * 4, "records.jsonl")


def shown(plan: Plan) -> str:
    return preview(asked(), seal(plan))


def test_targets_that_are_alike_are_told_once() -> None:
    text = shown(PLAN)

    assert len(PLAN.steps) > STEPS_MAX and len(text) < 12_000
    assert "2 steps on all targets, alike but for the target's own name:" in text
    assert "targets         600 of type=host criticality=low\n                h0000 h0001 " in text
    assert "no undo for set@*, 600 times" in text and "but on" not in text
    assert "step 2 of 1200: look@h0000" in text and "  needs         set@h0000" in text


def test_what_is_different_on_one_of_many_targets_stands_out() -> None:
    steps = list(PLAN.steps)
    odd = steps.index(step("h0333", "look"))
    steps[odd] = step("h0333", "look", timeout_ms=7_000)
    lines = shown(replace(PLAN, steps=tuple(steps))).splitlines()

    at = lines.index("      but on h0333")
    assert "1000 ms," in lines[at - 1] and "7000 ms," in lines[at + 1]
    assert sum("but on" in line for line in lines) == 1


def test_a_target_with_other_steps_is_told_by_itself() -> None:
    plan = plan_of([one for one in PLAN.steps if isinstance(one, CallStep) and one.id != "look@h0007"])
    text = shown(plan)

    assert "2 steps on 599 targets" in text and "1 steps on 1 targets" in text and "\n  h0007\n" in text


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(("h0001", "h0002", "h0003")), st.sampled_from(("set", "h0002", "look"))),
        min_size=2,
        max_size=6,
        unique=True,
    ),
    st.lists(st.sampled_from((1_000, 2_000)), min_size=6, max_size=6),
    st.data(),
)
def test_no_two_large_plans_have_one_text(
    wanted: list[tuple[str, str]], timeouts: list[int], data: st.DataObject
) -> None:
    def told(order: Sequence[int], times: Sequence[int]) -> str:
        steps = [replace(step(*wanted[n], times[n]), needs=()) for n in order]
        text = preview(asked(), replace(seal(plan_of(steps)), digest=digest_of(b"any")))
        return text

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("rexecop.proof.preview.STEPS_MAX", 1)
        order = list(range(len(wanted)))
        other = data.draw(st.permutations(order))
        times = data.draw(st.lists(st.sampled_from((1_000, 2_000)), min_size=6, max_size=6))
        same = [(wanted[n], timeouts[n]) for n in order] == [(wanted[n], times[n]) for n in other]
        assert (told(order, timeouts) == told(other, times)) is same


def test_what_is_free_form_in_a_long_record_is_kept_as_it_is() -> None:
    notes: dict[str, Json] = {"steps": [{"kind": "call-step/1"}], "kind": "plan/1", "on": True, "one": 1}
    plan = replace(PLAN, notes=notes)

    assert unseal(seal(plan).body).record == plan
