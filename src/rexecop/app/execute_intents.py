"""`POST /execute` for intents: planned, decided and run on the usual path, answered in the contract's shape.

The nonce, and the approval that was brought, are used up by the append that stores the plan, unless policy
blocks it; so there is one operation for them, whatever happens. Where people have to approve, the same
request is asked again once they did.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

from rexecop.app.actions import Actions, Permitted, root_actions
from rexecop.app.contract import ARTIFACTS, DEMO, Contract, Judged
from rexecop.app.execute import (
    NONCES,
    OUTPUT_BYTES_MAX,
    Answer,
    Executed,
    NotExecuted,
    Reason,
    execution_id,
    receipt_hash,
    result_text,
)
from rexecop.app.files import FolderWatch
from rexecop.app.functions import start_here
from rexecop.app.identity import Identity
from rexecop.app.instance import Instance
from rexecop.app.offers import intent_line
from rexecop.app.planner import Cause, PlanInput
from rexecop.app.root import Root
from rexecop.app.watching import is_over
from rexecop.engines.errors import RunnerBusy
from rexecop.operations.catalogs import offers
from rexecop.operations.errors import (
    ClaimTaken,
    CommandGuarded,
    OperationUnknown,
    ParameterRefused,
    SecretInline,
)
from rexecop.operations.fold import Operation
from rexecop.operations.ports import Claim
from rexecop.operations.profile_model import IntentSpec
from rexecop.proof.canonical import Json, canonical_bytes, digest_of, same
from rexecop.proof.errors import NotCanonical, RexecopError
from rexecop.proof.origins import EXECUTE
from rexecop.proof.payload import Value, parse_payload, payload_text
from rexecop.proof.principal import Principal
from rexecop.proof.records.intent import Origin
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.vocabulary import Established, State

CLOSED: Final = "it runs in demo mode only where `execute.yaml` says `without_approval`"


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionLine:
    """An action of `/execute`; `payload` is the JSON Schema (2020-12) that its payload is held to.

    One that runs an intent says which (PROFILE/INTENT), on what, and in which mode.
    """

    action: str
    title: str
    effect: str
    payload: Mapping[str, Json]
    intent: str | None = None
    target: str | None = None
    environment: str | None = None
    mode: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A request: what it runs, with what, the claim on its nonce, and what became of what it brought."""

    found: Permitted
    parameters: Mapping[str, Json]
    claim: Claim
    judged: Judged

    @property
    def origin(self) -> Origin:
        """Return the door it came through, with the approval it brought."""
        artifact = self.judged.artifact
        return Origin(channel=EXECUTE, event=None if artifact is None else artifact.digest)


class Intents:
    """Runs the intents that the root lets `/execute` run."""

    def __init__(self, instance: Instance, contract: Contract) -> None:
        self._instance = instance
        self._root = Root(instance.settings.root)
        self._contract = contract
        self._watch = FolderWatch(self._root.execute)
        self._actions: Actions | None = None
        # A turn lasts as long as somebody has it or waits for it.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def find(self, action: str) -> tuple[Actions, Permitted] | None:
        """Return what `action` runs, as the file says now; None where it is no intent.

        Raises:
            RootUnsafe, ActionsRefused: the file cannot be followed.
        """
        actions = self._now()
        found = actions.find(action)
        if found is None or found.intent not in self._intents(found):
            return None
        return actions, found

    def _now(self) -> Actions:
        if self._watch.changed() or self._actions is None:
            self._actions = None
            self._actions = root_actions(self._root)
        return self._actions

    def lines(self) -> Iterator[ActionLine]:
        """Yield every intent that is an action in the mode that is served; what is broken is left out.

        Raises:
            RootUnsafe, ActionsRefused: the file cannot be followed.
        """
        actions, names = self._now(), set[str]()
        if self._contract.mode == DEMO and not actions.without_approval:
            return
        for name, found in actions.profiles.items():
            with suppress(RexecopError):
                names |= {f"{name}/{intent}" for intent in self._intents(found)}
        for action in names | actions.actions.keys():
            permitted = actions.find(action)
            if permitted is not None:
                with suppress(RexecopError):
                    yield self._line(permitted)

    def _line(self, found: Permitted) -> ActionLine:
        planner = self._instance.parts.planner
        profile, environment = planner.profile(found.profile), planner.environment(Path(found.env))
        (offer,) = offers(profile, found.intent)
        line = intent_line(profile, offer)
        return ActionLine(
            action=found.action,
            title=line.title,
            effect=line.effect,
            payload=line.parameters,
            intent=f"{line.profile}/{line.intent}",
            target=found.target,
            environment=environment.id,
            mode=str(found.mode_for(profile.intents[found.intent])),
        )

    def _intents(self, found: Permitted) -> Mapping[str, IntentSpec]:
        return self._instance.parts.planner.profile(found.profile).intents

    async def execute(
        self,
        named: tuple[Actions, Permitted],
        payload: Mapping[str, Value],
        nonce: str,
        artifact: Mapping[str, Value] | None,
    ) -> Answer:
        """Run what is `named` with `payload` as parameters, unless `nonce` was used; then answer for that.

        Raises:
            StoreError, RexecopError: the ledger, a file of the root or the clock is in the way.
        """
        (actions, found), contract = named, self._contract
        judged = contract.judge(found.action, dict(payload), artifact, self._instance.parts.world.clock.now())
        if contract.mode == DEMO and judged.refusal is None and not actions.without_approval:
            judged = Judged(refusal=CLOSED, authentic=False)
        name = canonical_bytes([contract.tenant, nonce]) if contract.tenant else nonce.encode("utf-8")
        try:
            parameters = _parameters(payload)
        except NotCanonical as error:
            return _malformed(error, judged.refusal)
        claim = Claim(space=NONCES, key=digest_of(name))
        asked = _Asked(found=found, parameters=parameters, claim=claim, judged=judged)
        who = Principal(person=actions.service, established=Established.ENGINE, credential=actions.service)
        turn = self._turns.setdefault(claim.key, asyncio.Lock())
        async with turn:
            return await self._once(self._instance.acting_as(Identity(principal=who)), asked)

    async def _once(self, instance: Instance, asked: _Asked) -> Answer:
        store = instance.parts.world.store
        used = store.claimed(asked.claim) if asked.judged.authentic else None
        try:
            request = self._request(instance, asked)
            if used is None:
                used = (await instance.plan(request)).operation_id
            elif not self._is_same(instance, used, request, asked):
                words = "nonce was used for another request"
                return NotExecuted(reason=Reason.CONFLICT, detail=words, operation=used)
        except (ParameterRefused, SecretInline) as error:
            return _malformed(error, asked.judged.refusal)
        except CommandGuarded as error:
            return NotExecuted(reason=Reason.REJECTED, detail=asked.judged.refusal or error.message)
        except ClaimTaken as taken:
            if taken.facts.get("space") != ARTIFACTS:
                return NotExecuted(reason=Reason.BUSY, detail="the nonce is being used")
            spent = replace(asked.judged, refusal="Approval artifact was used already", authentic=False)
            return await self._once(instance, replace(asked, judged=spent))
        return await self._further(instance, used, asked.found.action)

    def _request(self, instance: Instance, asked: _Asked) -> PlanInput:
        """Return the request as any other.

        Raises:
            ParameterRefused: a parameter is missing.
        """
        found, judged = asked.found, asked.judged
        intent = self._intents(found)[found.intent]
        _require_all(intent, asked.parameters)
        kept = () if judged.artifact is None else (judged.artifact,)
        return PlanInput(
            profile=found.profile,
            env=found.env,
            intent=found.intent,
            target=found.target,
            mode=found.mode_for(intent).value,
            parameters=asked.parameters or None,
            channel=EXECUTE,
            cause=Cause(origin=asked.origin, inputs=kept, claims=()),
            refusal=judged.refusal,
            uses=(asked.claim, *(() if judged.claim is None else (judged.claim,))),
        )

    @staticmethod
    def _is_same(instance: Instance, operation: str, request: PlanInput, asked: _Asked) -> bool:
        """Return whether the operation is what `request` would be now, under the same approval."""
        was, draft = instance.operation(operation).the_intent, instance.parts.planner.prepare(request).draft
        known = (was.intent, was.target, was.mode, was.parameters or {}, was.origin)
        return known == (draft.intent, draft.target, draft.mode, draft.parameters or {}, asked.origin)

    async def _further(self, instance: Instance, operation: str, action: str) -> Answer:
        """Run the operation if it may run now, and answer where it stands then."""
        view = instance.status(operation)
        if not is_over(view) and view.state != State.WAITING_FOR_APPROVAL:
            try:
                view = await start_here(instance, operation)
            except RunnerBusy:
                words = "the request is still being carried out"
                return NotExecuted(reason=Reason.BUSY, detail=words, operation=operation)
        return _told(instance, instance.operation(operation), action, view.waiting)

    def holds(self, name: str, result: str, receipt: str) -> bool:
        """Return whether the ledger holds that `name` answered `result`, and `receipt` is that of both."""
        operation = f"op_{name.replace('-', '')}"
        if execution_id(operation) != name or not same(receipt_hash(name, result), receipt):
            return False
        try:
            op = self._instance.operation(operation)
        except OperationUnknown:
            return False
        mine = op.the_intent.origin.channel == EXECUTE and op.state is State.COMPLETED
        return mine and result_text(_result(op)) == result


def _require_all(intent: IntentSpec, given: Mapping[str, Json]) -> None:
    """Return only if all parameters that `intent` needs are `given`; else ParameterRefused is raised."""
    known = intent.parameters
    needed = known.schema.get("required") if known is not None else None
    for name in needed if isinstance(needed, list | tuple) else ():
        if known is not None and isinstance(name, str) and name not in (*known.defaults, *given):
            raise ParameterRefused(f"parameter `{name:.60}` is missing", field=name)


def _parameters(payload: Mapping[str, Value]) -> dict[str, Json]:
    """Return `payload` as parameters.

    Raises:
        NotCanonical: a number in it is not whole, which no evidence of parameters can hold.
    """
    found = {name: _plain(name, value) for name, value in payload.items()}
    canonical_bytes(found)
    return found


def _plain(place: str, value: Value) -> Json:
    if isinstance(value, float | Decimal):
        raise NotCanonical(f"`payload.{place[:60]}` holds a number that is not whole", field=place[:60])
    if isinstance(value, Mapping):
        return {name: _plain(f"{place}.{name}", part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(f"{place}.{n}", part) for n, part in enumerate(value)]
    return value


def _malformed(error: RexecopError, refusal: str | None) -> NotExecuted:
    """Return the answer for a payload that the intent does not take: its place, and nothing of it.

    Who was refused anyway is told that, and nothing of what would fit.
    """
    if refusal is not None:
        return NotExecuted(reason=Reason.DENIED, detail=refusal)
    place = str(error.facts.get("field") or "")
    where = f"`payload.{place}`" if place else "`payload`"
    words = f"{where} is missing, unknown, or not what the action takes"
    return NotExecuted(reason=Reason.MALFORMED, detail=words, place=place)


def _told(instance: Instance, op: Operation, action: str, waiting: str | None) -> Answer:
    """Return the answer of `op` in the contract's shape."""
    envelope = None
    if op.receipts:
        found = instance.parts.world.store.signatures(op.receipts[-1].digest)
        envelope = next((item.data for item in found if item.form == "dsse"), None)
    if op.state is State.COMPLETED and envelope is not None:
        result, name = _result(op), execution_id(op.id)
        receipt = receipt_hash(name, result_text(result))
        return Executed(
            id=name, operation=op.id, action=action, result=result, receipt=receipt, envelope=envelope
        )
    reason, detail = _why_not(op, waiting)
    return NotExecuted(reason=reason, detail=detail, operation=op.id, envelope=envelope)


def _why_not(op: Operation, waiting: str | None) -> tuple[Reason, str]:
    if op.state is State.BLOCKED:
        return Reason.DENIED, op.the_decision.reason
    if op.state is State.WAITING_FOR_APPROVAL:
        return Reason.DENIED, f"approval is needed: {op.the_decision.reason}"
    if op.state is State.INDETERMINATE or op.in_flight:
        words = f"outcome unknown: operation {op.id} may have run and has no recorded answer"
        return Reason.UNKNOWN, f"{words}; it is not run again"
    if op.state is State.FAILED:
        said = [record.message for record in _outcomes(op) if record.message]
        return Reason.FAILED, said[-1] if said else "the operation failed"
    return Reason.BUSY, waiting or f"the operation is {op.state}"


def _outcomes(op: Operation) -> list[Outcome]:
    found = [progress.outcome.record for progress in op.steps.values() if progress.outcome is not None]
    return [record for record in found if isinstance(record, Outcome)]


def _result(op: Operation) -> str:
    """Return what a completed operation answers, as JSON text: its facts by step, as far as there is room."""
    found = canonical_bytes({record.step: dict(record.facts or {}) for record in _outcomes(op)})
    facts = parse_payload(found, bytes_max=len(found))
    text = payload_text({"state": str(op.state), "facts": facts})
    fits = len(result_text(text)) <= OUTPUT_BYTES_MAX if len(text) <= OUTPUT_BYTES_MAX else False
    return text if fits else payload_text({"state": str(op.state), "facts": None})
