"""The pages one looks at. Each runs in a thread: it reads the ledger."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from rexecop.app import panel
from rexecop.app.door import Act
from rexecop.app.halting import halts_within
from rexecop.app.handing import FILES
from rexecop.app.paging import page
from rexecop.app.policies import Policies
from rexecop.app.report.story import chosen
from rexecop.app.room import locks_view, queue_view, runtime_view
from rexecop.app.views import OperationView
from rexecop.app.voting import ballot
from rexecop.app.watching import in_words, is_over, span_in_words
from rexecop.app.worker import workers_alive
from rexecop.proof.canonical import INTEGER_MAX
from rexecop.proof.errors import RexecopError
from rexecop.proof.vocabulary import GOOD_ENDS, State
from rexecop.service.console import charts
from rexecop.service.console.guard import Visit
from rexecop.service.console.pages import Answer, Download, Page

FEW: Final = 8  # Lines of one kind on the overview; each has a page of its own.
LISTED: Final = 50  # Operations on one page.
STEPS_MAX: Final = 60  # Steps on a page, those that ended badly first; the records have all.
RECORDS_MAX: Final = 60  # The newest records on a page.
WHY_MAX: Final = 40  # Lines; more is read in the records.
MANY: Final = 200  # Rows of a table that is seldom long.
WORDS_MAX: Final = 200  # Of a search; more is no search.
REFRESH_SECONDS: Final = 5  # Of a page somebody follows; a step takes about that long.
VERBS: Final = ("start", "pause", "resume", "retry", "rollback", "cancel", "escalate")
DIGITS_MAX: Final = 15  # Of a number in an address; INTEGER_MAX has sixteen.
STATES: Final = tuple(map(str, State))


def overview(visit: Visit) -> Answer:
    """What waits for people, what runs, what was asked last, and what is stopped."""
    instance, sees = visit.instance, visit.sees
    queue = queue_view(instance)
    values = {
        "needs": panel.needs_of(instance, sees, FEW),
        "running": panel.under_way(instance, sees, FEW),
        "newest": page(instance, sees, limit=FEW).operations,
        "halts": halts_within(visit.caller.scope, instance.halts()),
        "queued": sum(panel.known_to(instance, sees, one.operation.operation_id) for one in queue.queue),
        "drained": queue.drained,
    }
    return Page(template="overview.html", values=values)


def operations(visit: Visit) -> Answer:
    """List operations, narrowed down by state and words, page by page."""
    query = visit.query
    state = query.get("state", "") if query.get("state") in STATES else ""
    words, after = query.get("q", "")[:WORDS_MAX], _number(query.get("after", ""))
    found = page(visit.instance, visit.sees, state=state or None, words=words, before=after, limit=LISTED)
    given = {"state": state, "q": words, "after": found.next}
    further = urlencode({name: value for name, value in given.items() if value})
    values = {
        "lines": found.operations, "further": further if found.next else "", "state": state, "words": words,
        "states": STATES,
    }  # fmt: skip
    return Page(template="operations.html", values=values)


def _number(text: str) -> int:
    digits = text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX
    return min(int(text), INTEGER_MAX) if digits else 0


def operation(visit: Visit) -> Answer:
    """Everything about one operation."""
    instance, name = visit.instance, visit.operation
    view = instance.status(name)
    steps, steps_left = chosen(
        view.steps, STEPS_MAX, lambda step: step.ended is not None and step.ended not in GOOD_ENDS
    )
    history, matter = instance.history(name), panel.matter_called(instance, name)
    may_run = visit.may(Act.RUN, matter)
    values = {
        "view": view,
        "why": instance.why(name).lines[:WHY_MAX],
        "preview": _preview(visit),
        "picture": panel.pictured(instance, name),
        "progress": in_words(view.progress) if view.progress else "",
        "waves": view.progress.waves[:MANY] if view.progress and len(view.progress.waves) > 1 else (),
        "span": span_in_words,
        "steps": steps,
        "steps_left": steps_left,
        "records": history[-RECORDS_MAX:],
        "records_left": max(0, len(history) - RECORDS_MAX),
        "verbs": _verbs(view) if may_run else (),
        "unknown": panel.unknown_steps(instance, view) if may_run else (),
        "review": panel.review_of(instance, name),
        "may_review": visit.may(Act.APPROVE, matter) and visit.caller.name != view.requester,
        "evidence": visit.may(Act.EVIDENCE),
        "over": is_over(view),
        "live": visit.query.get("live") == "1" and not is_over(view) and REFRESH_SECONDS,
        "workers": bool(workers_alive(instance)),
    }
    return Page(template="operation.html", values=values)


def _verbs(view: OperationView) -> tuple[str, ...]:
    """Return what may be ordered now, the likeliest first."""
    said = [command.split(" ")[1] for command in view.next]
    if view.state in (State.RUNNING, State.RESUMING, State.RETRYING):
        said += ["pause", "cancel"]
    return tuple(verb for verb in dict.fromkeys(said) if verb in VERBS)


def _preview(visit: Visit) -> str:
    try:
        return visit.instance.preview(visit.operation)
    except (RexecopError, LookupError, AssertionError):
        return ""  # What was refused before it was planned has none.


def preview_file(visit: Visit) -> Answer:
    """The whole preview, as a file."""
    text = visit.instance.preview(visit.operation)
    return Download(
        name=f"{visit.operation}.preview.txt", media="text/plain; charset=utf-8", data=text.encode()
    )


def approvals(visit: Visit) -> Answer:
    """List what waits for approval."""
    return Page(
        template="approvals.html", values={"lines": panel.asked_of(visit.instance, visit.sees, LISTED)}
    )


def approval(visit: Visit) -> Answer:
    """The exact preview, what is asked, and the ways to answer."""
    return Page(template="approval.html", values=asked_for(visit, ""))


def asked_for(visit: Visit, wrong: str) -> dict[str, object]:
    """Return what the page of an approval says; `wrong` is what was wrong with the answer."""
    instance, name = visit.instance, visit.operation
    view = instance.status(name)
    asks = view.state == State.WAITING_FOR_APPROVAL or view.awaiting is not None
    # Looked at before what is shown: a form about what changed meanwhile is refused when it is sent.
    vote = ballot(instance, name) if asks or view.state in (State.APPROVED, State.BLOCKED) else None
    return {
        "view": view, "asks": asks, "preview": _preview(visit), "wrong": wrong,
        "terms": instance.asked_in_words(name) if asks else "",
        "may": visit.may(Act.APPROVE, panel.matter_called(instance, name)),
        "ballot": vote,
    }  # fmt: skip


def request_file(visit: Visit) -> Answer:
    """The request for approval, as the file that `rexecop approve --request` takes."""
    data = visit.instance.approval_request(visit.operation)
    return Download(name=f"{visit.operation}.request.json", media="application/json", data=data)


def evidence(visit: Visit) -> Answer:
    """How far the evidence can be believed; that it was looked at is recorded."""
    ladder, report = panel.believed(visit.instance, visit.operation)
    values = {
        "operation": visit.operation, "ladder": ladder, "answer": report.answer(), "size": report.log_size,
        "findings": report.findings[:MANY], "not_checked": report.not_checked[:MANY],
        "forms": FILES,
    }  # fmt: skip
    return Page(template="evidence.html", values=values)


def targets(visit: Visit) -> Answer:
    """The targets of the environment, and the locks that stand."""
    instance, sees, wrong = visit.instance, visit.sees, ""
    found: tuple[panel.TargetLine, ...] = ()
    try:
        found = panel.asking(instance, sees).targets
    except RexecopError as error:
        wrong = error.message
    every = locks_view(instance)
    locks = [one for one in every if panel.known_to(instance, sees, one.operation.operation_id)]
    values = {"targets": found[:MANY], "left": len(found) - MANY, "locks": locks[:MANY], "wrong": wrong}
    return Page(template="targets.html", values=values)


def queue(visit: Visit) -> Answer:
    """Who waits, and for what."""
    instance, found = visit.instance, queue_view(visit.instance)
    lines = [one for one in found.queue if panel.known_to(instance, visit.sees, one.operation.operation_id)]
    values = {
        "queue": found, "lines": lines[:MANY], "left": len(lines) - MANY,
        "workers": len(workers_alive(instance)), "capacity": instance.parts.world.capacity,
        "may": visit.may(Act.ADMINISTER),
    }  # fmt: skip
    return Page(template="queue.html", values=values)


def windows(visit: Visit) -> Answer:
    """When changes may run, of the environment that the settings name."""
    env = visit.instance.settings.env
    view = visit.instance.windows(None if env is None else Path(env), None)
    view = replace(view, halts=halts_within(visit.caller.scope, view.halts))
    return Page(template="windows.html", values={"view": view, "week": charts.of_week(view.week)})


def shadow(visit: Visit) -> Answer:
    """What the candidate beside the packs in force would have answered."""
    try:
        found, wrong = Policies(visit.instance).shadow_report(), ""
    except RexecopError as error:
        found, wrong = None, error.message
    lines = found.changes[-MANY:] if found else ()
    return Page(template="shadow.html", values={"found": found, "lines": lines, "wrong": wrong})


def log(visit: Visit) -> Answer:
    """The newest signed checkpoint."""
    return Page(template="log.html", values={"note": visit.instance.log_checkpoint()})


def trends(visit: Visit) -> Answer:
    """How things move."""
    found = panel.trends(visit.instance, visit.sees)
    values = {"found": found, "picture": charts.by_day(found.days), "span": span_in_words}
    return Page(template="trends.html", values=values)


def health(visit: Visit) -> Answer:
    """Whether requests can be carried out, and who works."""
    problems = visit.serving.engine_problems()
    return Page(template="health.html", values={"problems": problems, "room": runtime_view(visit.instance)})
