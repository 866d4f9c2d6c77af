"""Two people and their keys on a real root: who may say yes, and what runs after they did."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from rexecop.app.instance import Instance
from rexecop.engines.caller import Caller
from rexecop.engines.driver import Driver
from rexecop.engines.streaming import Streaming
from rexecop.lanes.port import LaneResult
from rexecop.lanes.targets import Seen
from rexecop.operations.next import Make
from rexecop.proof.call import ProcessRequest
from rexecop.proof.canonical import Digest
from rexecop.proof.errors import RexecopError
from rexecop.proof.permit import Permit
from rexecop.proof.records.instance import Note
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.verify import Rung
from tests.app.support import asked, bob, change, greeting, made, opened, records, scratch, verified


@asynccontextmanager
async def house() -> AsyncIterator[Path]:
    with scratch() as folder:
        await made(folder)
        yield folder


async def refused(instance: Instance, operation: str, key: Path) -> str:
    """Return the code with which an approval is refused, which is noted and changes nothing else."""
    before = instance.status(operation).state
    noted = len([s for s in records(instance, operation) if isinstance(s.record, Note)])
    with pytest.raises(RexecopError) as error:
        await instance.approve(operation, key=key)
    notes = [s for s in records(instance, operation) if isinstance(s.record, Note)]
    assert instance.status(operation).state == before == "waiting_for_approval"
    if error.value.code not in ("approver-unknown",):
        assert len(notes) == noted + 1
    return error.value.code


def test_a_change_waits_for_another_person_runs_and_is_undone_and_all_of_it_verifies() -> None:
    async def story() -> None:
        async with house() as folder:
            with opened(folder) as instance:
                view = await instance.plan(change(folder))
                assert view.state == "waiting_for_approval"
                assert (await instance.start(view.operation_id)).state == "waiting_for_approval"
                assert greeting(folder) == "hello\n"
                assert (await instance.approve(view.operation_id, key=bob(folder))).state == "approved"
                done = await instance.start(view.operation_id)
                assert done.state == "completed", done.reason
                assert greeting(folder) == "good evening\n"
                undone = await instance.rollback(view.operation_id, "as it was")
                assert undone.state == "undone", undone.reason
                assert greeting(folder) == "hello\n"
                report = verified(instance, view.operation_id)
                assert report.findings == () and report.holds(Rung.LOGGED)
                assert (report.claims.approvals, report.claims.approvals_own) == (1, 1)

    asyncio.run(story())


def test_the_requester_cannot_approve_with_any_key_of_theirs() -> None:
    async def story() -> None:
        async with house() as folder:
            with opened(folder) as instance:
                await instance.key_new("alice", "approver", folder / "alice-second")
                operation = (await instance.plan(change(folder))).operation_id
                assert await refused(instance, operation, folder / "alice-second") == "self-approval"
                assert await refused(instance, operation, folder / "alice") == "self-approval"
                assert (await instance.start(operation)).state == "waiting_for_approval"

    asyncio.run(story())


def test_a_key_that_was_the_requesters_is_not_anothers() -> None:
    async def story() -> None:
        async with house() as folder:
            with opened(folder) as instance:
                shared = await instance.key_new("alice", "approver", folder / "shared")
                with pytest.raises(RexecopError) as taken:
                    await instance.key_trust(shared.public, "carol", "approver")
                assert taken.value.code == "identity-refused"
                await instance.key_revoke(shared.fingerprint)
                # Whoever holds it now: it was enrolled for alice once.
                with pytest.raises(RexecopError) as again:
                    await instance.key_trust(shared.public, "carol", "approver")
                    operation = (await instance.plan(change(folder))).operation_id
                    await instance.approve(operation, key=folder / "shared")
                assert again.value.code in (
                    "identity-refused",
                    "key-shared-with-requester",
                    "approver-unknown",
                )

    asyncio.run(story())


def test_a_key_the_requester_enrolled_does_not_count() -> None:
    async def story() -> None:
        async with house() as folder:
            with opened(folder, identity=None) as operator:
                operation = (await operator.plan(change(folder))).operation_id
                assert await refused(operator, operation, bob(folder)) == "key-enrolled-by-requester"

    asyncio.run(story())


def test_a_key_enrolled_after_the_plan_does_not_count() -> None:
    async def story() -> None:
        async with house() as folder:
            with opened(folder) as instance:
                operation = (await instance.plan(change(folder))).operation_id
                await instance.key_new("carol", "approver", folder / "carol")
                assert await refused(instance, operation, folder / "carol") == "key-enrolled-after-plan"

    asyncio.run(story())


def test_a_stranger_and_an_unknown_key_approve_nothing() -> None:
    async def story() -> None:
        async with house() as folder:
            with opened(folder) as instance:
                await instance.key_new("mallory", "approver", folder / "mallory")
                revoked = await instance.key_new("carol", "approver", folder / "carol")
                operation = (await instance.plan(change(folder))).operation_id
                await instance.key_revoke(revoked.fingerprint)
                assert await refused(instance, operation, folder / "mallory") == "approver-not-in-group"
                assert await refused(instance, operation, folder / "carol") == "approver-unknown"
                shutil.copy(folder / "root" / "keys" / "instance", folder / "copied")
                (folder / "copied").chmod(0o600)
                assert await refused(instance, operation, folder / "copied") == "approver-unknown"

    asyncio.run(story())


def test_a_no_blocks_for_good_with_a_receipt() -> None:
    async def story() -> None:
        async with house() as folder:
            with opened(folder) as instance:
                operation = (await instance.plan(change(folder))).operation_id
                view = await instance.approve(operation, key=bob(folder), approves=False, reason="not today")
                assert view.state == "blocked" and view.receipt is not None
                assert (await instance.start(operation)).state == "blocked"
                with pytest.raises(RexecopError) as again:
                    await instance.approve(operation, key=bob(folder))
                assert again.value.code == "approval-not-asked"
                assert verified(instance, operation).findings == ()
                assert greeting(folder) == "hello\n"

    asyncio.run(story())


class Editing(Caller):
    """A driver that sends something else than what was approved."""

    async def _dispatch(
        self, make: Make, attempt: Digest, permit: Permit, seen: Seen, streaming: Streaming | None
    ) -> LaneResult:
        request = make.call.request
        assert isinstance(request, ProcessRequest)
        edited = replace(request, stdin="something nobody approved\n") if request.stdin else request
        changed = replace(make, call=replace(make.call, request=edited))
        return await super()._dispatch(changed, attempt, permit, seen, streaming)


def test_an_argument_edited_after_approval_is_refused_before_the_lane() -> None:
    async def story() -> None:
        async with house() as folder:
            with opened(folder) as instance:
                operation = (await instance.plan(change(folder))).operation_id
                await instance.approve(operation, key=bob(folder))
                view = await instance.driven_by(lambda world: Driver(world, Editing)).start(operation)
                assert view.state == "failed"
                step = next(step for step in view.steps if step.id == "write_greeting")
                assert (step.ended, step.error_class) == ("refused", "permit_mismatch")
                assert greeting(folder) == "hello\n"
                assert verified(instance, operation).findings == ()

    asyncio.run(story())


def test_what_policy_blocks_is_stored_with_its_receipt_and_verifies() -> None:
    async def story() -> None:
        async with house() as folder:
            with opened(folder) as instance:
                await instance.key_new("mallory", "requester", folder / "mallory")
            with opened(folder, identity="mallory") as instance:
                view = await instance.plan(change(folder))
                assert view.state == "blocked" and view.receipt is not None
                assert isinstance(records(instance, view.operation_id)[-1].record, Receipt)
                report = verified(instance, view.operation_id)
                assert report.findings == () and report.holds(Rung.LOGGED)

    asyncio.run(story())


def test_an_idempotency_key_stands_for_one_request() -> None:
    async def story() -> None:
        async with house() as folder:
            with opened(folder) as instance:
                first = await instance.plan(change(folder, idempotency_key="k1"))
                stored = len(instance.list())
                again = await instance.plan(change(folder, idempotency_key="k1"))
                assert again.operation_id == first.operation_id
                assert len(instance.list()) == stored
                with pytest.raises(RexecopError) as other:
                    await instance.plan(change(folder, "something else", idempotency_key="k1"))
                assert other.value.code == "request-conflict"
                assert len(instance.list()) == stored
                assert (await instance.plan(change(folder))).operation_id != first.operation_id

    asyncio.run(story())


def test_two_at_once_with_one_idempotency_key_get_one_operation() -> None:
    async def story() -> None:
        async with house() as folder:
            with opened(folder) as instance:
                one = replace(change(folder, idempotency_key="k1"), observe=False)
                both = await asyncio.gather(*(instance.plan(one) for _ in range(2)))
                assert len({view.operation_id for view in both}) == 1
                assert len(instance.list()) == 1

    asyncio.run(story())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("profile", "no-such-profile"),
        ("env", "no-such-file.yaml"),
        ("intent", "no_such_intent"),
        ("target", "no-such-target"),
        ("mode", "no_such_mode"),
        ("mode", "recovery"),
    ],
)
def test_a_request_that_names_what_is_not_there_is_refused_in_one_line_and_nothing_is_stored(
    field: str, value: str
) -> None:
    async def story() -> None:
        async with house() as folder:
            with opened(folder) as instance:
                wrong = asked(folder, "host_facts", "read_only")
                object.__setattr__(wrong, field, value)
                with pytest.raises(RexecopError) as refusal:
                    await instance.plan(wrong)
                assert refusal.value.code and "\n" not in refusal.value.message
                assert value in refusal.value.message
                assert instance.list() == ()

    asyncio.run(story())
