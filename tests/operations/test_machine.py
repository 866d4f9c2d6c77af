"""The lifecycle's table: what it allows, what it never allows, and that all of it is used."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.operations.errors import IllegalMove
from rexecop.operations.machine import DRIVABLE, TERMINAL, TRANSITIONS, Event, allows, move
from rexecop.proof.vocabulary import State

STATES, EVENTS = st.sampled_from(State), st.sampled_from(Event)
OPERATIONS = Path(__file__).parents[2] / "src/rexecop/operations"
FOLD = "".join((OPERATIONS / name).read_text() for name in ("fold.py", "commands.py"))


def reached_from(start: State) -> set[State]:
    found, waiting = {start}, [start]
    while waiting:
        for state in TRANSITIONS[waiting.pop()].values():
            if state not in found:
                found.add(state)
                waiting.append(state)
    return found


def test_every_state_has_its_row_and_is_reached_from_the_first() -> None:
    assert set(TRANSITIONS) == set(State)
    assert reached_from(State.CREATED) == set(State)


def test_every_state_leads_to_a_terminal_one() -> None:
    for state in State:
        assert reached_from(state) & TERMINAL, state


@pytest.mark.parametrize("state", [State.ESCALATED, State.UNDONE])
def test_nothing_leaves_what_was_escalated_or_undone(state: State) -> None:
    assert TRANSITIONS[state] == {}
    assert state in TERMINAL


@given(STATES, EVENTS)
def test_a_pair_outside_the_table_is_an_error_that_names_both_states(state: State, event: Event) -> None:
    if event in TRANSITIONS[state]:
        assert move(state, event) is TRANSITIONS[state][event]
        assert allows(state, event)
        return
    assert not allows(state, event)
    with pytest.raises(IllegalMove) as refused:
        move(state, event)
    goals = {moves[event] for moves in TRANSITIONS.values() if event in moves}
    assert refused.value.state is state
    assert f"`{state}`" in refused.value.message
    assert any(f"`{goal}`" in refused.value.message for goal in goals)
    assert set(refused.value.allowed) == {str(goal) for goal in TRANSITIONS[state].values()} - {
        refused.value.event
    }


@given(st.lists(EVENTS, max_size=12))
def test_no_walk_leaves_the_table(events: list[Event]) -> None:
    state = State.CREATED
    for event in events:
        if allows(state, event):
            state = move(state, event)
    assert state in reached_from(State.CREATED)


def test_an_unknown_effect_is_settled_before_anything_else_runs() -> None:
    assert State.RUNNING not in TRANSITIONS[State.INDETERMINATE].values()
    assert State.RETRYING not in TRANSITIONS[State.INDETERMINATE].values()
    assert State.COMPLETED not in TRANSITIONS[State.INDETERMINATE].values()


def test_only_validation_completes() -> None:
    assert [state for state, moves in TRANSITIONS.items() if State.COMPLETED in moves.values()] == [
        State.VALIDATING
    ]


def test_nothing_that_ended_is_driven() -> None:
    assert not TERMINAL & DRIVABLE


def test_nothing_blocked_ever_runs_on_unless_a_persons_no_is_taken_back() -> None:
    assert TRANSITIONS[State.BLOCKED] == {
        Event.ESCALATED: State.ESCALATED,
        Event.WITHDRAWN: State.WAITING_FOR_APPROVAL,
        Event.UNDO_ASKED: State.UNDOING,
    }


@pytest.mark.parametrize("state", sorted(set(State) - {State.APPROVED}))
def test_only_what_is_approved_begins_or_goes_back_to_undoing(state: State) -> None:
    assert not {Event.STARTED, Event.UNDO_CONTINUED} & set(TRANSITIONS[state])


@pytest.mark.parametrize("event", list(Event))
def test_every_event_is_one_that_records_can_say(event: Event) -> None:
    assert f"Event.{event.name}" in FOLD
