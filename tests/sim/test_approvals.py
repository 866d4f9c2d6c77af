"""Every path to a ticket, walked at random: nobody lets their own work run, and nothing is used twice.

What is lawful is said a second time here, plainly, over the records; the bundle of every
operation must verify as well. An insider who writes approvals past the door is one of the paths.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from conformance.memory_signer import MemorySigner
from rexecop.app.approver import Word
from rexecop.app.approving import Approving
from rexecop.app.identity import Identity
from rexecop.app.standing import StandingApprovals
from rexecop.cli.exits import Exit
from rexecop.engines.session import Session
from rexecop.governance.approvals import approval_statement
from rexecop.governance.pack import Pack
from rexecop.governance.requests import ApprovalAnswer
from rexecop.governance.standing import coverage, standing_statement
from rexecop.operations.fold import Operation, fold
from rexecop.operations.ports import Signature
from rexecop.proof.canonical import Digest
from rexecop.proof.codec import encode
from rexecop.proof.errors import RexecopError
from rexecop.proof.preview import preview, preview_digest
from rexecop.proof.principal import ENGINE, Principal
from rexecop.proof.records import Approval, Attempt, Delegation, Plan, Record, Ticket, Trust
from rexecop.proof.records.approval import APPROVAL_NAMESPACE, ApprovalStatement
from rexecop.proof.records.command import Verb
from rexecop.proof.records.delegation import DELEGATION_NAMESPACE, DelegationStatement
from rexecop.proof.records.intent import INTENT_NAMESPACE
from rexecop.proof.sshsig import sign
from rexecop.proof.verify import verify
from rexecop.proof.verify.trusted import trust_of
from rexecop.proof.vocabulary import Established, Role, State
from tests.sim.oracles import LATER, no_double_effect
from tests.sim.plans import DRAIN, change, drafted
from tests.sim.typed import key_file, typed
from tests.sim.world import (
    ALICE,
    INSTANCE,
    KEYS,
    NEEDS_ONE,
    NEEDS_TWO,
    NONE_WITHIN,
    ROOT,
    TWO_UNSIGNED,
    TWO_WITHIN,
    UNSIGNED,
    House,
    pack,
)

T = TypeVar("T")

OWN: Final = MemorySigner(30)  # Alice's, as an approver.
BY_ALICE: Final = MemorySigner(31)  # Carol's, but alice enrolled it.
LATE: Final = MemorySigner(32)  # Dora's, enrolled on the way.
HOLDERS: Final = {
    "bob": ("bob", KEYS["bob"]),
    "carol": ("carol", KEYS["carol"]),
    "dora": ("dora", KEYS["dora"]),
    "alice": ("alice", OWN),
    "carol by alice": ("carol", BY_ALICE),
    "dora, late": ("dora", LATE),
    "bob's name, carol's key": ("bob", KEYS["carol"]),
}
BOB: Final = Principal(person="bob", established=Established.KEY, credential=KEYS["bob"].key_id)
ISSUER: Final = "https://login.example"


def by_session(person: str, subject: str, issuer: str = ISSUER) -> Principal:
    return Principal(person=person, established=Established.OIDC, credential=f"{issuer}#{subject}")


CAROL: Final = by_session("carol", "c")
SESSIONS: Final = {
    "bob": by_session("bob", "b"),
    "carol": CAROL,
    "dora": by_session("Dora", "d"),
    "dora, exactly": by_session("dora", "d"),
    "alice": by_session("alice", "a"),
    "bob's subject, dora's name": by_session("dora", "b"),
    "bob of another provider": by_session("bob", "b", "https://login.example.org"),
    "bob by token": replace(by_session("bob", "b"), established=Established.TOKEN),
}
SESSION: Final = st.sampled_from(sorted(SESSIONS))
VERBS: Final = st.sampled_from([Verb.CANCEL, Verb.RETRY, Verb.UNDO, Verb.PAUSE, Verb.RESUME])
HOLDER: Final = st.sampled_from(sorted(HOLDERS))
WORD: Final = st.sampled_from(["yes", "yes", "no", "back"])
PERSON: Final = st.sampled_from(["bob", "carol", "dora", "alice"])
CHANNEL = st.sampled_from(["cli", "api", "trigger"])
ANY: Final = st.integers(0, 7)
TYPED: Final = ["approve", "approve", "deny", "approve --withdraw", "start", "start", "cancel", "rollback"]
LESS: Final = pack(
    '@id("less") @approvals("1 of approvers") @obligations("output_bytes<=64")\n'
    "permit (principal, action, resource);\n"
)
STRICTER: Final = [
    *((NEEDS_ONE, NEEDS_TWO), (NEEDS_ONE, LESS), (LESS, NEEDS_TWO), (NEEDS_TWO, LESS)),
    *((NEEDS_ONE, TWO_WITHIN), (NEEDS_ONE, NONE_WITHIN), (TWO_WITHIN, NONE_WITHIN), (LESS, TWO_WITHIN)),
    *((UNSIGNED, NEEDS_ONE), (UNSIGNED, TWO_UNSIGNED), (TWO_UNSIGNED, NEEDS_TWO)),
]
PACKS: Final = st.sampled_from(
    [NEEDS_ONE, NEEDS_TWO, TWO_WITHIN, TWO_WITHIN, NONE_WITHIN, UNSIGNED, UNSIGNED, TWO_UNSIGNED]
)
NESTED: Final = st.sampled_from([(), ("first",), ("first", "last")])


class Everybody(RuleBasedStateMachine):
    """People, an insider and runners, at one ledger."""

    @initialize()
    def move_in(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.house = House(Path(self.folder.name) / "ledger")
        house, ring = self.house, self.house.keyring
        house.authority.trust_records = lambda: house.store.journal(INSTANCE).records  # type: ignore[method-assign]
        self.now(house.enrol())
        self.now(ring.enrol(OWN.public, "alice", Role.APPROVER, ROOT))
        self.now(ring.enrol(BY_ALICE.public, "carol", Role.APPROVER, ALICE))
        self.operations: list[str] = []
        self.smuggled: set[str | None] = set()
        self.later(minutes=1)

    def teardown(self) -> None:
        if not hasattr(self, "house"):
            return
        for operation in self.operations:
            data = self.house.evidence.bundle(operation, with_outputs=True)
            trusted = trust_of(self.house.authority.enrolments())
            report = verify(data, trusted, now=self.house.clock.now() + LATER)
            # What the insider wrote may be found out for what it is, and nothing else is wrong.
            wrong = [one for one in report.findings if one.record not in self.smuggled]
            assert wrong == []
        self.house.close()
        self.folder.cleanup()
        self.loop.close()

    # --- what people do ---

    @precondition(lambda self: len(self.operations) < 4)
    @rule(
        by=st.sampled_from([ALICE, BOB, CAROL]),
        packs=PACKS,
        more=st.booleans(),
        channel=CHANNEL,
        nested=NESTED,
    )
    def plan(
        self, by: Principal, packs: Pack, more: bool, channel: str = "cli", nested: tuple[str, ...] = ()
    ) -> None:
        """Ask for a change, and before or after it for what it calls: an intent with rules of its own."""
        self.house.authority.packs = (packs,)
        wanted = [change("one", tries=2), *([change("two")] if more else [])]
        within = [change(f"drain/{name}", tries=2) for name in nested]
        wanted = [*within[:1], *wanted, *within[1:]]
        called = (DRAIN,) if nested else ()
        session = drafted(self.house, wanted, by=by, channel=channel, called=called)
        if by is BOB:
            intent = session.op.sealed_intent
            armored = sign(KEYS["bob"], INTENT_NAMESPACE, intent.body)
            session.attached.signatures.append(
                Signature(digest=intent.digest, form="sshsig", data=armored.encode())
            )
        self.now(session.flush())
        self.now(self.standing.use(session))
        self.operations.append(session.id)
        self.later(minutes=1)

    @precondition(lambda self: self.operations)
    @rule(which=ANY, holder=HOLDER, word=WORD, door=st.booleans())
    def say(self, which: int, holder: str, word: str, door: bool) -> None:
        self.say_so(which, holder, word, door=door)

    @precondition(lambda self: self.operations)
    @rule(which=ANY, holder=HOLDER, behalf=PERSON, word=WORD, door=st.booleans())
    def say_for_another(self, which: int, holder: str, behalf: str, word: str, door: bool) -> None:
        self.say_so(which, holder, word, door=door, behalf=behalf)

    def say_so(self, which: int, holder: str, word: str, *, door: bool, behalf: str | None = None) -> None:
        op = self.op(which)
        person, key = HOLDERS[holder]
        given = op.given_by(behalf or person, speaker=person if behalf else None)
        if word == "back" and given is None:
            return
        said = approval_statement(
            plan=op.sealed_plan,
            terms=op.terms,
            preview=preview_digest(preview(op.sealed_intent, op.sealed_plan)),
            approver=Principal(person=person, established=Established.KEY, credential=key.key_id),
            approves=word == "yes",
            nonce=self.house.ids.nonce(),
            now=self.house.clock.now(),
            valid_for=timedelta(hours=8),
            reason=None,
            withdraws=given.digest if word == "back" and given is not None else None,
            behalf=behalf,
        )
        signature = sign(key, APPROVAL_NAMESPACE, encode(said))
        if door:
            approving = Approving(self.house.world, self.house.authority, {})  # type: ignore[arg-type]
            self.tried(approving.take(ApprovalAnswer(statement=said, signature=signature)))
        elif key.key_id == said.approver.credential and holder != "bob's name, carol's key":
            groups = {"groups": ("approvers",), "delegate_groups": ("approvers",) if behalf else ()}
            self.write(op.id, said.approver, statement=said, signature=signature, **groups)

    @precondition(lambda self: self.operations)
    @rule(which=ANY, who=SESSION, word=WORD, door=st.booleans())
    def say_unsigned(self, which: int, who: str, word: str, door: bool) -> None:
        """Somebody speaks by session, or an insider writes that they did."""
        op, by = self.op(which), SESSIONS[who]
        given = op.given_by(by.person)
        if word == "back" and given is None:
            return
        if door:
            voting = self.voting
            said = Word(approves=word == "yes", withdraws=word == "back")
            self.tried(voting.vote(op.id, Identity(principal=by), said, voting.seen(op)))
            return
        statement = approval_statement(
            plan=op.sealed_plan,
            terms=op.terms,
            preview=preview_digest(preview(op.sealed_intent, op.sealed_plan)),
            approver=by,
            approves=word == "yes",
            nonce=self.house.ids.nonce(),
            now=self.house.clock.now(),
            valid_for=timedelta(hours=8),
            reason=None,
            withdraws=given.digest if word == "back" and given is not None else None,
        )
        self.write(op.id, by, statement=statement, signature="", groups=("approvers",))

    @precondition(lambda self: self.operations)
    @rule(which=ANY, first=SESSION, second=SESSION, signs=st.booleans())
    def carry_through_unsigned(self, which: int, first: str, second: str, signs: bool) -> None:
        """Two speak by session, or one, and another with a key; somebody starts it."""
        self.say_unsigned(which, first, "yes", True)
        if signs:
            self.say_so(which, "dora", "yes", door=True)
        else:
            self.say_unsigned(which, second, "yes", True)
        self.tried(self.house.lifecycle.start(self.op(which).id))

    @rule(
        holder=HOLDER,
        to=PERSON,
        hours=st.sampled_from([1, 24, 24 * 90]),
        by=st.sampled_from(["own", "alice"]),
    )
    def give_the_vote_away(self, holder: str, to: str, hours: int, by: str) -> None:
        person, key = HOLDERS[holder]
        giver = Principal(person=person, established=Established.KEY, credential=key.key_id)
        said = DelegationStatement(
            instance=INSTANCE,
            giver=giver,
            delegate=to,
            until=self.house.clock.now() + timedelta(hours=hours),
            nonce=self.house.ids.nonce(),
            reason="away",
        )
        self.record_delegation(said, key, giver if by == "own" else ALICE)

    @rule(again=ANY, whole=st.booleans())
    def take_the_vote_back_or_record_it_again(self, again: int, whole: bool) -> None:
        given = [one for one in self.given().items() if one[1].statement.withdraws is None]
        if not given:
            return
        digest, record = given[again % len(given)]
        said = record.statement
        if whole:
            said = replace(said, nonce=self.house.ids.nonce(), withdraws=digest)
        self.record_delegation(said, OWN, said.giver, None if whole else record.signature)

    def record_delegation(
        self, said: DelegationStatement, key: MemorySigner, by: Principal, signature: str | None = None
    ) -> None:
        signature = signature or sign(key, DELEGATION_NAMESPACE, encode(said))
        session = Session.load(self.house.store, self.house.clock, INSTANCE)
        session.add(Delegation, by, statement=said, signature=signature)
        self.now(session.flush())

    @precondition(lambda self: self.operations)
    @rule(which=ANY, holder=HOLDER, uses=st.integers(1, 2))
    def approve_beforehand(self, which: int, holder: str, uses: int) -> None:
        op = self.op(which)
        person, key = HOLDERS[holder]
        covers = coverage(op.the_intent, op.the_plan, allow={}, targets=(), uses=uses)
        now = self.house.clock.now()
        try:
            said = standing_statement(
                covers,
                op.terms,
                instance=INSTANCE,
                approver=Principal(person=person, established=Established.KEY, credential=key.key_id),
                nonce=self.house.ids.nonce(),
                now=now,
                until=now + timedelta(days=1),
                reason=None,
            )
        except RexecopError:
            return
        signature = sign(key, APPROVAL_NAMESPACE, encode(said))
        self.write(INSTANCE, said.approver, statement=said, signature=signature, groups=())

    @precondition(lambda self: self.operations)
    @rule(which=ANY, again=ANY)
    def use_beforehand_past_the_door(self, which: int, again: int) -> None:
        given = [one for one in self.chain(INSTANCE) if isinstance(one, Approval) and one.statement.covers]
        if given:
            one = given[again % len(given)]
            fields = {"statement": one.statement, "signature": one.signature, "groups": ("approvers",)}
            self.write(self.op(which).id, ENGINE, **fields, use=again % 3 + 1)

    @rule(again=ANY)
    def take_back_beforehand(self, again: int) -> None:
        given = [
            (sealed.digest, sealed.record.statement)
            for sealed in self.house.store.journal(INSTANCE).records
            if isinstance(sealed.record, Approval) and sealed.record.statement.covers
        ]
        if given:
            digest, said = given[again % len(given)]
            back = ApprovalStatement(
                operation=INSTANCE,
                plan=said.plan,
                terms=said.terms,
                preview=said.preview,
                approves=False,
                nonce=self.house.ids.nonce(),
                expires=said.expires,
                approver=said.approver,
                withdraws=digest,
            )
            self.write(INSTANCE, said.approver, statement=back, signature="unread", groups=())

    @precondition(lambda self: self.operations)
    @rule(which=ANY)
    def start(self, which: int) -> None:
        self.tried(self.house.lifecycle.start(self.op(which).id))

    @precondition(lambda self: self.operations)
    @rule(which=ANY, holder=HOLDER, verb=st.sampled_from(TYPED), by=st.sampled_from([ALICE, BOB]))
    def type_it(self, which: int, holder: str, verb: str, by: Principal) -> None:
        words = [verb, self.op(which).id]
        if verb in ("approve", "deny", "approve --withdraw"):
            key = key_file(Path(self.folder.name), HOLDERS[holder][1])
            words = [*verb.split(), words[1], "--key", key, "--yes"]
        code = typed(self.house, by, *words)
        assert code in (Exit.DONE, Exit.FAILED, Exit.DENIED, Exit.NEEDS_APPROVAL, Exit.USAGE), words

    @precondition(lambda self: self.operations)
    @rule(which=ANY, packs=st.sampled_from(STRICTER), cast=st.permutations(["bob", "carol", "dora"]))
    def carry_on_while_policy_asks_for_more(
        self, which: int, packs: tuple[Pack, Pack], cast: list[str]
    ) -> None:
        """People approve and start; policy changes while the first call runs; two of them approve again."""
        self.house.authority.packs = (packs[0],)

        async def meanwhile() -> None:
            self.house.authority.packs = (packs[1],)

        self.house.lane.during = meanwhile
        for holders in (cast[:2], cast[1:]):
            for holder in holders:
                self.say_so(which, holder, "yes", door=True)
            self.tried(self.house.lifecycle.start(self.op(which).id))
        self.house.lane.during = None

    @precondition(lambda self: self.operations)
    @rule(which=ANY, verb=VERBS)
    def order(self, which: int, verb: Verb) -> None:
        self.tried(self.house.lifecycle.command(self.op(which).id, verb, ALICE, "because"))

    @precondition(lambda self: self.operations)
    @rule(which=ANY, first=HOLDER, second=HOLDER, behalf=st.sampled_from([None, "bob", "carol", "dora"]))
    def carry_through(self, which: int, first: str, second: str, behalf: str | None) -> None:
        """Two speak; where `behalf` is named, the first for that person, who just gave them the vote."""
        if behalf is not None:
            self.give_the_vote_away(behalf, HOLDERS[first][0], 24, "own")
        for holder, voter in ((first, behalf), (second, None)):
            self.say_so(which, holder, "yes", door=True, behalf=voter)
        self.tried(self.house.lifecycle.start(self.op(which).id))

    @rule(what=st.sampled_from(["fail", "work", "retryable", "wait", "enrol late", "drop bob", "drop late"]))
    def meanwhile(self, what: str) -> None:
        if what in ("fail", "work", "retryable"):
            fate = {"fail": "failed", "work": "ok"}.get(what, what)
            self.house.lane.fate = lambda step, phase, effect: fate
        elif what == "wait":
            self.later(minutes=9 * 60)
        elif what == "enrol late":
            self.tried(self.house.keyring.enrol(LATE.public, "dora", Role.APPROVER, ROOT))
        else:
            holder = "bob" if what == "drop bob" else "dora, late"
            self.tried(self.house.keyring.revoke(HOLDERS[holder][1].key_id, ROOT))
        self.later(minutes=1)

    # --- what must hold ---

    @invariant()
    def every_ticket_is_lawful_and_nothing_is_used_twice(self) -> None:
        uses: set[tuple[str, int | None]] = set()
        for operation in getattr(self, "operations", ()):
            records = self.chain(operation)
            tickets = [one for one in records if isinstance(one, Ticket)]
            no_double_effect(self.house, operation)
            assert len({ticket.decision for ticket in tickets}) == len(tickets)
            for ticket in tickets:
                named = self.lawful(operation, ticket)
                for approval in named:
                    key = (approval.statement.nonce, approval.use)
                    assert key not in uses
                    uses.add(key)

    @invariant()
    def no_rule_of_what_is_called_is_passed_by(self) -> None:
        for operation in getattr(self, "operations", ()):
            records = self.chain(operation)
            plan = next(one for one in records if isinstance(one, Plan))
            if not plan.called:
                continue
            for ticket in (one for one in records if isinstance(one, Ticket)):
                assert NONE_WITHIN.ref.digest not in ticket.packs
                two = TWO_WITHIN.ref.digest in ticket.packs
                assert len(ticket.approvals) >= (2 if two else 1)
            within = [
                one for one in records if isinstance(one, Attempt) and one.permit.step.startswith("drain/")
            ]
            assert not [one for one in within if NONE_WITHIN.ref.digest in one.packs]

    def lawful(self, operation: str, ticket: Ticket) -> list[Approval]:
        """Hold the rules, said plainly, against `ticket`; return the approvals it names."""
        op = fold(s for s in self.house.store.journal(operation).records if s.record.n < ticket.n)
        asked, planned = op.the_intent.by, op.the_plan.at
        said = {s.digest: s.record for s in op.approvals if isinstance(s.record, Approval)}
        heard = {
            digest: one
            for digest, one in said.items()
            if self.may_speak(one.statement.approver, asked, planned, one.at)
            and self.has_the_vote(one, asked, planned, one.at)
            and self.is_strong_enough(one, said)
        }
        back = {one.statement.withdraws for one in heard.values()}
        named = [said[digest] for digest in ticket.approvals]
        people = [{one.statement.approver.person, one.statement.voter} for one in named]
        people += [{one.statement.approver.credential} for one in named if not one.signature]
        assert not back & set(ticket.approvals)
        assert len(set().union(*people)) == sum(map(len, people))
        assert len(named) >= sum(rule.count for rule in op.terms.approvals)
        for one in named:
            assert self.has_the_vote(one, asked, planned, ticket.at)
            assert self.may_speak(one.statement.approver, asked, planned, ticket.at)
            assert one.statement.approves and one.statement.expires > ticket.at
            assert one.signature or (op.terms.session_may_approve and one.by == one.statement.approver)
        assert not [one for digest, one in heard.items() if one.statement.refuses and digest not in back]
        return named

    def may_speak(self, approver: Principal, asked: Principal, planned: datetime, at: datetime) -> bool:
        """Return whether it is another person's key, enrolled before the plan by a third, and stands.

        By session it is another person of those asked, known to the provider as somebody else.
        """
        if approver.established is Established.OIDC:
            members = {"alice", "bob", "carol", "dora"} - {asked.person}
            return approver.person in members and approver.credential != asked.credential
        mine = self.trusts(approver, at)
        other = asked.person not in (approver.person, *(one.by.person for one in mine[-1:]))
        own = approver.credential != asked.credential
        return self.stands(approver, at) and other and mine[-1].at < planned and own

    def is_strong_enough(self, one: Approval, said: dict[Digest, Approval]) -> bool:
        """Return whether it takes nothing back that was signed, without a signature."""
        taken = said.get(one.statement.withdraws or Digest(""))
        return bool(one.signature) or taken is None or not taken.signature

    def has_the_vote(self, one: Approval, asked: Principal, planned: datetime, at: datetime) -> bool:
        """Return whether who speaks speaks for themselves, or for somebody who signed that they may."""
        speaker, given = one.statement.speaker, self.given()
        before = [other.statement for other in given.values() if other.at <= one.at]
        over = {(said.withdraws, said.giver.person) for said in before}
        gone = {
            other.statement.nonce
            for digest, other in given.items()
            if (digest, other.statement.giver.person) in over
        }
        return speaker is None or any(
            other.by == said.giver
            and (said.giver.person, said.delegate) == (one.statement.voter, speaker)
            and said.withdraws is None
            and other.at <= one.at < said.until <= other.at + timedelta(days=60)
            and said.nonce not in gone
            and self.may_speak(said.giver, asked, planned, at)
            and self.stands(said.giver, other.at)
            for other, said in ((other, other.statement) for other in given.values())
        )

    def stands(self, who: Principal, at: datetime) -> bool:
        mine = self.trusts(who, at)
        return bool(mine) and not mine[-1].revoked and mine[-1].person == who.person

    def trusts(self, who: Principal, at: datetime) -> list[Trust]:
        chain = (one for one in self.chain(INSTANCE) if isinstance(one, Trust))
        return [one for one in chain if one.fingerprint == who.credential and one.at <= at]

    # --- means ---

    def given(self) -> dict[Digest, Delegation]:
        records = self.house.store.journal(INSTANCE).records
        return {one.digest: one.record for one in records if isinstance(one.record, Delegation)}

    @property
    def voting(self) -> Approving:
        return Approving(self.house.world, self.house.authority, {}, lambda: ISSUER)  # type: ignore[arg-type]

    @property
    def standing(self) -> StandingApprovals:
        return StandingApprovals(self.house.world, self.house.authority, {})  # type: ignore[arg-type]

    def op(self, which: int) -> Operation:
        return fold(self.house.store.journal(self.operations[which % len(self.operations)]).records)

    def chain(self, operation: str) -> tuple[Record, ...]:
        return tuple(sealed.record for sealed in self.house.store.journal(operation).records)

    def write(self, operation: str, by: Principal, **fields: Any) -> None:  # noqa: ANN401 - whatever the record takes
        """Write an approval past the door, as somebody could who holds the ledger."""
        session = Session.load(self.house.store, self.house.clock, operation)
        if session.op.receipt_due or session.op.state in (State.RUNNING, State.COMPLETED):
            return
        try:
            self.smuggled.add(session.add(Approval, by, **fields).digest)
        except RexecopError:
            return
        if not session.op.receipt_due:  # An engine closes what a no ends; the insider leaves that be.
            self.tried(session.flush())

    def later(self, *, minutes: int) -> None:
        self.house.clock.move(timedelta(minutes=minutes))

    def now(self, work: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await work

        return self.loop.run_until_complete(awaited())

    def tried(self, work: Awaitable[object]) -> None:
        """Do it, or hear why not: a refusal is an answer."""
        with suppress(RexecopError):
            self.now(work)


Everybody.TestCase.settings = settings(
    max_examples=4,
    stateful_step_count=25,
    phases=[Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestEverybody = Everybody.TestCase


def test_a_yes_that_ran_out_and_silence_start_nothing() -> None:
    people = Everybody()
    people.move_in()
    people.plan(by=ALICE, packs=NEEDS_ONE, more=False)
    people.say_so(0, "bob", "yes", door=True)
    assert people.op(0).state is State.APPROVED
    for hours in (9, 24 * 30):
        people.later(minutes=60 * hours)
        people.tried(people.house.lifecycle.start(people.op(0).id))
        assert people.op(0).state is State.WAITING_FOR_APPROVAL
    people.say_so(0, "carol", "yes", door=True)
    people.tried(people.house.lifecycle.start(people.op(0).id))
    assert people.op(0).state is State.COMPLETED
    people.teardown()


def test_typed_commands_and_a_policy_that_asks_for_more_lead_through_in_this_very_world() -> None:
    people = Everybody()
    people.move_in()
    people.plan(by=ALICE, packs=NEEDS_ONE, more=True)
    name, folder = people.operations[0], Path(people.folder.name)
    key = {who: ("--key", key_file(folder, KEYS[who]), "--yes") for who in ("bob", "carol")}

    async def meanwhile() -> None:
        people.house.authority.packs = (NEEDS_TWO,)

    people.house.lane.during = meanwhile
    own = ("--key", key_file(folder, OWN), "--yes")
    assert typed(people.house, ALICE, "start", name) == Exit.NEEDS_APPROVAL
    assert typed(people.house, ALICE, "approve", name, *own) == Exit.DENIED
    assert typed(people.house, BOB, "approve", name, *key["bob"]) == Exit.DONE
    assert typed(people.house, ALICE, "start", name) == Exit.NEEDS_APPROVAL
    assert [one for _, one, _ in people.house.reality.effects] == ["one"]
    for who in ("bob", "carol"):
        assert typed(people.house, BOB, "approve", name, *key[who]) == Exit.DONE
    assert typed(people.house, ALICE, "start", name) == Exit.DONE
    assert [one for _, one, _ in people.house.reality.effects] == ["one", "two"]
    assert len([one for one in people.chain(name) if isinstance(one, Ticket)]) == 2
    people.every_ticket_is_lawful_and_nothing_is_used_twice()
    people.teardown()


def test_what_is_called_keeps_its_own_approvals_on_every_door_and_the_requester_is_none_of_them() -> None:
    people = Everybody()
    people.move_in()
    people.plan(by=ALICE, packs=TWO_WITHIN, more=False, nested=("first", "last"))
    name, folder = people.operations[0], Path(people.folder.name)
    key = {who: ("--key", key_file(folder, HOLDERS[who][1]), "--yes") for who in ("alice", "carol")}
    assert [rule.count for rule in people.op(0).terms.approvals] == [2]
    people.say_so(0, "bob", "yes", door=True)
    for own in ("alice", "carol by alice"):
        people.say_so(0, own, "yes", door=True)
    assert typed(people.house, ALICE, "approve", name, *key["alice"]) == Exit.DENIED
    people.say_so(0, "alice", "yes", door=False)  # Past the door.
    people.approve_beforehand(0, "alice", 1)
    people.use_beforehand_past_the_door(0, 0)
    assert typed(people.house, ALICE, "start", name) == Exit.NEEDS_APPROVAL
    people.tried(people.house.lifecycle.start(name))
    assert people.house.reality.effects == []
    people.say_so(0, "bob", "yes", door=True)  # All are asked again.
    people.tried(people.house.lifecycle.start(name))
    assert people.house.reality.effects == []
    assert typed(people.house, BOB, "approve", name, *key["carol"]) == Exit.DONE
    people.tried(people.house.lifecycle.start(name))
    assert people.op(0).state is State.COMPLETED
    assert [one for _, one, _ in people.house.reality.effects] == ["drain/first", "one", "drain/last"]
    people.every_ticket_is_lawful_and_nothing_is_used_twice()
    people.no_rule_of_what_is_called_is_passed_by()
    people.teardown()


def test_what_forbids_an_intent_forbids_it_within_another_whenever_it_comes() -> None:
    people = Everybody()
    people.move_in()
    people.plan(by=ALICE, packs=NONE_WITHIN, more=False, nested=("first",))
    assert people.op(0).state is State.BLOCKED
    people.plan(by=ALICE, packs=NONE_WITHIN, more=False)
    assert people.op(1).state is State.WAITING_FOR_APPROVAL  # By itself the caller may.
    people.plan(by=ALICE, packs=NEEDS_ONE, more=False, nested=("first",))
    people.say_so(2, "bob", "yes", door=True)
    people.house.authority.packs = (NONE_WITHIN,)
    people.tried(people.house.lifecycle.start(people.op(2).id))
    assert not people.op(2).leaves and people.house.reality.effects == []
    people.plan(by=ALICE, packs=NEEDS_ONE, more=False, nested=("first", "last"))

    async def meanwhile() -> None:
        people.house.authority.packs = (NONE_WITHIN,)

    people.say_so(3, "bob", "yes", door=True)
    people.house.lane.during = meanwhile
    people.tried(people.house.lifecycle.start(people.op(3).id))
    assert [one for _, one, _ in people.house.reality.effects] == ["drain/first", "one"]
    people.no_rule_of_what_is_called_is_passed_by()
    people.teardown()


def test_a_vote_by_session_starts_what_its_terms_let_it_and_nothing_that_wants_signatures() -> None:
    people = Everybody()
    people.move_in()
    people.plan(by=CAROL, packs=UNSIGNED, more=True)
    for who in ("carol", "bob by token", "bob of another provider", "dora"):
        people.say_unsigned(0, who, "yes", True)
        assert people.op(0).approvals == [], who
    people.say_so(0, "carol", "yes", door=True)  # The same person, by key.
    people.say_unsigned(0, "bob", "yes", True)
    assert people.op(0).state is State.APPROVED
    people.say_unsigned(0, "bob", "yes", True)  # A second click.
    assert len(people.op(0).approvals) == 1

    async def meanwhile() -> None:
        people.house.authority.packs = (NEEDS_ONE,)

    people.house.lane.during = meanwhile
    people.tried(people.house.lifecycle.start(people.op(0).id))
    assert [one for _, one, _ in people.house.reality.effects] == ["one"]
    assert people.op(0).state is State.WAITING_FOR_APPROVAL  # What is left has to be signed.
    people.say_unsigned(0, "bob", "yes", True)
    people.say_unsigned(0, "bob", "yes", False)  # Past the door.
    people.tried(people.house.lifecycle.start(people.op(0).id))
    assert [one for _, one, _ in people.house.reality.effects] == ["one"]
    people.say_so(0, "bob", "yes", door=True)
    people.tried(people.house.lifecycle.start(people.op(0).id))
    assert people.op(0).state is State.COMPLETED
    people.every_ticket_is_lawful_and_nothing_is_used_twice()
    people.teardown()


def test_two_unsigned_votes_are_those_of_two_and_a_no_by_session_stands_until_it_is_taken_back() -> None:
    people = Everybody()
    people.move_in()
    people.plan(by=ALICE, packs=TWO_UNSIGNED, more=False)
    people.say_unsigned(0, "bob", "yes", True)
    people.say_so(0, "bob", "yes", door=False)
    people.say_unsigned(0, "bob's subject, dora's name", "yes", True)
    people.tried(people.house.lifecycle.start(people.op(0).id))
    assert people.house.reality.effects == []
    people.plan(by=ALICE, packs=NEEDS_ONE, more=False)
    people.say_unsigned(1, "carol", "no", True)
    assert people.op(1).state is State.BLOCKED
    people.say_so(1, "bob", "back", door=True)
    assert people.op(1).state is State.BLOCKED
    people.say_unsigned(1, "carol", "back", True)
    people.say_so(1, "bob", "no", door=True)
    people.say_unsigned(1, "bob", "back", True)  # What was signed is taken back with the key.
    assert people.op(1).state is State.BLOCKED
    people.every_ticket_is_lawful_and_nothing_is_used_twice()
    people.teardown()
