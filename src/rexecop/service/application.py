"""The HTTP application: the `/execute` contract at the root."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from functools import wraps
from http import HTTPStatus
from typing import Final, TypeAlias

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Lifespan
from starlette.websockets import WebSocket, WebSocketDisconnect

from rexecop.app.callers import LISTED_MAX, Planned, Taken
from rexecop.app.contract import DEMO
from rexecop.app.door import Act, Caller
from rexecop.app.errors import CallerUnknown, Forbidden, WebhookRefused
from rexecop.app.events import EventView, is_asked_wrongly
from rexecop.app.execute import Executed, NotExecuted, Reason
from rexecop.app.nodes import BridgeLost
from rexecop.app.requests import note
from rexecop.app.serving import Serving
from rexecop.proof.canonical import INTEGER_MAX
from rexecop.proof.errors import NotCanonical, RexecopError
from rexecop.proof.payload import Value, parse_payload
from rexecop.service import health
from rexecop.service.answers import HEADERS
from rexecop.service.answers import encode as _encode
from rexecop.service.answers import json_answer as _json
from rexecop.service.answers import problem as _problem
from rexecop.service.around import Around
from rexecop.service.body import BODY_BYTES_MAX, BodyRefused, fault, parse_receipt, read_body, read_request
from rexecop.service.cloudevents import STRUCTURED, read_events
from rexecop.service.console.routes import routes as console
from rexecop.service.console.sessions import SignInLink
from rexecop.service.doorway import Doorway, let_in, turned_away
from rexecop.service.errors import MethodRefused, PathUnknown
from rexecop.service.mcp import http as mcp
from rexecop.service.problems import problem
from rexecop.service.sites import Sites
from rexecop.service.traffic import Run
from rexecop.service.v1 import application as v1

Decide: TypeAlias = Callable[[Mapping[str, Value], Caller], Mapping[str, Value]]
Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

SERVICE: Final = "OpenExec"  # The contract spoken here, by the name its clients know.
RETRY_SECONDS: Final = "1"
REQUEST_ID_MAX: Final = 128  # Names people give to their requests; more is not given back.
WEBHOOK_REFUSED: Final = "webhook-refused"
EVALUATION_REFUSED: Final = "evaluation-refused"
EVENT_REFUSED: Final = "event-refused"

STATUS: Final[Mapping[Reason, int]] = {
    Reason.UNKNOWN_ACTION: 400,
    Reason.REJECTED: 400,
    Reason.MALFORMED: 422,
    Reason.DENIED: 403,
    Reason.CONFLICT: 409,
    Reason.UNKNOWN: 409,
    Reason.BUSY: 409,
    Reason.TOO_LARGE: 413,
    Reason.FAILED: 500,
}
OPEN_WARNING: Final = (
    "Demo mode: whoever reaches this address may run every registered action without an approval."
)
APPROVED_WARNING: Final = "No allow-list: every action may run that policy allows and an approval is for."


class Contract:
    """The routes of the contract over one opened root; `hosts` are the names it answers to; None: any."""

    def __init__(self, serving: Serving, hosts: Collection[str] | None) -> None:
        self._serving = serving
        self._sites = Sites(hosts)

    async def root(self, request: Request) -> Response:
        """Say who answers."""
        return _json(200, {"service": SERVICE, "status": "running", "version": self._serving.version})

    async def health(self, request: Request) -> Response:
        """Say how requests are authorised; that the process answers is all it proves."""
        contract = self._serving.contract
        found: dict[str, object] = {
            "status": "healthy",
            "exec_mode": contract.mode,
            "signature_verification": "disabled" if contract.mode == DEMO else "enabled",
            "restriction": "open" if contract.allowed is None else "restricted",
        }
        if contract.allowed is not None:
            found["allow_list"] = sorted(contract.allowed)
        else:
            found["warning"] = OPEN_WARNING if contract.mode == DEMO else APPROVED_WARNING
        return _json(200, found)

    async def version(self, request: Request) -> Response:
        """Say which version answers, and what time it is."""
        moment = self._serving.now().replace(tzinfo=None).isoformat(timespec="milliseconds")
        return _json(200, {"version": self._serving.version, "timestamp": moment})

    async def ready(self, request: Request) -> Response:
        """Say whether a request could be carried out now: 200, or 503 with what is in the way."""
        problems = await self._serving.problems()
        if problems:
            return _json(503, {"ready": False, "detail": list(problems)}, {"retry-after": RETRY_SECONDS})
        return _json(200, {"ready": True})

    async def execute(self, request: Request) -> Response:
        """Carry out one request."""
        refused = self._foreign(request)
        if refused is not None:
            return refused
        try:
            asked = await read_request(request)
            answer = await self._serving.execute(asked.action, asked.payload, asked.nonce, asked.artifact)
        except BodyRefused as error:
            return _json(error.status, {"detail": error.detail})
        except NotCanonical as error:
            return _json(422, {"detail": error.message})
        except RexecopError as error:
            # The ledger, the key or the clock: nothing ran that was not recorded before.
            return _json(503, {"detail": error.message, "code": error.code}, {"retry-after": RETRY_SECONDS})
        note(operation=answer.operation)
        return executed(answer) if isinstance(answer, Executed) else not_executed(answer)

    async def receipt(self, request: Request) -> Response:
        """Say whether the ledger holds an execution with that result, and the receipt is theirs."""
        refused = self._foreign(request)
        if refused is not None:
            return refused
        try:
            name, result, receipt = parse_receipt(await read_body(request))
            valid = await asyncio.to_thread(self._serving.holds, name, result, receipt)
            return _json(200, {"valid": valid})
        except BodyRefused as error:
            return _json(error.status, {"detail": error.detail})
        except RexecopError as error:
            return _json(503, {"detail": error.message, "code": error.code}, {"retry-after": RETRY_SECONDS})

    async def evaluation(self, request: Request) -> Response:
        """Answer one AuthZEN evaluation."""
        return await self._decided(request, self._serving.access.evaluation)

    async def evaluations(self, request: Request) -> Response:
        """Answer several AuthZEN evaluations at once."""
        return await self._decided(request, self._serving.access.evaluations)

    async def _decided(self, request: Request, decide: Decide) -> Response:
        """Answer for `request` what `decide` says, to a caller who holds a token; nothing is recorded."""
        refused = self._foreign(request)
        if refused is not None:
            return refused
        named = request.headers.get("x-request-id", "")
        echoed = {"x-request-id": named} if named.isprintable() and 0 < len(named) <= REQUEST_ID_MAX else {}
        try:
            caller = let_in(self._serving.door, request, Act.DECIDE)
            body = parse_payload(await read_body(request), bytes_max=BODY_BYTES_MAX)
            if not isinstance(body, dict):
                raise NotCanonical("an evaluation is an object")
            # Policy takes its time where there are many rules or targets, which others need not wait for.
            return _json(200, await asyncio.to_thread(decide, body, caller), echoed)
        except (CallerUnknown, Forbidden) as error:
            return turned_away(error, echoed)
        except BodyRefused as error:
            return _problem(error.status, error.detail, EVALUATION_REFUSED, echoed)
        except RexecopError as error:
            asked = isinstance(error, NotCanonical) or error.code == EVALUATION_REFUSED
            return _problem(400 if asked else 503, error.message, error.code, echoed)

    async def webhook(self, request: Request) -> Response:
        """Take a signed event; what it led to is answered, and refusals say why."""
        refused = self._foreign(request)
        if refused is not None:
            return refused
        try:
            body = await read_body(request, STRUCTURED)
            name, headers = request.path_params["name"], request.headers
            return _json(202, _event(await self._serving.webhook(name, headers, body)))
        except BodyRefused as error:
            return _problem(error.status, error.detail, WEBHOOK_REFUSED, {})
        except WebhookRefused as error:
            return _problem(int(error.facts["status"]), error.message, error.code, {})
        except RexecopError as error:
            return _untaken(error)

    async def tell(self, request: Request) -> Response:
        """Take events of a caller with a token; what each led to is answered, and refusals say why."""
        return await self._by_caller(request, self._tell)

    async def told(self, request: Request) -> Response:
        """List events of a caller that led to plans."""
        return await self._by_caller(request, self._told)

    async def told_one(self, request: Request) -> Response:
        """Say what one event led to."""
        return await self._by_caller(request, self._told_one)

    async def _tell(self, request: Request, caller: Caller) -> Response:
        bodies, batch = await read_events(request)
        found = await self._serving.tell_events(caller, bodies)
        if batch:
            return _json(202, {"events": [*map(_taken, found)]})
        (one,) = found
        if one.refused is not None:
            raise one.refused
        return _json(
            202, _taken(one), {"location": f"{request.scope.get('root_path', '')}/v1/events/{one.id}"}
        )

    async def _told(self, request: Request, caller: Caller) -> Response:
        given = {name: request.query_params.get(name, "") for name in request.query_params}
        bounds = {"cursor": (0, INTEGER_MAX), "limit": (LISTED_MAX, LISTED_MAX)}
        asked = {name: default for name, (default, _) in bounds.items()}
        for name, value in given.items():
            most = bounds.get(name, (0, 0))[1]
            if not (value.isascii() and value.isdigit() and len(value) <= 16 and 0 < int(value) <= most):
                allowed = f"`cursor`, and `limit` up to {LISTED_MAX}"
                raise BodyRefused(400, f"`{name:.40}` is not what can be asked for: {allowed}")
            asked[name] = int(value)
        found, after = await asyncio.to_thread(
            self._serving.events_of, caller, asked["cursor"], asked["limit"]
        )
        return _json(200, {"events": [*map(_planned, found)], "next": None if after is None else str(after)})

    async def _told_one(self, request: Request, caller: Caller) -> Response:
        found = await asyncio.to_thread(self._serving.event_called, caller, request.path_params["id"])
        if found is None:
            return _problem(404, "no event of that id was taken", EVENT_REFUSED, {})
        return _json(200, {"id": found, "operation_id": None} if isinstance(found, str) else _planned(found))

    async def _by_caller(
        self, request: Request, answer: Callable[[Request, Caller], Awaitable[Response]]
    ) -> Response:
        """Answer for a caller who holds a token by `answer`."""
        refused = self._foreign(request)
        if refused is not None:
            words = "a page of another site asks: a foreign Host, or a foreign Origin"
            return _problem(refused.status_code, words, EVENT_REFUSED, {})
        try:
            return await answer(request, let_in(self._serving.door, request, Act.TELL))
        except (CallerUnknown, Forbidden) as error:
            return turned_away(error)
        except BodyRefused as error:
            return _problem(error.status, error.detail, EVENT_REFUSED, {})
        except WebhookRefused as error:
            return _problem(int(error.facts["status"]), error.message, error.code, {})
        except RexecopError as error:
            return _untaken(error)

    async def node(self, socket: WebSocket) -> None:
        """Let a node in; it proves itself by its key, and no page of a browser may speak for one."""
        host = socket.headers.get("host", "")
        if socket.headers.get("origin") is not None or not self._sites.is_ours(host):
            await socket.close()
            return
        await socket.accept()
        await self._serving.nodes.serve_node(NodeLink(socket))
        with suppress(RuntimeError):  # The other side closed it.
            await socket.close()

    def _foreign(self, request: Request) -> Response | None:
        """Refuse what a page of another site would send: a foreign host name, or a foreign origin."""
        found = self._sites.foreign(request)
        return None if found is None else _json(found[0], {"detail": found[1]})


class NodeLink:
    """The messages of one node, over its WebSocket."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def send_bytes(self, data: bytes) -> None:
        """Send one message. Raises BridgeLost: the node is gone."""
        try:
            await self._socket.send_bytes(data)
        except (WebSocketDisconnect, RuntimeError, OSError) as error:
            raise BridgeLost("the node closed the connection") from error

    async def receive_bytes(self) -> bytes:
        """Return the next message. Raises BridgeLost: the node is gone, or sent text."""
        try:
            return await self._socket.receive_bytes()
        except (WebSocketDisconnect, RuntimeError, KeyError) as error:
            raise BridgeLost("the node closed the connection") from error


def create_app(
    serving: Serving,
    hosts: Collection[str] | None,
    lifespan: Lifespan[Starlette] | None = None,
    link: SignInLink | None = None,
    run: Run | None = None,
) -> Starlette:
    """Return the application over `serving`; it neither opens nor closes it, unless `lifespan` does.

    The console lets in who comes by `link`, and whom the door knows.
    """
    contract = Contract(serving, hosts)
    run = run or Run()
    return Starlette(
        routes=[
            Route("/", _guarded(contract.root), methods=["GET"]),
            Route("/health", _guarded(contract.health), methods=["GET"]),
            Route("/ready", _guarded(contract.ready), methods=["GET"]),
            Route("/version", _guarded(contract.version), methods=["GET"]),
            Route("/execute", _guarded(contract.execute), methods=["POST"]),
            # Before what is asked less often: routes are tried one by one.
            *v1.routes(serving, Sites(hosts)),
            Route("/receipts/verify", _guarded(contract.receipt), methods=["POST"]),
            Route("/access/v1/evaluation", _guarded(contract.evaluation), methods=["POST"]),
            Route("/access/v1/evaluations", _guarded(contract.evaluations), methods=["POST"]),
            Route("/webhooks/{name}", _guarded(contract.webhook), methods=["POST"]),
            Route("/v1/events", _guarded(contract.tell), methods=["POST"]),
            Route("/v1/events", _guarded(contract.told), methods=["GET"]),
            Route("/v1/events/{id}", _guarded(contract.told_one), methods=["GET"]),
            WebSocketRoute("/v1/nodes", contract.node),
            *mcp.routes(serving.instance, serving.door, Sites(hosts), run=serving.works.run),
            *console(serving, serving.door, hosts, link or SignInLink(serving.now)),
            *health.routes(serving, run),
        ],
        middleware=[
            Middleware(Around, run=run, log=serving.log, begun=serving.begun, now=serving.now),
            Middleware(Doorway, serving),
        ],
        exception_handlers={HTTPException: _http_error},
        lifespan=lifespan,
    )


def nobodys_app(nobody: Serving, hosts: Collection[str] | None) -> Starlette:
    """Return what stands for an instance that is not there: a console that asks who comes, and no more."""
    return Starlette(
        routes=[*console(nobody, nobody.door, hosts, SignInLink(nobody.now))],
        middleware=[Middleware(Around, run=Run(), log=None, begun=nobody.begun, now=nobody.now)],
        exception_handlers={HTTPException: _http_error},
    )


def _guarded(endpoint: Endpoint) -> Endpoint:
    """Return `endpoint`, whose defects are answered and told to the operator in one line each."""

    @wraps(endpoint)
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Exception as error:  # noqa: BLE001 - one request must not end the connection of others
            sys.stderr.write(f"rexecop: error[internal-error]: {request.url.path}: {type(error).__name__}\n")
            return _json(500, {"detail": "Internal Server Error"})

    return answer


def executed(answer: Executed) -> Response:
    """Return the answer for an action that ran; result and envelope are JSON already."""
    body = b"".join(
        (
            b'{"id":"',
            answer.id.encode(),
            b'","action":',
            _encode(answer.action),
            b',"result":',
            answer.result.encode("ascii"),
            b',"approved":true,"receipt":"',
            answer.receipt.encode(),
            b'","operation_id":"',
            answer.operation.encode(),
            b'","signed_receipt":',
            answer.envelope,
            b"}",
        )
    )
    return Response(body, 200, HEADERS)


def not_executed(answer: NotExecuted) -> Response:
    """Return the answer for a request without result."""
    body: dict[str, object] = {"detail": answer.detail}
    if answer.reason is Reason.MALFORMED:
        body["detail"] = [
            fault("value_error", answer.detail, "payload", *filter(None, answer.place.split(".")))
        ]
    if answer.operation is not None:
        body["operation_id"] = answer.operation
    if answer.envelope is not None:
        body["signed_receipt"] = msgspec.Raw(answer.envelope)
    return _json(
        STATUS[answer.reason], body, {"retry-after": RETRY_SECONDS} if answer.reason is Reason.BUSY else None
    )


def _event(view: EventView) -> dict[str, object]:
    """Return the answer for an event that was taken."""
    found: dict[str, object] = {"outcome": view.outcome, "rule": view.rule, "reason": view.reason}
    if view.operation is not None:
        found |= {"operation_id": view.operation.operation_id, "state": view.operation.state}
    return found if view.letter is None else {**found, "dead_letter": view.letter}


def _taken(one: Taken) -> dict[str, object]:
    """Return the answer for an event of a caller: what became of it, or why nothing did."""
    if one.view is not None:
        return {"id": one.id, **_event(one.view)}
    assert one.refused is not None
    return {"id": one.id, "outcome": "refused", "code": one.refused.code, "detail": one.refused.message}


def _planned(one: Planned) -> dict[str, object]:
    row = one.operation
    said = {"intent": row.intent, "target": row.target, "mode": row.mode, "state": row.state}
    known: dict[str, object] = {"id": one.id, "event": one.event, "at": one.at}
    return {**known, "operation_id": row.operation, "number": one.number, **said}


def _untaken(error: RexecopError) -> Response:
    """Answer for what cannot be planned, or the ledger, a secret or a file of the root in the way."""
    later = {} if is_asked_wrongly(error) else {"retry-after": RETRY_SECONDS}
    return _problem(503 if later else 422, error.message, error.code, later)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    if path.startswith("/v1/"):
        unknown = error.status_code == HTTPStatus.NOT_FOUND
        words = f"nothing is at {path[:60]!a}" if unknown else "that method is not taken there"
        return problem(PathUnknown(words) if unknown else MethodRefused(words), error.headers)
    return _json(error.status_code, {"detail": error.detail}, error.headers)
