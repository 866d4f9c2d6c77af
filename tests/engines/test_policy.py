"""Policy is asked again: before the ticket, and before every change. It only ever stops more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from rexecop.governance.pack import Pack
from rexecop.proof.records.command import Verb
from rexecop.proof.records.decision import Decision, RequestCall
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.vocabulary import Effect, Ended, Gate, Mode, Phase, Role, State, Verdict
from tests.engines.support import approve, ended, housed, kinds, live, of_kind, op_of
from tests.sim.plans import change, planned, read
from tests.sim.world import (
    ALICE,
    EVERYTHING,
    KEYS,
    NEEDS_ONE,
    NEEDS_TWO,
    NO_CHANGES,
    ROOT,
    STARTER,
    STARTER_FILES,
    Crash,
    House,
    pack,
)


def test_a_policy_that_asks_for_more_than_was_decided_is_recorded_and_people_are_asked(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"))
            assert op_of(house, operation).state is State.APPROVED
            house.authority.packs = (NEEDS_ONE,)

            await house.lifecycle.start(operation)
            await house.lifecycle.start(operation)

            assert op_of(house, operation).state is State.WAITING_FOR_APPROVAL
            assert kinds(house, operation) == ["intent", "plan", "decision", "decision"]
            asked = of_kind(house, operation, Decision)[-1].record
            assert isinstance(asked, Decision) and asked.request.gate is Gate.TICKET
            assert house.reality.effects == []
            await approve(house, operation, "bob")
            await house.lifecycle.start(operation)
            assert ended(house, operation).state is State.COMPLETED

    asyncio.run(story())


def test_a_policy_that_forbids_by_now_blocks_with_a_receipt(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"))
            house.authority.packs = (NO_CHANGES,)

            await house.lifecycle.start(operation)

            assert ended(house, operation).state is State.BLOCKED
            assert house.reality.calls == []

    asyncio.run(story())


def test_a_policy_that_grew_wider_goes_on_under_the_terms_that_were_approved(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.authority.packs = (NEEDS_ONE,)
            operation = await planned(house, change("one"))
            await approve(house, operation, "bob")
            house.authority.packs = (STARTER,)

            await house.lifecycle.start(operation)

            op = ended(house, operation)
            assert op.state is State.COMPLETED
            assert op.terms.verdict is Verdict.APPROVAL_REQUIRED

    asyncio.run(story())


def test_an_approval_that_was_enough_is_not_when_two_are_asked_for(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.authority.packs = (NEEDS_ONE,)
            operation = await planned(house, change("one"))
            await approve(house, operation, "bob")
            house.authority.packs = (NEEDS_TWO,)

            await house.lifecycle.start(operation)
            assert op_of(house, operation).state is State.WAITING_FOR_APPROVAL
            await approve(house, operation, "bob")
            assert op_of(house, operation).state is State.WAITING_FOR_APPROVAL
            await approve(house, operation, "carol")
            await house.lifecycle.start(operation)

            assert ended(house, operation).state is State.COMPLETED

    asyncio.run(story())


def stricter_during(house: House, step: str) -> Callable[[str, Phase, object], str]:
    def fate(of: str, phase: Phase, effect: object) -> str:
        if of == step:
            house.authority.packs = (NO_CHANGES,)
        return "ok"

    return fate


def test_a_policy_that_forbids_in_mid_run_stops_every_step_and_every_retry(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"), change("two"), change("three"))
            house.lane.fate = stricter_during(house, "one")

            await house.lifecycle.start(operation)
            assert op_of(house, operation).state is State.FAILED
            for _ in range(2):
                await house.lifecycle.command(operation, Verb.RETRY, ALICE, "try again")
                assert op_of(house, operation).state is State.FAILED

            ended(house, operation)
            assert {step for _, step, _ in house.reality.effects} == {"one"}
            refused = of_kind(house, operation, Outcome)[-1].record
            assert isinstance(refused, Outcome)
            assert (refused.ended, refused.error_class) == (Ended.REFUSED, "policy_denied")

    asyncio.run(story())


def test_a_step_whose_failure_is_tolerated_does_not_slip_past_a_policy_that_forbids(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"), change("two", tolerated=True), change("three"))
            house.lane.fate = stricter_during(house, "one")

            await house.lifecycle.start(operation)

            assert ended(house, operation).state is State.FAILED
            assert {step for _, step, _ in house.reality.effects} == {"one"}

    asyncio.run(story())


@pytest.mark.parametrize("path", ["resumed", "restarted", "recovery"])
def test_a_change_is_asked_about_on_every_path_that_leads_to_it(tmp_path: Path, path: str) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            mode = Mode.RECOVERY if path == "recovery" else Mode.APPLY
            if path == "resumed":
                live(house)
            operation = await planned(house, read("look"), change("one"), change("two"), mode=mode)

            async def stop() -> None:
                if house.reality.calls[-1][1] != "one":
                    return
                if path == "resumed":
                    await house.lifecycle.command(operation, Verb.PAUSE, ALICE, "wait")
                elif path == "restarted":
                    house.store.die()
                else:
                    house.authority.packs = (NO_CHANGES,)

            house.lane.during = stop
            try:
                await house.lifecycle.start(operation)
            except Crash:
                house.life()
            house.lane.during = None
            house.authority.packs = (NO_CHANGES,)
            if path == "restarted":
                await house.lifecycle.start(operation)
                house.clock.move(timedelta(minutes=2))
                await house.lifecycle.reconcile(operation, ALICE, probe=True, happened=None, reason=None)
            if path != "recovery":
                await house.lifecycle.command(operation, Verb.RESUME, ALICE, "go on")

            op = ended(house, operation)
            assert op.state is State.FAILED
            assert house.reality.times(operation, "two", Phase.DO) == 0
            asked = of_kind(house, operation, Decision)[-1].record
            assert isinstance(asked, Decision) and asked.request.gate is Gate.CALL
            assert "the answer is `blocked`, it was `allowed`" in op.reason

    asyncio.run(story())


def test_undoing_is_asked_about_too(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"))
            await house.lifecycle.start(operation)
            house.authority.packs = (NO_CHANGES,)
            for _ in range(2):
                await house.lifecycle.command(operation, Verb.UNDO, ALICE, "back")
                assert ended(house, operation).state is State.FAILED
            assert house.reality.times(operation, "one", Phase.UNDO) == 0
            house.authority.packs = (STARTER,)
            await house.lifecycle.command(operation, Verb.UNDO, ALICE, "back")
            assert ended(house, operation).state is State.UNDONE

    asyncio.run(story())


def naming(rules: str) -> Pack:
    """Return the starter pack with `rules` added that name intent and calls of the simulated profile."""
    files = dict(STARTER_FILES)
    files["rules.cedar"] = b"" if "permit" in rules else files["rules.cedar"]
    files["rules.cedar"] += rules.encode()
    files["entities.yaml"] += b"actions: {intent:sim/sim: destroy, 'call:sim/*': destroy"
    files["entities.yaml"] += b"".join(
        b", call:sim/script/%b: destroy" % name for name in (b"do_look", b"do_two", b"undo_one")
    )
    files["entities.yaml"] += b"}\n"
    files["requirements/approvals.cedar"] = EVERYTHING.replace("@", '@id("e") @', 1).encode()
    return Pack.parse(files)


def test_a_permit_for_an_intent_covers_every_call_that_is_made_for_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.authority.packs = (
                naming('@id("p") permit (principal is User, action == Action::"intent:sim/sim", resource);'),
            )
            operation = await planned(house, read("look"), change("one"), change("two"))

            await house.lifecycle.start(operation)

            assert ended(house, operation).state is State.COMPLETED

    asyncio.run(story())


@pytest.mark.parametrize("call", ["do_look", "do_two", "undo_one"])
def test_a_plan_with_a_forbidden_call_never_starts(tmp_path: Path, call: str) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            forbid = f'@id("f") forbid (principal, action == Action::"call:sim/script/{call}", resource);'
            house.authority.packs = (naming(forbid),)

            operation = await planned(house, read("look"), change("one"), change("two"))

            assert ended(house, operation).state is State.BLOCKED
            assert house.reality.calls == []

    asyncio.run(story())


@pytest.mark.parametrize("call", ["do_two", "undo_one"])
def test_a_call_that_is_due_is_asked_about_by_its_name_and_so_is_its_undoing(
    tmp_path: Path, call: str
) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            forbid = f'@id("f") forbid (principal, action == Action::"call:sim/script/{call}", resource);'
            operation = await planned(house, change("one"), change("two"))

            async def meanwhile() -> None:
                house.authority.packs = (naming(forbid),)

            house.lane.during = meanwhile
            await house.lifecycle.start(operation)
            if call == "undo_one":
                assert op_of(house, operation).state is State.COMPLETED
                await house.lifecycle.command(operation, Verb.UNDO, ALICE, "back")

            assert ended(house, operation).state is State.FAILED
            assert ("one" if call == "undo_one" else "two", Phase(call.partition("_")[0])) not in {
                (step, phase) for _, step, phase in house.reality.effects
            }
            asked = of_kind(house, operation, Decision)[-1].record
            assert isinstance(asked, Decision) and asked.request.gate is Gate.CALL
            assert asked.request.call == RequestCall(connector="script", action=call, effect=Effect.CHANGE)
            assert [rule.id for rule in asked.rules] == ["starter/f"]

    asyncio.run(story())


@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_approvals_that_no_longer_stand_are_asked_for_again(tmp_path: Path, how: str) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.authority.packs = (NEEDS_ONE,)
            operation = await planned(house, change("one"))
            await approve(house, operation, "bob")
            if how == "revoked":
                await house.keyring.revoke(KEYS["bob"].key_id, ROOT)
            else:
                house.clock.move(timedelta(hours=25))

            await house.lifecycle.start(operation)

            assert op_of(house, operation).state is State.WAITING_FOR_APPROVAL
            assert house.reality.calls == []
            house.clock.move(timedelta(seconds=1))
            await approve(house, operation, "carol")
            await house.lifecycle.start(operation)
            assert ended(house, operation).state is State.COMPLETED

    asyncio.run(story())


def test_a_key_enrolled_again_after_the_plan_does_not_count(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.authority.packs = (NEEDS_ONE,)
            await house.keyring.revoke(KEYS["bob"].key_id, ROOT)
            operation = await planned(house, change("one"))
            await house.keyring.enrol(KEYS["bob"].public, "bob", Role.APPROVER, ROOT)
            await approve(house, operation, "bob")

            await house.lifecycle.start(operation)

            assert op_of(house, operation).state is State.WAITING_FOR_APPROVAL
            assert house.reality.calls == []

    asyncio.run(story())


def test_obligations_are_met_and_the_receipt_says_how(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            kept = (
                '@id("o")\n@obligations("receipt, steps<=3, targets<=2, timeout<=700ms, output_bytes<=5")\n'
            )
            house.authority.packs = (pack(kept + "permit (principal, action, resource);\n"),)
            operation = await planned(house, read("one-look"), change("two"))
            await house.lifecycle.start(operation)

            op = ended(house, operation)
            receipt = op.receipts[-1].record
            assert isinstance(receipt, Receipt)
            assert {item.name for item in receipt.obligations} == {
                *("receipt", "steps", "targets", "timeout", "output_bytes")
            }
            assert all(item.met for item in receipt.obligations)

    asyncio.run(story())


def test_obligations_stay_those_of_the_ticket_whatever_policy_answers_later(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            kept = '@id("o")\n@obligations("receipt, steps<=3")\npermit (principal, action, resource);\n'
            house.authority.packs = (pack(kept),)
            operation = await planned(house, change("one"), change("two"))

            async def meanwhile() -> None:
                house.authority.packs = (NO_CHANGES,)

            house.lane.during = meanwhile
            await house.lifecycle.start(operation)

            op = ended(house, operation)
            receipt = op.receipts[-1].record
            assert isinstance(receipt, Receipt)
            assert {"receipt", "steps"} == {item.name for item in receipt.obligations}

    asyncio.run(story())


def test_an_obligation_the_plan_cannot_keep_blocks_when_it_comes_after_the_plan(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"), change("two"))
            kept = '@id("o")\n@obligations("steps<=1")\npermit (principal, action, resource);\n'
            house.authority.packs = (pack(kept),)

            await house.lifecycle.start(operation)

            assert ended(house, operation).state is State.BLOCKED
            assert house.reality.calls == []

    asyncio.run(story())


def test_an_expired_ticket_gives_no_leave_to_act_or_to_look(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"), change("two"))
            house.lane.fate = lambda step, phase, effect: "crash after" if phase is Phase.DO else "ok"
            with pytest.raises(Crash):
                await house.lifecycle.start(operation)
            house.life()
            house.lane.fate = lambda step, phase, effect: "ok"
            house.clock.move(timedelta(hours=25))

            with pytest.raises(Exception) as refused:
                await house.lifecycle.reconcile(operation, ALICE, probe=True, happened=None, reason=None)
            assert getattr(refused.value, "code", "") == "ticket-expired"
            await house.lifecycle.reconcile(operation, ALICE, probe=False, happened=True, reason="I looked")
            await house.lifecycle.command(operation, Verb.RESUME, ALICE, None)

            assert ended(house, operation).state is State.FAILED
            assert {step for _, step, _ in house.reality.effects} == {"one"}

    asyncio.run(story())
