"""Moving operations over HTTP: they go on in the background, and the answer says where to look."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Final, TypeAlias, TypeVar

import msgspec
from starlette.responses import Response

from rexecop.app.door import Act
from rexecop.app.instance import Instance
from rexecop.app.views import OperationView
from rexecop.app.waiting import Waits
from rexecop.service.errors import BodyUnfit
from rexecop.service.v1.asking import Asking
from rexecop.service.v1.bodies import GoOnBody, MoveBody, ReconcileBody, StartBody
from rexecop.service.v1.operations import ONE, place
from rexecop.service.v1.routes import Call, Says, post

B = TypeVar("B", bound=msgspec.Struct)
Move: TypeAlias = Callable[[Instance, str], Coroutine[object, object, OperationView]]

PREFER: Final = "prefer"
GOES_ON: Final = ("running", "resuming", "retrying", "undoing", "validating")
PATIENCE_SECONDS: Final = 1.0  # Reads are over by then; who wants to wait longer says so.
PATIENCE_SECONDS_MAX: Final = 10  # Below the grace that open requests have when the service stops.
MOVED: Final = {200: Says(kind=OperationView), 202: Says(kind=OperationView)}
WAITS: Final = {PREFER: f"`wait=SECONDS`, up to {PATIENCE_SECONDS_MAX}: answer when it is over, or then"}


async def start(asking: Asking, body: StartBody) -> Response:
    """Run an operation until it ends or parks; where it may not start yet it waits in the queue."""

    async def work(instance: Instance, name: str) -> OperationView:
        if body.detach:
            return instance.enqueue(name, body.priority, as_planned=body.as_planned)
        return await instance.start(name, priority=body.priority, as_planned=body.as_planned)

    return await _moved(asking, work)


async def resume(asking: Asking, body: GoOnBody) -> Response:
    """Go on with a paused operation."""
    waits = Waits(detach=body.detach)
    return await _moved(asking, lambda instance, name: instance.resume(name, body.reason, waits))


async def retry(asking: Asking, body: GoOnBody) -> Response:
    """Try the failed step of a failed operation again."""
    waits = Waits(detach=body.detach)
    return await _moved(asking, lambda instance, name: instance.retry(name, body.reason, waits))


async def rollback(asking: Asking, body: GoOnBody) -> Response:
    """Undo what an operation did, latest step first."""
    waits = Waits(detach=body.detach)
    return await _moved(asking, lambda instance, name: instance.rollback(name, body.reason, waits))


async def pause(asking: Asking, body: MoveBody) -> Response:
    """Stop an operation before its next step."""
    return await _moved(asking, lambda instance, name: instance.pause(name, body.reason))


async def cancel(asking: Asking, body: MoveBody) -> Response:
    """End an operation before it is done; what it did stays done."""
    return await _moved(asking, lambda instance, name: instance.cancel(name, body.reason))


async def escalate(asking: Asking, body: MoveBody) -> Response:
    """Hand a failed or blocked operation to people."""
    return await _moved(asking, lambda instance, name: instance.escalate(name, body.reason))


async def reconcile(asking: Asking, body: ReconcileBody) -> Response:
    """Settle outcomes that nobody knows: by looking, or on the caller's word, which takes a reason."""
    if body.happened is not None and body.reason is None:
        raise BodyUnfit("`happened` is your word; it takes a `reason`")

    async def work(instance: Instance, name: str) -> OperationView:
        return await instance.reconcile(
            name, probe=body.happened is None, happened=body.happened, reason=body.reason, step=body.step
        )

    return await _moved(asking, work)


async def _moved(asking: Asking, move: Move) -> Response:
    """Let `move` go on in the background; answer 200 where it is over in a moment, else 202 and a place.

    What it is refused for in that moment is the answer.
    """
    patience = _patience(asking.request.headers.get(PREFER, ""))
    name = await asking.desk.read(asking.operation)
    instance = asking.instance
    begun: Future[OperationView] = asking.desk.serving.works.begin(lambda: move(instance, name))
    heard = asyncio.wrap_future(begun)
    await asyncio.wait({heard}, timeout=patience)
    if heard.done():
        view = heard.result()
        goes_on = view.place is not None or view.state in GOES_ON
    else:
        heard.add_done_callback(lambda done: done.cancelled() or done.exception())
        view, goes_on = await asking.desk.read(lambda: instance.status(name)), True
    return asking.answer(view, 202 if goes_on else 200, place(asking, name) if goes_on else None)


def _patience(prefer: str) -> float:
    """Return how long the caller would rather wait (RFC 7240); what else they prefer is theirs."""
    for one in prefer.split(","):
        name, _, value = one.strip().partition("=")
        if name == "respond-async":
            return 0.0
        if name == "wait" and value.isascii() and value.isdigit() and len(value) <= 4:
            return float(min(int(value), PATIENCE_SECONDS_MAX))
    return PATIENCE_SECONDS


def table() -> tuple[Call, ...]:
    """Return the routes that move operations."""

    def to(handler: Callable[[Asking, B], Awaitable[Response]], body: type[B]) -> Call:
        return post(f"{ONE}/{handler.__name__}", Act.RUN, handler, body, MOVED, WAITS)

    return (
        to(start, StartBody),
        to(resume, GoOnBody),
        to(retry, GoOnBody),
        to(rollback, GoOnBody),
        to(pause, MoveBody),
        to(cancel, MoveBody),
        to(escalate, MoveBody),
        to(reconcile, ReconcileBody),
    )
