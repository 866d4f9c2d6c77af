"""Scopes commit to every call a ticket covers, and to nothing else."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.proof.call import call_digest
from rexecop.proof.records.plan import CallStep, DeriveStep, Plan
from rexecop.proof.scope import scope_entries, scope_root, undo_scope_root
from rexecop.proof.vocabulary import Effect, Phase
from tests.governance import cases
from tests.governance.cases import STEP, call

OTHER_STEP = replace(STEP, id="reload", call=call("reload"), probe=None, undo=None)


def planned(*steps: CallStep | DeriveStep) -> Plan:
    record = cases.plan(cases.intent()).record
    assert isinstance(record, Plan)
    return replace(record, steps=steps)


@pytest.mark.parametrize(
    "changed",
    [
        replace(STEP, call=call("restart", "now")),
        replace(STEP, call=replace(STEP.call, target="host-2")),
        replace(STEP, call=replace(STEP.call, effect=Effect.DESTROY)),
        replace(STEP, id="again"),
        replace(STEP, probe=None),
    ],
)
def test_a_change_of_any_planned_call_changes_the_scope(changed: CallStep) -> None:
    assert scope_root(planned(changed)) != scope_root(planned(STEP))


def test_undoing_has_a_scope_of_its_own() -> None:
    other = replace(STEP, undo=call("restore", "more"))

    assert scope_root(planned(STEP)) == scope_root(planned(other))
    assert undo_scope_root(planned(STEP)) != undo_scope_root(planned(other))
    assert undo_scope_root(planned(OTHER_STEP)) is None


def test_work_and_probe_are_entries_and_a_derived_step_is_none() -> None:
    derived = DeriveStep(id="sum", target="host-1", normalizer="sum", needs=("restart",))
    assert STEP.probe is not None

    found = scope_entries(planned(STEP, derived), Phase.DO, Phase.PROBE)

    assert {entry.template for entry in found} == {call_digest(STEP.call), call_digest(STEP.probe.call)}


@given(st.permutations([STEP, OTHER_STEP, replace(STEP, target="host-2", id="x")]))
def test_the_order_of_steps_and_repeating_one_do_not_change_the_scope(steps: list[CallStep]) -> None:
    given_order = planned(STEP, OTHER_STEP, replace(STEP, target="host-2", id="x"))

    assert scope_root(planned(*steps, steps[0])) == scope_root(given_order)
    assert undo_scope_root(planned(*steps, steps[0])) == undo_scope_root(given_order)
