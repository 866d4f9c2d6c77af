"""Approving a step on a real root: its exact call is shown, signed, taken back, refused, and re-proved."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import rexecop.app
from rexecop.app import voting
from rexecop.app.approver import Word, prepare
from rexecop.app.approving import Seen
from rexecop.app.identity import Identity
from rexecop.app.instance import Instance
from rexecop.operations.errors import ProfileRefused
from rexecop.proof.canonical import canonical_bytes
from rexecop.proof.errors import RexecopError
from rexecop.proof.principal import Principal
from rexecop.proof.quorum import ProvedBy
from rexecop.proof.verify import Rung
from rexecop.proof.vocabulary import Established
from tests.app.support import bob, change, greeting, made, opened, scratch, verified

STEP = "write_greeting"
WORKFLOW = "workflows/set_greeting.yaml"
WRITES = "action: write_greeting"
ASKS = '\n      approvals: ["1 of approvers"]'


SERVICE = """\
oidc: {issuer: "http://127.0.0.1:1", audience: rexecop, roles: {claim: groups, values: {sre: [approver]}}}
"""


def seen_by(instance: Instance, operation: str) -> Seen:
    return instance.parts.approving.seen(instance.operation(operation))


def marked(folder: Path, old: str, new: str) -> str:
    """Return a copy of the `hello` profile with `new` instead of `old` in a workflow."""
    profile = folder / "hello"
    shutil.copytree(Path(rexecop.app.__file__).parent / "data" / "hello", profile, dirs_exist_ok=True)
    text = (profile / WORKFLOW).read_text()
    assert old in text
    (profile / WORKFLOW).write_text(text.replace(old, new))
    return str(profile)


def code(found: pytest.ExceptionInfo[RexecopError]) -> str:
    assert found.value.next_steps
    return found.value.code


async def refused(instance: Instance, operation: str, key: Path, **more: object) -> str:
    with pytest.raises(RexecopError) as found:
        await instance.approve(operation, key=key, **more)  # type: ignore[arg-type]
    return code(found)


def test_a_marked_step_shows_its_call_and_runs_once_somebody_else_signed_it() -> None:
    async def story(folder: Path, instance: Instance) -> None:
        profile = marked(folder, WRITES, WRITES + ASKS)
        asked = replace(change(folder), profile=profile)
        operation = (await instance.plan(asked)).operation_id
        assert "asks first    1 of approvers" in instance.preview(operation)
        await instance.approve(operation, key=bob(folder))
        view = await instance.start(operation)
        assert view.state == "paused" and greeting(folder) == "hello\n"
        assert view.awaiting is not None and "good evening" in view.awaiting.call
        assert view.awaiting.approvals_missing == ("1 of approvers",) and view.waiting
        assert any(f"approve {view.number} --step {STEP}" in step for step in view.next)
        assert view.awaiting.digest in instance.asked_in_words(operation)
        why = "\n".join(instance.why(operation).lines)
        assert "good evening" in why and "missing: approval by 1 of `approvers`" in why
        assert await refused(instance, operation, bob(folder)) == "approval-not-asked"
        assert await refused(instance, operation, bob(folder), step="read_back") == "approval-not-asked"
        assert await refused(instance, operation, folder / "alice", step=STEP) == "self-approval"
        assert await refused(instance, operation, bob(folder), step=STEP, withdraws=True) == (
            "nothing-to-withdraw"
        )

        view = await instance.approve(operation, key=bob(folder), step=STEP)
        assert view.awaiting is not None and view.awaiting.approved_by == ("bob",)
        await instance.approve(operation, key=bob(folder), step=STEP, withdraws=True)
        with pytest.raises(RexecopError) as missing:
            await instance.start(operation)
        assert code(missing) == "approvals-missing"
        view = await instance.approve(operation, key=bob(folder), step=STEP, approves=False)
        assert view.awaiting is not None and view.awaiting.refused_by == ("bob",)
        with pytest.raises(RexecopError) as denied:
            await instance.resume(operation)
        assert code(denied) == "approval-denied" and greeting(folder) == "hello\n"
        await instance.approve(operation, key=bob(folder), step=STEP, withdraws=True)
        await instance.approve(operation, key=bob(folder), step=STEP, reason="this very text")
        assert (await instance.start(operation)).state == "completed"
        assert greeting(folder) == "good evening\n"
        assert await refused(instance, operation, bob(folder), step=STEP) == "approval-not-asked"
        report = verified(instance, operation)
        assert report.findings == () and report.holds(Rung.LOGGED) and report.claims.approvals == 2
        dry = await instance.plan(replace(asked, mode="dry_run"))
        assert (await instance.start(dry.operation_id)).state == "completed"

    async def told() -> None:
        with scratch() as folder:
            await made(folder)
            with opened(folder) as instance:
                await story(folder, instance)

    asyncio.run(told())


@pytest.mark.parametrize("by_policy", [True, False])
def test_a_step_is_approved_by_session_where_policy_lets_it_and_not_where_the_plan_asks(
    by_policy: bool,
) -> None:
    async def story(folder: Path, instance: Instance) -> None:
        rule = folder / "root" / "policy" / "starter" / "requirements" / "approvals.cedar"
        text = rule.read_text().replace("1 of approvers", "1 of approvers, session_may_approve")
        when = f'when {{ context has step && context.step == "{STEP}" }}\nunless'
        rule.write_text(text.replace("unless", when, 1) if by_policy else text)
        service = folder / "root" / "service.yaml"
        service.write_text(SERVICE)
        service.chmod(0o600)
        bobs = Principal(person="bob", established=Established.OIDC, credential="http://127.0.0.1:1#b")
        mine = instance.acting_as(Identity(principal=bobs))
        asked = change(folder)
        if not by_policy:
            asked = replace(asked, profile=marked(folder, WRITES, WRITES + ASKS))
        operation = (await instance.plan(asked)).operation_id
        if not by_policy:
            await voting.vote(mine, operation, "yes", seen_by(mine, operation), None)
        assert (await instance.start(operation)).state == "paused"
        seen = seen_by(mine, operation)
        with pytest.raises(RexecopError) as unseen:
            await voting.vote(mine, operation, "yes", replace(seen, call=seen.terms), None)
        assert unseen.value.code == ("answer-unfit" if by_policy else "session-may-not-approve")
        if not by_policy:
            return
        view = await voting.vote(mine, operation, "no", seen, "not yet")
        assert view.awaiting is not None and view.awaiting.refused_by == ("bob",)
        with pytest.raises(RexecopError) as again:
            await voting.vote(mine, operation, "no", seen, None)
        assert again.value.code == "answer-unfit"
        await voting.vote(mine, operation, "withdrawal", seen, None)
        await voting.vote(mine, operation, "yes", seen, "this very call")
        assert (await instance.start(operation)).state == "completed"
        report = verified(instance, operation)
        assert report.findings == () and report.claims.duties is ProvedBy.SESSIONS
        (line,) = [one for one in instance.history(operation, 0) if one.summary.startswith("yes to step")]
        assert line.summary.endswith("by bob, unsigned")

    async def told() -> None:
        with scratch() as folder:
            await made(folder)
            with opened(folder) as instance:
                await story(folder, instance)

    asyncio.run(told())


def test_a_step_is_approved_from_a_request_on_the_approvers_own_machine() -> None:
    async def story(folder: Path, instance: Instance) -> None:
        asked = replace(change(folder), profile=marked(folder, WRITES, WRITES + ASKS))
        operation = (await instance.plan(asked)).operation_id
        early = instance.approval_request(operation)
        await instance.approve(operation, key=bob(folder))
        await instance.start(operation)
        request = folder / "request"
        request.write_bytes(instance.approval_request(operation))

        def said(word: Word, name: str) -> bytes:
            prepared = prepare(request, key=bob(folder), agent=False, environ={}, word=word)
            awaiting = instance.status(operation).awaiting
            assert awaiting is not None and awaiting.call in prepared.text
            assert f"step         {STEP}, its call {awaiting.digest}" in prepared.text
            prepared.write(folder / name)
            return (folder / name).read_bytes()

        for wrong in (None, "read_back"):
            with pytest.raises(RexecopError, match=f"about step `{STEP}`") as found:
                said(Word(step=wrong), "never")
            assert code(found) == "approval-not-asked"
        other = json.loads(request.read_bytes())
        other["call"]["request"]["stdin"] = "something else"
        request.write_bytes(canonical_bytes(other))
        prepared = prepare(request, key=bob(folder), agent=False, environ={}, word=Word(step=STEP))
        assert "something else" in prepared.text
        prepared.write(folder / "edited")
        with pytest.raises(RexecopError, match="about another call of the step"):
            await instance.take_answer((folder / "edited").read_bytes())

        request.write_bytes(instance.approval_request(operation))
        view = await instance.take_answer(said(Word(step=STEP, approves=False), "no"))
        assert view.awaiting is not None and view.awaiting.refused_by == ("bob",)
        request.write_bytes(instance.approval_request(operation))
        await instance.take_answer(said(Word(step=STEP, withdraws=True), "back"))
        await instance.take_answer(said(Word(step=STEP), "yes"))
        assert (await instance.start(operation)).state == "completed"
        assert verified(instance, operation).findings == ()
        request.write_bytes(early)
        with pytest.raises(RexecopError, match="about the whole plan"):
            prepare(request, key=bob(folder), agent=False, environ={}, word=Word(step=STEP))

    async def told() -> None:
        with scratch() as folder:
            await made(folder)
            with opened(folder) as instance:
                await story(folder, instance)

    asyncio.run(told())


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (WRITES, WRITES + ASKS.replace("1 of approvers", "1 approver"), "`1 approver` names no approval"),
        (WRITES, WRITES + ASKS.replace("1", "0"), "like `1 of approvers`"),
        ("action: produce_receipt", 'action: produce_receipt, approvals: ["1 of approvers"]', "a call"),
    ],
)
def test_what_names_no_approval_of_a_call_is_refused_with_its_place(old: str, new: str, words: str) -> None:
    async def told() -> None:
        with scratch() as folder:
            await made(folder)
            with opened(folder) as instance:
                asked = replace(change(folder), profile=marked(folder, old, new))
                with pytest.raises(ProfileRefused, match=rf"set_greeting.yaml:\d+: .*{words}"):
                    await instance.plan(asked)

    asyncio.run(told())
