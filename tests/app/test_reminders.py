"""Reminders on a real root: what waits for whom, how often they are told, and to whom it is escalated."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from rexecop.app.instance import Instance
from rexecop.app.reminding import ESCALATION, REMINDER, Escalation, Waiting, remind
from rexecop.app.telling import Telling
from rexecop.operations.ports import Clock
from rexecop.proof.errors import RexecopError
from rexecop.proof.records.instance import Note
from rexecop.proof.records.ticket import Ticket
from rexecop.proof.verify import Rung
from tests.app.support import bob, change, made, opened, records, scratch, verified
from tests.app.test_step_approvals import ASKS, STEP, WRITES, marked

APPROVERS = Escalation(after=timedelta(hours=4), group="approvers")


class Later:
    """The clock of the instance, so much later."""

    def __init__(self, clock: Clock, by: timedelta) -> None:
        self.clock, self.by = clock, by

    def now(self) -> datetime:
        return self.clock.now() + self.by

    def boot_ms(self) -> int:
        return self.clock.boot_ms()


def let_sessions_approve(folder: Path) -> None:
    for file in (folder / "root" / "policy").rglob("*.cedar"):
        file.write_text(file.read_text().replace("of approvers", "of approvers, session_may_approve"))


def later(instance: Instance, minutes: int) -> Instance:
    parts = instance.parts
    clock = Later(parts.world.clock, timedelta(minutes=minutes))
    world = replace(parts.world, clock=clock)
    return Instance(replace(parts, world=world, telling=Telling(world, parts.telling.notices)))


def notes(instance: Instance, operation: str, topic: str) -> list[str]:
    found = (sealed.record for sealed in records(instance, operation))
    return [note.text for note in found if isinstance(note, Note) and note.topic == topic]


def told(story: Callable[[Path, Instance], Awaitable[None]]) -> None:
    async def whole() -> None:
        with scratch() as folder:
            await made(folder)
            with opened(folder) as instance:
                await story(folder, instance)

    asyncio.run(whole())


def test_whoever_may_say_yes_and_did_not_is_reminded_at_most_once_an_hour() -> None:
    async def story(folder: Path, instance: Instance) -> None:
        for person in ("carol", "alice", "mallory"):  # Alice asks; Mallory is in no group.
            await instance.key_new(person, "approver", folder / f"{person}-approves")
        assert await remind(instance, None) == ()
        operation = (await instance.plan(change(folder))).operation_id
        (first,) = await remind(instance, None)
        assert (first.waits_for, first.remind) == (("bob", "carol"),) * 2
        assert (first.operation_id, first.requester) == (operation, "alice")
        assert first.missing == "1 of `approvers`" and first.noted
        for minutes, again in ((0, ()), (59, ()), (61, ("bob", "carol")), (62, ())):
            (found,) = await remind(later(instance, minutes), None)
            assert (found.waits_for, found.remind) == (("bob", "carol"), again), minutes
        assert notes(instance, operation, REMINDER) == ["bob\ncarol"] * 2

    told(story)


def test_where_sessions_may_approve_everybody_else_in_the_group_is_reminded_with_a_key_or_without() -> None:
    async def story(folder: Path, instance: Instance) -> None:
        let_sessions_approve(folder)
        await instance.plan(change(folder))
        everybody = instance.parts.authority.policy().groups()["approvers"]
        (found,) = await remind(instance, None)
        assert set(found.remind) == everybody - {"alice"} and "carol" in found.remind

    told(story)


def test_whoever_said_yes_already_is_not_reminded_of_the_yes_that_is_missing() -> None:
    async def story(folder: Path, instance: Instance) -> None:
        await instance.key_new("carol", "approver", folder / "carol")
        rule = folder / "root" / "policy" / "starter" / "requirements" / "approvals.cedar"
        rule.write_text(rule.read_text().replace("1 of approvers", "2 of approvers"))
        operation = (await instance.plan(change(folder))).operation_id
        await instance.approve(operation, key=bob(folder))
        (found,) = await remind(instance, None)
        assert (found.missing, found.remind) == ("1 of `approvers`", ("carol",))

    told(story)


def test_what_waits_for_longer_is_escalated_to_everybody_in_the_group_and_changes_nothing() -> None:
    async def story(folder: Path, instance: Instance) -> None:
        operation = (await instance.plan(change(folder))).operation_id
        everybody = tuple(sorted(instance.parts.authority.policy().groups()["approvers"]))
        for minutes, heard in ((239, ()), (241, everybody), (242, ()), (302, everybody)):
            (found,) = await remind(later(instance, minutes), APPROVERS)
            assert found.escalate == heard, minutes
        assert notes(instance, operation, ESCALATION) == ["\n".join(everybody)] * 2
        with pytest.raises(RexecopError) as nobody:
            await remind(instance, replace(APPROVERS, group="nobody"))
        assert nobody.value.code == "group-empty" and nobody.value.next_steps

    told(story)


def test_who_may_approve_a_step_is_reminded_of_it_until_its_ticket_ends() -> None:
    async def story(folder: Path, instance: Instance) -> None:
        async def paused(greeting: str) -> str:
            asked = replace(change(folder, greeting), profile=marked(folder, WRITES, WRITES + ASKS))
            operation = (await instance.plan(asked)).operation_id
            await instance.approve(operation, key=bob(folder))
            assert (await instance.start(operation)).state == "paused"
            return operation

        operation = await paused("good evening")
        (found,) = await remind(instance, None)
        assert (found.step, found.waits_for, found.remind) == (STEP, ("bob",), ("bob",))
        assert found.missing == f"1 of `approvers` for step `{STEP}`"
        ticket = instance.operation(operation).sealed_ticket.record
        assert isinstance(ticket, Ticket) and found.expires == ticket.expires
        await instance.approve(operation, key=bob(folder), step=STEP)
        assert await remind(instance, None) == ()
        assert (await instance.start(operation)).state == "completed"
        report = verified(instance, operation)
        assert report.findings == () and report.holds(Rung.LOGGED)

        await paused("good night")
        (first,) = await remind(instance, None)
        for minutes, again, escalated in ((59, False, False), (61, True, False), (242, True, True)):
            (found,) = await remind(later(instance, minutes), APPROVERS)
            assert found.since == first.since, minutes
            assert (found.remind == ("bob",), bool(found.escalate)) == (again, escalated), minutes

    told(story)


def test_a_reminder_is_in_the_evidence_and_no_yes() -> None:
    async def story(folder: Path, instance: Instance) -> None:
        operation = (await instance.plan(change(folder))).operation_id
        await remind(instance, APPROVERS)
        assert instance.status(operation).state == "waiting_for_approval"
        await instance.approve(operation, key=bob(folder))
        assert await remind(instance, None) == ()
        assert (await instance.start(operation)).state == "completed"
        report = verified(instance, operation)
        assert report.findings == () and report.holds(Rung.LOGGED) and report.claims.approvals == 1

    told(story)


def test_of_two_at_the_same_moment_one_reminds() -> None:
    async def story(folder: Path, instance: Instance) -> None:
        operation = (await instance.plan(change(folder))).operation_id
        both: list[tuple[Waiting, ...]] = list(
            await asyncio.gather(remind(instance, None), remind(instance, None))
        )
        assert sorted(found.remind for (found,) in both) == [(), ("bob",)]
        assert notes(instance, operation, REMINDER) == ["bob"]

    told(story)
