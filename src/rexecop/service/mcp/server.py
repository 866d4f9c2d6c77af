"""The protocol's own server over a desk, for one caller: lists tools, and calls them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final, cast

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from rexecop import __version__
from rexecop.app.door import Caller
from rexecop.app.gateways import STEP, Relays
from rexecop.proof.canonical import Json
from rexecop.proof.codec import to_json
from rexecop.proof.errors import NotCanonical, RexecopError
from rexecop.proof.payload import Value, parse_payload, payload_text
from rexecop.service.mcp.answers import NOT_DONE, Answer, refused
from rexecop.service.mcp.desk import Desk, Reply, Run, Told, here
from rexecop.service.mcp.tasks import PROTOCOL, Tasks
from rexecop.service.mcp.tools import HELPER_NAMES, Tool

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

NAME: Final = "rexecop"
INSTRUCTIONS: Final = """\
Each tool is an operation on a real system. Policy decides about every call, a person may have to approve it,
and it leaves a signed receipt. Read `status`:
- completed: it is done.
- pending_approval: a person has to decide. Tell your user, and use operation_wait.
- running: use operation_wait.
- denied: policy or a person says no. Do not try to get around it.
- failed: it is not done; `reason` says why.
- unknown: it may have happened. Do not repeat it; a person settles it.
No tool approves."""
RELAYED_LETTERS_MAX: Final = 1 << 20  # As much as a call of another server's tool may put out.
LOOKS: Final = frozenset({"operation_status", "operation_cancel", "why", "list_operations"})
"""Tools that did what they are for whatever the operation came to."""


def server_of(
    desk: Desk, caller: Caller, *, relays: Relays | None = None, run: Run = here
) -> Server[dict[str, object]]:
    """Return a server that answers `caller`; with `relays` what the other side answered comes first.

    Where `run` does the work elsewhere, there is no notice of progress.
    """

    async def listed(
        context: ServerRequestContext, params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        try:
            found = await run(lambda: desk.listed(caller))
            has_tasks = context.protocol_version == PROTOCOL
            return types.ListToolsResult(tools=[_shown(tool, has_tasks=has_tasks) for tool in found])
        except RexecopError as error:
            raise MCPError(types.INTERNAL_ERROR, error.message, {"code": error.code}) from error

    def told(context: ServerRequestContext) -> Told:
        async def tell(ended: int, of: int, words: str) -> None:
            if run is here:
                await context.session.report_progress(ended, of, words)

        return tell

    async def called(
        context: ServerRequestContext, params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        try:
            arguments = cast("Mapping[str, Json]", params.arguments or {})
            reply = await run(lambda: desk.call(caller, params.name, arguments, told(context)))
        except RexecopError as error:
            return _result(refused(error), failed=True)
        if reply is None:
            raise MCPError(
                types.INVALID_PARAMS, f"there is no tool `{params.name:.60}`", {"code": "tool-unknown"}
            )
        return finished(reply, looks=params.name in LOOKS)

    def finished(reply: Reply, *, looks: bool = False) -> types.CallToolResult:
        failed = isinstance(reply, Answer) and reply.status in NOT_DONE and not looks
        return _result(reply, failed=failed, said=_said(reply, relays) if relays else None)

    server = Server(
        NAME,
        version=__version__,
        title="RExecOp",
        instructions=INSTRUCTIONS,
        on_list_tools=listed,
        on_call_tool=called,
    )
    Tasks(desk=desk, caller=caller, run=run, finished=finished, told=told).offer(server)
    return server


def _shown(tool: Tool, *, has_tasks: bool) -> types.Tool:
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.description,
        input_schema=dict(tool.takes),
        output_schema=None if tool.output is None else dict(tool.output),
        annotations=types.ToolAnnotations(
            title=tool.title,
            read_only_hint=tool.reads,
            destructive_hint=tool.destroys,
            idempotent_hint=tool.repeats,
            open_world_hint=tool.beyond,
        ),
        execution=types.ToolExecution(task_support="optional")
        if has_tasks and tool.name not in HELPER_NAMES
        else None,
    )


def _result(
    reply: Reply, *, failed: bool, said: list[types.ContentBlock] | None = None
) -> types.CallToolResult:
    """Return the result: structured, and the same as text for clients that read no structures.

    What another side `said` comes first, and is not said again.
    """
    if said is not None and isinstance(reply, Answer):
        reply = replace(reply, output=())
    structured = to_json(reply)
    text = types.TextContent(type="text", text=payload_text(cast("Value", structured)))
    return types.CallToolResult(content=[*(said or ()), text], structured_content=structured, is_error=failed)


def _said(reply: Reply, relays: Relays) -> list[types.ContentBlock] | None:
    """Return what the other side answered, as it did; None where it did not, or said more than is told."""
    for one in reply.output if isinstance(reply, Answer) else ():
        if one.step == STEP and one.stream == "stdout" and not one.cut:
            if relays is Relays.TEXT:
                return [types.TextContent(type="text", text=one.text)]
            with suppress(NotCanonical, ValidationError):
                found = parse_payload(one.text, bytes_max=RELAYED_LETTERS_MAX * 4)
                return types.CallToolResult.model_validate(found, by_name=False).content
    return None
