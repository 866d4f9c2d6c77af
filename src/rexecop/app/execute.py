"""`POST /execute`: every request is an operation like any other.

Intent, plan, decision, ticket and attempt become durable in one append that also claims
the nonce; only then the handler runs; outcome, validation and receipt are the second.
A nonce answers for one request of one tenant: repeated, it is answered from the ledger, to whoever
brings the approval again that it was carried out under. An approval is used once.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from rexecop.app.clock import hyphened
from rexecop.app.contract import ARTIFACTS, Contract, Judged
from rexecop.app.demo_authority import DemoAuthority
from rexecop.app.execute_plan import DemoPlans
from rexecop.engines.asking import ask, block, consult, record_decision
from rexecop.engines.driver import Driver
from rexecop.engines.recent import counted
from rexecop.engines.runner import is_driven
from rexecop.engines.session import Session
from rexecop.engines.world import World
from rexecop.governance import demo_pack
from rexecop.lanes.failures import Failure
from rexecop.operations.errors import ClaimTaken, OperationUnknown
from rexecop.operations.fold import Operation, fold
from rexecop.operations.ports import Claim, Clock, Store
from rexecop.proof.canonical import canonical_bytes, digest_of, same, sha256
from rexecop.proof.halts import stopping, words
from rexecop.proof.origins import EXECUTE
from rexecop.proof.payload import Value, parse_payload, payload_text, spaced_text
from rexecop.proof.principal import Principal
from rexecop.proof.records.intent import Intent, Origin
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import Plan
from rexecop.proof.request import policy_request
from rexecop.proof.vocabulary import Ended, Established, Gate, State

NONCES: Final = "execute-nonce"
PAYLOAD_TEXT_MAX: Final = 60 * 1024  # Twice that, escaped, still fits into the call the gate lets through.
OUTPUT_BYTES_MAX: Final = 64 * 1024
POLL_SECONDS: Final = 0.02  # Between two looks at a request that another process is carrying out.
POLLS_MAX: Final = 500  # Ten seconds, as long as the demo pack lets a handler take.

CALLER: Final = Principal(
    person=demo_pack.SERVICE, established=Established.ENGINE, credential=demo_pack.SERVICE
)


class Reason(Enum):
    """Why a request has no result."""

    UNKNOWN_ACTION = "no such action"
    DENIED = "policy said no, or somebody has to approve first"
    REJECTED = "the action does not take this payload"
    MALFORMED = "the payload is not what the schema of the action says"
    FAILED = "the handler failed"
    TOO_LARGE = "the payload is longer than one call may be"
    CONFLICT = "the nonce stands for another request"
    UNKNOWN = "the request may have run, and no answer was recorded"
    BUSY = "the request is being carried out by another process"


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """An action that ran. `result` is JSON text; `receipt` is the contract's hash over id and result.

    `envelope` is the receipt record of operation `operation`, signed by the instance (DSSE, JSON).
    """

    id: str
    operation: str
    action: str
    result: str
    receipt: str
    envelope: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NotExecuted:
    """A request without result. `operation` names what was recorded about it, if anything was.

    `envelope` is its receipt, signed by the instance, where it has one. `place` is the part of the payload
    that is malformed.
    """

    reason: Reason
    detail: str
    operation: str | None = None
    envelope: bytes | None = None
    place: str = ""


Answer = Executed | NotExecuted
_FAILED: Final = {
    str(Failure.REQUEST_INVALID): Reason.MALFORMED,
    str(Failure.VALIDATION_FAILED): Reason.REJECTED,
}
_PLACE: Final = re.compile(r"`payload\.([^`]+)`")  # As the lane names it, also in what was recorded earlier.
DEMO_MODE: Final = Contract()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A request as it was asked, the claim on its nonce, and what became of what it brought."""

    action: str
    text: str
    nonce: str
    claim: Claim
    judged: Judged

    @property
    def origin(self) -> Origin:
        """Return the door it came through, with the approval it brought."""
        artifact = self.judged.artifact
        return Origin(channel=EXECUTE, event=None if artifact is None else artifact.digest)


@dataclass(slots=True)
class _Turn:
    """Who may go on with one nonce, and how many requests want to."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    requests: int = 0


@dataclass(slots=True)
class _Kept:
    """Output and signed receipt as they were stored."""

    result: bytes | None = None
    envelope: bytes | None = None


class _Session(Session):
    """A session that remembers what it stored, so that nothing has to be read back to answer."""

    def __init__(self, store: Store, clock: Clock, operation: str) -> None:
        super().__init__(store, clock, operation)
        self.kept = _Kept()

    async def flush(self, *, release: bool = False) -> None:
        """As `Session.flush`."""
        attached = self.attached
        await super().flush(release=release)
        for blob in attached.blobs:
            self.kept.result = blob.data
        for signature in attached.signatures:
            self.kept.envelope = signature.data


class Executor:
    """Carries out requests of the `/execute` contract in one instance."""

    def __init__(self, world: World, authority: DemoAuthority, contract: Contract = DEMO_MODE) -> None:
        self._world = replace(world, authority=authority)
        self._contract = contract
        self._authority = authority
        self._plans = DemoPlans()
        self._driver = Driver(self._world)
        self._turns: dict[str, _Turn] = {}

    async def execute(
        self, action: str, payload: Value, nonce: str, artifact: Mapping[str, Value] | None = None
    ) -> Answer:
        """Run `action` on `payload` unless `nonce` was used; then answer what was recorded.

        `artifact` is the approval it came with, where the mode asks for one.

        Raises:
            NotCanonical: the payload is nested too deep to be written down.
            StoreError: the ledger cannot be written; nothing ran.
        """
        text = payload_text(payload)
        if len(text) > PAYLOAD_TEXT_MAX:
            return NotExecuted(
                reason=Reason.TOO_LARGE, detail=f"payload takes more than {PAYLOAD_TEXT_MAX} bytes as text"
            )
        tenant = self._contract.tenant
        name = canonical_bytes([tenant, nonce]) if tenant else nonce.encode("utf-8")
        claim = Claim(space=NONCES, key=digest_of(name))
        judged = self._contract.judge(action, payload, artifact, self._world.clock.now())
        asked = _Asked(action=action, text=text, nonce=nonce, claim=claim, judged=judged)
        async with self._alone(claim.key):
            return await self._once(asked)

    @asynccontextmanager
    async def _alone(self, key: str) -> AsyncIterator[None]:
        """Let requests of one nonce pass one by one: all but the first are answered from the ledger."""
        turn = self._turns.setdefault(key, _Turn())
        turn.requests += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.requests -= 1
            if not turn.requests:
                del self._turns[key]

    async def _once(self, asked: _Asked) -> Answer:
        session = await self._begin(asked)
        # A blocked request claims nothing, so only it has to be looked up first; to who brought nothing
        # that counts the ledger answers nothing.
        looks = not session.attached.claims and asked.judged.authentic
        used = self._world.store.claimed(asked.claim) if looks else None
        if used is None:
            inputs = tuple(session.attached.inputs)
            try:
                await self._driver.drive(session)
            except ClaimTaken as taken:
                if taken.facts.get("space") == ARTIFACTS:
                    words = "Approval artifact was used already"
                    spent = replace(asked.judged, refusal=words, authentic=False)
                    return await self._once(replace(asked, judged=spent))
                used = self._world.store.claimed(asked.claim)
            else:
                self._plans.keep(inputs)
                return self._told(session.op, session.kept)
        if used is None:
            return NotExecuted(reason=Reason.BUSY, detail="the nonce is being used")
        return await self._recorded(used, asked)

    # --- a new request ---

    async def _begin(self, asked: _Asked) -> _Session:
        """Return a session that holds intent, plan and decision, not yet stored."""
        world, plans = self._world, self._plans
        session = _Session(world.store, world.clock, world.ids.operation())
        session.add(
            Intent,
            CALLER,
            profile=plans.profile,
            environment=plans.environment,
            intent=asked.action,
            target=plans.target.id,
            mode=plans.mode,
            origin=asked.origin,
            parameters={"payload": asked.text},
            idempotency_key=asked.nonce,
        )
        session.add(
            Plan,
            intent=session.op.sealed_intent.digest,
            profile=plans.profile.digest,
            environment=plans.environment.digest,
            effect=plans.effect,
            risk=plans.risk,
            targets=(plans.target,),
            steps=plans.steps(asked.action, asked.text),
        )
        judged = asked.judged
        await self._decide(session, judged.refusal)
        session.attached.inputs.extend(plans.inputs(self._authority.pinned_packs()))
        if judged.artifact is not None:
            session.attached.inputs.append(judged.artifact)
        if session.op.state is not State.BLOCKED:
            session.attached.claims.append(asked.claim)
            if judged.claim is not None:
                session.attached.claims.append(judged.claim)
        return session

    async def _decide(self, session: Session, refusal: str | None) -> None:
        plan = session.op.the_plan
        request = policy_request(session.op.the_intent, plan, gate=Gate.PLAN, now=session.judged_now())
        policy = self._authority.policy(plan.profile)
        request = counted(policy, self._world.store, session.id, request)
        answer = ask(policy, request, plan)
        if not plan.steps:
            answer = block(answer, "there is no handler for this action")
        if refusal is not None:
            answer = block(answer, refusal)
        if (halt := stopping(self._authority.halts(), session.op.the_intent, plan)) is not None:
            answer = block(answer, words(halt))
        answer = await consult(self._world.opinions, answer, request)
        record_decision(session, request, answer)

    # --- answers ---

    async def _recorded(self, operation: str, asked: _Asked) -> Answer:
        """Return the answer of `operation` if it was asked the same, waiting while it is under way."""
        for _ in range(POLLS_MAX):
            op = fold(self._world.store.journal(operation).records)
            intent = op.the_intent
            was = (intent.intent, intent.parameters, intent.origin)
            if was != (asked.action, {"payload": asked.text}, asked.origin):
                return NotExecuted(
                    reason=Reason.CONFLICT, detail="nonce was used for another request", operation=operation
                )
            if (op.receipts and not op.receipt_due) or not self._alive(operation):
                return self._told(op, self._read_back(op))
            await asyncio.sleep(POLL_SECONDS)
        return NotExecuted(
            reason=Reason.BUSY, detail="the request is still being carried out", operation=operation
        )

    def _alive(self, operation: str) -> bool:
        """Return whether a runner that may still act holds the operation."""
        store, now = self._world.store, self._world.clock.now()
        return is_driven(store.lease(operation), store, now)

    def _read_back(self, op: Operation) -> _Kept:
        """Return what the ledger keeps beside the records of `op`."""
        store, kept, outcome = self._world.store, _Kept(), _outcome(op)
        ref = (outcome.blobs or {}).get("stdout") if outcome is not None else None
        blob = store.blob(ref.commitment) if ref is not None else None
        kept.result = blob.data if blob is not None else None
        if op.receipts:
            found = store.signatures(op.receipts[-1].digest)
            kept.envelope = next((item.data for item in found if item.form == "dsse"), None)
        return kept

    def _told(self, op: Operation, kept: _Kept) -> Answer:
        """Return the answer of `op`; a refusal and a failure have their receipt with them, too."""
        answer = self._answer(op, kept)
        return answer if isinstance(answer, Executed) else replace(answer, envelope=kept.envelope)

    def holds(self, name: str, result: str, receipt: str) -> bool:
        """Return whether the ledger holds that `name` answered `result`, and `receipt` is that of both."""
        operation = f"op_{name.replace('-', '')}"
        if execution_id(operation) != name or not same(receipt_hash(name, result), receipt):
            return False
        try:
            op = fold(self._world.store.journal(operation).records)
        except OperationUnknown:
            return False
        intent = op.the_intent
        mine = intent.origin.channel == EXECUTE and intent.profile.name == self._plans.profile.name
        kept = self._read_back(op) if mine else _Kept()
        return kept.result is not None and result_text(kept.result.decode("ascii")) == result

    def _answer(self, op: Operation, kept: _Kept) -> Answer:
        """Return what the records of `op` say to who asked."""
        outcome = _outcome(op)
        if op.state is State.COMPLETED and outcome is not None:
            return _executed(op, kept)
        if op.state is State.BLOCKED:
            return _blocked(op)
        if op.state is State.WAITING_FOR_APPROVAL:
            return NotExecuted(
                reason=Reason.DENIED, detail=f"approval is needed: {op.the_decision.reason}", operation=op.id
            )
        if op.state is State.FAILED and outcome is not None:
            words = outcome.message or f"action ended {outcome.ended}"
            reason, place = _FAILED.get(str(outcome.error_class), Reason.FAILED), _PLACE.match(words)
            part = place[1] if reason is Reason.MALFORMED and place is not None else ""
            return NotExecuted(reason=reason, detail=words, operation=op.id, place=part)
        return NotExecuted(
            reason=Reason.UNKNOWN,
            detail=f"outcome unknown: operation {op.id} may have run and has no recorded answer;"
            " it is not run again",
            operation=op.id,
        )


def _executed(op: Operation, kept: _Kept) -> Answer:
    if kept.result is None or kept.envelope is None:
        return NotExecuted(
            reason=Reason.UNKNOWN,
            detail=f"the answer of operation {op.id} is not kept any more",
            operation=op.id,
        )
    result, name = kept.result.decode("ascii"), execution_id(op.id)
    return Executed(
        id=name,
        operation=op.id,
        action=op.the_intent.intent,
        result=result,
        receipt=receipt_hash(name, result_text(result)),
        envelope=kept.envelope,
    )


def _outcome(op: Operation) -> Outcome | None:
    for progress in op.steps.values():
        record = progress.outcome.record if progress.outcome is not None else None
        if isinstance(record, Outcome) and progress.ended is not None and record.ended is not Ended.UNKNOWN:
            return record
    return None


def _blocked(op: Operation) -> NotExecuted:
    if not op.the_plan.steps:
        return NotExecuted(
            reason=Reason.UNKNOWN_ACTION, detail=f"Unknown action: {op.the_intent.intent}", operation=op.id
        )
    return NotExecuted(reason=Reason.DENIED, detail=op.the_decision.reason, operation=op.id)


def execution_id(operation: str) -> str:
    """Return the id of `operation` as the contract writes ids: a UUID with hyphens."""
    return hyphened(operation.removeprefix("op_"))


def result_text(result: str) -> str:
    """Return JSON text `result` as the contract's receipts write it: sorted, spaced, ASCII."""
    return spaced_text(parse_payload(result, bytes_max=OUTPUT_BYTES_MAX))


def receipt_hash(exec_id: str, result_json: str) -> str:
    """Return the contract's receipt: SHA-256 over `<exec_id>:<result_json>`, 64 hex digits."""
    return sha256(f"{exec_id}:{result_json}".encode()).hex()
