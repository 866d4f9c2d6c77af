"""`POST /execute` in demo mode: every request is an operation like any other.

Intent, plan, decision, ticket and attempt become durable in one append that also claims
the nonce; only then the handler runs; outcome, validation and receipt are the second.
A nonce answers for one request: repeated, it is answered from the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

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
from rexecop.operations.errors import ClaimTaken
from rexecop.operations.fold import Operation, fold
from rexecop.operations.ports import Claim, Clock, Store
from rexecop.proof.canonical import digest_of, sha256
from rexecop.proof.halts import stopping, words
from rexecop.proof.payload import Value, parse_payload, payload_text, spaced_text
from rexecop.proof.principal import Principal
from rexecop.proof.records.intent import Intent, Origin
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import Plan
from rexecop.proof.request import policy_request
from rexecop.proof.vocabulary import Ended, Established, Gate, State

CHANNEL: Final = "execute"
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
    """A request without result. `operation` names what was recorded about it, if anything was."""

    reason: Reason
    detail: str
    operation: str | None = None


Answer = Executed | NotExecuted


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

    def __init__(self, world: World, authority: DemoAuthority) -> None:
        self._world = replace(world, authority=authority)
        self._authority = authority
        self._plans = DemoPlans()
        self._driver = Driver(self._world)
        self._turns: dict[str, _Turn] = {}

    async def execute(self, action: str, payload: Value, nonce: str) -> Answer:
        """Run `action` on `payload` unless `nonce` was used; then answer what was recorded.

        Raises:
            NotCanonical: the payload is nested too deep to be written down.
            StoreError: the ledger cannot be written; nothing ran.
        """
        text = payload_text(payload)
        if len(text) > PAYLOAD_TEXT_MAX:
            return NotExecuted(
                reason=Reason.TOO_LARGE, detail=f"payload takes more than {PAYLOAD_TEXT_MAX} bytes as text"
            )
        claim = Claim(space=NONCES, key=digest_of(nonce.encode("utf-8")))
        async with self._alone(claim.key):
            return await self._once(claim, action, text, nonce)

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

    async def _once(self, claim: Claim, action: str, text: str, nonce: str) -> Answer:
        session = await self._begin(claim, action, text, nonce)
        # A blocked request claims nothing, so only it has to be looked up first.
        used = None if session.attached.claims else self._world.store.claimed(claim)
        if used is None:
            inputs = tuple(session.attached.inputs)
            try:
                await self._driver.drive(session)
            except ClaimTaken:
                used = self._world.store.claimed(claim)
            else:
                self._plans.keep(inputs)
                return self._answer(session.op, session.kept)
        if used is None:
            return NotExecuted(reason=Reason.BUSY, detail="the nonce is being used")
        return await self._recorded(used, action, text)

    # --- a new request ---

    async def _begin(self, claim: Claim, action: str, text: str, nonce: str) -> _Session:
        """Return a session that holds intent, plan and decision, not yet stored."""
        world, plans = self._world, self._plans
        session = _Session(world.store, world.clock, world.ids.operation())
        session.add(
            Intent,
            CALLER,
            profile=plans.profile,
            environment=plans.environment,
            intent=action,
            target=plans.target.id,
            mode=plans.mode,
            origin=Origin(channel=CHANNEL),
            parameters={"payload": text},
            idempotency_key=nonce,
        )
        session.add(
            Plan,
            intent=session.op.sealed_intent.digest,
            profile=plans.profile.digest,
            environment=plans.environment.digest,
            effect=plans.effect,
            risk=plans.risk,
            targets=(plans.target,),
            steps=plans.steps(action, text),
        )
        await self._decide(session, action)
        session.attached.inputs.extend(plans.inputs(self._authority.pinned_packs()))
        if session.op.state is not State.BLOCKED:
            session.attached.claims.append(claim)
        return session

    async def _decide(self, session: Session, action: str) -> None:
        plan = session.op.the_plan
        request = policy_request(session.op.the_intent, plan, gate=Gate.PLAN, now=session.judged_now())
        policy = self._authority.policy(plan.profile)
        request = counted(policy, self._world.store, session.id, request)
        answer = ask(policy, request, plan)
        if not plan.steps:
            answer = block(answer, "there is no handler for this action")
        if (halt := stopping(self._authority.halts(), session.op.the_intent, plan)) is not None:
            answer = block(answer, words(halt))
        answer = await consult(self._world.opinions, answer, request)
        record_decision(session, request, answer)

    # --- answers ---

    async def _recorded(self, operation: str, action: str, text: str) -> Answer:
        """Return the answer of `operation` if it was asked the same, waiting while it is under way."""
        for _ in range(POLLS_MAX):
            op = fold(self._world.store.journal(operation).records)
            intent = op.the_intent
            if (intent.intent, intent.parameters) != (action, {"payload": text}):
                return NotExecuted(
                    reason=Reason.CONFLICT, detail="nonce was used for another request", operation=operation
                )
            if (op.receipts and not op.receipt_due) or not self._alive(operation):
                return self._answer(op, self._read_back(op))
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
            rejected = outcome.error_class in (Failure.REQUEST_INVALID, Failure.VALIDATION_FAILED)
            return NotExecuted(
                reason=Reason.REJECTED if rejected else Reason.FAILED,
                detail=outcome.message or f"action ended {outcome.ended}",
                operation=op.id,
            )
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
    digits = operation.removeprefix("op_")
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def result_text(result: str) -> str:
    """Return JSON text `result` as the contract's receipts write it: sorted, spaced, ASCII."""
    return spaced_text(parse_payload(result, bytes_max=OUTPUT_BYTES_MAX))


def receipt_hash(exec_id: str, result_json: str) -> str:
    """Return the contract's receipt: SHA-256 over `<exec_id>:<result_json>`, 64 hex digits."""
    return sha256(f"{exec_id}:{result_json}".encode()).hex()
