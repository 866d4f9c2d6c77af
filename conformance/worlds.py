"""Small instances made by hand: keys in memory, one log, operations record by record.

Nothing here uses the engine, so what the verifier accepts is held to the formats and
not to whatever the engine happens to write.
"""

# ruff: noqa: ANN401 - fields of many record kinds are passed through, and the records check them

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from conformance.memory_signer import MemorySigner
from rexecop.proof import checkpoint, sshsig
from rexecop.proof.bundle import BundleBlob, BundleContents, BundleInput, build, pack_proofs
from rexecop.proof.call import (
    Call,
    Hole,
    Limits,
    ProcessRequest,
    ScriptedReply,
    ScriptedRequest,
    Slot,
    call_digest,
    fill,
)
from rexecop.proof.canonical import Digest, Json, canonical_bytes, commit, digest_of
from rexecop.proof.chain import Sealed, seal
from rexecop.proof.checkpoint import Checkpoint
from rexecop.proof.codec import encode
from rexecop.proof.merkle import Frontier, inclusion_proof, leaf_hash, node_reader
from rexecop.proof.merkle import consistency_proof as prove_growth
from rexecop.proof.message import Scalar
from rexecop.proof.nodes import OUTCOME_TYPE, NodeOutcome
from rexecop.proof.nodes import seal as seal_for_node
from rexecop.proof.permit import Permit
from rexecop.proof.preview import preview, preview_digest
from rexecop.proof.principal import ENGINE, Principal
from rexecop.proof.receipts import record_envelope, totals
from rexecop.proof.records import Record
from rexecop.proof.records.approval import (
    APPROVAL_NAMESPACE,
    Approval,
    ApprovalStatement,
    Coverage,
    ParameterRange,
)
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.command import Command, Verb
from rexecop.proof.records.decision import (
    ApprovalRule,
    Budget,
    Decision,
    Obligations,
    PackRef,
    RuleRef,
    StepTerms,
    Terms,
    terms_digest,
)
from rexecop.proof.records.instance import Erasure, Halt, Retention, Trust
from rexecop.proof.records.intent import INTENT_NAMESPACE, EnvironmentRef, Intent, Origin, ProfileRef
from rexecop.proof.records.outcome import BlobRef, Measured, Outcome
from rexecop.proof.records.plan import (
    CallStep,
    DeriveStep,
    Guard,
    Pinned,
    Plan,
    PlannedTarget,
    Probe,
    Rollout,
    Step,
)
from rexecop.proof.records.receipt import ObligationMet, Receipt
from rexecop.proof.records.reconciliation import Reconciliation
from rexecop.proof.records.stretch import Stretch
from rexecop.proof.records.ticket import BudgetUse, Ticket
from rexecop.proof.records.validation import RuleResult, RuleVerdict, Validation
from rexecop.proof.request import policy_request
from rexecop.proof.scope import scope_root, undo_scope_root
from rexecop.proof.signer import Signer
from rexecop.proof.verify import Report, TrustedKey, TrustedKeys, verify
from rexecop.proof.vocabulary import (
    Effect,
    Ended,
    Established,
    Gate,
    Grade,
    HaltScope,
    Isolation,
    Mode,
    Phase,
    Role,
    State,
    Verdict,
)

INSTANCE: Final = "inst_demo"
ORIGIN: Final = f"rexecop/{INSTANCE}/1"
START: Final = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
TARGET: Final = "host-1"

INSTANCE_KEY: Final = MemorySigner(1)
REQUESTER_KEY: Final = MemorySigner(2)
APPROVER_KEY: Final = MemorySigner(3)
SECOND_APPROVER_KEY: Final = MemorySigner(4)
STRANGER_KEY: Final = MemorySigner(5)
WITNESS_KEY: Final = MemorySigner(6)
NODE_KEY: Final = MemorySigner(8)

ROOT: Final = Principal(person="root", established=Established.OS_USER, credential="uid:0")
JAN: Final = Principal(person="jan", established=Established.KEY, credential=REQUESTER_KEY.key_id)
MARA: Final = Principal(person="mara", established=Established.KEY, credential=APPROVER_KEY.key_id)
OTTO: Final = Principal(person="otto", established=Established.KEY, credential=SECOND_APPROVER_KEY.key_id)

PROFILE: Final = BundleInput(role="profile", data=b'{"kind":"profile-pin/1"}')
ENVIRONMENT: Final = BundleInput(role="environment", data=b'{"kind":"environment-pin/1"}')
PACK: Final = BundleInput(
    role="policy-pack",
    data=canonical_bytes(
        {"kind": "policy-pack/1", "files": {"a.cedar": "permit;"}, "groups": {"ops": ["mara", "otto"]}}
    ),
)

T = TypeVar("T", bound=Record)


@dataclass
class Book:
    """One operation being written; `at` advances a tenth of a second with each record."""

    operation: str
    at: datetime = START + timedelta(hours=1)
    records: list[Sealed] = field(default_factory=list)
    signatures: dict[Digest, bytes] = field(default_factory=dict)
    blobs: dict[Digest, BundleBlob] = field(default_factory=dict)
    target: str = TARGET

    def add(self, kind: Callable[..., Record], by: Principal = ENGINE, **fields: Any) -> Sealed:
        self.at += timedelta(milliseconds=100)
        head = self.records[-1].digest if self.records else None
        record = kind(operation=self.operation, n=len(self.records), prev=head, at=self.at, by=by, **fields)
        sealed = seal(record)
        self.records.append(sealed)
        return sealed

    def last(self, kind: type[T]) -> tuple[Sealed, T]:
        return next((s, s.record) for s in reversed(self.records) if isinstance(s.record, kind))

    # --- the usual records ---

    def intent(self, *, by: Principal = JAN, mode: Mode = Mode.APPLY, **more: Any) -> Sealed:
        sealed = self.add(
            Intent,
            by=by,
            profile=ProfileRef(name="hello", version="1.0.0", digest=PROFILE.digest),
            environment=EnvironmentRef(id="here", digest=ENVIRONMENT.digest),
            intent="set_line",
            target=self.target,
            mode=mode,
            origin=more.pop("origin", Origin(channel="cli")),
            **more,
        )
        if by.established is Established.KEY:
            armored = sshsig.sign(REQUESTER_KEY, INTENT_NAMESPACE, sealed.body)
            self.signatures[sealed.digest] = armored.encode()
        return sealed

    def plan(self, steps: Sequence[Step], effect: Effect, **more: Any) -> Sealed:
        return self.add(
            Plan,
            intent=self.records[0].digest,
            profile=PROFILE.digest,
            environment=ENVIRONMENT.digest,
            effect=effect,
            risk="low",
            targets=more.pop("targets", (PlannedTarget(id=self.target, type="host", criticality="low"),)),
            steps=tuple(steps),
            **more,
        )

    def decision(self, verdict: Verdict, *approvals: ApprovalRule, **more: Any) -> Sealed:
        intent = self.records[0].record
        plan, planned = self.last(Plan)
        assert isinstance(intent, Intent)
        request = policy_request(intent, planned, gate=more.pop("gate", Gate.PLAN), now=self.at)
        opinion = more.pop("opinion", None)
        terms = Terms(
            verdict=verdict, approvals=approvals, obligations=more.pop("obligations", Obligations())
        )
        return self.add(
            Decision,
            plan=plan.digest,
            request=request,
            terms=replace(terms, **more),
            rules=(RuleRef(id="r1", digest=digest_of(b"r1")),),
            packs=(PackRef(id="starter", version="1", digest=PACK.digest),),
            errors=(),
            reason="because",
            opinion=opinion,
        )

    def approve(self, by: Principal, key: Signer, *, approves: bool = True, **more: Any) -> Sealed:
        plan, _ = self.last(Plan)
        _, decision = self.last(Decision)
        statement = ApprovalStatement(
            operation=self.operation,
            plan=plan.digest,
            terms=terms_digest(decision.terms),
            preview=preview_digest(preview(self.records[0], plan)),
            approves=approves,
            nonce=f"nonce-{len(self.records)}",
            expires=self.at + timedelta(hours=8),
            approver=by,
        )
        statement = replace(statement, **more)
        signature = sshsig.sign(key, APPROVAL_NAMESPACE, encode(statement))
        fields: dict[str, Any] = {
            "groups": ("ops",),
            "delegate_groups": ("ops",) if statement.speaker else (),
        }
        return self.add(Approval, by=by, statement=statement, signature=signature, **fields)

    def ticket(self, **more: Any) -> Sealed:
        plan, planned = self.last(Plan)
        decision, decided = self.last(Decision)
        intent = self.records[0].record
        assert isinstance(intent, Intent)
        fields: dict[str, Any] = {
            "plan": plan.digest,
            "decision": decision.digest,
            "terms": terms_digest(decided.terms),
            "approvals": tuple(
                s.digest
                for s in self.records
                if isinstance(s.record, Approval) and s.record.statement.approves
            ),
            "mode": intent.mode,
            "scope": scope_root(planned),
            "undo_scope": undo_scope_root(planned),
            "packs": (PACK.digest,),
            "not_before": self.at,
            "expires": self.at + timedelta(hours=1),
        }
        return self.add(Ticket, **(fields | more))

    def attempt(
        self,
        step: CallStep,
        template: Call | None = None,
        *,
        phase: Phase = Phase.DO,
        number: int = 1,
        values: Mapping[str, Scalar] | None = None,
        permit: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Sealed:
        ticket, _ = self.last(Ticket)
        template = template or step.call
        fields: dict[str, Any] = {
            "ticket": ticket.digest,
            "call": call_digest(fill(template, values or {})),
            "step": step.id,
            "attempt": number,
            "fence": 1,
            "expires": self.at + timedelta(seconds=30),
        }
        given = Permit(**(fields | dict(permit or {})))
        fields = {
            "phase": phase,
            "target": step.target,
            "template": call_digest(template),
            "permit": given,
            "lane": "process",
            "placement": "local",
            "isolation": step.isolation,
            "grade": step.grade if template.effect is Effect.READ else None,
            "values": values,
        }
        return self.add(Attempt, **(fields | more))

    def outcome(
        self,
        step: str,
        attempt: Sealed | None,
        ended: Ended = Ended.OK,
        *,
        output: bytes = b"",
        key: bytes = b"",
        **more: Any,
    ) -> Sealed:
        blobs = None
        if output:
            key = key or bytes([len(self.records)]) * 32
            ref = BlobRef(commitment=commit(key, output), raw_bytes=len(output), kept_bytes=len(output))
            self.blobs[ref.commitment] = BundleBlob(key=key, data=output)
            blobs = {"stdout": ref}
        record = attempt.record if attempt is not None else None
        if isinstance(record, Attempt) and "measured" not in more:
            more["measured"] = Measured(isolation=record.isolation, network="none", protection="fence")
        return self.add(
            Outcome,
            step=step,
            attempt=attempt.digest if attempt else None,
            ended=ended,
            duration_ms=3,
            blobs=blobs,
            **more,
        )

    def validation(self, verdict: RuleVerdict = RuleVerdict.PASSED, **more: Any) -> Sealed:
        rules = (RuleResult(rule="line_is_set", verdict=verdict, path="line", expected="a", found="a"),)
        return self.add(
            Validation,
            **({"verdict": verdict, "rules": rules, "facts": digest_of(b"{}")} | more),
        )

    def receipt(self, state: State, **more: Any) -> Sealed:
        attempts, outcomes = totals(self.records)
        fields: dict[str, Any] = {
            "state": state,
            "head": self.records[-1].digest,
            "attempts": attempts,
            "outcomes": outcomes,
            "reason": "done",
        }
        return self.add(Receipt, **(fields | more))

    def stretches(self, attempt: Sealed, key: bytes, *parts: bytes, start: int = 0) -> None:
        """Commit to the parts of an output while its call runs."""
        for part in parts:
            self.add(
                Stretch,
                attempt=attempt.digest,
                stream="stdout",
                start=start,
                length=len(part),
                commitment=commit(key, part),
            )
            start += len(part)

    def run(self, step: CallStep, *, values: Mapping[str, Scalar] | None = None, **more: Any) -> Sealed:
        return self.outcome(step.id, self.attempt(step, values=values), **more)


# --- steps ---

LIMITS: Final = Limits(timeout_ms=2000, output_bytes=4096)


def process(effect: Effect, *argv: Any, **more: Any) -> Call:
    return Call(
        target=TARGET,
        connector="shell",
        action="run",
        effect=effect,
        request=ProcessRequest(argv=argv, **more),
    )


def read_step(name: str = "look", **more: Any) -> CallStep:
    fields: dict[str, Any] = {
        "id": name,
        "target": TARGET,
        "call": process(Effect.READ, "/usr/bin/cat", "/srv/line"),
        "limits": LIMITS,
        "isolation": Isolation.BUBBLEWRAP,
        "idempotent": True,
        "grade": Grade.CONTAINED,
    }
    return CallStep(**(fields | more))


def change_step(name: str = "set", **more: Any) -> CallStep:
    fields: dict[str, Any] = {
        "id": name,
        "target": TARGET,
        "call": process(
            Effect.CHANGE, "/usr/bin/tee", (Hole(slot="path"),), stdin="new line\n", writable=("/srv",)
        ),
        "limits": LIMITS,
        "isolation": Isolation.RLIMITS,
        "idempotent": True,
        "slots": {
            "path": Slot(step="look", fact="path", type="string", pattern="/srv/[a-z]+", length_max=64)
        },
        "undo": process(Effect.CHANGE, "/usr/bin/tee", "/srv/line", stdin="old line\n"),
        "probe": Probe(
            call=process(Effect.READ, "/usr/bin/cat", "/srv/line"),
            normalizer="line",
            fact="line",
            equals="new",
        ),
    }
    return CallStep(**(fields | more))


def scripted_step(name: str = "ask", **more: Any) -> CallStep:
    call = Call(
        target=TARGET,
        connector="mock",
        action="status",
        effect=Effect.READ,
        request=ScriptedRequest(
            arguments={"n": 1}, replies=(ScriptedReply(ended=Ended.OK, data={"up": True}),)
        ),
    )
    fields: dict[str, Any] = {
        "id": name,
        "target": TARGET,
        "call": call,
        "limits": LIMITS,
        "isolation": Isolation.NOT_APPLICABLE,
        "idempotent": True,
        "grade": Grade.CONTAINED,
    }
    return CallStep(**(fields | more))


DERIVE: Final = DeriveStep(id="sum_up", target=TARGET, normalizer="sum", needs=("look",))
PATHS: Final[Mapping[str, Json]] = {"path": "/srv/line"}
VALUES: Final[Mapping[str, Scalar]] = {"path": "/srv/line"}
ONE_OF_OPS: Final = ApprovalRule(count=1, group="ops")


# --- operations ---


def a_read(**asked: Any) -> Book:
    book = Book("op_read")
    look = read_step()
    book.intent(mode=Mode.READ_ONLY, **asked)
    book.plan((look, DERIVE), Effect.READ)
    book.decision(Verdict.ALLOWED)
    book.ticket()
    book.run(look, output=b"old line\n", facts=PATHS)
    book.outcome("sum_up", None, facts={"lines": 1})
    book.validation()
    book.receipt(State.COMPLETED, facts=digest_of(b"{}"))
    return book


STREAM_KEY: Final = b"s" * 32


def a_stream(*parts: bytes, start: int = 0, output: bytes = b"one\ntwo\n", late: bool = False) -> Book:
    """A read whose output was committed to in `parts` while it came."""
    book = Book("op_stream")
    look = read_step()
    book.intent(mode=Mode.READ_ONLY)
    book.plan((look,), Effect.READ)
    book.decision(Verdict.ALLOWED)
    book.ticket()
    attempt = book.attempt(look)
    if not late:
        book.stretches(attempt, STREAM_KEY, *parts, start=start)
    book.outcome(look.id, attempt, output=output, key=STREAM_KEY)
    if late:
        book.stretches(attempt, STREAM_KEY, *parts, start=start)
    book.validation()
    book.receipt(State.COMPLETED)
    return book


def attested(as_class: str | None) -> Book:
    """A read on a target that has to be attested by its key, attested `as_class`."""
    book, look = Book("op_attested"), read_step(attest=("node-key", "ssh-host-key"))
    book.intent(mode=Mode.READ_ONLY)
    book.plan((look,), Effect.READ)
    book.decision(Verdict.ALLOWED)
    book.ticket()
    book.outcome(look.id, book.attempt(look, attestation=as_class), facts=PATHS)
    book.validation()
    book.receipt(State.COMPLETED, facts=digest_of(b"{}"))
    return book


def on_a_node(key: MemorySigner | None, **changes: Any) -> Book:
    """A read on a node, whose statement is signed by `key` and altered by `changes`; None: there is none."""
    book, look = Book("op_node"), read_step()
    book.intent(mode=Mode.READ_ONLY)
    book.plan((look,), Effect.READ)
    book.decision(Verdict.ALLOWED)
    book.ticket()
    attempt = book.attempt(look, lane="node", placement="node", attestation="node-key")
    record = attempt.record
    assert isinstance(record, Attempt)
    if "permit" in changes:
        changes["permit"] = replace(record.permit, fence=record.permit.fence + 1)
    measured = Measured(isolation="bubblewrap", network="none", protection="spawner-kills-tree")
    facts: dict[str, Json] = {}
    if key is not None:
        said = NodeOutcome(
            node=key.key_id,
            nonce="ab" * 16,
            permit=record.permit,
            ended=Ended.OK,
            measured=measured,
            status=0,
            outputs={"stdout": commit(bytes([len(book.records)]) * 32, b"old line\n")},
        )
        facts["signed"] = seal_for_node(key, OUTCOME_TYPE, replace(said, **changes))
    measured = Measured(
        isolation="bubblewrap", network="peers", protection="spawner-kills-tree", facts=facts or None
    )
    book.outcome(look.id, attempt, output=b"old line\n", status=0, facts=PATHS, measured=measured)
    book.validation()
    book.receipt(State.COMPLETED, facts=digest_of(b"{}"))
    return book


def planned_change(**decision: Any) -> tuple[Book, CallStep, CallStep]:
    book = Book("op_change")
    look, change = read_step(), change_step()
    book.intent()
    book.plan((look, change), Effect.CHANGE)
    book.decision(Verdict.APPROVAL_REQUIRED, ONE_OF_OPS, **decision)
    return book, look, change


def approved_change(key: Signer = APPROVER_KEY) -> tuple[Book, CallStep, CallStep]:
    book, look, change = planned_change()
    book.approve(replace(MARA, credential=key.public.fingerprint), key)
    book.ticket()
    return book, look, change


STEP_TERMS: Final = StepTerms(step="set", approvals=(ONE_OF_OPS,))


def paused_change(**change: Any) -> tuple[Book, CallStep, Digest]:
    """Started without approval, and paused before the call of its change, whose digest is the last."""
    book = Book("op_step")
    look, step = read_step(), change_step(**change)
    book.intent()
    book.plan((look, step), Effect.CHANGE)
    book.decision(Verdict.ALLOWED, steps=(STEP_TERMS,))
    book.ticket()
    book.run(look, facts=PATHS)
    book.add(Command, verb=Verb.PAUSE, reason="step `set`: approval by 1 of `ops` is missing")
    return book, step, call_digest(fill(step.call, VALUES))


def resumed_change(book: Book, step: CallStep, **more: Any) -> None:
    """The change of a paused operation is made."""
    book.add(Command, verb=Verb.RESUME)
    book.outcome("set", book.attempt(step, values=VALUES, target_n=1, **more))


def a_change(key: Signer = APPROVER_KEY) -> Book:
    """Approved by Mara with `key`, done, validated, closed, and then undone."""
    book, look, change = approved_change(key)
    book.run(look, output=b"old line\n", facts=PATHS)
    book.outcome("set", book.attempt(change, values=VALUES, target_n=1))
    book.validation()
    book.receipt(State.COMPLETED)
    book.add(Command, by=JAN, verb=Verb.UNDO, reason="not wanted")
    undo = change.undo
    assert undo is not None
    before = next(s.digest for s in book.records if isinstance(s.record, Attempt) and s.record.target_n == 1)
    lost = book.attempt(change, undo, phase=Phase.UNDO, values=VALUES, target_n=2, target_prev=before)
    book.outcome("set", lost)
    book.receipt(State.UNDONE)
    return book


PINNED: Final = Pinned(operation="op_seen", observation=digest_of(b"seen"), facts=digest_of(b"what was seen"))


def pinned_change() -> tuple[Book, CallStep]:
    """A change on pinned facts, up to its attempt; what it reads itself it read twice."""
    book = Book("op_pinned")
    look, change = read_step(), change_step()
    book.intent()
    book.plan((look, change), Effect.CHANGE, pinned=PINNED)
    book.decision(Verdict.ALLOWED)
    book.ticket()
    book.run(look, facts=PATHS)
    book.outcome("look", book.attempt(look, phase=Phase.PROBE), facts=PATHS)
    return book, change


FURTHER: Final = Obligations(
    output_digest=True,
    egress=("db.example",),
    redaction=("secrets",),
    wave_max=1,
    notify=("oncall",),
    review_ms=3_600_000,
    budgets=(Budget(scope="agent", per_ms=1000, count=9), Budget(scope="intent", per_ms=3_600_000, count=5)),
)


def a_bound_read(kept: Obligations, *uses: BudgetUse) -> Book:
    """A contained read under `kept`, whose receipt names all of `FURTHER`."""
    book = Book("op_bound")
    look = read_step()
    book.intent(mode=Mode.READ_ONLY)
    book.plan((look,), Effect.READ)
    book.decision(Verdict.ALLOWED, obligations=kept)
    book.ticket(uses=uses or (BudgetUse(scope="intent", subject="hello/set_line", n=3),))
    book.run(look, output=b"line\n", facts=PATHS)
    book.validation()
    named = ("output_digest", "egress", "redaction", "wave", "notify", "review", "budget")
    met = tuple(ObligationMet(name=name, met=True, how="kept") for name in named)
    book.receipt(State.COMPLETED, obligations=met)
    return book


def a_broken_glass(*, by: Principal, said: bool = True) -> Book:
    """An emergency read that `by` reviewed; with `said` the command that broke the glass is there."""
    book = Book("op_glass")
    look = read_step()
    book.intent(break_glass=True)
    book.plan((look,), Effect.READ)
    if said:
        book.add(Command, by=JAN, verb=Verb.BREAK_GLASS, reason="the database is down")
    book.decision(Verdict.ALLOWED)
    book.ticket()
    book.run(look, facts=PATHS)
    book.validation()
    book.receipt(State.COMPLETED)
    book.add(Command, by=by, verb=Verb.REVIEW, reason="it was needed")
    return book


def a_refusal() -> Book:
    book = Book("op_blocked")
    book.intent()
    book.plan((read_step(),), Effect.READ)
    book.decision(Verdict.BLOCKED)
    book.receipt(State.BLOCKED)
    return book


def a_lost_call() -> Book:
    """The runner died after the attempt; a probe found that the change had happened."""
    book, look, change = approved_change()
    book.run(look, facts=PATHS)
    lost = book.attempt(change, values=VALUES, target_n=1)
    book.outcome("set", lost, Ended.UNKNOWN, message="no answer", measured=None)
    assert change.probe is not None
    probe = book.attempt(change, change.probe.call, phase=Phase.PROBE, values=VALUES)
    seen = book.outcome("set", probe, facts={"line": "new"})
    book.add(Reconciliation, by=JAN, attempt=lost.digest, happened=True, reason="seen", probe=seen.digest)
    book.add(Command, by=JAN, verb=Verb.RESUME)
    book.validation()
    book.receipt(State.COMPLETED)
    return book


LOOKS: Final = {"line": "old"}


def rolled_out(*, wave: int = 1, **rollout: Any) -> tuple[Book, dict[str, CallStep]]:
    """A plan that looks at three hosts and changes each whose line is old, up to its ticket."""
    book, hosts = Book("op_rollout"), ("host-1", "host-2", "host-3")
    steps: dict[str, CallStep] = {}
    for host in hosts:
        look, setting = f"look@{host}", f"set@{host}"
        steps[look] = _on(host, read_step(look))
        guard = Guard(step=look, fact="line", among=("old",))
        change = change_step(setting, slots=None, call=process(Effect.CHANGE, "/usr/bin/true"), probe=None)
        steps[setting] = _on(host, replace(change, needs=(look,), when=(guard,)))
        check = f"check@{host}"
        steps[check] = _on(host, read_step(check))
    fields: dict[str, Any] = {"waves": (1, 2), "targets_max": 2, "stop_after": 2, "check": "check"}
    book.intent()
    book.plan(
        tuple(steps.values()),
        Effect.CHANGE,
        targets=tuple(PlannedTarget(id=host, type="host", criticality="low") for host in hosts),
        rollout=Rollout(**(fields | rollout)),
    )
    book.decision(Verdict.ALLOWED)
    book.ticket()
    return book, steps


def _on(host: str, step: CallStep) -> CallStep:
    undo = None if step.undo is None else replace(step.undo, target=host)
    return replace(step, target=host, call=replace(step.call, target=host), undo=undo)


def first_wave(book: Book, steps: Mapping[str, CallStep]) -> None:
    """Change and check the first host, and look at the two others, side by side."""
    book.run(steps["look@host-1"], facts=LOOKS)
    book.outcome("set@host-1", book.attempt(steps["set@host-1"], target_n=1))
    book.run(steps["check@host-1"])
    looks = {name: book.attempt(steps[name]) for name in ("look@host-2", "look@host-3")}
    book.outcome("look@host-2", looks["look@host-2"], facts=LOOKS)
    book.outcome("look@host-3", looks["look@host-3"], facts={"line": "new"})


def a_rollout() -> Book:
    """Two waves of which the last host needed nothing."""
    book, steps = rolled_out()
    first_wave(book, steps)
    changing = book.attempt(steps["set@host-2"], target_n=1)
    book.outcome("set@host-3", None, Ended.SKIPPED, message="not to be done")
    book.outcome("set@host-2", changing)
    for host in ("host-2", "host-3"):
        book.run(steps[f"check@{host}"])
    book.validation()
    book.receipt(State.COMPLETED)
    return book


def a_wave_undone() -> Book:
    """The check of the second wave fails, and what that wave did is undone."""
    book, steps = rolled_out(undo=True)
    first_wave(book, steps)
    change = book.attempt(steps["set@host-2"], target_n=1)
    book.outcome("set@host-2", change)
    book.outcome("set@host-3", None, Ended.SKIPPED, message="not to be done")
    book.outcome("check@host-2", book.attempt(steps["check@host-2"]), Ended.FAILED, error_class="unsupported")
    book.add(Command, verb=Verb.UNDO, reason="wave 2 stopped")
    step = steps["set@host-2"]
    back = book.attempt(step, step.undo, phase=Phase.UNDO, target_n=2, target_prev=change.digest)
    book.outcome("set@host-2", back)
    book.receipt(State.FAILED)
    return book


def a_dry_run() -> Book:
    book = Book("op_dry")
    ask, look = scripted_step(), read_step()
    book.intent(mode=Mode.DRY_RUN)
    book.plan((ask, look), Effect.READ)
    book.decision(Verdict.ALLOWED)
    book.ticket()
    book.run(ask, ended=Ended.SIMULATED, facts={"up": True})
    book.run(look, ended=Ended.PREVIEWED)
    book.validation(RuleVerdict.NOT_EVALUATED)
    book.receipt(State.COMPLETED)
    return book


OPERATIONS: Final[Mapping[str, Callable[[], Book]]] = {
    "read": a_read,
    "change": a_change,
    "refusal": a_refusal,
    "lost-call": a_lost_call,
    "dry-run": a_dry_run,
}


# --- the instance, its log, and bundles ---


def enrol(
    person: str, role: Role, key: Signer, *, by: Principal = ROOT, at: datetime = START, **more: Any
) -> Callable[[int, Digest | None], Trust]:
    def made(n: int, prev: Digest | None) -> Trust:
        fields: dict[str, Any] = {
            "person": person,
            "role": role,
            "public": key.public.line,
            "fingerprint": key.public.fingerprint,
            "revoked": False,
        }
        return Trust(operation=INSTANCE, n=n, prev=prev, at=at, by=by, **(fields | more))

    return made


ENROLMENTS: Final = (
    enrol("instance", Role.INSTANCE, INSTANCE_KEY),
    enrol("mara", Role.APPROVER, APPROVER_KEY),
    enrol("otto", Role.APPROVER, SECOND_APPROVER_KEY),
)


def enrolled_with(key: Signer) -> list[Sealed]:
    """Return the instance's own chain where `key` is Mara's."""
    return instance_chain((ENROLMENTS[0], enrol("mara", Role.APPROVER, key), ENROLMENTS[2]))


COVERED: Final = Coverage(
    profile=PROFILE.digest,
    environment=ENVIRONMENT.digest,
    intent="set_line",
    mode=Mode.APPLY,
    targets=(TARGET,),
    parameters=(ParameterRange(parameter="line", one_of=("new", "newer")),),
    uses=2,
)


def standing(book: Book, covers: Coverage = COVERED) -> tuple[ApprovalStatement, str]:
    """Return Mara's standing approval of what `covers` says, on the terms of the book's decision."""
    named = digest_of(encode(covers))
    said = ApprovalStatement(
        operation=INSTANCE,
        plan=named,
        terms=terms_digest(book.last(Decision)[1].terms),
        preview=named,
        approves=True,
        nonce="standing-1",
        expires=START + timedelta(days=30),
        approver=MARA,
        covers=covers,
    )
    return said, sshsig.sign(APPROVER_KEY, APPROVAL_NAMESPACE, encode(said))


def recorded(said: ApprovalStatement, signature: str) -> Callable[[int, Digest | None], Record]:
    """What somebody says in the instance's own chain."""

    def made(n: int, prev: Digest | None) -> Record:
        fields: dict[str, Any] = {"statement": said, "signature": signature, "groups": ()}
        return Approval(operation=INSTANCE, n=n, prev=prev, at=START, by=said.approver, **fields)

    return made


def used_change(
    covers: Coverage = COVERED, use: int = 1, name: str = "op_change", **intent: Any
) -> tuple[Book, Sealed]:
    """A change that a standing approval is used for, up to its ticket, and the use."""
    book = Book(name)
    book.intent(**{"parameters": {"line": "new"}, **intent})
    book.plan((read_step(), change_step()), Effect.CHANGE)
    book.decision(Verdict.APPROVAL_REQUIRED, ONE_OF_OPS)
    said, signature = standing(book, covers)
    used = book.add(Approval, statement=said, signature=signature, groups=("ops",), use=use)
    book.ticket()
    return book, used


def erasing(commitment: Digest, at: datetime = START) -> Callable[[int, Digest | None], Record]:
    """The erasure of an output."""

    def erased(n: int, prev: Digest | None) -> Record:
        return Erasure(
            operation=INSTANCE,
            n=n,
            prev=prev,
            at=at,
            by=ROOT,
            commitment=commitment,
            rule="30d",
            reason="retention",
        )

    return erased


def retaining(before: datetime) -> Callable[[int, Digest | None], Record]:
    """The end of all outputs that outcomes dated before `before` name."""

    def retained(n: int, prev: Digest | None) -> Record:
        at = START + timedelta(hours=3)
        told: dict[str, Any] = {"before": before, "rule": "older than 90d", "reason": "retention"}
        return Retention(operation=INSTANCE, n=n, prev=prev, at=at, by=ROOT, **told)

    return retained


def halting(
    *, lifted: bool = False, scope: HaltScope = HaltScope.ALL, name: str | None = None
) -> Callable[[int, Digest | None], Record]:
    """A halt of everything, or of one name, or its lift."""

    def halted(n: int, prev: Digest | None) -> Record:
        told: dict[str, Any] = {"scope": scope, "name": name, "lifted": lifted, "reason": "a drill"}
        return Halt(operation=INSTANCE, n=n, prev=prev, at=START, by=ROOT, **told)

    return halted


def instance_chain(made: Sequence[Callable[[int, Digest | None], Record]] = ENROLMENTS) -> list[Sealed]:
    records: list[Sealed] = []
    for n, one in enumerate(made):
        records.append(seal(one(n, records[-1].digest if records else None)))
    return records


class Log:
    """A Merkle log in memory."""

    def __init__(self) -> None:
        self.frontier = Frontier.empty()
        self.rows: list[bytes] = []

    def append(self, body: bytes) -> int:
        self.frontier, completed = self.frontier.append(leaf_hash(body))
        self.rows.append(b"".join(completed))
        return len(self.rows) - 1

    def prove(self, leaf: int) -> tuple[int, Sequence[bytes]]:
        return leaf, inclusion_proof(leaf, len(self.rows), node_reader(self.rows.__getitem__))

    def grown(self, size: int) -> tuple[int, Sequence[bytes]]:
        return size, prove_growth(size, len(self.rows), node_reader(self.rows.__getitem__))

    def checkpoint(self, key: MemorySigner = INSTANCE_KEY, origin: str = ORIGIN) -> bytes:
        note = Checkpoint(origin=origin, size=len(self.rows), root=self.frontier.root())
        return checkpoint.sign(note, key)


@dataclass
class Made:
    """A bundle's contents and the log they were cut from."""

    contents: BundleContents
    log: Log
    held: bytes

    def bundle(self) -> bytes:
        return build(self.contents)


def cut(
    book: Book,
    *,
    instance: Sequence[Sealed] | None = None,
    key: MemorySigner = INSTANCE_KEY,
    with_outputs: bool = True,
    noise: int = 5,
    late: int = 0,
) -> Made:
    """Put `book` in a log among other records, and cut a bundle; `held` is a checkpoint from half-way.

    The last `late` records of the instance are written after all others.
    """
    log, instance = Log(), list(instance_chain() if instance is None else instance)
    early = len(instance) - late
    trust_leaves = [log.append(sealed.body) for sealed in instance[:early]]
    leaves, held, held_size = [], b"", 0
    for index, sealed in enumerate(book.records):
        for other in range(noise if index == 0 else 1):
            log.append(b"another record %d %d" % (index, other))
        leaves.append(log.append(sealed.body))
        if index == 1:
            held = log.checkpoint(key)
            held_size = len(log.rows)
    trust_leaves += [log.append(sealed.body) for sealed in instance[early:]]
    log.append(b"one more")
    contents = BundleContents(
        instance=INSTANCE,
        operation=book.operation,
        records=tuple(sealed.body for sealed in book.records),
        instance_records=tuple(sealed.body for sealed in instance),
        proofs=pack_proofs(
            [log.prove(leaf) for leaf in leaves],
            [log.prove(leaf) for leaf in trust_leaves],
            [log.grown(held_size)] if held else [],
        ),
        checkpoint=log.checkpoint(key),
        envelopes={s.digest: record_envelope(s, key) for s in book.records if isinstance(s.record, Receipt)},
        signatures=dict(book.signatures),
        inputs=(ENVIRONMENT, PACK, PROFILE)
        if any(isinstance(s.record, Decision) for s in book.records)
        else (ENVIRONMENT, PROFILE),
        blobs=dict(book.blobs) if with_outputs else {},
    )
    return Made(contents=contents, log=log, held=held)


TRUSTED: Final = TrustedKeys(
    keys=(
        TrustedKey(role=Role.INSTANCE, name="instance", public=INSTANCE_KEY.public),
        TrustedKey(role=Role.APPROVER, name="mara", public=APPROVER_KEY.public),
        TrustedKey(role=Role.REQUESTER, name=JAN.person, public=REQUESTER_KEY.public),
    )
)


NODE_TRUSTED: Final = TrustedKeys(
    keys=(*TRUSTED.keys, TrustedKey(role=Role.NODE, name="edge-1", public=NODE_KEY.public))
)


def judged(made: Made, **more: Any) -> Report:
    return verify(made.bundle(), more.pop("trust", TRUSTED), **more)


def codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings}
