"""Permits are minted here and nowhere else: leave for one call of a ticket's plan, for a minute at most."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from rexecop.governance.errors import (
    Halted,
    PermitModeMismatch,
    PermitOutsideScope,
    PermitTooLong,
    TicketExpired,
    TicketNotYetValid,
)
from rexecop.proof.call import Call, call_digest, check_slot, fill
from rexecop.proof.chain import Sealed
from rexecop.proof.errors import TemplateMismatch
from rexecop.proof.halts import words
from rexecop.proof.message import Scalar
from rexecop.proof.permit import Permit
from rexecop.proof.records.instance import Halt
from rexecop.proof.records.plan import CallStep, Plan
from rexecop.proof.records.ticket import Ticket
from rexecop.proof.scope import template_for
from rexecop.proof.times import format_time, whole_milliseconds
from rexecop.proof.vocabulary import READ_MODES, Effect, Mode, Phase

PERMIT_SECONDS_MAX: Final = 60  # It bounds how long a runner that lost its lease may still begin a call.
LIFT: Final = ("rexecop halt", "rexecop halt --lift --scope SCOPE --reason TEXT")


def mint(
    *,
    ticket: Sealed,
    plan: Sealed,
    phase: Phase,
    step: str,
    call: Call,
    values: Mapping[str, Scalar],
    mode: Mode,
    attempt: int,
    fence: int,
    now: datetime,
    permit_seconds: int,
    halted: Halt | None,
    place: int | None = None,
) -> Permit:
    """Return leave to make `call`, which is the step's template filled with `values`.

    The step stands at `place` in the plan, and is looked for where that is not given.
    It expires `permit_seconds` after `now`, and never after the ticket. `ticket` must
    have passed `tickets.require_fits`, which is what its scopes are checked by. `halted`
    is a halt that stops the operation: then a probe may still look, and nothing else is done.

    Raises:
        Halted: it was halted.
        PermitOutsideScope: the plan has no such call for this step and phase.
        PermitModeMismatch: the ticket is for another mode, or the mode only reads.
        PermitTooLong: `permit_seconds` is not 1 to `PERMIT_SECONDS_MAX`.
        TicketNotYetValid, TicketExpired: `now` is outside the ticket's time.
    """
    if halted is not None and phase is not Phase.PROBE:
        raise Halted(words(halted), next_steps=LIFT)
    record, planned = _records(ticket, plan)
    if mode is not record.mode:
        raise PermitModeMismatch(f"the ticket is for mode `{record.mode}`, not `{mode}`")
    if not 1 <= permit_seconds <= PERMIT_SECONDS_MAX:
        raise PermitTooLong(f"a permit lives 1 to {PERMIT_SECONDS_MAX} s, not `{permit_seconds}`")
    if now < record.not_before:
        raise TicketNotYetValid(f"the ticket is valid from {format_time(record.not_before)}")
    if now >= record.expires:
        raise TicketExpired(f"the ticket expired at {format_time(record.expires)}")
    if phase is Phase.UNDO and record.undo_scope is None:
        raise PermitOutsideScope(f"step `{step}`: the ticket gives no leave to undo", step=step)
    _require_in_plan(planned, phase, step, call, values, place)
    _require_mode_allows(record.mode, phase, call, step)
    if attempt < 1 or fence < 0:
        raise PermitOutsideScope(f"step `{step}`: attempt `{attempt}` or fence `{fence}` is no number of one")
    return Permit(
        ticket=ticket.digest,
        call=call_digest(call),
        step=step,
        attempt=attempt,
        fence=fence,
        expires=whole_milliseconds(min(now + timedelta(seconds=permit_seconds), record.expires)),
    )


def _records(ticket: Sealed, plan: Sealed) -> tuple[Ticket, Plan]:
    record, planned = ticket.record, plan.record
    if not isinstance(record, Ticket) or not isinstance(planned, Plan) or record.plan != plan.digest:
        raise PermitOutsideScope("the ticket was given for another plan")
    return record, planned


def _require_in_plan(
    plan: Plan, phase: Phase, step: str, call: Call, values: Mapping[str, Scalar], place: int | None
) -> None:
    # The same step may be planned for several targets; another target is another step.
    among = plan.steps if place is None else plan.steps[place : place + 1]
    found = next((known for known in among if known.id == step and known.target == call.target), None)
    template = template_for(found, phase) if isinstance(found, CallStep) else None
    if not isinstance(found, CallStep) or template is None:
        what = f"the plan has no call to {phase} for step `{step}` on `{call.target}`"
        raise PermitOutsideScope(what, step=step, target=call.target)
    slots = found.slots or {}
    unknown = sorted(values.keys() - slots.keys())
    if unknown:
        raise PermitOutsideScope(f"step `{step}` has no slot `{unknown[0]}`", step=step)
    try:
        for name, value in values.items():
            check_slot(name, slots[name], value)
        filled = fill(template, values)
    except TemplateMismatch as error:
        raise PermitOutsideScope(f"step `{step}`: {error.message}", step=step) from error
    if filled != call:
        raise PermitOutsideScope(f"step `{step}`: this call is not the one that was planned", step=step)


def _require_mode_allows(mode: Mode, phase: Phase, call: Call, step: str) -> None:
    if call.effect is Effect.READ:
        return
    if phase is Phase.PROBE:
        raise PermitModeMismatch(f"step `{step}`: a probe only reads, and this would {call.effect}")
    # A dry run renders a change and never dispatches it; every other read mode has no use for one.
    if mode in READ_MODES and mode is not Mode.DRY_RUN:
        raise PermitModeMismatch(f"step `{step}`: mode `{mode}` only reads, and this would {call.effect}")
