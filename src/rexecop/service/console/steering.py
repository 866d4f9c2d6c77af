"""What stops everything, what holds the queue back, and the words of people about what was done."""

from __future__ import annotations

import asyncio
from typing import Final

from rexecop.app import panel
from rexecop.app.door import Act
from rexecop.app.halting import ALL, halts_within
from rexecop.proof.vocabulary import HaltScope
from rexecop.service.body import BodyRefused
from rexecop.service.console.acting import REASON_MAX
from rexecop.service.console.guard import Visit
from rexecop.service.console.looking import MANY
from rexecop.service.console.pages import Answer, Goto, Page

KINDS: Final = (ALL, *(str(one) for one in HaltScope if one is not HaltScope.ALL))
WORDS: Final = {"yes": True, "no": False}


def halts(visit: Visit) -> Answer:
    """What is halted, and the forms to halt and to lift."""
    caller = visit.caller
    values = {
        "halts": halts_within(caller.scope, visit.instance.halts())[:MANY],
        "kinds": KINDS,
        "may": visit.may(Act.ADMINISTER),
        "lifters": tuple(one for one in visit.instance.lifters() if one != caller.name)[:MANY],
    }
    return Page(template="halts.html", values=values)


async def halt(visit: Visit) -> Answer:
    """Stop every further call within a scope."""
    kind, name = visit.form.get("kind", ""), visit.form.get("name", "").strip()
    scope = f"{kind}:{name}" if name or kind != ALL else ALL
    await asyncio.to_thread(visit.instance.halt, scope, _reason(visit))
    return Goto(path="/halts")


async def lift(visit: Visit) -> Answer:
    """Take the halts of one scope back."""
    scope, reason = visit.form.get("scope", ""), _reason(visit)
    await asyncio.to_thread(lambda: visit.instance.halt(scope, reason, lift=True))
    return Goto(path="/halts")


async def drain(visit: Visit) -> Answer:
    """Start nothing more; what runs ends."""
    return await _drained(visit, visit.caller.name)


async def undrain(visit: Visit) -> Answer:
    """Let what waits start again."""
    return await _drained(visit, None)


async def _drained(visit: Visit, by: str | None) -> Answer:
    await asyncio.to_thread(visit.instance.parts.lifecycle.queue.drain, by)
    return Goto(path="/queue")


async def reconcile(visit: Visit) -> Answer:
    """Settle an unknown outcome on the caller's word; looking at the target is for workers and the shell."""
    happened, reason = WORDS.get(visit.form.get("happened", "")), _reason(visit)
    if happened is None:
        raise BodyRefused(422, "Say whether it happened.")
    step = visit.form.get("step") or None
    await visit.run(
        lambda: visit.instance.reconcile(
            visit.operation, probe=False, happened=happened, reason=reason, step=step
        )
    )
    return Goto(path=f"/operations/{visit.operation}")


def reviews(visit: Visit) -> Answer:
    """The reviews that are due."""
    return Page(template="reviews.html", values={"lines": panel.reviews_of(visit.instance, visit.sees, MANY)})


async def review(visit: Visit) -> Answer:
    """Record that the caller reviewed what was done, and what they found."""
    reason = _reason(visit)
    await visit.run(lambda: visit.instance.review(visit.operation, reason))
    return Goto(path=f"/operations/{visit.operation}")


def _reason(visit: Visit) -> str:
    """Return the reason, which is recorded. Raises BodyRefused: none is given."""
    reason = visit.form.get("reason", "").strip()[:REASON_MAX]
    if not reason:
        raise BodyRefused(422, "This needs a reason; it is recorded.")
    return reason
