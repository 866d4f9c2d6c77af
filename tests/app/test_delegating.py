"""Votes given away on a real root: said, shown, proved to a stranger, taken back, refused with a way on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rexecop.app.approver import Word, prepare
from rexecop.app.delegating import Delegations, DelegationView
from rexecop.app.describe import record_view
from rexecop.app.evidence import Asked
from rexecop.app.instance import Instance
from rexecop.app.reminding import remind
from rexecop.app.views import RecordView
from rexecop.proof.errors import RexecopError
from rexecop.proof.records import Approval, Delegation
from rexecop.proof.times import format_time
from rexecop.proof.verify import TrustedKeys, verify
from rexecop.proof.verify.report import Rung
from rexecop.proof.verify.trusted import trust_of
from rexecop.proof.verify.words import report_rows
from rexecop.proof.vocabulary import Role
from tests.app.support import bob, change, made, opened, records, scratch, verified
from tests.app.test_step_approvals import ASKS, STEP, WRITES, marked

Story = Callable[[Instance, Path], Awaitable[None]]


def told(story: Story) -> None:
    """Tell `story` on a root where bob and carol may approve; dora is in a group of her own."""

    async def tell() -> None:
        with scratch() as folder:
            await made(folder)
            entities = folder / "root" / "policy" / "starter" / "entities.yaml"
            text = entities.read_text().replace("groups: [approvers]", "groups: [approvers, night]", 1)
            entities.write_text(text.replace("people:\n", "people:\n  dora: {groups: [night]}\n", 1))
            with opened(folder) as instance:
                for person in ("carol", "dora"):
                    await instance.key_new(person, "approver", folder / person)
                await story(instance, folder)

    asyncio.run(tell())


def delegating(instance: Instance) -> Delegations:
    return Delegations(instance, {})


async def given(
    instance: Instance, key: Path, to: str, *, days: int = 3, scope: tuple[str, ...] = ()
) -> DelegationView:
    until = format_time(instance.parts.world.clock.now() + timedelta(days=days))
    mine = delegating(instance)
    asked = {"until": until, "scope": scope, "reason": "on leave"}
    return await mine.give(mine.prepare(to, **asked, key=key, agent=False))  # type: ignore[arg-type]


async def waiting(instance: Instance, folder: Path) -> str:
    return (await instance.plan(change(folder))).operation_id


async def refused(work: Awaitable[object]) -> RexecopError:
    with pytest.raises(RexecopError) as found:
        await work
    assert found.value.next_steps
    return found.value


def test_a_vote_said_for_another_is_shown_as_such_everywhere_and_a_stranger_can_check_it() -> None:
    async def story(instance: Instance, folder: Path) -> None:
        view = await given(instance, bob(folder), "dora")
        assert (view.giver, view.delegate, view.scope, view.state) == (
            "bob",
            "dora",
            "everything",
            "standing",
        )
        operation = await waiting(instance, folder)
        own = await refused(instance.approve(operation, key=folder / "dora"))
        assert own.code == "approver-not-in-group"
        await instance.may_approve(operation, key=folder / "dora", behalf="bob")
        seen = await instance.approve(operation, key=folder / "dora", behalf="bob", reason="he asked me to")
        assert seen.state == "approved" and seen.approved_by == ("dora for bob",)
        assert "`dora for bob` approved with key" in "\n".join(instance.why(operation).lines)
        assert any(one.summary == "yes by dora for bob" for one in instance.history(operation))
        assert any(one.summary == "bob gave dora: on leave" for one in history_of_instance(instance))
        assert (await instance.start(operation)).state == "completed"

        report = verified(instance, operation)
        assert report.findings == () and report.holds(Rung.LOGGED)
        assert (report.claims.approvals, report.claims.approvals_own) == (1, 1)
        assert report.claims.approvals_for == ("dora for bob",)
        assert any("dora for bob" in text for _, text, _ in report_rows(report, Rung.LOGGED))
        page = instance.parts.evidence.bundle(operation, with_outputs=True)
        assert b"dora for bob" not in page  # It is said by the records, and put into words here.
        keys = trust_of(instance.parts.authority.enrolments())
        without = TrustedKeys(keys=tuple(one for one in keys.keys if one.name != "bob"))
        claims = verify(page, without).claims
        # Whose vote it was rests on the giver's key: who does not know it takes the instance's word.
        assert (claims.approvals, claims.approvals_own, claims.duties) == (1, 0, "asserted")

    told(story)


def history_of_instance(instance: Instance) -> list[RecordView]:
    return [record_view(one) for one in records(instance, instance.parts.authority.instance)]


def test_the_report_for_people_says_who_spoke_for_whom() -> None:
    async def story(instance: Instance, folder: Path) -> None:
        await given(instance, bob(folder), "dora")
        operation = await waiting(instance, folder)
        await instance.approve(operation, key=folder / "dora", behalf="bob")
        await instance.start(operation)
        instance.export(operation, Asked(form="report", path=folder / "report.html"))
        text = (folder / "report.html").read_text()
        assert "dora for bob" in text and "whose vote it is" in text

    told(story)


def test_two_people_of_whom_one_spoke_for_the_other_stay_one_where_two_are_asked() -> None:
    async def story(instance: Instance, folder: Path) -> None:
        require_two(folder)
        await given(instance, bob(folder), "carol")
        operation = await waiting(instance, folder)
        carol = folder / "carol"
        for key, behalf in ((carol, "bob"), (bob(folder), None), (carol, None)):
            seen = await instance.approve(operation, key=key, behalf=behalf)
            assert seen.state == "waiting_for_approval", seen.approved_by
        assert "or one of the two" in "\n".join(instance.why(operation).lines)
        # What he said for bob is bob's: bob takes it back, and each speaks for himself.
        await instance.approve(operation, key=carol, behalf="bob", withdraws=True)
        assert instance.status(operation).approved_by == ("bob", "carol")
        assert instance.status(operation).state == "approved"
        assert (await instance.start(operation)).state == "completed"
        assert verified(instance, operation).findings == ()

    told(story)


def require_two(folder: Path) -> None:
    path = folder / "root" / "policy" / "starter" / "requirements" / "approvals.cedar"
    text = path.read_text()
    assert "1 of approvers" in text
    path.write_text(text.replace("1 of approvers", "2 of approvers"))


def test_a_revoked_delegation_gives_nothing_any_more_and_what_was_said_before_stands() -> None:
    async def story(instance: Instance, folder: Path) -> None:
        view = await given(instance, bob(folder), "dora")
        first, second = await waiting(instance, folder), await waiting(instance, folder)
        await instance.approve(first, key=folder / "dora", behalf="bob")
        mine = delegating(instance)
        other = await refused(mine.revoke(view.delegation, reason="no", key=folder / "carol", agent=False))
        assert other.code == "delegation-refused" and "keys revoke" in other.next_steps[0]
        gone = await mine.revoke(view.delegation[7:15], reason="back", key=bob(folder), agent=False)
        assert gone.state == "revoked" and gone.revoked is not None
        again = await refused(mine.revoke(view.delegation, reason="back", key=bob(folder), agent=False))
        assert again.code == "delegation-refused"
        late = await refused(instance.approve(second, key=folder / "dora", behalf="bob"))
        assert late.code == "delegation-missing" and "taken back" in late.message
        assert (await instance.start(first)).state == "completed"
        assert verified(instance, first).findings == ()
        assert [one.state for one in mine.view()] == ["revoked"]
        ended = [
            one.record
            for one in records(instance, view_of(instance))
            if isinstance(one.record, Delegation) and one.record.statement.withdraws
        ]
        assert [(one.by.person, one.statement.reason) for one in ended] == [("bob", "back")]

    told(story)


def view_of(instance: Instance) -> str:
    return instance.parts.authority.instance


def test_a_revoked_key_of_the_giver_voids_what_was_said_and_not_started() -> None:
    async def story(instance: Instance, folder: Path) -> None:
        await given(instance, bob(folder), "dora")
        operation = await waiting(instance, folder)
        await instance.approve(operation, key=folder / "dora", behalf="bob")
        (key,) = [
            one.fingerprint
            for one in instance.parts.authority.enrolments()
            if (one.person, one.role) == ("bob", Role.APPROVER)
        ]
        await instance.key_revoke(key)
        assert [one.state for one in delegating(instance).view()] == ["void"]
        assert (await instance.start(operation)).state == "waiting_for_approval"
        late = await refused(instance.approve(operation, key=folder / "dora", behalf="bob"))
        assert late.code == "approver-key-invalid"

    told(story)


def test_a_no_said_for_another_person_blocks_until_one_of_the_two_takes_it_back() -> None:
    async def story(instance: Instance, folder: Path) -> None:
        await given(instance, bob(folder), "dora")
        operation = await waiting(instance, folder)
        seen = await instance.approve(operation, key=folder / "dora", behalf="bob", approves=False)
        assert seen.state == "blocked" and seen.reason == "refused by dora for bob"
        stranger = await refused(instance.approve(operation, key=folder / "carol", withdraws=True))
        assert stranger.code == "nothing-to-withdraw"
        own = await refused(instance.approve(operation, key=folder / "dora", withdraws=True))
        assert own.code == "nothing-to-withdraw"
        seen = await instance.approve(operation, key=bob(folder), withdraws=True)
        assert seen.state == "waiting_for_approval"
        # And the other way round: a delegate takes back what they said, not what the giver said.
        await instance.approve(operation, key=bob(folder), approves=False)
        own = await refused(instance.approve(operation, key=folder / "dora", behalf="bob", withdraws=True))
        assert own.code == "nothing-to-withdraw" and "for `bob`" in own.message

    told(story)


def test_a_step_takes_the_vote_of_a_delegate_too() -> None:
    async def story(instance: Instance, folder: Path) -> None:
        await given(instance, bob(folder), "dora")
        asked = replace(change(folder), profile=marked(folder, WRITES, WRITES + ASKS))
        operation = (await instance.plan(asked)).operation_id
        await instance.approve(operation, key=folder / "carol")
        await instance.start(operation)
        dora = folder / "dora"
        seen = await instance.approve(operation, key=dora, behalf="bob", step=STEP, approves=False)
        assert seen.awaiting is not None and seen.awaiting.refused_by == ("dora for bob",)
        denied = await refused(instance.resume(operation))
        assert denied.code == "approval-denied"
        assert not any(step.startswith("rexecop approve") for step in denied.next_steps)
        assert any(f"deny {operation} --step {STEP} --withdraw" in step for step in denied.next_steps)
        other = await refused(instance.approve(operation, key=folder / "carol"))
        assert other.next_steps == (f"rexecop deny {operation} --step {STEP} --withdraw --key FILE",)
        await instance.approve(operation, key=dora, behalf="bob", step=STEP, withdraws=True)
        seen = await instance.approve(operation, key=dora, behalf="bob", step=STEP)
        assert seen.awaiting is not None and seen.awaiting.approved_by == ("dora for bob",)
        assert (await instance.start(operation)).state == "completed"
        report = verified(instance, operation)
        assert report.findings == () and report.claims.approvals_for == ("dora for bob",)
        assert report.claims.approvals_own == 2

    told(story)


def test_a_delegate_answers_a_request_on_their_own_machine() -> None:
    async def story(instance: Instance, folder: Path) -> None:
        operation = await waiting(instance, folder)
        (folder / "ask.json").write_bytes(instance.approval_request(operation))
        word = Word(behalf="bob", reason="read it")
        mine = prepare(folder / "ask.json", key=folder / "dora", agent=False, environ={}, word=word)
        assert "for          bob, whose vote it is" in mine.text
        mine.write(folder / "answer")
        answer = (folder / "answer").read_bytes()
        assert (await refused(instance.take_answer(answer))).code == "delegation-missing"
        await given(instance, bob(folder), "dora")
        seen = await instance.take_answer(answer)
        assert seen.state == "approved" and seen.approved_by == ("dora for bob",)
        said = [one.record for one in records(instance, operation) if isinstance(one.record, Approval)]
        assert [(one.groups, one.delegate_groups) for one in said] == [(("approvers",), ("night",))]

    told(story)


def test_whoever_asked_has_no_vote_here_by_anybody_and_a_refused_try_is_recorded() -> None:
    async def story(instance: Instance, folder: Path) -> None:
        await instance.key_new("alice", "approver", folder / "hers")
        await given(instance, bob(folder), "alice")
        await given(instance, folder / "hers", "dora")
        operation = await waiting(instance, folder)
        for key, behalf in ((folder / "hers", "bob"), (folder / "dora", "alice")):
            assert (
                await refused(instance.approve(operation, key=key, behalf=behalf))
            ).code == "self-approval"
        assert instance.status(operation).state == "waiting_for_approval"
        notes = [one for one in instance.history(operation) if one.kind == "note/1"]
        assert len(notes) == 2 and all("self-approval" in one.summary for one in notes)

    told(story)


def test_only_somebody_who_could_vote_is_given_one() -> None:
    async def story(instance: Instance, folder: Path) -> None:
        for to, words in (("nobody", "knows"), ("bob", "has that vote"), ("alice", "no approver's key")):
            wrong = await refused(given(instance, bob(folder), to))
            assert wrong.code == "delegation-refused" and words in wrong.message
        long = await refused(given(instance, bob(folder), "dora", days=61))
        assert long.code == "delegation-refused" and "60 days" in long.message
        scope = await refused(given(instance, bob(folder), "dora", scope=("target:db-1",)))
        assert "intent:NAME" in scope.message
        requester = await refused(given(instance, folder / "alice", "dora"))
        assert "no approver's key that stands" in requester.message
        assert delegating(instance).view() == ()

    told(story)


def test_a_scope_keeps_a_vote_to_what_it_names() -> None:
    async def story(instance: Instance, folder: Path) -> None:
        view = await given(instance, bob(folder), "dora", scope=("intent:other", "effect:change"))
        assert view.scope == "intent:other and effect:change"
        operation = await waiting(instance, folder)
        wrong = await refused(instance.approve(operation, key=folder / "dora", behalf="bob"))
        assert wrong.code == "delegation-missing" and "not for this operation" in wrong.message
        await given(instance, bob(folder), "dora", scope=("intent:hello/set_greeting",))
        assert (await instance.approve(operation, key=folder / "dora", behalf="bob")).state == "approved"

    told(story)


def test_reminders_name_the_delegate_beside_whose_vote_is_awaited() -> None:
    async def story(instance: Instance, folder: Path) -> None:
        await given(instance, bob(folder), "dora")
        operation = await waiting(instance, folder)
        (found,) = await remind(instance, None)
        assert found.operation_id == operation
        assert found.waits_for == ("bob", "carol", "dora") and found.remind == found.waits_for
        require_two(folder)
        operation = await waiting(instance, folder)
        await instance.approve(operation, key=folder / "dora", behalf="bob")
        found = next(one for one in await remind(instance, None) if one.operation_id == operation)
        # With her word for him, neither of the two adds anything.
        assert found.waits_for == ("carol",)

    told(story)


def test_a_vote_and_the_end_of_its_delegation_at_one_time_leave_an_order_that_verifies() -> None:
    async def story(instance: Instance, folder: Path) -> None:
        view = await given(instance, bob(folder), "dora")
        operation = await waiting(instance, folder)
        _, vote = await asyncio.gather(
            delegating(instance).revoke(view.delegation, reason="back", key=bob(folder), agent=False),
            instance.approve(operation, key=folder / "dora", behalf="bob"),
            return_exceptions=True,
        )
        said = [one for one in records(instance, operation) if isinstance(one.record, Approval)]
        if isinstance(vote, RexecopError):
            assert vote.code in ("append-conflict", "delegation-missing") and said == []
            return
        end = records(instance, view_of(instance))[-1]
        ledger = instance.parts.ledger
        first, last = (ledger.leaf_of(one.record.operation, one.record.n) for one in (*said, end))
        assert first < last

    told(story)
