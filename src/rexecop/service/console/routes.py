"""Every page of the console, and what somebody has to be allowed to ask for it."""

from __future__ import annotations

from collections.abc import Collection

from starlette.routing import Route

from rexecop.app.door import Act, Door
from rexecop.app.serving import Serving
from rexecop.service.console import acting, looking, steering
from rexecop.service.console.guard import Console
from rexecop.service.console.sessions import SignInLink


def routes(serving: Serving, door: Door, hosts: Collection[str] | None, link: SignInLink) -> list[Route]:
    """Return the routes of the console; what names an operation is asked of the door about that one."""
    console = Console(serving, door, hosts, link)
    look, do, one = console.look, console.do, "/operations/{id}"
    return [
        *console.ways_in(),
        look("", Act.VIEW, looking.overview),
        look("/operations", Act.VIEW, looking.operations),
        look(one, Act.VIEW, looking.operation),
        look(f"{one}/preview", Act.VIEW, looking.preview_file),
        look(f"{one}/approval", Act.VIEW, looking.approval),
        do(f"{one}/approval", Act.APPROVE, acting.answer),
        do(f"{one}/vote", Act.APPROVE, acting.vote),
        look(f"{one}/request", Act.VIEW, looking.request_file),
        look(f"{one}/evidence", Act.EVIDENCE, looking.evidence),
        do(f"{one}/evidence", Act.EVIDENCE, acting.export),
        do(f"{one}/reconcile", Act.RUN, steering.reconcile, once=True),
        do(f"{one}/review", Act.APPROVE, steering.review, once=True),
        do(one + "/{verb}", Act.RUN, acting.order, once=True),
        look("/approvals", Act.VIEW, looking.approvals),
        look("/plan", Act.PLAN, acting.plan_page),
        do("/plan", Act.PLAN, acting.ask),
        look("/policy", Act.VIEW, acting.explain_page),
        do("/policy", Act.VIEW, acting.explain),
        look("/policy/shadow", Act.ADMINISTER, looking.shadow),
        look("/queue", Act.VIEW, looking.queue),
        do("/queue/drain", Act.ADMINISTER, steering.drain, once=True),
        do("/queue/resume", Act.ADMINISTER, steering.undrain, once=True),
        look("/halts", Act.VIEW, steering.halts),
        do("/halts/halt", Act.ADMINISTER, steering.halt, once=True),
        do("/halts/lift", Act.ADMINISTER, steering.lift, once=True),
        look("/reviews", Act.VIEW, steering.reviews),
        look("/targets", Act.VIEW, looking.targets),
        look("/windows", Act.VIEW, looking.windows),
        look("/trends", Act.VIEW, looking.trends),
        look("/log", Act.EVIDENCE, looking.log),
        look("/health", Act.VIEW, looking.health),
        console.nowhere(),
    ]
