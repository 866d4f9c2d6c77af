"""Standing approvals on a real root: given once, used so many times, inside their bounds, revoked at once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from rexecop.app.instance import Instance
from rexecop.app.standing import Standing
from rexecop.operations.ports import standing_use
from rexecop.proof.errors import RexecopError
from rexecop.proof.records.approval import Approval
from rexecop.proof.records.ticket import Ticket
from rexecop.proof.verify import Rung
from tests.app.support import bob, change, made, opened, records, scratch, verified


def wanted(instance: Instance, uses: int = 2, **more: object) -> Standing:
    until = instance.parts.world.clock.now() + timedelta(days=1)
    fields = {"uses": uses, "until": until, "allow": {"greeting": "good evening|good night"}}
    return Standing(**(fields | more))  # type: ignore[arg-type]


async def asks(instance: Instance, folder: Path, text: str = "good night") -> tuple[str, str]:
    view = await instance.plan(change(folder, text))
    return view.operation_id, view.state


def test_a_standing_approval_says_yes_inside_its_bounds_as_often_as_it_was_given_for() -> None:
    async def story() -> None:
        async def told(instance: Instance, folder: Path) -> None:
            first, _ = await asks(instance, folder, "good evening")
            given = await instance.standing_new(first, wanted(instance), key=bob(folder))
            assert given.state == "standing" and "good night" in given.covers
            assert (await asks(instance, folder, "good grief"))[1] == "waiting_for_approval"
            operation, state = await asks(instance, folder)
            assert state == "approved" and instance.status(operation).approved_by == ("bob",)
            done = await instance.start(operation)
            assert done.state == "completed", done.reason
            ticket = next(
                one.record for one in records(instance, operation) if isinstance(one.record, Ticket)
            )
            assert len(ticket.approvals) == 1
            report = verified(instance, operation)
            assert report.findings == () and report.holds(Rung.LOGGED) and report.claims.approvals == 1
            assert any(
                "standing yes by bob, use 1 of 2" in one.summary for one in instance.history(operation)
            )
            assert (await asks(instance, folder))[1] == "approved"
            assert (await asks(instance, folder))[1] == "waiting_for_approval"
            assert [(one.used, one.state) for one in instance.standing_list()] == [(2, "used up")]

        with scratch() as folder:
            await made(folder)
            with opened(folder) as instance:
                await told(instance, folder)

    asyncio.run(story())


def test_a_revoked_standing_approval_counts_nowhere_not_even_where_it_was_used_and_not_started() -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            with opened(folder) as instance:
                first, _ = await asks(instance, folder)
                given = await instance.standing_new(first, wanted(instance, 5), key=bob(folder))
                operation, state = await asks(instance, folder)
                assert state == "approved"
                with pytest.raises(RexecopError) as another:
                    await instance.standing_revoke(given.standing, key=folder / "alice")
                assert another.value.code == "standing-refused" and another.value.next_steps
                gone = await instance.standing_revoke(given.standing[7:15], key=bob(folder))
                assert gone.state == "revoked"
                assert (await instance.start(operation)).state == "waiting_for_approval"
                assert (await asks(instance, folder))[1] == "waiting_for_approval"
                assert "taken back" in " ".join(instance.why(operation).lines)

    asyncio.run(story())


def test_a_standing_approval_is_nobodys_own_and_one_use_is_one_plan() -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            with opened(folder) as instance:
                first, _ = await asks(instance, folder)
                with pytest.raises(RexecopError) as own:
                    await instance.key_new("alice", "approver", folder / "mine")
                    operation, _ = await asks(instance, folder)
                    await instance.standing_new(operation, wanted(instance), key=folder / "mine")
                assert own.value.code == "self-approval"
                await instance.standing_new(first, wanted(instance, 9), key=bob(folder))
                both = await asyncio.gather(*(asks(instance, folder) for _ in range(3)))
                assert [state for _, state in both] == ["approved"] * 3
                said = [one.record for one in records(instance, instance.parts.authority.instance)][-1]
                assert isinstance(said, Approval)
                claims = [standing_use(said.statement.nonce, n) for n in (1, 2, 3, 4)]
                users = [instance.parts.world.store.claimed(claim) for claim in claims]
                assert {operation for operation, _ in both} == set(users[:3]) and users[3] is None
                # Bob asks for himself: what he approved beforehand is no approval of that.
                await instance.key_new("bob", "requester", folder / "bob-asks")
            with opened(folder, "bob-asks") as instance:
                assert (await asks(instance, folder))[1] == "waiting_for_approval"

    asyncio.run(story())


UNBOUND: tuple[dict[str, object], ...] = (
    {"uses": 0},
    {"uses": 1001},
    {"allow": {"greeting": "1..9"}},
    {"allow": {"greeting": "a||b"}},
    {"allow": {"other": "a"}},
    {"until": timedelta(days=400)},
    {"until": timedelta(days=-1)},
)


def test_what_cannot_be_bounded_is_refused_and_nothing_is_stored() -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            with opened(folder) as instance:
                first, _ = await asks(instance, folder)
                for changes in UNBOUND:
                    more, now = dict(changes), instance.parts.world.clock.now()
                    if isinstance(days := more.get("until"), timedelta):
                        more["until"] = now + days
                    with pytest.raises(RexecopError) as wrong:
                        await instance.standing_new(
                            first,
                            wanted(instance, **more),  # type: ignore[arg-type]
                            key=bob(folder),
                        )
                    assert wrong.value.code == "standing-refused"
                assert instance.standing_list() == ()

    asyncio.run(story())
