"""From the shape of an action and a connection to one exchange by JSON-RPC, event stream or WebSocket."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final, TypeVar

from rexecop.lanes.messages import jsonrpc, streams
from rexecop.lanes.messages.jsonrpc import FRAMINGS, MCP_VERSIONS, JsonRpcMessage
from rexecop.lanes.messages.streams import SseMessage, WebSocketMessage
from rexecop.operations.binding import Making
from rexecop.operations.connection import Keys
from rexecop.operations.environment import Backend, keys_of
from rexecop.operations.errors import ConnectorRefused
from rexecop.operations.placeholders import (
    EVERYTHING,
    everything_given,
    literal,
    message_text,
    message_value,
    names_in,
)
from rexecop.operations.planning_http import http_request
from rexecop.operations.reading import listed
from rexecop.proof.call import ExchangeRequest
from rexecop.proof.canonical import INTEGER_MAX, Json
from rexecop.proof.codec import from_json
from rexecop.proof.errors import ProofError
from rexecop.proof.message import fill_secrets, fill_slots, secrets_in, slots_in
from rexecop.proof.vocabulary import Effect

RECONNECTS: Final = 3  # Where nothing is said of how many.

_RESOURCE: Final = "path query headers"
_STREAM: Final = f"{_RESOURCE} stop reconnect heartbeat max_event_bytes max_total_bytes"

T = TypeVar("T", SseMessage, WebSocketMessage, JsonRpcMessage)


def sse_request(making: Making) -> ExchangeRequest:
    """Return the request that listens as the `sse` of the action says.

    Raises:
        ConnectorRefused, ProfileRefused, ParameterRefused: as `planning_http.http_request`.
    """
    shape = _shape(making, "sse", f"{_STREAM} last_event_id")
    message, peers = _stream(making, shape)
    if "last_event_id" in shape:
        message["last_event_id"] = message_text(shape.text("last_event_id"), making.values, making.where)
    return _checked(SseMessage, streams.problems, message, peers, making)


def websocket_request(making: Making) -> ExchangeRequest:
    """Return the request that sends and listens as the `websocket` of the action says.

    Raises:
        ConnectorRefused, ProfileRefused, ParameterRefused: as `planning_http.http_request`.
    """
    shape = _shape(making, "websocket", f"{_STREAM} frames subprotocols")
    message, peers = _stream(making, shape)
    message["frames"] = [_frame(shape, item, making) for item in shape.items("frames")]
    message["subprotocols"] = shape.texts("subprotocols")
    return _checked(WebSocketMessage, streams.problems, message, peers, making)


def jsonrpc_request(making: Making) -> ExchangeRequest:
    """Return the request that asks as the `rpc` or the `mcp` of the action says.

    Raises:
        ConnectorRefused, ProfileRefused, ParameterRefused: as `planning_http.http_request`.
    """
    by_mcp = "mcp" in (making.action.talks or {})
    message: dict[str, Json] = {}
    if by_mcp:
        shape = _shape(making, "mcp", f"{_RESOURCE} tool arguments version replies pin")
        mcp: dict[str, Json] = {"version": shape.one_of("version", MCP_VERSIONS, MCP_VERSIONS[0])}
        if "tool" in shape:
            mcp["tool"] = message_text(shape.text("tool"), making.values, making.where)
        if shape.values.get("arguments") == EVERYTHING:
            mcp["arguments"] = everything_given(making.values, making.where)
        elif "arguments" in shape:
            mcp["arguments"] = message_value(shape.mapping("arguments"), making.values, making.where)
        if "pin" in shape:
            mcp["pin"] = shape.text("pin")
        message["mcp"] = mcp
    else:
        shape = _shape(making, "rpc", f"{_RESOURCE} method params batch replies reply")
        batch = shape.items("batch")
        single = {key: shape.values[key] for key in ("method", "params") if key in shape}
        if [bool(batch), bool(single), "reply" in shape].count(True) != 1:
            raise shape.refuse("method", "one of `method`, a `batch` of them, and `reply`")
        if "reply" in shape:
            part = shape.part("reply", "method result")
            result = message_value(part.values.get("result"), making.values, making.where)
            message["reply"] = {"method": part.text("method"), "result": result}
        else:
            message["asks"] = [_ask(shape, item, making) for item in batch or [single]]
            message["batch"] = bool(batch)
    if "replies" in shape:
        message["replies"] = [_prepared(name, making, shape) for name in shape.texts("replies")]
    keys = _connection(making)
    peer, peers = _peer(making, keys, shape)
    message |= {**peer, "framing": keys.one_of("framing", FRAMINGS, FRAMINGS[0])}
    return _checked(JsonRpcMessage, jsonrpc.problems, message, peers, making)


def _prepared(name: str, making: Making, shape: Keys) -> Json:
    """Return the answer that action `name` of the same connector gives, in the course of another call."""
    action = making.bound.action(name)
    if action.effect is None or "reply" not in (action.talks or {}).get("rpc", {}):
        raise shape.refuse("replies", "actions with an `effect` and a `reply` in their `rpc`")
    request = jsonrpc_request(replace(making, action=action, effect=action.effect))
    return {"action": name, "effect": str(action.effect), "reply": request.message["reply"]}


def _shape(making: Making, name: str, allowed: str) -> Keys:
    talks = making.action.talks or {}
    if name not in talks or len(talks) > 1:
        raise ConnectorRefused(
            f"`{making.where}` says {listed(talks) or 'nothing'}; backend "
            f"`{making.bound.config.declared}` goes by `{name}`",
            field=making.where,
            found=listed(talks),
            allowed=name,
        )
    return Keys(talks[name], allowed, f"`{name}` of `{making.where}`")


def _connection(making: Making) -> Keys:
    known = " ".join(sorted(keys_of(making.bound.config.backend)))
    return Keys(making.connection, known, f"connection of `{making.where}`")


# --- whom ---


def _resource(making: Making, shape: Keys, method: str) -> tuple[Json, tuple[str, ...]]:
    """Return the resource that `shape` names, as a message of `http/1`, and its peers."""
    connection = {key: value for key, value in making.connection.items() if key in keys_of(Backend.HTTP)}
    url = connection.get("base_url")
    if isinstance(url, str) and making.bound.config.backend is Backend.WEBSOCKET:
        # A WebSocket begins as a request over HTTP, under the same name in either spelling.
        connection["base_url"] = url.replace("ws", "http", 1) if url.startswith(("ws:", "wss:")) else url
    given = {key: shape.values[key] for key in _RESOURCE.split() if key in shape}
    http = {"method": method, "path": "/", **given}
    action = replace(making.action, http=http)
    request = http_request(replace(making, action=action, connection=connection))
    return dict(request.message), request.peers


def _peer(making: Making, keys: Keys, shape: Keys) -> tuple[dict[str, Json], tuple[str, ...]]:
    """Return the way to a peer of JSON-RPC, and the addresses it leads to."""
    ways = [key for key in ("base_url", "base_url_secret_ref", "socket", "program") if key in keys]
    if len(ways) != 1:
        raise keys.refuse("base_url", "one of `base_url`, `socket` and `program`")
    if ways[0].startswith("base_url"):
        http, peers = _resource(making, shape, "POST")
        return {"http": http}, peers
    if any(key in shape for key in _RESOURCE.split()):
        raise shape.refuse("path", "nothing, where the connection is no URL")
    if ways[0] == "socket":
        unix: dict[str, Json] = {"path": _operators(keys, "socket", keys.text("socket"), making)}
        if "socket_uid" in keys:
            unix["uid"] = keys.integer("socket_uid", 0, 0, 2**32 - 1)
        return {"unix": unix}, ()
    program: dict[str, Json] = {
        "argv": [_operators(keys, "program", word, making) for word in keys.texts("program")],
        "env": {
            name: _environment(keys, value, making) for name, value in keys.mapping("program_env").items()
        },
        "writable": [*keys.texts("program_writable")],
    }
    if "program_cwd" in keys:
        program["cwd"] = keys.text("program_cwd")
    return {"program": program}, ()


def _operators(keys: Keys, key: str, text: str, making: Making) -> str:
    """Return `text`, filled: only what the operator wrote down decides whom a call asks."""
    if any(space not in ("target", "env") for space, _ in names_in(text)):
        raise keys.refuse(key, "{target}, {target.NAME} and {env.NAME} as its only placeholders")
    return literal(text, making.values, making.where)


def _environment(keys: Keys, value: Json, making: Making) -> Json:
    if not isinstance(value, str) or any(
        space not in ("target", "env", "secret") for space, _ in names_in(value)
    ):
        raise keys.refuse("program_env", "texts with {target}, {env.NAME} and {secret.NAME} in them")
    return message_text(value, making.values, making.where)


# --- what ---


def _stream(making: Making, shape: Keys) -> tuple[dict[str, Json], tuple[str, ...]]:
    """Return what both kinds of streams have, and the peers."""
    _connection(making)
    http, peers = _resource(making, shape, "GET")
    message: dict[str, Json] = {"http": http, "stop": _stop(shape, making)}
    if "reconnect" in shape:
        part = shape.part("reconnect", "count max_delay")
        again: dict[str, Json] = {"count": part.integer("count", RECONNECTS, 1, streams.RECONNECTS_MAX)}
        if "max_delay" in part:
            again["delay_ms_max"] = part.duration("max_delay")
        message["reconnect"] = again
    if "heartbeat" in shape:
        message["heartbeat_ms"] = shape.duration("heartbeat")
    usual = streams.Bounds()
    message["bounds"] = {
        "event_bytes": shape.integer("max_event_bytes", usual.event_bytes, 1, streams.EVENT_BYTES_MAX),
        "total_bytes": shape.integer("max_total_bytes", usual.total_bytes, 1, streams.TOTAL_BYTES_MAX),
    }
    return message, peers


def _stop(shape: Keys, making: Making) -> Json:
    part = shape.part("stop", "count after closed event pointer equals")
    stop: dict[str, Json] = {
        "count": part.integer("count", 0, 0, INTEGER_MAX),
        "after_ms": part.duration("after"),
        "closed": part.boolean("closed"),
        "event": part.text("event"),
    }
    if "pointer" in part or "equals" in part:
        stop["pointer"] = part.text("pointer")
        stop["equals"] = message_value(part.values.get("equals"), making.values, making.where)
    return {name: value for name, value in stop.items() if name in ("pointer", "equals") or value}


def _frame(shape: Keys, item: Json, making: Making) -> Json:
    if not isinstance(item, Mapping):
        raise shape.refuse("frames", "frames like `{text: hello}`")
    part = Keys(item, "text json base64", f"{shape.where}: frames")
    if "json" in part:
        return {"json": message_value(part.values["json"], making.values, making.where)}
    key = "text" if "text" in part else "base64"
    return {key: message_text(part.text(key), making.values, making.where)}


def _ask(shape: Keys, item: Json, making: Making) -> Json:
    if not isinstance(item, Mapping):
        raise shape.refuse("batch", "requests like `{method: list}`")
    part = Keys(item, "method params notify", shape.where)
    ask: dict[str, Json] = {"method": part.text("method")}
    if "params" in part:
        ask["params"] = message_value(part.values["params"], making.values, making.where)
    if part.boolean("notify"):
        ask["notify"] = True
    return ask


def _checked(
    cls: type[T],
    problems: Callable[[T, Effect], Iterator[str]],
    message: dict[str, Json],
    peers: tuple[str, ...],
    making: Making,
) -> ExchangeRequest:
    """Return the request with `message`, after reading it as the lane will, with stand-ins in its places."""
    secrets = frozenset(secrets_in(message))
    filled = fill_slots(message, dict.fromkeys(slots_in(message), "slot"))
    try:
        read = from_json(cls, fill_secrets(filled, dict.fromkeys(secrets, "c2VjcmV0")))
        found = next(problems(read, making.effect), None)
    except ProofError as error:
        found = error.message
    http = message.get("http")
    # What stands in the resource itself was looked at with it.
    told = any(True for key, value in message.items() if key != "http" for _ in secrets_in(value))
    origin = http.get("origin") if isinstance(http, Mapping) else None
    plain = isinstance(origin, Mapping) and origin["scheme"] == "http"
    if found is None and told and plain and making.connection.get("allow_plaintext") is not True:
        found = "a secret would go out for all to read; use https, or `allow_plaintext: true`"
    if found is not None:
        raise ConnectorRefused(f"`{making.where}` cannot be sent: {found}", field=making.where)
    return ExchangeRequest(protocol=cls.protocol, message=message, peers=peers)
