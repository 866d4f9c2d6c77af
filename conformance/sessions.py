"""Votes that nobody signed: where the terms take them, and everything by which they count for nothing."""

# ruff: noqa: ANN401 - see worlds

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from conformance.delegations import BOTH
from conformance.honest import bundled, logged
from conformance.policies import PEOPLE, RULES, decided_change, with_policy
from conformance.tamperings import Case, cutting, earns
from conformance.worlds import (
    APPROVER_KEY,
    ENROLMENTS,
    JAN,
    MARA,
    OTTO,
    PATHS,
    SECOND_APPROVER_KEY,
    STEP_TERMS,
    Book,
    change_step,
    instance_chain,
    paused_change,
    planned_change,
    read_step,
    recorded,
    resumed_change,
    standing,
)
from rexecop.app.verifying import Packs
from rexecop.governance.pack import Pack
from rexecop.proof.canonical import Digest, digest_of
from rexecop.proof.chain import Sealed, seal
from rexecop.proof.principal import ENGINE, Principal
from rexecop.proof.records import Approval
from rexecop.proof.records.decision import ApprovalRule, Decision
from rexecop.proof.vocabulary import Effect, Established, Verdict

ISSUER: Final = "https://login.example"
SAYS: Final = {"session_may_approve": True}
WORDED: Final = Pack.parse(
    {
        "pack.yaml": b'id: small\nversion: "1"\n',
        "rules.cedar": RULES,
        "entities.yaml": PEOPLE,
        "requirements/approvals.cedar": b"""\
@id("a-change-needs-one")
@approvals("1 of ops, session_may_approve")
permit (principal, action == Action::"change", resource);
""",
    }
)


def by_session(person: str, subject: str | None = None) -> Principal:
    """Return `person` as the identity provider knows them."""
    return Principal(
        person=person, established=Established.OIDC, credential=f"{ISSUER}#{subject or person}-1"
    )


VERA: Final = by_session("mara")


def vote(book: Book, by: Principal = VERA, *, signature: str = "", writer: Any = None, **more: Any) -> Sealed:
    """Add the word of `by`, unsigned if not said otherwise, recorded by `writer` (themselves if not said)."""
    book.approve(by, APPROVER_KEY, **more)
    record = book.records.pop().record
    assert isinstance(record, Approval)
    sealed = seal(replace(record, signature=signature, by=writer or by))
    book.records.append(sealed)
    return sealed


def done(book: Book, **ticket: Any) -> Book:
    """Run what `planned_change` planned."""
    book.ticket(**ticket)
    book.run(read_step(), facts=PATHS)
    return book


def two_asked(**more: Any) -> Book:
    """A change that asks for two."""
    book, _, _ = planned_change()
    book.records.pop()
    book.decision(Verdict.APPROVAL_REQUIRED, ApprovalRule(count=2, group="ops"), **more)
    return book


def paused(**terms: Any) -> tuple[Book, Any, Digest]:
    """As `paused_change`, on terms for its step that say `terms` as well."""
    book, step, call = paused_change()
    record = book.records[2].record
    assert isinstance(record, Decision)
    said = replace(record.terms, steps=(replace(STEP_TERMS, **terms),))
    again = Book(book.operation)
    again.intent()
    again.plan((read_step(), change_step()), Effect.CHANGE)
    again.decision(Verdict.ALLOWED, steps=said.steps)
    again.ticket()
    again.run(read_step(), facts=PATHS)
    again.records += [seal(replace(book.records[-1].record, prev=again.records[-1].digest))]
    return again, step, call


# --- honest ones ---


@logged("Mara approved by a session of her identity provider, which the terms take; nobody signed.")
def vote_by_session() -> Case:
    book, _, _ = planned_change(**SAYS)
    vote(book)
    return bundled(done(book))


@logged("The same, decided again from the pack whose rule says so.")
def vote_by_session_that_the_pack_lets_in() -> Case:
    book, _, _ = decided_change(WORDED)
    vote(book)
    made = with_policy(done(book), WORDED)
    return Case(bundle=made.bundle())


@logged("Of two who approved one signed, and one spoke by session.")
def vote_by_session_beside_one_by_key() -> Case:
    book = two_asked(**SAYS)
    book.approve(OTTO, SECOND_APPROVER_KEY)
    vote(book)
    return replace(bundled(done(book)), trust=BOTH)


@logged("Where the terms want it signed, somebody's unsigned yes is there and no ticket names it.")
def vote_by_session_that_counted_for_nothing() -> Case:
    book, _, _ = planned_change()
    vote(book)
    yes = book.approve(OTTO, SECOND_APPROVER_KEY)
    return bundled(done(book, approvals=(yes.digest,)))


@logged("Mara said no by session and took it back by session; Otto signed a yes.")
def no_by_session_taken_back() -> Case:
    book, _, _ = planned_change()
    no = vote(book, approves=False)
    vote(book, approves=False, withdraws=no.digest)
    yes = book.approve(OTTO, SECOND_APPROVER_KEY)
    return bundled(done(book, approvals=(yes.digest,)))


@logged("Mara took back with her key what she had said by session, and signed.")
def vote_by_session_taken_back_with_a_key() -> Case:
    book, _, _ = planned_change(**SAYS)
    vote_ = vote(book)
    book.approve(MARA, APPROVER_KEY, approves=False, withdraws=vote_.digest)
    yes = book.approve(MARA, APPROVER_KEY)
    return bundled(done(book, approvals=(yes.digest,)))


@logged("A step waited for approval of its exact call, and Mara gave it by session.")
def step_approved_by_session() -> Case:
    book, step, call = paused(**SAYS)
    vote(book, step="set", call=call)
    resumed_change(book, step)
    return bundled(book)


# --- false ones ---


def _voted(by: Principal = VERA, *, terms: Any = SAYS, **more: Any) -> Case:
    book, _, _ = planned_change(**terms)
    vote(book, by, **more)
    return cutting(done(book))


@earns("E08x")
def an_unsigned_yes_where_the_terms_want_it_signed() -> Case:
    return _voted(terms={})


@earns("E08i")
def an_unsigned_yes_by_terms_that_the_pack_does_not_say() -> Case:
    book, _, _ = decided_change()
    record = book.records.pop().record
    assert isinstance(record, Decision)
    book.records.append(seal(replace(record, terms=replace(record.terms, session_may_approve=True))))
    vote(book)
    return Case(bundle=with_policy(done(book)).bundle(), more={"evaluate": Packs().evaluate})


@earns("E08b")
def an_unsigned_yes_of_somebody_known_by_a_token() -> Case:
    return _voted(replace(VERA, established=Established.TOKEN))


@earns("E08b")
def a_session_with_a_signature_of_nobodys_key() -> Case:
    book, _, _ = planned_change(**SAYS)
    book.approve(VERA, APPROVER_KEY)
    return cutting(done(book))


@earns("E08b")
def an_unsigned_yes_for_another_person() -> Case:
    return _voted(by_session("otto"), on_behalf_of="mara")


@earns("E07d")
def an_unsigned_yes_that_the_engine_wrote() -> Case:
    return _voted(writer=ENGINE)


@earns("E08b")
def an_unsigned_approval_beforehand() -> Case:
    book = Book("op_change")
    book.intent(parameters={"line": "new"})
    book.plan((read_step(),), Effect.READ)
    book.decision(Verdict.APPROVAL_REQUIRED, ApprovalRule(count=1, group="ops"), **SAYS)
    said, _ = standing(book)
    said = replace(said, approver=VERA)
    book.add(Approval, statement=said, signature="", groups=("ops",), use=1)
    book.ticket()
    return cutting(book, instance=instance_chain((*ENROLMENTS, recorded(said, ""))))


@earns("E08a")
def an_unsigned_yes_of_who_asked() -> Case:
    return _voted(by_session("Jan "))


@earns("E08a")
def an_unsigned_yes_of_the_subject_that_asked_under_another_name() -> Case:
    book = Book("op_change")
    book.intent(by=by_session("jan", "same"))
    book.plan((read_step(),), Effect.READ)
    book.decision(Verdict.APPROVAL_REQUIRED, ApprovalRule(count=1, group="ops"), **SAYS)
    vote(book, by_session("mara", "same"))
    return cutting(done(book))


@earns("E08a")
def an_unsigned_yes_of_the_agents_sponsor() -> Case:
    book = Book("op_agent")
    book.intent(by=replace(JAN, person="robot"), sponsor="mara")
    book.plan((read_step(),), Effect.READ)
    book.decision(Verdict.APPROVAL_REQUIRED, ApprovalRule(count=1, group="ops"), **SAYS)
    vote(book)
    return cutting(done(book))


@earns("E08e")
def an_unsigned_yes_to_another_preview() -> Case:
    return _voted(preview=digest_of(b"a kinder text"))


@earns("E08h")
def an_unsigned_yes_of_a_stranger() -> Case:
    return _voted(by_session("eve"))


@earns("E08l")
def a_person_who_signs_and_speaks_by_session() -> Case:
    book = two_asked(**SAYS)
    book.approve(MARA, APPROVER_KEY)
    vote(book)
    return cutting(done(book))


@earns("E08l")
def one_subject_under_two_names() -> Case:
    book = two_asked(**SAYS)
    vote(book, by_session("mara", "same"))
    vote(book, by_session("otto", "same"))
    return cutting(done(book))


@earns("E08g")
def an_unsigned_no_where_only_a_yes_has_to_be_signed() -> Case:
    book, _, _ = planned_change()
    vote(book, approves=False)
    book.approve(OTTO, SECOND_APPROVER_KEY)
    return cutting(done(book))


@earns("E08g")
def a_signed_no_taken_back_by_session() -> Case:
    book, _, _ = planned_change(**SAYS)
    no = book.approve(MARA, APPROVER_KEY, approves=False)
    vote(book, approves=False, withdraws=no.digest)
    book.approve(OTTO, SECOND_APPROVER_KEY)
    return cutting(done(book))


@earns("E08o")
def an_unsigned_yes_that_was_taken_back() -> Case:
    book = two_asked(**SAYS)
    yes = vote(book)
    vote(book, approves=False, withdraws=yes.digest)
    book.approve(OTTO, SECOND_APPROVER_KEY)
    return cutting(done(book))


@earns("E08s")
def a_step_that_wants_its_approval_signed() -> Case:
    book, step, call = paused()
    vote(book, step="set", call=call)
    resumed_change(book, step)
    return cutting(book)
