"""Views over records: what rests on what, how far an operation is, and proposals from outside."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.honest import STORIES
from rexecop.govern import (
    PlanRequest,
    artifacts,
    change_order,
    envelope,
    fold,
    next_effect,
    proposed,
    standing,
    unseal,
)
from rexecop.operations.errors import InputRefused, IntentUnknown, PlanTooLarge
from rexecop.operations.profile import load_profile
from rexecop.proof.bundle import from_members
from rexecop.proof.canonical import digest_of
from rexecop.proof.chain import Sealed
from rexecop.proof.container import unpack
from rexecop.proof.vocabulary import Mode, State
from tests.operations.folders import HELLO, HELLO_ENVIRONMENT, REACHED, environment_file, folder


def story(name: str) -> tuple[Sealed, ...]:
    made = next(one for one in STORIES if one.name == name)
    contents, _ = from_members(unpack(made.make().bundle).members)
    return tuple(map(unseal, contents.records))


CHANGE = story("change_with_approval")


def names(items: Sequence[object]) -> list[str]:
    return [getattr(item, "kind", "") for item in items]


def test_every_record_but_the_first_and_what_sums_up_names_an_earlier_one() -> None:
    for item in artifacts(CHANGE)[1:]:
        assert item.kind == "validation" or max(item.rests_on) < item.n


def test_a_changed_plan_undoes_what_was_decided_approved_and_done_but_not_what_was_asked() -> None:
    plan = next(item for item in artifacts(CHANGE) if item.kind == "plan")
    stale = names(change_order(CHANGE, plan.digest))

    assert "intent" not in stale and "plan" not in stale
    assert {"decision", "approval", "ticket", "attempt", "outcome", "validation", "receipt"} == set(stale)


@given(st.sampled_from(range(len(CHANGE))))
def test_a_change_reaches_whatever_names_it_and_nothing_before_it(n: int) -> None:
    order = change_order(CHANGE, CHANGE[n].digest)
    reached = {item.n for item in order}

    assert all(place > n for place in reached)
    assert {item.n for item in artifacts(CHANGE) if n in item.rests_on} <= reached
    sums = ("validation", "receipt")
    assert all({n, *reached}.intersection(item.rests_on) for item in order if item.kind not in sums)
    assert CHANGE[-1].record.n in (n, *reached)


def test_a_record_that_is_not_there_changes_nothing() -> None:
    assert change_order(CHANGE, digest_of(b"elsewhere")) == ()


def test_an_operation_says_what_it_lacks_at_every_record() -> None:
    told = [standing(fold(CHANGE[:n])) for n in range(len(CHANGE) + 1)]

    assert told[0].missing == ("intent", "plan", "decision", "ticket")
    waiting = told[3]
    assert (waiting.state, waiting.ready, waiting.missing) == (State.WAITING_FOR_APPROVAL, False, ("ticket",))
    assert [rule.group for rule in waiting.approvals] == ["ops"]
    assert State.APPROVED in waiting.next
    assert told[4].ready and told[4].approvals == ()
    assert (told[-1].state, told[-1].missing, told[-1].blocked) == (State.COMPLETED, (), None)
    blocked = standing(fold(story("blocked_by_policy")))
    assert blocked.blocked and not blocked.ready
    assert next_effect(fold(CHANGE)) is not None


def test_every_record_is_one_event_by_its_digest() -> None:
    events = [envelope(sealed) for sealed in CHANGE]

    assert [event.sequence for event in events] == list(range(len(CHANGE)))
    assert all(event.id == digest_of(event.data) for event in events)
    assert events[0].type == "rexecop.intent/1" and len({event.source for event in events}) == 1


READ = PlanRequest(intent="host_facts", target="localhost", mode=Mode.READ_ONLY, parameters={})


def test_proposals_are_compiled_as_ours_are_or_refused_whole() -> None:
    profile, where = load_profile(folder(HELLO)), environment_file(HELLO_ENVIRONMENT)

    (draft,) = proposed([READ], profile, where, REACHED)
    assert draft.intent == "host_facts" and draft.steps

    unknown = PlanRequest(intent="anything", target="localhost", mode=Mode.APPLY, parameters={})
    many = [PlanRequest(intent=f"i{n}", target="t", mode=Mode.APPLY, parameters={}) for n in range(33)]
    for requests, refusal in (
        ([READ, unknown], IntentUnknown),
        ([READ, READ], InputRefused),
        (many, PlanTooLarge),
    ):
        with pytest.raises(refusal):
            proposed(requests, profile, where, REACHED)
