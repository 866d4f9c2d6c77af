"""Records to store: chains of notes, and a two-step read as the engine writes it."""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from rexecop.operations.ports import Batch, Claim, Row, Signature
from rexecop.proof.call import Call, Limits, ScriptedReply, ScriptedRequest, call_digest
from rexecop.proof.canonical import Digest, digest_of
from rexecop.proof.chain import Sealed, seal
from rexecop.proof.permit import Permit
from rexecop.proof.principal import ENGINE, Principal
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.base import Record
from rexecop.proof.records.decision import (
    Decision,
    Obligations,
    PackRef,
    PolicyRequest,
    RequestTarget,
    RuleRef,
    Terms,
    terms_digest,
)
from rexecop.proof.records.instance import Note
from rexecop.proof.records.intent import EnvironmentRef, Intent, Origin, ProfileRef
from rexecop.proof.records.outcome import Measured, Outcome
from rexecop.proof.records.plan import CallStep, Plan, PlannedTarget
from rexecop.proof.records.receipt import ObligationMet, Receipt
from rexecop.proof.records.ticket import Ticket
from rexecop.proof.records.validation import RuleResult, RuleVerdict, Validation
from rexecop.proof.vocabulary import Effect, Ended, Established, Gate, Grade, Isolation, Mode, Phase, State
from rexecop.proof.vocabulary import Verdict as Answer

START: Final = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
ALICE: Final = Principal(person="alice", established=Established.OS_USER, credential="uid:1000")


def operation_id(number: int) -> str:
    """Return an id like the engine's: later ones sort later."""
    return f"op_{0x0198_0000_0000_7000_8000_0000_0000_0000 + number:032x}"


def name(text: str) -> Digest:
    """Return some digest that depends on `text`."""
    return Digest("sha256:" + hashlib.sha256(text.encode()).hexdigest())


def note(operation: str, n: int, prev: Digest | None, text: str = "", at: datetime = START) -> Sealed:
    """Return a record that says `text`."""
    return seal(Note(operation=operation, n=n, prev=prev, at=at, by=ENGINE, topic="test", text=text))


def notes(operation: str, count: int, after: Sealed | None = None, text: str = "") -> tuple[Sealed, ...]:
    """Return `count` records that follow `after`."""
    found: list[Sealed] = []
    last = after
    for _ in range(count):
        last = note(operation, last.record.n + 1 if last else 0, last.digest if last else None, text)
        found.append(last)
    return tuple(found)


def row(records: Sequence[Sealed], state: str = "running") -> Row:
    """Return the index row after `records`, all of the operation's."""
    first, last = records[0], records[-1]
    return Row(
        operation=first.record.operation,
        state=state,
        intent="check_backup_status",
        profile="infrastructure",
        environment="small-unit",
        target="all_critical",
        mode="dry_run",
        requester="alice",
        created=first.record.at,
        updated=last.record.at,
        records=last.record.n + 1,
        head=last.digest,
    )


def batch(records: Sequence[Sealed], state: str = "running") -> Batch:
    """Return `records`, the whole of an operation so far, as its first batch."""
    return Batch(
        operation=records[0].record.operation,
        expected=records[0].record.n,
        records=tuple(records),
        row=row(records, state),
    )


class _Chain:
    """Seals records one after the other."""

    def __init__(self) -> None:
        self.sealed: list[Sealed] = []

    @property
    def last(self) -> Digest | None:
        return self.sealed[-1].digest if self.sealed else None

    def add(self, record: Record) -> Digest:
        self.sealed.append(seal(record))
        return self.sealed[-1].digest


def two_step(number: int) -> tuple[Batch, ...]:
    """Return the four batches of a two-step read-only operation, ten records in all."""
    operation = operation_id(number)
    chain = _Chain()
    _planned(chain, operation)
    _ran(chain, operation)
    return tuple(_batches(operation, tuple(chain.sealed)))


def _at(chain: _Chain) -> datetime:
    return START + timedelta(milliseconds=len(chain.sealed))


def _call(step: str) -> Call:
    return Call(
        target="guest-101",
        connector="backup_api",
        action=step,
        effect=Effect.READ,
        request=ScriptedRequest(
            arguments={"guest": "guest-101", "datastore": "main"},
            replies=(ScriptedReply(ended=Ended.OK, data={"status": "ok", "last_backup": "2026-01-31"}),),
        ),
    )


def _planned(chain: _Chain, operation: str) -> None:
    target = PlannedTarget(id="guest-101", type="guest", criticality="high", connection=name("connection"))
    intent = chain.add(
        Intent(
            operation=operation,
            n=0,
            prev=None,
            at=_at(chain),
            by=ALICE,
            profile=ProfileRef(name="infrastructure", version="1.0.0", digest=name("profile")),
            environment=EnvironmentRef(id="small-unit", digest=name("environment")),
            intent="check_backup_status",
            target="guest-101",
            mode=Mode.DRY_RUN,
            origin=Origin(channel="cli"),
            parameters={"max_age_hours": 24},
        )
    )
    steps = tuple(
        CallStep(
            id=step,
            target="guest-101",
            call=_call(step),
            limits=Limits(timeout_ms=30_000, output_bytes=65_536),
            isolation=Isolation.NOT_APPLICABLE,
            idempotent=True,
            grade=Grade.CONTAINED,
            normalizer="json",
            pause_safe=True,
        )
        for step in ("list_backups", "read_schedule")
    )
    plan = chain.add(
        Plan(
            operation=operation,
            n=1,
            prev=intent,
            at=_at(chain),
            by=ENGINE,
            intent=intent,
            profile=name("profile"),
            environment=name("environment"),
            effect=Effect.READ,
            risk="low",
            targets=(target,),
            steps=steps,
        )
    )
    request = PolicyRequest(
        gate=Gate.PLAN,
        principal=ALICE,
        profile="infrastructure",
        intent="check_backup_status",
        effect=Effect.READ,
        mode=Mode.DRY_RUN,
        risk="low",
        environment="small-unit",
        targets=(RequestTarget(id="guest-101", type="guest", criticality="high"),),
        simulated=True,
        pinned=False,
        origin="cli",
        now=_at(chain),
        grade="contained",
        parameters={"max_age_hours": 24},
    )
    chain.add(
        Decision(
            operation=operation,
            n=2,
            prev=plan,
            at=_at(chain),
            by=ENGINE,
            plan=plan,
            request=request,
            terms=Terms(verdict=Answer.ALLOWED, approvals=(), obligations=Obligations(receipt=True)),
            rules=(RuleRef(id="starter.reads-allowed", digest=name("rule")),),
            packs=(PackRef(id="starter", version="1", digest=name("pack")),),
            errors=(),
            reason="reads are allowed",
        )
    )


def _ran(chain: _Chain, operation: str) -> None:
    plan, decision = chain.sealed[1].digest, chain.sealed[2].digest
    terms = Terms(verdict=Answer.ALLOWED, approvals=(), obligations=Obligations(receipt=True))
    ticket = chain.add(
        Ticket(
            operation=operation,
            n=3,
            prev=decision,
            at=_at(chain),
            by=ENGINE,
            plan=plan,
            decision=decision,
            terms=terms_digest(terms),
            approvals=(),
            mode=Mode.DRY_RUN,
            scope=name("scope" + operation),
            undo_scope=None,
            packs=(name("pack"),),
            not_before=_at(chain),
            expires=_at(chain) + timedelta(hours=1),
        )
    )
    for step in ("list_backups", "read_schedule"):
        call = call_digest(_call(step))
        permit = Permit(ticket=ticket, call=call, step=step, attempt=1, fence=1, expires=START)
        attempt = chain.add(
            Attempt(
                operation=operation,
                n=len(chain.sealed),
                prev=chain.last,
                at=_at(chain),
                by=ENGINE,
                phase=Phase.DO,
                target="guest-101",
                template=call,
                permit=permit,
                lane="simulated",
                placement="local",
                isolation=Isolation.NOT_APPLICABLE,
                grade=Grade.CONTAINED,
            )
        )
        chain.add(
            Outcome(
                operation=operation,
                n=len(chain.sealed),
                prev=attempt,
                at=_at(chain),
                by=ENGINE,
                step=step,
                attempt=attempt,
                ended=Ended.SIMULATED,
                duration_ms=0,
                facts={"status": "ok", "last_backup": "2026-01-31"},
                measured=Measured(isolation="not-applicable", network="none", protection="scripted"),
            )
        )
    _concluded(chain, operation)


def _concluded(chain: _Chain, operation: str) -> None:
    facts = name("facts" + operation)
    rule = RuleResult(
        rule="backup_is_recent",
        verdict=RuleVerdict.PASSED,
        path="list_backups.status",
        expected="ok",
        found="ok",
    )
    validation = chain.add(
        Validation(
            operation=operation,
            n=8,
            prev=chain.last,
            at=_at(chain),
            by=ENGINE,
            verdict=RuleVerdict.PASSED,
            rules=(rule,),
            facts=facts,
        )
    )
    chain.add(
        Receipt(
            operation=operation,
            n=9,
            prev=validation,
            at=_at(chain),
            by=ENGINE,
            state=State.COMPLETED,
            head=validation,
            attempts=2,
            outcomes={"simulated": 2},
            reason="all steps ended well",
            facts=facts,
            obligations=(ObligationMet(name="receipt", met=True, how="this record"),),
        )
    )


def _batches(operation: str, sealed: tuple[Sealed, ...]) -> Iterator[Batch]:
    states = ("approved", "running", "running", "completed")
    for (start, end), state in zip(((0, 3), (3, 5), (5, 7), (7, 10)), states, strict=True):
        last = end == len(sealed)
        yield Batch(
            operation=operation,
            expected=start,
            records=sealed[start:end],
            row=row(sealed[:end], state),
            claims=(Claim(space="ticket", key=sealed[3].digest),) if start == 3 else (),
            signatures=(Signature(digest=sealed[-1].digest, form="dsse", data=digest_of(b"x").encode() * 5),)
            if last
            else (),
        )
