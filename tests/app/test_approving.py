"""Approvals on a real root: taken back, given elsewhere in files, by sponsors, under conflict rules."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rexecop.app.approver import Word, prepare
from rexecop.app.instance import Instance
from rexecop.proof.canonical import Json, canonical_bytes, parse_json
from rexecop.proof.errors import RexecopError
from rexecop.proof.verify import Rung
from tests.app.support import bob, change, greeting, made, opened, scratch, verified

NO_PEERS = (
    '@id("peers") @approvals("1 of approvers, no_peers of team") permit (principal, action, resource);\n'
)


@asynccontextmanager
async def asked(**files: str) -> AsyncIterator[tuple[Path, Instance, str]]:
    """Give a root with a change of alice's that waits; `files` are added to its starter pack."""
    with scratch() as folder:
        await made(folder)
        for name, text in files.items():
            path = folder / "root/policy/starter" / name
            path.write_text(path.read_text() + text if path.exists() else text)
        with opened(folder) as instance:
            operation = (await instance.plan(change(folder))).operation_id
            yield folder, instance, operation


def refusal(found: pytest.ExceptionInfo[RexecopError]) -> str:
    assert found.value.next_steps or found.value.code == "answer-unfit"
    return found.value.code


def test_a_no_blocks_until_it_is_taken_back_and_everything_of_it_verifies() -> None:
    async def story() -> None:
        async with asked() as (folder, instance, operation):
            said = await instance.approve(operation, key=bob(folder), approves=False, reason="not today")
            assert said.state == "blocked" and any("--withdraw" in step for step in said.next)
            assert verified(instance, operation).findings == ()
            await instance.approve(operation, key=bob(folder), withdraws=True, reason="it is tomorrow")
            assert instance.status(operation).state == "waiting_for_approval"
            assert (await instance.approve(operation, key=bob(folder))).state == "approved"
            assert (await instance.start(operation)).state == "completed"
            report = verified(instance, operation)
            assert report.findings == () and report.holds(Rung.LOGGED) and report.claims.approvals == 1
            assert any("took it back" in line for line in instance.why(operation).lines)

    asyncio.run(story())


def test_a_yes_is_taken_back_until_the_start_and_not_after() -> None:
    async def story() -> None:
        async with asked() as (folder, instance, operation):
            with pytest.raises(RexecopError) as nothing:
                await instance.approve(operation, key=bob(folder), withdraws=True)
            assert refusal(nothing) == "nothing-to-withdraw"
            await instance.approve(operation, key=bob(folder))
            view = await instance.approve(operation, key=bob(folder), withdraws=True)
            assert view.state == "waiting_for_approval" and view.approved_by == ()
            assert (await instance.start(operation)).state == "waiting_for_approval"
            assert greeting(folder) == "hello\n"
            await instance.approve(operation, key=bob(folder))
            await instance.start(operation)
            with pytest.raises(RexecopError) as late:
                await instance.approve(operation, key=bob(folder), withdraws=True)
            assert late.value.code == "approval-not-asked"
            assert verified(instance, operation).findings == ()

    asyncio.run(story())


def test_a_no_is_heard_after_the_yes_that_was_enough() -> None:
    async def story() -> None:
        async with asked() as (folder, instance, operation):
            await instance.approve(operation, key=bob(folder))
            await instance.approve(operation, key=bob(folder), approves=False)
            assert (await instance.start(operation)).state == "blocked"
            assert greeting(folder) == "hello\n"
            assert verified(instance, operation).findings == ()

    asyncio.run(story())


def test_a_request_is_answered_elsewhere_from_the_file_alone_and_the_answer_taken_once() -> None:
    async def story() -> None:
        async with asked() as (folder, instance, operation):
            request, answer = folder / "request", folder / "answer"
            request.write_bytes(instance.approval_request(operation))
            prepared = prepare(request, key=bob(folder), agent=False, environ={}, word=Word(reason="read it"))
            said = prepared.statement
            shown = (said.plan, said.preview, said.terms, said.nonce, operation, "read it", "bob")
            assert prepared.request.preview == instance.preview(operation)
            assert all(text in prepared.text for text in (*shown, "approval by 1 of `approvers`"))
            prepared.write(answer)
            assert (await instance.take_answer(answer.read_bytes())).state == "approved"
            with pytest.raises(RexecopError) as twice:
                await instance.take_answer(answer.read_bytes())
            assert twice.value.code == "approval-not-asked"
            await instance.approve(operation, key=bob(folder), withdraws=True)
            with pytest.raises(RexecopError) as again:
                await instance.take_answer(answer.read_bytes())
            assert refusal(again) == "answer-unfit"
            assert instance.status(operation).state == "waiting_for_approval"
            assert verified(instance, operation).findings == ()

    asyncio.run(story())


def edited(data: bytes, *path: str, to: Json) -> bytes:
    value = inner = parse_json(data.decode(), bytes_max=len(data))
    for name in path[:-1]:
        assert isinstance(inner, dict)
        inner = inner[name]
    assert isinstance(inner, dict)
    inner[path[-1]] = to
    return canonical_bytes(value)


def test_a_request_or_an_answer_that_was_edited_is_refused_and_nothing_is_stored() -> None:
    async def story() -> None:
        async with asked() as (folder, instance, operation):
            request, answer = folder / "request", folder / "answer"
            asks = instance.approval_request(operation)
            request.write_bytes(edited(asks, "intent", "target", to="another-host"))
            with pytest.raises(RexecopError, match="not a request"):
                prepare(request, key=bob(folder), agent=False, environ={}, word=Word())
            request.write_bytes(asks)
            with pytest.raises(RexecopError) as stranger:
                prepare(request, key=folder / "alice", agent=False, environ={}, word=Word())
            assert stranger.value.code == "approver-unknown"
            other = edited(asks, "plan", "risk", to="none at all")
            request.write_bytes(other)
            prepare(request, key=bob(folder), agent=False, environ={}, word=Word()).write(answer)
            before = instance.status(operation).records
            for data in (
                answer.read_bytes(),
                edited(answer.read_bytes(), "statement", "reason", to="a kinder one"),
                edited(answer.read_bytes(), "signature", to="none"),
                b"{}",
                b"\xff",
            ):
                with pytest.raises(RexecopError) as wrong:
                    await instance.take_answer(data)
                assert refusal(wrong) in ("answer-unfit", "request-malformed")
            assert instance.status(operation).records == before

    asyncio.run(story())


def test_an_answer_made_by_the_requester_counts_no_more_than_at_the_door() -> None:
    async def story() -> None:
        async with asked() as (folder, instance, _):
            await instance.key_new("alice", "approver", folder / "mine")
            operation = (await instance.plan(change(folder, "ahem"))).operation_id
            request, answer = folder / "request", folder / "answer"
            request.write_bytes(instance.approval_request(operation))
            prepare(request, key=folder / "mine", agent=False, environ={}, word=Word()).write(answer)
            with pytest.raises(RexecopError) as own:
                await instance.take_answer(answer.read_bytes())
            assert own.value.code == "self-approval"

    asyncio.run(story())


def test_nobody_of_the_requesters_own_group_approves_where_the_pack_says_so() -> None:
    async def story() -> None:
        async with asked() as (folder, instance, _):
            people = folder / "root/policy/starter/entities.yaml"
            both, text = "groups: [approvers, team", people.read_text()
            text = text.replace("groups: [approvers]\n", f"{both}]\n", 1)
            people.write_text(
                text.replace("'alice': {groups: [approvers", "'alice': {groups: [approvers, team")
            )
            (folder / "root/policy/starter/requirements/peers.cedar").write_text(NO_PEERS)
            operation = (await instance.plan(change(folder))).operation_id
            assert "nobody of `team`" in " ".join(instance.why(operation).lines)
            people.write_text(
                people.read_text().replace("'bob': {groups: [approvers", "'bob': {groups: [approvers, team")
            )
            with pytest.raises(RexecopError) as peer:
                await instance.approve(operation, key=bob(folder))
            assert refusal(peer) == "conflict-of-interest"
            assert (await instance.approve(operation, key=bob(folder), approves=False)).state == "blocked"

    asyncio.run(story())


def test_an_agent_asks_and_its_sponsor_approves_only_where_the_pack_says_so() -> None:
    async def story() -> None:
        async with asked() as (folder, instance, _):
            await instance.key_new("robot", "requester", folder / "robot")
            await instance.key_new("robot", "approver", folder / "robot-too")
            policy = folder / "root/policy/starter"
            people = policy / "entities.yaml"
            people.write_text(people.read_text() + "agents: {robot: {sponsor: bob}}\n")
            allow = '@id("robots") permit (principal == Agent::"robot", action, resource);\n'
            (policy / "robots.cedar").write_text(allow)
            with opened(folder, "robot") as agent:
                operation = (await agent.plan(change(folder))).operation_id
                with pytest.raises(RexecopError) as sponsor:
                    await agent.approve(operation, key=bob(folder))
                assert refusal(sponsor) == "sponsor-approval"
                with pytest.raises(RexecopError) as itself:
                    await agent.approve(operation, key=folder / "robot-too")
                assert refusal(itself) == "agent-approval"
                for file in policy.rglob("*.cedar"):
                    file.write_text(
                        file.read_text().replace("of approvers", "of approvers, sponsor_may_approve")
                    )
                operation = (await agent.plan(change(folder))).operation_id
                assert (await agent.approve(operation, key=bob(folder))).state == "approved"
                assert (await agent.start(operation)).state == "completed"
                report = verified(agent, operation)
                assert report.findings == () and report.claims.approvals_sponsor == 1

    asyncio.run(story())
