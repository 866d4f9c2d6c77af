"""The observation a change rests on: the newest that is young enough, and the same calls made once more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from rexecop.app.identity import Identity
from rexecop.app.planner import sign_intent
from rexecop.engines.asking import ask, consult, record_decision
from rexecop.engines.closing import close, pinned_facts
from rexecop.engines.driver import Driver
from rexecop.engines.recent import counted
from rexecop.engines.rereading import FRESH
from rexecop.engines.session import Session
from rexecop.engines.world import World
from rexecop.operations.fold import Operation
from rexecop.operations.planning import PlanDraft
from rexecop.proof.publishing import publisher
from rexecop.proof.records.intent import RECHECK, Intent, Origin
from rexecop.proof.records.plan import Pinned, Plan, SignedProfile
from rexecop.proof.request import policy_request
from rexecop.proof.vocabulary import Gate, State

LOOKED_BACK_MAX: Final = 1000  # Newest operations searched for an observation: one page of the index.


@dataclass(frozen=True, slots=True, kw_only=True)
class Observing:
    """Observations of one instance; `identity` says who makes one again: whoever runs the change."""

    world: Callable[[], World]
    identity: Callable[[], Identity]

    async def again(self, op: Operation) -> tuple[Operation, Operation]:
        """Return the observation that `op` pinned and its repetition.

        One made just now is not repeated where nobody had to approve what rests on it.

        Raises:
            IdentityRefused, OperationUnknown, JournalDamaged, StoreUnavailable, StoreUncertain.
        """
        world, pinned = self.world(), op.the_plan.pinned
        if pinned is None:
            raise LookupError("an operation that pins nothing rests on no observation")
        before = Session.load(world.store, world.clock, pinned.operation).op
        session = Session(world.store, world.clock, world.ids.operation())
        # What people said yes to may have been changed since, however fast they were.
        if not op.approvals and before.newest is not None and session.now() - before.newest <= FRESH:
            return before, before
        self._plan(session, before, Origin(channel=RECHECK, event=op.sealed_plan.digest))
        request = policy_request(
            session.op.the_intent, session.op.the_plan, gate=Gate.PLAN, now=session.judged_now()
        )
        plan = session.op.the_plan
        policy = world.authority.policy(plan.profile, plan.environment)
        request = counted(policy, world.store, session.id, request)
        answer = await consult(world.opinions, ask(policy, request, session.op.the_plan), request)
        record_decision(session, request, answer)
        if session.op.receipt_due:
            close(session, world.signer)
        await session.flush()
        if session.op.state is State.APPROVED:
            session = (await Driver(world).drive(session)).session
        return before, session.op

    def _plan(self, session: Session, before: Operation, origin: Origin) -> None:
        """Hold the intent and plan of `before` once more, asked for by whoever runs this."""
        who, known, planned = self.identity(), before.the_intent, before.the_plan
        sealed = session.add(
            Intent,
            who.principal,
            profile=known.profile,
            environment=known.environment,
            intent=known.intent,
            target=known.target,
            mode=known.mode,
            origin=origin,
            sponsor=who.sponsor or self.world().authority.policy().entities.agents.get(who.principal.person),
            parameters=known.parameters,
        )
        sign_intent(session, sealed, who)
        session.add(
            Plan,
            intent=sealed.digest,
            profile=planned.profile,
            environment=planned.environment,
            effect=planned.effect,
            risk=planned.risk,
            targets=planned.targets,
            steps=planned.steps,
            notes=planned.notes,
            called=planned.called,
            signed=self._signed(planned.signed, session),
        )

    def _signed(self, signed: SignedProfile | None, session: Session) -> SignedProfile | None:
        """Return the signature with whoever publishes profiles by its key now."""
        if signed is None:
            return None
        known = self.world().authority.enrolments()
        return replace(signed, person=publisher(known, signed.fingerprint, session.now()))

    def newest(self, draft: PlanDraft, age_max: timedelta) -> Pinned | None:
        """Return the facts of the newest observation like `draft` that is no older than `age_max`."""
        if not age_max:
            return None
        world = self.world()
        oldest = world.clock.now() - age_max
        for _, row in world.store.rows(state=State.COMPLETED, limit=LOOKED_BACK_MAX):
            same = (row.intent, row.profile, row.target, row.mode) == (
                draft.intent, draft.profile.name, draft.target, draft.mode
            )  # fmt: skip
            if not same or row.updated < oldest:
                continue
            op = Session.load(world.store, world.clock, row.operation).op
            same = op.the_plan.steps == draft.steps and op.the_intent.parameters == draft.parameters
            if same and op.the_plan.environment == draft.environment.digest and not op.undo:
                return pinned_facts(op)
        return None
