"""One operation: alice asks for a change; bob, carol and dora may approve; root enrolled their keys."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from conformance.memory_signer import MemorySigner
from rexecop.governance.admission import Answer
from rexecop.proof import sshsig
from rexecop.proof.call import Call, Hole, Limits, ProcessRequest, Slot
from rexecop.proof.canonical import Digest, digest_of
from rexecop.proof.chain import Sealed, seal
from rexecop.proof.codec import encode
from rexecop.proof.principal import ENGINE, Principal
from rexecop.proof.records.approval import APPROVAL_NAMESPACE, Approval, ApprovalStatement
from rexecop.proof.records.decision import (
    ApprovalRule,
    Decision,
    Obligations,
    PackRef,
    PolicyRequest,
    RequestTarget,
    RuleRef,
    Terms,
    terms_digest,
)
from rexecop.proof.records.delegation import DELEGATION_NAMESPACE, Delegation, DelegationStatement
from rexecop.proof.records.intent import EnvironmentRef, Intent, Origin, ProfileRef
from rexecop.proof.records.plan import CallStep, Plan, PlannedTarget, Probe
from rexecop.proof.trust import Enrolment
from rexecop.proof.vocabulary import Effect, Established, Gate, Isolation, Mode, Role, Verdict

NOW: Final = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
MINUTE: Final = timedelta(minutes=1)
OPERATION: Final = "op_01980000000070008000000000000001"
INSTANCE: Final = "in_00000000000070008000000000000001"
KEYS: Final[Mapping[str, MemorySigner]] = {
    name: MemorySigner(number) for number, name in enumerate(("alice", "bob", "carol", "dora", "mallory"), 1)
}
ALICE: Final = Principal(person="alice", established=Established.OS_USER, credential="uid:1000")
ROOT: Final = Principal(person="root", established=Established.OS_USER, credential="uid:0")
GROUPS: Final[Mapping[str, frozenset[str]]] = {
    "approvers": frozenset({"alice", "bob", "carol", "dora"}),
    "sre": frozenset({"bob", "carol"}),
}
SOME: Final = digest_of(b"some")
PREVIEW: Final = digest_of(b"preview")


def by_key(person: str, key: str | None = None) -> Principal:
    """Return `person` as established by the key of `key` (his own if not said)."""
    return Principal(person=person, established=Established.KEY, credential=KEYS[key or person].key_id)


def enrolled(
    person: str,
    *,
    key: str | None = None,
    role: Role = Role.APPROVER,
    by: Principal = ROOT,
    since: datetime = NOW - 60 * MINUTE,
    expires: datetime | None = None,
    revoked: datetime | None = None,
) -> Enrolment:
    signer = KEYS[key or person]
    return Enrolment(
        person=person,
        role=role,
        public=signer.public.line,
        fingerprint=signer.key_id,
        by=by,
        since=since,
        expires=expires,
        revoked=revoked,
    )


ENROLMENTS: Final = tuple(enrolled(person) for person in ("alice", "bob", "carol", "dora"))


def intent(by: Principal = ALICE, sponsor: str | None = None, mode: Mode = Mode.APPLY) -> Sealed:
    return seal(
        Intent(
            operation=OPERATION,
            n=0,
            prev=None,
            at=NOW,
            by=by,
            profile=ProfileRef(name="hello", version="1", digest=SOME),
            environment=EnvironmentRef(id="here", digest=SOME),
            intent="restart",
            target="host-1",
            mode=mode,
            origin=Origin(channel="cli"),
            sponsor=sponsor,
        )
    )


def call(*argv: str | tuple[str | Hole, ...], effect: Effect = Effect.CHANGE, target: str = "host-1") -> Call:
    return Call(
        target=target, connector="host", action="do", effect=effect, request=ProcessRequest(argv=tuple(argv))
    )


STEP: Final = CallStep(
    id="restart",
    target="host-1",
    call=call("restart", ("--unit=", Hole(slot="unit"))),
    limits=Limits(timeout_ms=10_000, output_bytes=8192),
    isolation=Isolation.RLIMITS,
    idempotent=False,
    slots={"unit": Slot(step="look", fact="unit", type="string", pattern="[a-z]+")},
    probe=Probe(call=call("is-up", effect=Effect.READ), normalizer="state", fact="up", equals=True),
    undo=call("restore"),
)


def plan(of: Sealed, *steps: CallStep) -> Sealed:
    return seal(
        Plan(
            operation=OPERATION,
            n=1,
            prev=of.digest,
            at=NOW,
            by=ENGINE,
            intent=of.digest,
            profile=SOME,
            environment=SOME,
            effect=Effect.CHANGE,
            risk="low",
            targets=(PlannedTarget(id="host-1", type="host", criticality="low"),),
            steps=steps or (STEP,),
        )
    )


def terms(*rules: tuple[int, str], obligations: Obligations | None = None) -> Terms:
    """Return terms that ask for `rules`; with none, the plan is allowed."""
    return Terms(
        verdict=Verdict.APPROVAL_REQUIRED if rules else Verdict.ALLOWED,
        approvals=tuple(ApprovalRule(count=count, group=group) for count, group in rules),
        obligations=obligations or Obligations(),
    )


BLOCKED: Final = replace(terms(), verdict=Verdict.BLOCKED)


def answer(found: Terms) -> Answer:
    return Answer(
        terms=found,
        rules=(RuleRef(id="pack/rule", digest=SOME),),
        packs=(PackRef(id="pack", version="1", digest=SOME),),
        errors=(),
        reason="because",
    )


def request(**changes: object) -> PolicyRequest:
    base = PolicyRequest(
        gate=Gate.PLAN,
        principal=ALICE,
        profile="hello",
        intent="restart",
        effect=Effect.CHANGE,
        mode=Mode.APPLY,
        risk="low",
        environment="here",
        targets=(RequestTarget(id="host-1", type="host", criticality="low"),),
        simulated=False,
        pinned=False,
        origin="cli",
        now=NOW,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def decision(of: Sealed, found: Terms, mode: Mode = Mode.APPLY) -> Sealed:
    given = answer(found)
    return seal(
        Decision(
            operation=OPERATION,
            n=2,
            prev=of.digest,
            at=NOW,
            by=ENGINE,
            plan=of.digest,
            request=request(mode=mode),
            terms=found,
            rules=given.rules,
            packs=given.packs,
            errors=(),
            reason=given.reason,
        )
    )


def statement(of: Sealed, found: Terms, person: str, **changes: object) -> ApprovalStatement:
    base = ApprovalStatement(
        operation=OPERATION,
        plan=of.digest,
        terms=terms_digest(found),
        preview=PREVIEW,
        approves=True,
        nonce=f"nonce of {person}",
        expires=NOW + 60 * MINUTE,
        approver=by_key(person),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def approval(
    said: ApprovalStatement,
    *,
    key: str | None = None,
    n: int = 3,
    at: datetime = NOW + MINUTE,
    namespace: str = APPROVAL_NAMESPACE,
    signed: bytes | None = None,
) -> Sealed:
    """Return `said`, signed by the key of `key` (that of who says it, if not said)."""
    signer = KEYS[key or said.approver.person.lower()]
    return seal(
        Approval(
            operation=OPERATION,
            n=n,
            prev=SOME,
            at=at,
            by=said.approver,
            statement=said,
            signature=sshsig.sign(signer, namespace, encode(said) if signed is None else signed),
            groups=("approvers",),
        )
    )


def delegation(
    person: str,
    to: str,
    *,
    key: str | None = None,
    n: int = 9,
    at: datetime = NOW - 30 * MINUTE,
    by: Principal | None = None,
    instance: str = INSTANCE,
    **changes: object,
) -> Sealed:
    """Return `person` giving `to` their vote for a day, signed by their key, or that of `key`."""
    base = DelegationStatement(
        instance=INSTANCE,
        giver=by_key(person),
        delegate=to,
        until=NOW + 24 * 60 * MINUTE,
        nonce=f"{person} to {to}",
        reason="on leave",
    )
    said = replace(base, **changes)  # type: ignore[arg-type]
    signature = sshsig.sign(KEYS[key or person], DELEGATION_NAMESPACE, encode(said))
    fields = {"n": n, "prev": SOME, "at": at, "by": by or said.giver}
    return seal(Delegation(operation=instance, statement=said, signature=signature, **fields))  # type: ignore[arg-type]


def pack_files(
    rules: str, requirements: str = "", entities: str = "people: {alice: {}}\n", **others: str
) -> dict[str, bytes]:
    """Return the files of a pack called `test`."""
    files = {
        "pack.yaml": "id: test\nversion: '1'\n",
        "rules.cedar": rules,
        "requirements/all.cedar": requirements,
        "entities.yaml": entities,
    } | others
    return {path: text.encode() for path, text in files.items()}


def digests(sealed: Sequence[Sealed]) -> set[Digest]:
    return {one.digest for one in sealed}
