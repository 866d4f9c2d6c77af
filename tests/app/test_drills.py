"""Drills on a real root: who is asked, whose yes counts, how fast they were, and that nothing comes of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rexecop.app.drilling import Drills
from rexecop.app.instance import Instance
from rexecop.governance.drills import (
    ANSWER_TOPIC,
    DRILL_NAMESPACE,
    DRILL_OPEN,
    Drill,
    DrillAnswer,
    DrillStatement,
    drills,
)
from rexecop.governance.requests import ApprovalAnswer
from rexecop.keys import load_ssh_signer
from rexecop.proof.chain import seal
from rexecop.proof.codec import encode
from rexecop.proof.errors import RexecopError
from rexecop.proof.records.approval import APPROVAL_NAMESPACE
from rexecop.proof.sshsig import sign
from tests.app.support import bob, change, made, opened, records, scratch


def said(drill: Drill) -> dict[str, bool]:
    return {one.person: one.answered is not None for one in drill.members}


def at(instance: Instance, later: timedelta) -> Drill:
    authority, now = instance.parts.authority, instance.parts.world.clock.now()
    return drills(authority.trust_records(), authority.enrolments(), now + later)[-1]


async def forged(instance: Instance, answer: DrillAnswer) -> Drill:
    by = answer.statement.approver
    await instance.parts.keyring.note(ANSWER_TOPIC, encode(answer).decode(), by)
    return at(instance, timedelta(0))


def test_a_drill_says_who_answered_and_how_fast_and_who_did_not() -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            with opened(folder) as instance:
                mine = Drills(instance, {})
                asked = await mine.begin("approvers", "who is there")
                assert set(said(asked).values()) == {False} and asked.asked_by == "alice"
                assert {one.person for one in asked.members if one.has_key} == {"bob"}
                statement, signer = mine.asked(None, key=bob(folder), agent=False)
                found = await mine.answer(statement, signer)
                assert {who for who, there in said(found).items() if there} == {"bob"}
                after = next(one.after_ms for one in found.members if one.person == "bob")
                assert after is not None and 0 <= after < 60_000
                assert found.state == "open" and at(instance, DRILL_OPEN).state == "over"
                chain = instance.parts.authority.trust_records()
                for then, counts in ((DRILL_OPEN - timedelta(milliseconds=1), True), (DRILL_OPEN, False)):
                    late = seal(replace(chain[-1].record, at=asked.asked + then))
                    enrolled = instance.parts.authority.enrolments()
                    shown = drills((*chain[:-1], late), enrolled, asked.asked + DRILL_OPEN)[-1]
                    assert said(shown)["bob"] is counts and shown.state == "over"
                for name in (None, found.drill, found.drill[7:15]):  # Once is enough, and only once counted.
                    with pytest.raises(RexecopError) as again:
                        mine.asked(name, key=bob(folder), agent=False)
                    assert again.value.code == "drill-refused" and again.value.next_steps
                assert (await mine.answer(statement, signer)).members == found.members

    asyncio.run(story())


def test_only_members_with_an_approvers_key_answer_and_only_groups_with_people_are_asked() -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            with opened(folder) as instance:
                mine = Drills(instance, {})
                for group, reason in (
                    ("nobody", None),
                    ("", None),
                    ("approvers", " "),
                    ("approvers", "x" * 1001),
                ):
                    with pytest.raises(RexecopError) as refused:
                        await mine.begin(group, reason)
                    assert refused.value.code == ("drill-refused" if group == "approvers" else "group-empty")
                assert mine.view() == ()
                await mine.begin("approvers", None)
                await instance.key_new("mallory", "approver", folder / "mallory")
                for key in ("mallory", "alice"):  # Not in the group; a key to ask with only.
                    with pytest.raises(RexecopError) as other:
                        mine.asked(None, key=folder / key, agent=False)
                    assert other.value.code == "drill-refused"

    asyncio.run(story())


def test_a_drill_is_no_approval_and_an_approval_no_answer_to_a_drill() -> None:
    async def story(folder: Path, instance: Instance) -> None:
        operation = (await instance.plan(change(folder))).operation_id
        mine = Drills(instance, {})
        drill = await mine.begin("approvers", None)
        statement, signer = mine.asked(None, key=bob(folder), agent=False)
        assert (
            said(
                await forged(
                    instance,
                    DrillAnswer(
                        statement=statement, signature=sign(signer, APPROVAL_NAMESPACE, encode(statement))
                    ),
                )
            )["bob"]
            is False
        )
        await mine.answer(statement, signer)
        assert instance.status(operation).state == "waiting_for_approval"
        drilled = sign(signer, DRILL_NAMESPACE, encode(statement))
        await instance.approve(operation, key=bob(folder))
        given = records(instance, operation)[-1].record.statement  # type: ignore[attr-defined]
        other = (await instance.plan(change(folder, "good night"))).operation_id
        op = instance.operation(other)
        fits = replace(given, operation=other, plan=op.sealed_plan.digest, nonce="n" * 32)
        for signature in (drilled, sign(signer, DRILL_NAMESPACE, encode(fits))):
            with pytest.raises(RexecopError) as refused:
                await instance.take_answer(encode(ApprovalAnswer(statement=fits, signature=signature)))
            assert refused.value.code == "answer-unfit"
        with pytest.raises(RexecopError) as kind:
            await instance.take_answer(encode(DrillAnswer(statement=statement, signature=drilled)))
        assert kind.value.code == "request-malformed"
        assert drill.state == "open" and instance.status(other).state == "waiting_for_approval"

    async def told() -> None:
        with scratch() as folder:
            await made(folder)
            with opened(folder) as instance:
                await story(folder, instance)

    asyncio.run(told())


def test_an_answer_counts_only_where_its_signature_does() -> None:
    async def story(folder: Path, instance: Instance) -> None:
        mine = Drills(instance, {})
        drill = await mine.begin("approvers", None)
        statement, signer = mine.asked(None, key=bob(folder), agent=False)
        alice = load_ssh_signer(folder / "alice")
        as_carol = replace(statement, approver=replace(statement.approver, person="carol"))
        cases: tuple[tuple[DrillStatement, DrillStatement, object], ...] = (
            (statement, statement, alice),  # Another's key.
            (as_carol, as_carol, signer),  # Another's name.
            (statement, as_carol, signer),  # Other bytes.
            (replace(statement, instance="in_other"),) * 2 + (signer,),
            (replace(statement, drill=drill.drill[:-1] + "z"),) * 2 + (signer,),  # type: ignore[arg-type]
        )
        for shown, signed, by in cases:
            signature = sign(by, DRILL_NAMESPACE, encode(signed))  # type: ignore[arg-type]
            found = await forged(instance, DrillAnswer(statement=shown, signature=signature))
            assert set(said(found).values()) == {False}, shown
        await instance.parts.keyring.note(ANSWER_TOPIC, "not an answer", statement.approver)
        await instance.key_revoke(statement.approver.credential)
        with pytest.raises(RexecopError) as revoked:
            mine.asked(None, key=bob(folder), agent=False)
        assert revoked.value.code in ("drill-refused", "approver-unknown")
        found = await forged(
            instance,
            DrillAnswer(statement=statement, signature=sign(signer, DRILL_NAMESPACE, encode(statement))),
        )
        assert set(said(found).values()) == {False} and not any(one.has_key for one in found.members)

    async def told() -> None:
        with scratch() as folder:
            await made(folder)
            with opened(folder) as instance:
                await story(folder, instance)

    asyncio.run(told())
