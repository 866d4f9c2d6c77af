"""Plans to run in a simulated world, and the records that lead to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rexecop.engines.asking import record_decision
from rexecop.engines.closing import close
from rexecop.engines.recent import counted
from rexecop.engines.session import Session
from rexecop.governance.steps import admit
from rexecop.operations.ports import PinnedInput
from rexecop.proof.call import Limits
from rexecop.proof.canonical import digest_of
from rexecop.proof.principal import Principal
from rexecop.proof.records.decision import ApprovalRule
from rexecop.proof.records.intent import EnvironmentRef, Intent, Origin, ProfileRef
from rexecop.proof.records.plan import (
    CalledIntent,
    CallStep,
    DeriveStep,
    Expectation,
    Guard,
    Plan,
    PlannedTarget,
    Probe,
    Retry,
    Rollout,
    Step,
)
from rexecop.proof.request import policy_request
from rexecop.proof.vocabulary import Effect, Gate, Grade, Isolation, Mode, Phase, strongest
from tests.sim.world import ALICE, House, scripted

LIMITS: Final = Limits(timeout_ms=1_000, output_bytes=4096, grace_ms=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One step as a test writes it. A step that derives has no effect."""

    id: str
    effect: Effect | None = Effect.CHANGE
    target: str = "web"
    probe: bool = True
    undo: bool = True
    tries: int = 1
    delay_ms: int = 0
    on: tuple[str, ...] = ()
    tolerated: bool = False
    before: Expectation | None = None
    after: Expectation | None = None
    asks: tuple[ApprovalRule, ...] = ()
    again: bool = False
    needs: tuple[str, ...] = ()
    when: tuple[Guard, ...] = ()
    goes_on: bool = False


def change(name: str, **more: object) -> Wanted:
    """Return a change with probe and undo."""
    return Wanted(id=name, **more)  # type: ignore[arg-type]


def read(name: str, **more: object) -> Wanted:
    """Return a read."""
    return Wanted(id=name, effect=Effect.READ, probe=False, undo=False, **more)  # type: ignore[arg-type]


def derive(name: str) -> Wanted:
    """Return a computation over the step before it."""
    return Wanted(id=name, effect=None)


DRAIN: Final = CalledIntent(
    prefix="drain", intent="drain", targets=("web",), effect=Effect.CHANGE, risk="high"
)


def steps_of(operation: str, wanted: Sequence[Wanted]) -> tuple[Step, ...]:
    """Return the planned steps of `operation`."""
    found: list[Step] = []
    for one in wanted:
        if one.effect is None:
            last = found[-1].id
            found.append(DeriveStep(id=one.id, target=one.target, normalizer="greeting", needs=(last,)))
        else:
            found.append(_call_step(operation, one, one.effect))
    return tuple(found)


def _call_step(operation: str, one: Wanted, effect: Effect) -> CallStep:
    return CallStep(
        id=one.id,
        target=one.target,
        call=scripted(operation, one.id, Phase.DO, one.target, effect),
        limits=LIMITS,
        isolation=Isolation.NOT_APPLICABLE,
        idempotent=one.again,
        grade=Grade.SHAPE if effect is Effect.READ else None,
        retry=Retry(attempts=one.tries, on=one.on, delay_ms=one.delay_ms) if one.tries > 1 else None,
        normalizer="greeting",
        precondition=one.before,
        postcondition=one.after,
        probe=Probe(
            call=scripted(operation, one.id, Phase.PROBE, one.target, Effect.READ),
            normalizer="greeting",
            fact="line",
            equals="yes",
        )
        if one.probe
        else None,
        undo=scripted(operation, one.id, Phase.UNDO, one.target, Effect.CHANGE) if one.undo else None,
        continue_on_error=one.tolerated,
        asks=one.asks,
        needs=one.needs,
        when=one.when,
        goes_on=one.goes_on,
    )


def drafted(
    house: House,
    wanted: Sequence[Wanted],
    *,
    mode: Mode = Mode.APPLY,
    good: bool = True,
    by: Principal = ALICE,
    parallel: int = 1,
    rollout: Rollout | None = None,
    channel: str = "test",
    called: tuple[CalledIntent, ...] = (),
) -> Session:
    """Return a session that holds intent, plan and decision for `wanted`, not yet stored."""
    session = Session(house.store, house.clock, house.ids.operation())
    steps = steps_of(session.id, wanted)
    effect = strongest([step.call.effect for step in steps if isinstance(step, CallStep)])
    targets = tuple(
        PlannedTarget(id=name, type="host", criticality="low")
        for name in sorted({step.target for step in steps})
    )
    some = digest_of(b"profile")
    profile = ProfileRef(name="sim", version="1", digest=some)
    where = EnvironmentRef(id="here", digest=digest_of(b"here"))
    session.add(
        Intent,
        by,
        profile=profile,
        environment=where,
        intent="sim",
        target=targets[0].id,
        mode=mode,
        origin=Origin(channel=channel, event=digest_of(b"event") if channel == "trigger" else None),
        parameters={"good": good},
    )
    session.add(
        Plan,
        intent=session.op.sealed_intent.digest,
        profile=some,
        environment=where.digest,
        effect=effect,
        risk="low",
        targets=targets,
        steps=steps,
        parallel=parallel,
        rollout=rollout,
        called=called,
    )
    op = session.op
    request = policy_request(op.the_intent, op.the_plan, gate=Gate.PLAN, now=session.judged_now())
    request = counted(house.authority.policy(), house.store, session.id, request)
    answer = admit(house.authority.policy(), request, op.the_plan)
    record_decision(session, request, answer)
    if session.op.receipt_due:
        close(session, house.world.signer)
    session.attached.inputs.extend(
        PinnedInput(digest=pack.ref.digest, role="policy-pack", data=pack.data)
        for pack in house.authority.packs
    )
    return session


async def planned(
    house: House,
    *wanted: Wanted,
    mode: Mode = Mode.APPLY,
    good: bool = True,
    parallel: int = 1,
    rollout: Rollout | None = None,
) -> str:
    """Store intent, plan and decision, and return the operation's id."""
    session = drafted(house, wanted, mode=mode, good=good, parallel=parallel, rollout=rollout)
    await session.flush()
    return session.id
