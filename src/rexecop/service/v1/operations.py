"""Operations over HTTP: planned, looked at, moved, and answered by their approvers."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, TypeVar, cast

import msgspec
from starlette.responses import Response

from rexecop.app import voting
from rexecop.app.approving import Seen
from rexecop.app.door import Act, Matter
from rexecop.app.handing import hand_out
from rexecop.app.paging import OperationsPage, page
from rexecop.app.plain import plain
from rexecop.app.planner import PlanInput
from rexecop.app.requests import note
from rexecop.app.views import OperationLine, OperationView, RecordView, WhyView
from rexecop.app.voting import BallotView
from rexecop.proof.canonical import Digest, Json
from rexecop.proof.errors import RexecopError
from rexecop.proof.vocabulary import Mode
from rexecop.service.errors import BodyUnfit, PathUnknown, QueryRefused
from rexecop.service.v1.asking import MATCHES, Asking, Made, Nothing, raw
from rexecop.service.v1.bodies import (
    NAME_LENGTH_MAX,
    AnswerBody,
    OperationsQuery,
    PlanBody,
    RecordsQuery,
    VoteBody,
)
from rexecop.service.v1.routes import BINARY, JSON, TEXT, Call, Says, get, post

CHANNEL: Final = "http"  # The door that requests over HTTP come through.
KEY: Final = "idempotency-key"
ALL: Final = "/v1/operations"
ONE: Final = "/v1/operations/{id}"
WHOLE: Final = {200: Says(kind=OperationView)}
TAGS: Final = {MATCHES: "The `ETag` of what the caller has"}
LINES_MAX: Final = 4_096  # Lines of the newest pages, some 2 MB of them.

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordsPage:
    """Records in causal order; `next` is the cursor of the next page, None where there is none yet."""

    records: tuple[RecordView, ...]
    next: str | None


# --- asking ---


async def plan(asking: Asking, body: PlanBody) -> Response:
    """Record what would run, on what, under which rules and needing whose approval; nothing runs.

    The same `Idempotency-Key` and request give the same operation, with 200.
    """
    key = asking.request.headers.get(KEY)
    if key is not None and not (0 < len(key) <= NAME_LENGTH_MAX and key.isascii() and key.isprintable()):
        raise QueryRefused(f"`Idempotency-Key` is up to {NAME_LENGTH_MAX} printable letters of ASCII")
    name = asking.instance.parts.world.ids.operation()

    async def work() -> OperationView:
        asked = replace(_request(asking, body), idempotency_key=key, operation=name)
        return await asking.instance.plan(asked)

    view = await asking.desk.serving.works.run(lambda: _known(work, body))
    note(operation=view.operation_id)
    fresh = view.operation_id == name
    return asking.answer(view, 201 if fresh else 200, place(asking, view.operation_id) if fresh else None)


async def why_before(asking: Asking, body: PlanBody) -> Response:
    """Say what policy would answer to a request, and which difference would help; nothing is recorded."""

    async def work() -> WhyView:
        return asking.instance.why_before(_request(asking, body))

    return asking.answer(await asking.desk.serving.works.run(lambda: _known(work, body)))


def _request(asking: Asking, body: PlanBody) -> PlanInput:
    """Return what `body` asks for, once it is the caller's business; files are read.

    Raises:
        PathUnknown: it is not, or there is no such thing: both read the same.
    """
    settings, offers, through = asking.instance.settings, asking.desk.offers, None
    target = body.target or settings.target
    if target is None:
        raise BodyUnfit("no `target` is named, here or in the settings")
    if body.catalog is not None:
        if body.environment is not None:
            raise BodyUnfit("a `catalog` names the environment; give it, or `environment`")
        _require_entry(asking, body, body.catalog, target)
        through = offers.through(body.catalog, target, body.intent, body.profile)
        source, path, target = through.profile, through.env, through.target
    else:
        source, profile = offers.profile(body.profile)
        path, environment = offers.environment(body.environment)
        found = Matter(intent=f"{profile.name}/{body.intent}", target=target, environment=environment.id)
        asking.require(found, _absent(body))
    return PlanInput(
        profile=source,
        env=path,
        intent=body.intent,
        target=target,
        catalog=through,
        mode=str(body.mode or settings.mode or Mode.DRY_RUN),
        parameters=cast("dict[str, Json] | None", body.parameters),
        reason=body.reason,
        observe=body.observe,
        break_glass=body.break_glass,
        override_window=body.override_window,
        channel=CHANNEL,
        sponsor=asking.caller.sponsor,
    )


def _require_entry(asking: Asking, body: PlanBody, catalog: str, target: str) -> None:
    """Return only if what entry `target` of a catalog stands for is the caller's business.

    Raises:
        PathUnknown: it is not, or there is no such entry. CatalogRefused: it is broken.
    """
    try:
        found = asking.desk.offers.matter_of(catalog, target, body.intent)
    except RexecopError as error:
        if asking.caller.scope.everything or error.code == "not-offered":
            raise
        raise PathUnknown(_absent(body)) from error  # Whose business it is it does not say.
    asking.require(found, _absent(body))


async def _known(work: Callable[[], Coroutine[object, object, T]], body: PlanBody) -> T:
    """Return what `work` returns; a name that is not there reads as if it were none of their business."""
    try:
        return await work()
    except RexecopError as error:
        if error.code in ("intent-unknown", "target-unknown"):
            raise PathUnknown(_absent(body)) from error
        raise


def _absent(body: PlanBody) -> str:
    return (
        f"there is no `{body.intent:.60}` for that target; GET /v1/intents and /v1/targets say what there is"
    )


# --- looking ---


async def listed(asking: Asking, query: OperationsQuery) -> Response:
    """List operations that are the caller's business, newest first."""
    state = None if query.state is None else str(query.state)
    instance = asking.desk.serving.instance
    found = await asking.desk.read(
        lambda: page(instance, state=state, before=query.cursor, limit=query.limit, may=asking.may)
    )
    more = {} if found.next is None else {"link": f'<{asking.root}{_next(found.next, query)}>; rel="next"'}
    lines = [*map(_line, found.operations)]
    return raw(msgspec.json.encode({"operations": lines, "next": found.next}), headers=more)


@lru_cache(LINES_MAX)
def _line(line: OperationLine) -> msgspec.Raw:
    """Return `line` as JSON; the next page that is asked for has most of the same."""
    return msgspec.Raw(msgspec.json.encode(plain(line)))


def _next(cursor: str, query: OperationsQuery) -> str:
    state = "" if query.state is None else f"&state={query.state}"
    return f"/v1/operations?cursor={cursor}&limit={query.limit}{state}"


async def show(asking: Asking, query: Nothing) -> Response:
    """Return where an operation stands, as its records say."""
    instance = asking.desk.serving.instance
    made = await asking.kept(lambda name: _written(instance.status(name)), "status")
    return asking.tagged(made.data, made.same)


def _written(view: OperationView) -> Made:
    """Return `view` as JSON, and without its pace: time alone changes no operation."""
    found = cast("dict[str, object]", plain(view))
    data, found["progress"] = msgspec.json.encode(found), None
    return Made(data=data, same=data if view.progress is None else msgspec.json.encode(found))


async def records(asking: Asking, query: RecordsQuery) -> Response:
    """Return the records of an operation, in causal order."""
    instance = asking.desk.serving.instance

    def make(name: str) -> Made:
        found = instance.history(name, query.cursor, query.limit + 1)
        there = found[: query.limit]
        more = str(query.cursor + len(there)) if len(found) > len(there) else None
        data = msgspec.json.encode(plain(RecordsPage(records=there, next=more)))
        return Made(data=data, same=b"")

    return raw((await asking.kept(make, "records", str(query.cursor), str(query.limit))).data)


async def preview(asking: Asking, query: Nothing) -> Response:
    """Return the plan as text, as its approvers see and sign it."""
    instance = asking.desk.serving.instance

    def make(name: str) -> Made:
        text = instance.preview(name).encode()
        return Made(data=text, same=text)

    made = await asking.kept(make, "preview")
    return asking.tagged(made.data, made.same, TEXT)


async def why(asking: Asking, query: Nothing) -> Response:
    """Say why an operation is where it is, and what may be done."""
    instance = asking.desk.serving.instance

    def make(name: str) -> Made:
        view, lasting = instance.why_for_now(name)
        return Made(data=msgspec.json.encode(plain(view)), same=b"", lasting=lasting)

    return raw((await asking.kept(make, "why")).data)


async def approval_request(asking: Asking, query: Nothing) -> Response:
    """Return what an operation asks its approvers: the file that `rexecop approve --request` answers."""
    data = await asking.look(asking.instance.approval_request)
    return asking.tagged(data, data)


async def bundle(asking: Asking, query: Nothing) -> Response:
    """Return the evidence of an operation, for `rexecop verify`; that it was handed over is recorded."""
    data, name = await asking.look(lambda name: (hand_out(asking.instance, name), name))
    named = {"content-type": BINARY, "content-disposition": f'attachment; filename="{name}.rxb"'}
    return Response(data, 200, {"cache-control": "no-store", "x-content-type-options": "nosniff", **named})


async def ballot(asking: Asking, query: Nothing) -> Response:
    """Say what the caller may say unsigned to an operation, which policy has to allow, and about what."""
    return asking.answer(await asking.look(lambda name: voting.ballot(asking.instance, name)))


async def vote(asking: Asking, body: VoteBody) -> Response:
    """Take the unsigned word of whom the identity provider vouches for, where policy allows that."""
    name = await asking.desk.read(asking.operation)
    seen = Seen(
        preview=Digest(body.preview),
        terms=Digest(body.terms),
        step=body.step,
        call=None if body.call is None else Digest(body.call),
    )
    work = asking.desk.serving.works.run
    return asking.answer(await work(lambda: voting.vote(asking.instance, name, body.word, seen, body.reason)))


async def answers(asking: Asking, body: AnswerBody) -> Response:
    """Take the yes or no that an approver signed on their own machine."""
    name = await asking.desk.read(asking.operation)
    work = asking.desk.serving.works.run
    return asking.answer(await work(lambda: asking.instance.take_answer(asking.data, name)))


def place(asking: Asking, name: str) -> dict[str, str]:
    """Return the header that says where an operation is looked at."""
    return {"location": f"{asking.root}{ALL}/{name}"}


_KEYS: Final = {KEY: "A name of the caller's for this request, under which it is recorded once"}


def table() -> tuple[Call, ...]:
    """Return the routes of operations."""
    no, view, seen = Nothing, Act.VIEW, {304: Says(media="")}
    planned, whys = {**WHOLE, 201: Says(kind=OperationView)}, {200: Says(kind=WhyView)}
    text, asks = {200: Says(media=TEXT), **seen}, {200: Says(media=JSON), **seen}
    return (
        get(ONE, view, show, no, {**WHOLE, **seen}, TAGS),
        post(ALL, Act.PLAN, plan, PlanBody, planned, _KEYS),
        post(f"{ALL}/why", Act.PLAN, why_before, PlanBody, whys),
        get(ALL, view, listed, OperationsQuery, {200: Says(kind=OperationsPage)}),
        get(f"{ONE}/records", view, records, RecordsQuery, {200: Says(kind=RecordsPage)}),
        get(f"{ONE}/preview", view, preview, no, text, TAGS),
        get(f"{ONE}/why", view, why, no, whys),
        get(f"{ONE}/approval-request", view, approval_request, no, asks, TAGS),
        get(f"{ONE}/bundle", Act.EVIDENCE, bundle, no, {200: Says(media=BINARY)}),
        post(f"{ONE}/answers", Act.APPROVE, answers, AnswerBody, WHOLE),
        get(f"{ONE}/vote", view, ballot, no, {200: Says(kind=BallotView)}),
        post(f"{ONE}/vote", Act.APPROVE, vote, VoteBody, WHOLE),
    )
