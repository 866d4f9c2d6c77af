"""Breaking the glass works where policy says so, leaves more evidence, and is reviewed by somebody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rexecop.app.build import open_instance
from rexecop.app.identity import os_user
from rexecop.app.instance import Instance
from rexecop.app.planner import PlanInput
from rexecop.app.views import OperationView
from rexecop.governance.starter import files as starter_files
from rexecop.proof.errors import RexecopError
from rexecop.proof.records.command import Command, Verb
from rexecop.proof.records.decision import Decision
from rexecop.proof.records.intent import Intent
from tests.app.support import bob, change, greeting, made, opened, records, scratch, settings, verified

WHY = "the database is down and nobody answers"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with scratch() as folder:
        asyncio.run(made(folder))
        yield folder


def allow(folder: Path, emergency: str | None, rule: str = "") -> None:
    """Let policy say what stands in the place of approval in an emergency."""
    starter = folder / "root" / "policy" / "starter"
    for name, data in starter_files(os_user().person, ("alice", "bob", "carol")).items():
        if name.endswith(".cedar"):
            (starter / name).write_bytes(data)
    path = starter / "requirements" / "approvals.cedar"
    asks = '@id("a-change-needs-one")\n@approvals("1 of approvers")\n'
    more = "" if emergency is None else f'@break_glass("{emergency}")\n'
    _, _, rest = path.read_text().partition('permit (principal, action in Action::"change"')
    path.write_text(f'{asks}{more}permit (principal, action in Action::"change"{rest}')
    rules = starter / "rules.cedar"
    rules.write_text(rules.read_text() + rule)


def emergency(folder: Path, text: str = "help") -> PlanInput:
    return replace(change(folder, text), observe=False, break_glass=WHY)


async def broken(instance: Instance, folder: Path, text: str = "help") -> OperationView:
    view = await instance.plan(emergency(folder, text))
    return await instance.start(view.operation_id) if view.state == "approved" else view


def test_a_broken_glass_runs_at_once_and_leaves_a_command_of_its_own_and_a_review(folder: Path) -> None:
    async def story() -> None:
        allow(folder, "review<=1h")
        with opened(folder) as instance:
            usual = await instance.plan(replace(change(folder), observe=False))
            assert usual.state == "waiting_for_approval"
            view = await broken(instance, folder)
            assert (view.state, greeting(folder)) == ("completed", "help\n")

            found = [sealed.record for sealed in records(instance, view.operation_id)]
            asked, command, decision = found[0], found[2], found[3]
            assert isinstance(asked, Intent) and asked.break_glass and asked.reason == WHY
            assert isinstance(command, Command) and (command.verb, command.reason) == (Verb.BREAK_GLASS, WHY)
            assert command.by == asked.by
            assert isinstance(decision, Decision) and decision.request.break_glass
            assert "an emergency" in instance.preview(view.operation_id)
            (due,) = instance.reviews()
            assert (due.operation_id, due.requester, due.overdue) == (view.operation_id, "alice", False)
            assert str(instance.status(view.operation_id).waiting).startswith("review by ")
            assert not verified(instance, view.operation_id).findings

            with pytest.raises(RexecopError) as refused:
                await instance.review(view.operation_id, "all fine, I did it myself")
            assert refused.value.code == "review-refused"
        with open_instance(settings(folder, bob(folder))) as other:
            await other.review(view.operation_id, "it was needed")
            assert other.reviews() == ()
            assert not verified(other, view.operation_id).findings
            with pytest.raises(RexecopError) as again:
                await other.review(view.operation_id, "once more")
            assert again.value.code == "nothing-to-review"
            assert not other.check().status.startswith("fail")

    asyncio.run(story())


def test_an_emergency_may_have_an_approver_of_its_own(folder: Path) -> None:
    async def story() -> None:
        allow(folder, "1 of approvers, review<=1h")
        with opened(folder) as instance:
            view = await broken(instance, folder)
            assert view.state == "waiting_for_approval"
            await instance.approve(view.operation_id, key=bob(folder))
            assert (await instance.start(view.operation_id)).state == "completed"
            assert not verified(instance, view.operation_id).findings

    asyncio.run(story())


@pytest.mark.parametrize(
    ("emergency_rule", "rule", "because"),
    [
        (None, "", "no rule that takes part has a `@break_glass`"),
        ("review<=1h", '@id("no")\nforbid (principal, action, resource);\n', "forbidden by `starter/no`"),
    ],
)
def test_no_glass_is_broken_where_policy_has_none_or_forbids(
    folder: Path, emergency_rule: str | None, rule: str, because: str
) -> None:
    async def story() -> None:
        allow(folder, emergency_rule, rule)
        with opened(folder) as instance:
            view = await broken(instance, folder)
            assert view.state == "blocked" and because in str(view.reason)
            assert not verified(instance, view.operation_id).findings

    asyncio.run(story())


def test_an_overdue_review_keeps_that_person_from_the_next(folder: Path) -> None:
    async def story() -> None:
        allow(folder, "review<=1s")
        with opened(folder) as instance:
            first = await broken(instance, folder)
            assert first.state == "completed"
            time.sleep(1.1)
            assert instance.reviews()[0].overdue
            second = await broken(instance, folder, "again")
            assert second.state == "blocked" and "is overdue since" in str(second.reason)
            assert not verified(instance, second.operation_id).findings
            usual = await instance.plan(replace(change(folder), observe=False))
            assert usual.state == "waiting_for_approval"

    asyncio.run(story())
