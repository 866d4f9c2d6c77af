"""The forms: asking, ordering, approving, and taking evidence along."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rexecop.app import panel, voting
from rexecop.app.approving import Seen
from rexecop.app.clock import SystemIds
from rexecop.app.door import Act, Matter
from rexecop.app.errors import NotOffered
from rexecop.app.handing import FILES, hand_out_file
from rexecop.app.panel import Asking, Offered
from rexecop.app.planner import PlanInput
from rexecop.app.waiting import Waits
from rexecop.app.working import Work
from rexecop.proof.canonical import Digest
from rexecop.proof.errors import RexecopError
from rexecop.service.body import BodyRefused
from rexecop.service.console.fields import Field, Typed, fields_of, values_of
from rexecop.service.console.guard import Visit
from rexecop.service.console.looking import MANY, VERBS, asked_for
from rexecop.service.console.pages import Answer, Download, Goto, Page

CHANNEL: Final = "console"  # The door that requests come through, as their records and previews say.
WORDS: Final = ("yes", "no", "withdrawal")
REASON_MAX: Final = 500  # A sentence or two.
LATER: Final = Waits(detach=True)  # Whoever works on the root goes on with it, not the service.


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What somebody asks for, as far as it is filled in."""

    asking: Asking
    offer: Offered
    target: str
    mode: str
    reason: str
    fields: tuple[Field, ...]
    typed: Typed

    @property
    def matter(self) -> Matter:
        """What it is about."""
        return self.asking.matter(self.offer.operation, self.target)


def plan_page(visit: Visit) -> Answer:
    """What can be asked, or the form of one intent."""
    return _page(visit, "plan")


def explain_page(visit: Visit) -> Answer:
    """The same, for who only wants to know what policy would answer."""
    return _page(visit, "policy")


def _page(visit: Visit, path: str) -> Answer:
    asking, wrong = None, ""
    try:
        asking = _asking(visit, visit.query)
    except NotOffered as error:
        wrong = error.message
    if asking is None or "intent" not in visit.query:
        entries = panel.entries_of(visit.instance, visit.sees, MANY)
        values = {"asking": asking, "wrong": wrong, "path": path, "entries": entries}
        return Page(template="plan.html", values=values)
    return _form(visit, _asked(visit, asking, visit.query), path)


def _asking(visit: Visit, given: Mapping[str, str]) -> Asking:
    if given.get("catalog"):
        return panel.asking_through(visit.instance, visit.sees, given["catalog"], given.get("entry", ""))
    return panel.asking(visit.instance, visit.sees, given.get("profile", ""), given.get("environment", ""))


def _asked(visit: Visit, asking: Asking, given: Mapping[str, str]) -> Asked:
    """Return what `given` asks for; intent, target and mode are ones that are offered to the caller.

    Raises:
        BodyRefused: they are not.
    """
    offer = next((one for one in asking.intents if one.operation == given.get("intent")), None)
    if offer is None:
        raise BodyRefused(404, "No such intent is offered to you.")
    targets = [one.name for one in asking.targets if visit.sees(asking.matter(offer.operation, one.name))]
    target, modes = given.get("target") or visit.instance.settings.target or "", panel.modes_of(offer)
    if given.get("target") and target not in targets:
        raise BodyRefused(404, "No such target is offered to you.")
    schema = asking.parameters.get(offer.operation)
    fields = fields_of(schema.schema, given) if schema else ()
    return Asked(
        asking=asking,
        offer=offer,
        target=target if target in targets else (targets or [""])[0],
        mode=given["mode"] if given.get("mode") in modes else modes[0],
        reason=given.get("reason", "").strip()[:REASON_MAX],
        fields=fields,
        typed=values_of(fields, given),
    )


def _form(
    visit: Visit, asked: Asked, path: str, *, why: tuple[str, ...] = (), wrong: str = "", once: str = ""
) -> Page:
    seen = [
        one
        for one in asked.asking.targets
        if visit.sees(asked.asking.matter(asked.offer.operation, one.name))
    ]
    values = {
        "asked": asked, "targets": seen, "modes": panel.modes_of(asked.offer), "why": why, "wrong": wrong,
        "path": path, "once": once or SystemIds().nonce(),
        "may_plan": path == "plan" and visit.may(Act.PLAN, asked.matter),
    }  # fmt: skip
    return Page(template="form.html", values=values, status=422 if wrong else 200)


async def ask(visit: Visit) -> Answer:
    """Say what policy would answer, or plan; a plan ends at its page, where nothing runs yet."""
    return await _answer(visit, "plan", plans=visit.form.get("do") == "plan")


async def explain(visit: Visit) -> Answer:
    """Say what policy would answer; nothing is recorded."""
    return await _answer(visit, "policy", plans=False)


async def _answer(visit: Visit, path: str, *, plans: bool) -> Answer:
    def read() -> Asked:
        return _asked(visit, _asking(visit, visit.form), visit.form)

    asked = await asyncio.to_thread(read)
    once, wrong = visit.form.get("once", ""), ""
    why: tuple[str, ...] = ()
    visit.require(Act.PLAN if plans else Act.VIEW, asked.matter)
    try:
        if asked.typed.wrong:
            wrong = "Something is not as it has to be."
        elif plans:
            wanted = await asyncio.to_thread(_input, visit, asked, once)
            view = await visit.run(lambda: visit.instance.plan(wanted))
            return Goto(path=f"/operations/{view.operation_id}")
        else:
            found = await asyncio.to_thread(lambda: visit.instance.why_before(_input(visit, asked, once)))
            why = found.lines
    except RexecopError as error:
        if panel.is_in_the_way(error):
            raise
        wrong = f"{error.message} ({error.code})"
    return await asyncio.to_thread(lambda: _form(visit, asked, path, why=why, wrong=wrong, once=once))


def _input(visit: Visit, asked: Asked, once: str) -> PlanInput:
    intent = asked.offer.operation
    profile, env, target, through = panel.routed(visit.instance, asked.asking, intent, asked.target)
    return PlanInput(
        profile=profile,
        env=env,
        intent=intent,
        target=target,
        catalog=through,
        mode=asked.mode,
        parameters=asked.typed.values,
        reason=asked.reason or None,
        # A form that is sent twice asks once.
        idempotency_key=f"console {once}"[:64] if once else None,
        channel=CHANNEL,
        sponsor=visit.caller.sponsor,
    )


async def order(visit: Visit) -> Answer:
    """Start, pause, resume, retry, undo, cancel an operation or hand it on; workers carry it out."""
    verb, name, instance = visit.path["verb"], visit.operation, visit.instance
    reason = visit.form.get("reason", "").strip()[:REASON_MAX] or None
    if verb not in VERBS:
        raise BodyRefused(404, "There is no such order.")
    match verb:
        case "start":
            await asyncio.to_thread(instance.enqueue, name)
        case "pause":
            await visit.run(lambda: instance.pause(name, reason))
        case "cancel":
            await visit.run(lambda: instance.cancel(name, reason))
        case "resume":
            await visit.run(lambda: instance.resume(name, reason, LATER))
        case "escalate":
            await visit.run(lambda: instance.escalate(name, reason))
        case "retry":
            await visit.run(lambda: instance.retry(name, reason, LATER))
        case _:
            await visit.run(lambda: instance.rollback(name, reason, LATER))
    return Goto(path=f"/operations/{name}")


async def answer(visit: Visit) -> Answer:
    """Take the signed answer of an approver, pasted or as a file."""
    data = (visit.form.get("answer") or visit.form.get("file") or "").strip().encode()
    return await _taken(visit, lambda: panel.take_answer(visit.instance, visit.operation, data))


async def vote(visit: Visit) -> Answer:
    """Take what the session says unsigned, about just what its page showed; policy has to allow it."""
    form = visit.form
    step, call = form.get("step") or None, form.get("call") or None
    seen = Seen(
        preview=Digest(form.get("preview", "")),
        terms=Digest(form.get("terms", "")),
        step=step,
        call=None if call is None else Digest(call),
    )
    word, reason = form.get("word", ""), form.get("reason", "").strip()[:REASON_MAX] or None
    if word not in WORDS:
        raise BodyRefused(422, "There is no such answer.")
    return await _taken(visit, lambda: voting.vote(visit.instance, visit.operation, word, seen, reason))


async def _taken(visit: Visit, work: Work[object]) -> Answer:
    """Go on to the operation after `work`, or say what was wrong with the answer it took."""
    try:
        await visit.run(work)
    except RexecopError as error:
        if panel.is_in_the_way(error):
            raise
        wrong = f"{error.message} ({error.code})"
        values = await asyncio.to_thread(asked_for, visit, wrong)
        return Page(template="approval.html", values=values, status=422)
    return Goto(path=f"/operations/{visit.operation}")


async def export(visit: Visit) -> Answer:
    """Hand evidence out as a file, which is recorded."""
    form = visit.form.get("as", "")
    if form not in FILES:
        raise BodyRefused(404, "Evidence is handed out as a bundle or a report.")
    name, data = await asyncio.to_thread(hand_out_file, visit.instance, visit.operation, form)
    media = "text/html; charset=utf-8" if form == "report" else "application/zip"
    return Download(name=name, media=media, data=data)
