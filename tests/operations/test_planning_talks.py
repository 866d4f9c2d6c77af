"""From an action and a connection to one exchange that is talked over, or to a clear refusal."""

from collections.abc import Mapping
from typing import Final

import pytest

from rexecop.lanes.messages.http import Origin
from rexecop.lanes.messages.jsonrpc import (
    Ask,
    JsonRpcMessage,
    Mcp,
    Program,
    Reply,
    UnixSocket,
    is_reply,
    reply_call,
)
from rexecop.lanes.messages.streams import Bounds, Frame, Reconnect, SseMessage, Stop, WebSocketMessage
from rexecop.operations.errors import ConnectorRefused, OperationsError
from rexecop.operations.profile import load_profile
from rexecop.proof.call import ExchangeRequest, reaches_only
from rexecop.proof.canonical import Digest, Json
from rexecop.proof.codec import from_json
from rexecop.proof.message import fill_secrets
from rexecop.proof.records.plan import CallStep
from rexecop.proof.vocabulary import Effect, Grade, Isolation, Mode
from tests.operations.folders import environment, plan

PROFILE: Final[Mapping[str, str]] = {
    "profile.yaml": "profile_contract: {name: talk, version: '1'}",
    "intents/call.yaml": """
intent:
  id: call
  workflow: workflows/call.yaml
  parameters:
    type: object
    properties: {name: {type: string}, count: {type: integer}}
""",
    "workflows/call.yaml": """
workflow:
  steps:
    - {id: call, type: connector, connector: api, action: call}
""",
    "validation_rules/call.yaml": """
validation_rule:
  intent: call
  steps: [{type: require_mapping, key: call, fail: {rule: x}}]
""",
}

URL: Final = "base_url: https://api.test:8443/v1"


def step_for(
    backend: str,
    action: str,
    connection: str = URL,
    effect: str = "read",
    mode: Mode = Mode.DRY_RUN,
    **parameters: Json,
) -> CallStep:
    files = {**PROFILE}
    files["connectors/api.yaml"] = f"""
connector:
  name: api
  capabilities: [call]
  actions: {{call: {{effect: {effect}, {action}}}}}
"""
    text = f"""
environment:
  id: here
  targets: {{web: {{type: host, attributes: {{zone: eu}}}}}}
  connectors: {{api: {{backend: {backend}, secrets: {{api: token}}, {connection}}}}}
"""
    profile = load_profile({name: data.encode() for name, data in files.items()})
    reached = {Isolation.NONE: True, Isolation.BUBBLEWRAP: True}
    step = plan(profile, environment(text), "call", "web", mode, parameters, reached=reached).steps[0]
    assert isinstance(step, CallStep)
    return step


def request(step: CallStep) -> ExchangeRequest:
    assert isinstance(step.call.request, ExchangeRequest)
    return step.call.request


def message(step: CallStep) -> dict[str, Json]:
    found = fill_secrets(dict(request(step).message), {"token": "<token>"})
    assert isinstance(found, dict)
    return found


def test_a_stream_is_planned_as_it_is_written() -> None:
    step = step_for(
        "sse",
        "sse: {path: '/{name}/events', query: {of: '{target}'}, heartbeat: 10s, last_event_id: '{name}', "
        "stop: {count: 3, after: 5s, pointer: /a, equals: '{count}'}, max_event_bytes: 100, "
        "reconnect: {count: 2, max_delay: 500ms}}",
        name="a/b",
        count=7,
    )
    read = from_json(SseMessage, message(step))

    assert (request(step).protocol, request(step).peers) == ("sse/1", ("api.test:8443",))
    assert read.http.origin == Origin(scheme="https", host="api.test", port=8443)
    assert (read.http.path, read.http.query) == (("v1", "a/b", "events"), {"of": ("web",)})
    assert read.stop == Stop(count=3, after_ms=5_000, pointer="/a", equals=7)
    assert read.reconnect == Reconnect(count=2, delay_ms_max=500)
    assert (read.heartbeat_ms, read.last_event_id) == (10_000, "a/b")
    assert read.bounds == Bounds(event_bytes=100)
    assert (step.isolation, step.grade) == (Isolation.NOT_APPLICABLE, Grade.SHAPE)


def test_frames_are_planned_as_they_are_written() -> None:
    frames = "[{text: 'say {name}'}, {json: {n: '{count}', k: '{secret.api}'}}, {base64: AAE=}]"
    step = step_for(
        "websocket",
        f"websocket: {{path: /ws, frames: {frames}, subprotocols: [v1], stop: {{event: binary}}}}",
        "base_url: wss://api.test",
        effect="change",
        name="hi",
        count=7,
    )
    read = from_json(WebSocketMessage, message(step))

    assert (request(step).protocol, request(step).peers) == ("websocket/1", ("api.test:443",))
    assert read.frames == (Frame(text="say hi"), Frame(json={"n": 7, "k": "<token>"}), Frame(base64="AAE="))
    assert (read.subprotocols, read.stop) == (("v1",), Stop(event="binary"))
    assert step.grade is None


def test_requests_are_planned_as_they_are_written() -> None:
    one = step_for("jsonrpc", "rpc: {path: /rpc, method: list, params: [1, '{name}']}", name="x")
    many = step_for(
        "jsonrpc",
        "rpc: {batch: [{method: a}, {method: b, notify: true}]}",
        "socket: '/run/{target}.sock', socket_uid: 0, framing: content-length",
    )
    read, batch = from_json(JsonRpcMessage, message(one)), from_json(JsonRpcMessage, message(many))

    assert read.http is not None and read.http.path == ("v1", "rpc")
    assert (read.asks, read.batch) == ((Ask(method="list", params=[1, "x"]),), False)
    assert (batch.unix, batch.framing) == (UnixSocket(path="/run/web.sock", uid=0), "content-length")
    assert (batch.asks, batch.batch) == ((Ask(method="a"), Ask(method="b", notify=True)), True)
    assert request(many).peers == ()


def test_a_program_is_planned_with_an_isolation_class_and_a_grade_that_it_backs() -> None:
    connection = (
        "program: [/usr/bin/server, '{target}'], program_env: {KEY: '{secret.api}'}, program_cwd: /srv"
    )
    read = step_for("jsonrpc", "mcp: {tool: add, arguments: {a: '{count}'}}", connection, count=1)
    plain = step_for("jsonrpc", "mcp: {}", f"{connection}, isolation: none")
    told = from_json(JsonRpcMessage, message(read))

    assert told.program == Program(argv=("/usr/bin/server", "web"), env={"KEY": "<token>"}, cwd="/srv")
    assert told.mcp == Mcp(tool="add", arguments={"a": 1})
    assert (read.isolation, read.grade) == (Isolation.BUBBLEWRAP, Grade.CONTAINED)
    assert (plain.isolation, plain.grade) == (Isolation.NONE, Grade.SHAPE)


def test_all_parameters_that_were_given_can_be_the_arguments_of_a_tool() -> None:
    pin = Digest(f"sha256:{'0' * 64}")
    some = step_for("jsonrpc", f"mcp: {{tool: add, arguments: '{{*}}', pin: '{pin}'}}", count=1)
    none = step_for("jsonrpc", "mcp: {tool: add, arguments: '{*}'}")

    assert from_json(JsonRpcMessage, message(some)).mcp == Mcp(tool="add", arguments={"count": 1}, pin=pin)
    assert from_json(JsonRpcMessage, message(none)).mcp == Mcp(tool="add", arguments={})


@pytest.mark.parametrize("given", [{"secret": "token"}, {"slot": "x"}, {"note": {"secret": "token"}}])
def test_who_asks_cannot_name_a_secret_by_what_is_sent_as_it_is(given: dict[str, Json]) -> None:
    files = {**PROFILE}
    files["intents/call.yaml"] = (
        "intent: {id: call, workflow: workflows/call.yaml, parameters: {type: object, properties: "
        "{secret: {type: string}, slot: {type: string}, note: {type: object}}}}"
    )
    connector = (
        "{name: api, capabilities: [call], actions: {call: {effect: read, mcp: {tool: t, arguments: '{*}'}}}}"
    )
    files["connectors/api.yaml"] = f"connector: {connector}"
    connectors = f"{{api: {{backend: jsonrpc, {URL}}}}}"
    here = environment(
        f"environment: {{id: here, targets: {{web: {{type: host}}}}, connectors: {connectors}}}"
    )

    with pytest.raises(OperationsError, match="cannot be sent"):
        plan(load_profile({k: v.encode() for k, v in files.items()}), here, "call", "web", parameters=given)


def test_what_names_no_peer_is_not_held_to_any_host() -> None:
    program = step_for("jsonrpc", "mcp: {}", "program: [/usr/bin/server]")
    url = step_for("jsonrpc", "mcp: {}")

    assert not reaches_only(program.call.request, ["api.test"])
    assert reaches_only(url.call.request, ["api.test"])


@pytest.mark.parametrize(
    ("backend", "action", "connection"),
    [
        ("sse", "rpc: {method: a}", URL),
        ("sse", "sse: {stop: {count: 1}}, rpc: {method: a}", URL),
        ("sse", "sse: {}", URL),
        ("sse", "sse: {stop: {}}", URL),
        ("sse", "sse: {stop: {count: -1}}", URL),
        ("sse", "sse: {stop: {count: 1}, colour: red}", URL),
        ("sse", "sse: {stop: {count: 1, after: soon}}", URL),
        ("sse", "sse: {stop: {pointer: a, equals: 1}}", URL),
        ("sse", "sse: {stop: {count: 1}}", "socket: /run/x"),
        ("sse", "sse: {stop: {count: 1}}", f"{URL}, framing: newline"),
        ("sse", "sse: {stop: {count: 1}}", "base_url: 'https://user@api.test'"),
        ("sse", "sse: {stop: {count: 1}, path: /a/../b}", URL),
        ("sse", "sse: {stop: {count: 1}, headers: {Host: x}}", URL),
        ("websocket", "websocket: {stop: {count: 1}, frames: [text]}", URL),
        ("websocket", "websocket: {stop: {count: 1}, frames: [{text: a, base64: AA==}], reconnect: {}}", URL),
        ("websocket", "websocket: {stop: {count: 1}, subprotocols: ['a b']}", URL),
        ("jsonrpc", "rpc: {}", URL),
        ("jsonrpc", "rpc: {method: a, batch: [{method: b}]}", URL),
        ("jsonrpc", "rpc: {method: rpc.x}", URL),
        ("jsonrpc", "rpc: {method: a, params: 1}", URL),
        ("jsonrpc", "rpc: {batch: [{method: a, notify: true}]}", URL),
        ("jsonrpc", "rpc: {method: a}", f"{URL}, socket: /run/x"),
        ("jsonrpc", "rpc: {method: a}", "framing: newline"),
        ("jsonrpc", "rpc: {method: a, path: /x}", "socket: /run/x"),
        ("jsonrpc", "rpc: {method: a}", "socket: run/x"),
        ("jsonrpc", "rpc: {method: a}", "socket: '/run/{name}'"),
        ("jsonrpc", "rpc: {method: a}", "program: ['/bin/{name}']"),
        ("jsonrpc", "rpc: {method: a}", "program: [/bin/x, '{secret.api}']"),
        ("jsonrpc", "rpc: {method: a}", "program: [/bin/x], program_writable: [/srv/x]"),
        ("jsonrpc", "rpc: {method: a}", "socket: /run/x, framing: tabs"),
        ("jsonrpc", "mcp: {version: '1'}", URL),
        ("jsonrpc", "mcp: {arguments: {a: 1}}", URL),
        ("jsonrpc", f"mcp: {{pin: 'sha256:{'0' * 64}'}}", URL),
        ("jsonrpc", "mcp: {tool: t, pin: md5}", URL),
        ("jsonrpc", "rpc: {method: a, params: ['{secret.api}']}", "base_url: 'http://api.test'"),
    ],
)
def test_what_cannot_be_followed_is_refused_in_one_clear_line(
    backend: str, action: str, connection: str
) -> None:
    with pytest.raises(OperationsError) as refused:
        step_for(backend, action, connection, name="x")

    assert "\n" not in refused.value.message


def test_a_change_ends_by_an_answer_and_is_not_sent_again() -> None:
    for stop in ("{after: 5s}", "{count: 1}"):
        with pytest.raises(ConnectorRefused):
            step_for("sse", f"sse: {{stop: {stop}, reconnect: {{}}}}", effect="change")
    assert step_for("sse", "sse: {stop: {count: 1}}", effect="change").call.effect is Effect.CHANGE


ANSWERING: Final = """
connector:
  name: api
  capabilities: [call, confirm, other]
  actions:
    call: {effect: read, mcp: {tool: book, replies: [confirm]}}
    confirm:
      effect: change
      rpc: {reply: {method: elicitation/create, result: {action: accept, content: {for: "{name}"}}}}
    other: {effect: change, rpc: {method: other}}
"""


def answering(connector: str = ANSWERING) -> list[CallStep]:
    files = {**PROFILE, "connectors/api.yaml": connector}
    files["workflows/call.yaml"] += "    - {id: confirm, type: connector, connector: api, action: confirm}\n"
    text = f"""
environment:
  id: here
  targets: {{web: {{type: host}}}}
  connectors: {{api: {{backend: jsonrpc, {URL}}}}}
"""
    profile = load_profile({name: data.encode() for name, data in files.items()})
    steps = plan(profile, environment(text), "call", "web", Mode.DRY_RUN, {"name": "bob"}).steps
    return [step for step in steps if isinstance(step, CallStep)]


def test_an_answer_that_a_call_has_prepared_is_the_very_call_of_the_step_that_gives_it() -> None:
    call, confirm = answering()

    assert reply_call(call.call, 0) == confirm.call
    assert is_reply(confirm.call.request) and not is_reply(call.call.request)
    assert from_json(JsonRpcMessage, dict(request(confirm).message)).reply == Reply(
        method="elicitation/create", result={"action": "accept", "content": {"for": "bob"}}
    )


@pytest.mark.parametrize(
    "wrong",
    [
        ANSWERING.replace("replies: [confirm]", "replies: [other]"),
        ANSWERING.replace("replies: [confirm]", "replies: [nobody]"),
        ANSWERING.replace("rpc: {reply:", "rpc: {method: x, reply:"),
        ANSWERING.replace('result: {action: accept, content: {for: "{name}"}}', "other: 1"),
    ],
)
def test_an_answer_that_cannot_be_given_is_refused_when_planned(wrong: str) -> None:
    with pytest.raises(ConnectorRefused):
        answering(wrong)
