"""The protocol's tasks: a call that is answered at once, and asked about afterwards. A task is an operation.

One version of the protocol has them in its core; over another these requests are unknown, and a call that
wants to be a task is a call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, cast

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types.methods import serialize_server_result

from rexecop.app.door import Caller
from rexecop.app.views import OperationView
from rexecop.proof.canonical import Json
from rexecop.proof.errors import RexecopError
from rexecop.proof.times import format_time
from rexecop.proof.vocabulary import State
from rexecop.service.errors import ToolRefused
from rexecop.service.mcp.answers import Answer, Status, answer, status_of
from rexecop.service.mcp.desk import Desk, Run, Told
from rexecop.service.mcp.tools import HELPER_NAMES

if TYPE_CHECKING:
    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

PROTOCOL: Final = "2025-11-25"
CAPABILITY: Final[Mapping[str, object]] = {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
RELATED: Final = "io.modelcontextprotocol/related-task"
AT_ONCE: Final = "io.modelcontextprotocol/model-immediate-response"
POLL_MS: Final = 1_000
PEOPLE_POLL_MS: Final = 5_000  # They read before they decide.
NUMBER_DIGITS_MAX: Final = 18

_CALL: Final = "tools/call"
_BEGIN: Final = "tools/call as a task"  # What such a call is here; no client asks for it by this name.
_STATUS: Final[Mapping[Status, types.TaskStatus]] = {
    Status.COMPLETED: "completed",
    Status.PENDING_APPROVAL: "input_required",
    Status.RUNNING: "working",
}  # All else did not do what it was for.
_EVERY_MS: Final = {"working": POLL_MS, "input_required": PEOPLE_POLL_MS}

Result = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tasks:
    """What `caller` asks about tasks; `finished` makes the result of a call, `told` tells of progress."""

    desk: Desk
    caller: Caller
    run: Run
    finished: Callable[[Answer], types.CallToolResult]
    told: Callable[[ServerRequestContext], Told]

    def offer(self, server: Server[dict[str, object]]) -> None:
        """Let `server` offer tasks to clients that speak the version which has them."""
        server.middleware.append(self._route)
        server.add_request_handler(_BEGIN, types.CallToolRequestParams, self._begin)
        server.add_request_handler("tasks/get", types.GetTaskRequestParams, self._get)
        server.add_request_handler("tasks/result", types.GetTaskPayloadRequestParams, self._result)
        server.add_request_handler("tasks/list", types.PaginatedRequestParams, self._list)
        server.add_request_handler("tasks/cancel", types.CancelTaskRequestParams, self._cancel)

    async def _route(self, ctx: ServerRequestContext, call_next: CallNext) -> HandlerResult:
        has = ctx.protocol_version == PROTOCOL
        if ctx.method == _BEGIN or (ctx.method.startswith("tasks/") and not has):
            raise MCPError(types.METHOD_NOT_FOUND, "Method not found", ctx.method[:60])
        if has and ctx.method == _CALL and (ctx.params or {}).get("task") is not None:
            return await call_next(replace(ctx, method=_BEGIN))
        found = await call_next(ctx)
        if ctx.method == "initialize" and isinstance(found, dict) and found["protocolVersion"] == PROTOCOL:
            found["capabilities"]["tasks"] = CAPABILITY
        return found

    async def _begin(self, context: ServerRequestContext, params: types.CallToolRequestParams) -> Result:
        if params.name in HELPER_NAMES:
            words = f"`{params.name}` answers at once; it is no task"
            raise MCPError(types.METHOD_NOT_FOUND, words, {"code": ToolRefused.code})
        ttl = params.task.ttl if params.task is not None else None
        with _faults(types.INVALID_PARAMS):
            if ttl is not None and ttl < 0:
                raise ToolRefused("`ttl` takes milliseconds from 0 on", argument="ttl")
            arguments = cast("Mapping[str, Json]", params.arguments or {})
            view = await self.run(lambda: self.desk.begin(self.caller, params.name, arguments))
        if view is None:
            words = f"there is no tool `{params.name:.60}`"
            raise MCPError(types.INVALID_PARAMS, words, {"code": "tool-unknown"})
        task = _task(view)
        # A client that holds the answer against that to a call finds what it looks for, too.
        content = [{"type": "text", "text": task["statusMessage"]}]
        return {"task": task, "content": content, "_meta": {AT_ONCE: task["statusMessage"]}}

    async def _get(self, context: ServerRequestContext, params: types.GetTaskRequestParams) -> Result:
        with _faults():
            return _task(*await self.run(lambda: self.desk.task(self.caller, params.task_id)))

    async def _result(
        self, context: ServerRequestContext, params: types.GetTaskPayloadRequestParams
    ) -> Result:
        """Answer once the task has ended; whoever gives up waiting is waited for no longer than a call."""
        found: Answer | None = None
        while found is None:
            with _faults():
                found = await self.run(
                    lambda: self.desk.result(self.caller, params.task_id, self.told(context))
                )
        said = self.finished(found).model_dump(by_alias=True, mode="json", exclude_none=True)
        related = {RELATED: {"taskId": params.task_id}}
        return {**serialize_server_result(_CALL, PROTOCOL, said), "_meta": related}

    async def _list(self, context: ServerRequestContext, params: types.PaginatedRequestParams) -> Result:
        with _faults():
            before = _number(params.cursor)
            views, left = await self.run(lambda: self.desk.tasks(self.caller, before))
        more = {} if left is None else {"nextCursor": str(left)}
        return {"tasks": [_task(view) for view in views], **more}

    async def _cancel(self, context: ServerRequestContext, params: types.CancelTaskRequestParams) -> Result:
        with _faults(types.INVALID_PARAMS):
            told = self.told(context)
            return _task(await self.run(lambda: self.desk.cancel(self.caller, params.task_id, told)))


def _task(view: OperationView, refused: str = "") -> Result:
    """Return what is told of a task. Its records stay, so its time to live has no end."""
    status = _STATUS.get(status_of(view), "failed")
    if view.state == State.CANCELLED:
        status = "cancelled"
    said = answer(view)
    why = refused or said.reason or said.note
    who = f"; {said.next[0]}" if status == "input_required" else ""
    every = {"pollInterval": _EVERY_MS[status]} if status in _EVERY_MS else {}
    return {
        "taskId": view.operation_id,
        "status": status,
        "statusMessage": f"operation #{view.number} is {view.state}{f': {why}' if why else ''}{who}",
        "createdAt": format_time(view.created),
        "lastUpdatedAt": format_time(view.updated),
        "ttl": None,
        **every,
    }


def _number(cursor: str | None) -> int:
    """Return below which number a page begins; 0 is the first page. Raises ToolRefused: it is no cursor."""
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= NUMBER_DIGITS_MAX and int(cursor)):
        raise ToolRefused("`cursor` is none that was given here", argument="cursor")
    return int(cursor)


@contextmanager
def _faults(code: int = types.INTERNAL_ERROR) -> Iterator[None]:
    """Let what is refused here be an error of the protocol: of this code, or of wrong parameters."""
    try:
        yield
    except RexecopError as error:
        code = types.INVALID_PARAMS if isinstance(error, ToolRefused) else code
        raise MCPError(code, error.message, {"code": error.code}) from error
