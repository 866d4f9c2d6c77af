"""People and second runners for tests of the engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from rexecop.app.lifecycle import Lifecycle
from rexecop.engines.driver import Driver
from rexecop.engines.runner import runner_id
from rexecop.governance.approvals import approval_statement
from rexecop.operations.fold import Operation, fold
from rexecop.operations.next import awaited_call
from rexecop.proof import sshsig
from rexecop.proof.call import call_digest
from rexecop.proof.chain import Sealed
from rexecop.proof.codec import encode
from rexecop.proof.preview import preview, preview_digest
from rexecop.proof.principal import Principal
from rexecop.proof.records.approval import APPROVAL_NAMESPACE, Approval
from rexecop.proof.records.base import Record
from rexecop.proof.vocabulary import Established
from tests.sim.oracles import check_ended
from tests.sim.world import KEYS, MARGIN, House


@asynccontextmanager
async def housed(path: Path) -> AsyncIterator[House]:
    """Give a house where the keys of the approvers are enrolled."""
    house = House(path / "ledger.sqlite")
    try:
        await house.enrol()
        house.clock.move(timedelta(minutes=1))
        yield house
    finally:
        house.close()


def op_of(house: House, operation: str) -> Operation:
    return fold(house.store.journal(operation).records)


def kinds(house: House, operation: str) -> list[str]:
    return [sealed.record.kind.split("/")[0] for sealed in house.store.journal(operation).records]


def of_kind(house: House, operation: str, kind: type[Record]) -> list[Sealed]:
    return [s for s in house.store.journal(operation).records if isinstance(s.record, kind)]


async def approve(
    house: House, operation: str, person: str, *, approves: bool = True, step: str | None = None
) -> None:
    """Record the signed word of `person`, of the call of `step` if it is named."""
    session = house.session(operation)
    key = KEYS[person]
    approver = Principal(person=person, established=Established.KEY, credential=key.key_id)
    op = session.op
    make = awaited_call(op) if step is not None else None
    statement = approval_statement(
        plan=op.sealed_plan,
        terms=op.terms if step is None else op.terms_in_force,
        preview=preview_digest(preview(op.sealed_intent, op.sealed_plan)),
        approver=approver,
        approves=approves,
        nonce=house.ids.nonce(),
        now=session.judged_now(),
        valid_for=timedelta(hours=24),
        reason=None,
        step=step,
        call=None if make is None else call_digest(make.call),
    )
    session.add(
        Approval,
        approver,
        statement=statement,
        signature=sshsig.sign(key, APPROVAL_NAMESPACE, encode(statement)),
        groups=("approvers",),
    )
    await session.flush()


def second_process(house: House) -> Lifecycle:
    """Return what another process on this machine has in hand: the same ledger, other memory."""
    world = house.world
    other = type(world)(
        store=world.store,
        lanes=world.lanes,
        authority=world.authority,
        contents=world.contents,
        clock=world.clock,
        ids=world.ids,
        signing=world.signing,
        runner="elsewhere:1:1",
        permit_seconds=world.permit_seconds,
        sound=world.sound,
    )
    return Lifecycle(other, Driver(other), MARGIN)


def live(house: House) -> Lifecycle:
    """Return the lifecycle of a runner that is seen to live: this very process."""
    return house.life(runner_id())


def ended(house: House, operation: str) -> Operation:
    """Return the operation, which ended with everything in order."""
    check_ended(house, operation)
    return op_of(house, operation)
