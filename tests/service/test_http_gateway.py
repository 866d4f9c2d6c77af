"""An HTTP API of somebody else behind policy, approvals and receipts, as it is."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copytree
from threading import Thread
from typing import Final, cast

import pytest

from rexecop.app.build import open_instance
from rexecop.app.evidence import Asked
from rexecop.app.gateways import served
from rexecop.app.planner import PlanInput
from rexecop.app.settings import Settings
from rexecop.app.verifying import verify_bundle
from rexecop.cli.main import run
from rexecop.operations.errors import GatewayRefused
from rexecop.proof.verify import Rung
from rexecop.proof.vocabulary import Mode, State
from tests.service.agents import Agent, agent, over_stdio
from tests.service.api import api
from tests.service.test_mcp_gateway import accept, approve, said
from tests.service.yard import AGENT, yard

TOKEN: Final = "upstream-token-51c9"
DESCRIPTION: Final = {
    "openapi": "3.0.3",
    "info": {"title": "Hosts", "version": "1.5"},
    "paths": {
        "/hosts": {
            "get": {
                "operationId": "listHosts",
                "summary": "List hosts.",
                "parameters": [
                    {"name": "pageSize", "in": "query", "schema": {"type": "integer", "maximum": 2**63}},
                    {"name": "tag", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
                    {"name": "X-Trace", "in": "header", "schema": {"type": "string"}},
                ],
            },
            "post": {
                "operationId": "hosts/add",
                "requestBody": {"$ref": "#/components/requestBodies/Host"},
            },
            "delete": {"operationId": "burn"},
        },
        "/hosts/{hostId}": {
            "parameters": [{"$ref": "#/components/parameters/HostId"}],
            "get": {"operationId": "readHost"},
        },
        "/large": {"get": {"operationId": "large"}},
    },
    "components": {
        "parameters": {
            "HostId": {"name": "hostId", "in": "path", "required": True, "schema": {"type": "string"}}
        },
        "requestBodies": {
            "Host": {
                "required": True,
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Host"}}},
            }
        },
        "schemas": {
            "Host": {
                "type": "object",
                "required": ["name", "cores"],
                "properties": {
                    "name": {"type": "string", "example": 0.5},
                    "cores": {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
                    "note": {"type": "string", "nullable": True},
                    "behind": {"$ref": "#/components/schemas/Host"},
                },
            }
        },
    },
}


A: Final = "{name: x, api: {base_url: 'http://a', "
ROUTE: Final = A + "routes: {r: R}}}"
PATHS: Final = '{"openapi": "3.1.0", "paths": '
GET: Final = PATHS + '{"/a": {"get": {"operationId": "a", "parameters": [P]}}}}'
QUERY: Final = GET.replace("P", '{"name": "q", "in": "query", P}')


class Upstream:
    """A real server; `asked` are the requests it got: method, path with query, body, and who asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, object, str | None]] = []
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                upstream.asked.append((self.command, self.path, body, self.headers.get("authorization")))
                large = self.path.endswith("/large")
                # Shaped like a result of a tool: it is text here all the same.
                text = b"x" * (2 << 20) if large else b'{"content": [], "hosts": ["web-1"]}'
                self.send_response(404 if self.path.endswith("/none") else 200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_DELETE = _answer

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def since(self, before: int) -> list[tuple[str, str, object, str | None]]:
        return self.asked[before:]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    found = Upstream()
    thread = Thread(target=found.server.serve_forever, daemon=True)
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    found = yard(tmp_path_factory.mktemp("http"))
    secret = found.root.parent / "token"
    secret.write_text(TOKEN)
    secret.chmod(0o600)
    (found.root / "secrets.yaml").write_text(f"references: {{hosts-token: {{file: {secret}}}}}\n")
    (found.root.parent / "api.json").write_text(json.dumps(DESCRIPTION, indent="\t"))
    return found


def written(settings: Settings, name: str, url: str, rest: str) -> Path:
    file = settings.root.parent / f"{name}.yaml"
    file.write_text(
        f"gateway:\n  name: {name}\n  api:\n    base_url: {url}\n    allow_private: true\n"
        f"    auth: {{secret_ref: hosts-token}}\n{rest}"
    )
    return file


def by_description(settings: Settings, name: str, url: str) -> Path:
    return written(settings, name, url, "    openapi: api.json\n  tools: {burn: hidden}\n  others: method\n")


@pytest.fixture(scope="module")
def bot(settings: Settings, upstream: Upstream) -> Iterator[Agent]:
    file = by_description(settings, "hosts", upstream.url)
    assert accept(settings, file) == 0
    words = ("--root", str(settings.root), "--identity", str(settings.identity), "mcp", "--agent", AGENT)
    with agent(over_stdio(*words, "--gateway", str(file), folder=settings.root.parent)) as found:
        yield found


def test_operations_are_tools_with_the_schemas_of_the_description(bot: Agent) -> None:
    tools = bot.tools()

    assert {"listHosts", "hosts_add", "readHost", "large"} <= set(tools) and "burn" not in tools
    assert (tools["listHosts"].description or "").startswith("GET /hosts List hosts.")
    reads = {name: tools[name].annotations.read_only_hint for name in ("listHosts", "hosts_add")}  # type: ignore[union-attr]
    assert reads == {"listHosts": True, "hosts_add": False}
    properties = tools["listHosts"].input_schema["properties"]
    assert properties["page_size"] == {"type": "integer"} and "x_trace" not in properties
    assert tools["readHost"].input_schema["required"] == ["host_id"]
    body = tools["hosts_add"].input_schema["$defs"]["Host"]
    assert body["properties"]["cores"] == {"type": "integer", "exclusiveMinimum": 0}
    assert body["properties"]["note"] == {"type": ["string", "null"]}
    assert body["properties"]["behind"] == {"$ref": "#/$defs/Host"}


def test_a_read_runs_at_once_with_a_receipt_and_the_secret_goes_to_the_api_alone(
    bot: Agent, upstream: Upstream, settings: Settings, tmp_path: Path
) -> None:
    before = len(upstream.asked)

    found = bot.call("listHosts", page_size=5, tag=["a b", "c&d=e"])

    assert found.is_error is False and said(found)[0] == '{"content": [], "hosts": ["web-1"]}'
    told = found.structured_content
    assert told["status"] == "completed" and told["facts"] == {
        "call": {"http_status": 200, "complete": True, "missing": []}
    }
    assert upstream.since(before) == [
        ("GET", "/v1/hosts?pageSize=5&tag=a%20b&tag=c%26d%3De", None, f"Bearer {TOKEN}")
    ]
    with open_instance(settings) as instance:
        bundle = tmp_path / "proof.rxb"
        instance.export(told["operation_id"], Asked(form="bundle", path=bundle))
    assert verify_bundle(bundle, trust_dir=None, checkpoint=None, root=settings.root).holds(Rung.LOGGED)
    assert TOKEN.encode() not in bundle.read_bytes()
    folder = settings.root / "gateways"
    assert not any(TOKEN in file.read_text() for file in folder.rglob("*") if file.is_file())


def test_a_change_waits_for_an_approval_and_runs_once(
    bot: Agent, upstream: Upstream, settings: Settings
) -> None:
    before = len(upstream.asked)
    host = {"name": "web-2", "cores": 4, "behind": {"name": "lb", "cores": 1}}

    asked = bot.told("hosts_add", body=host)
    untouched = upstream.since(before)
    approve(settings, str(asked["operation_id"]))
    done = bot.told("operation_wait", operation_id=asked["operation_id"], seconds=60)
    again = bot.told("operation_wait", operation_id=asked["operation_id"], seconds=60)

    assert asked["status"] == "pending_approval" and untouched == []
    assert done["status"] == again["status"] == "completed"
    assert upstream.since(before) == [("POST", "/v1/hosts", host, f"Bearer {TOKEN}")]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ("a/b", "/v1/hosts/a%2Fb"),
        ("a?b=c#d", "/v1/hosts/a%3Fb=c%23d"),
        ("a%2fb", "/v1/hosts/a%252fb"),
        ("{target}@evil", "/v1/hosts/%7Btarget%7D@evil"),
    ],
)
def test_a_parameter_stays_within_its_segment(bot: Agent, upstream: Upstream, value: str, path: str) -> None:
    before = len(upstream.asked)

    assert bot.told("readHost", host_id=value)["status"] == "completed"
    assert [one[1] for one in upstream.since(before)] == [path]


@pytest.mark.parametrize(
    ("tool", "arguments", "code"),
    [
        ("readHost", {"host_id": ".."}, "connector-refused"),
        ("readHost", {"host_id": "a/../../admin"}, "connector-refused"),
        ("readHost", {"host_id": "%2e%2e"}, "connector-refused"),
        ("readHost", {"host_id": ""}, "parameter-refused"),
        ("readHost", {}, "parameter-refused"),
        ("readHost", {"host_id": 7}, "parameter-refused"),
        ("listHosts", {"page_size": "5"}, "parameter-refused"),
        ("listHosts", {"tag": [{"a": 1}]}, "parameter-refused"),
        ("listHosts", {"pageSize": 5}, "parameter-refused"),
        ("hosts_add", {}, "parameter-refused"),
        ("hosts_add", {"body": {"name": "x", "cores": 0}}, "parameter-refused"),
        ("hosts_add", {"body": {"name": "x", "cores": 1, "behind": {"name": 1}}}, "parameter-refused"),
        ("hosts_add", {"body": {"name": "x", "cores": 1, "note": {"secret": "x"}}}, "parameter-refused"),
        ("hosts_add", {"body": {"name": "x", "cores": 1, "extra": {"secret": "x"}}}, "parameter-refused"),
    ],
)  # fmt: skip
def test_what_breaks_the_schema_or_the_path_is_refused_with_a_code_and_asks_nobody(
    bot: Agent, upstream: Upstream, tool: str, arguments: dict[str, object], code: str
) -> None:
    before = len(upstream.asked)

    told = bot.told(tool, **arguments)

    assert (told["status"], told["code"]) == ("failed", code)
    assert upstream.since(before) == []


def test_an_answer_that_is_too_long_or_a_refusal_is_no_success(bot: Agent) -> None:
    for tool, arguments in (("large", {}), ("readHost", {"host_id": "none"})):
        found = bot.call(tool, **arguments)
        assert found.is_error is True and found.structured_content["status"] == "failed"
        assert len(json.dumps(found.structured_content)) < 1 << 20


def test_what_was_accepted_can_be_planned_at_the_service_by_the_name_of_its_profile(
    bot: Agent, upstream: Upstream, settings: Settings
) -> None:
    gateways = settings.root / "gateways"
    copytree(gateways / "hosts", gateways / ".half")  # As left behind in the middle of something.
    with api(settings.root) as v1:
        names = {
            f"{one['profile']}/{one['intent']}"
            for one in cast("list[dict[str, object]]", v1.get("/v1/intents?limit=100").json["intents"])
        }
        before = len(upstream.asked)
        asked = {"intent": "readHost", "target": "hosts", "mode": "read_only", "parameters": {"host_id": "a"}}
        planned = v1.post("/v1/operations", {**asked, "profile": "gateway-hosts", "environment": "hosts"})
        assert planned.status == 201, planned.body
        started = v1.post(f"/v1/operations/{planned.json['operation_id']}/start", None, Prefer="wait=30").json
        refused = v1.post("/v1/operations", {**asked, "profile": "gateway-.half", "environment": "hosts"})

    assert "gateway-hosts/hosts_add" in names and "gateway-hosts/burn" not in names
    assert started["state"] == "completed" and [one[1] for one in upstream.since(before)] == ["/v1/hosts/a"]
    assert refused.status == 404 and refused.json["code"] == "not-offered"


def test_a_file_or_description_that_was_edited_is_not_served_until_it_is_accepted_again(
    settings: Settings, upstream: Upstream, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = settings.root.parent
    file = by_description(settings, "edited", upstream.url)
    file.write_text(file.read_text().replace("api.json", "own.json"))
    own = folder / "own.json"
    own.write_text(json.dumps(DESCRIPTION))
    with pytest.raises(GatewayRefused, match="was never accepted"):
        served(settings, file)
    assert accept(settings, file) == 0
    served(settings, file)

    own.write_text(json.dumps(DESCRIPTION).replace("List hosts.", "Burn hosts."))
    assert run(["--root", str(settings.root), "mcp", "--agent", AGENT, "--gateway", str(file)]) == 2
    assert "was not accepted as it is now" in capsys.readouterr().err
    assert run(["--root", str(settings.root), "gateway", "accept", str(file), "--yes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    changed = [line.split()[0] for line in lines if " changed " in line]
    assert changed == ["listHosts"]
    file.write_text(file.read_text().replace("others: method", "others: read"))
    with pytest.raises(GatewayRefused, match="was not accepted as it is now"):
        served(settings, file)


def test_routes_of_the_file_itself_are_tools_by_their_method(settings: Settings, upstream: Upstream) -> None:
    rest = """\
    routes:
      read_host:
        {method: GET, path: "/h/{target}/of/{target}", parameters: {target: {type: integer}}, query: {q: {}}}
      find: {method: POST, path: /hosts/find, body: {type: array}, query: {q: {type: string}}, required: [q]}
      add: {method: POST, path: /hosts, body: {type: object}}
  tools: {find: read}
"""
    file = written(settings, "routed", upstream.url, rest)
    assert accept(settings, file) == 0
    asked = {
        "read_host": {"target_path": 7, "q": True},
        "find": {"q": "a", "body": []},
        "add": {"body": {}},
    }
    chosen, _ = served(replace(settings, identity=None), file)
    assert chosen.profile is not None and chosen.env is not None
    before = len(upstream.asked)

    async def ask(name: str) -> str:
        mode = Mode.APPLY if name == "add" else Mode.READ_ONLY
        view = await instance.plan(
            PlanInput(
                profile=str(chosen.profile),
                env=str(chosen.env),
                intent=name,
                target="routed",
                mode=mode,
                parameters=asked[name],  # type: ignore[arg-type]
            )
        )
        return (await instance.start(view.operation_id)).state if name != "add" else view.state

    with open_instance(chosen) as instance:
        states = [asyncio.run(ask(name)) for name in asked]

    assert states == [State.COMPLETED, State.COMPLETED, State.WAITING_FOR_APPROVAL]
    assert [one[:3] for one in upstream.since(before)] == [
        ("GET", "/v1/h/7/of/7?q=true", None),
        ("POST", "/v1/hosts/find?q=a", []),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{name: x}", "either `server` or `api`"),
        ("{name: x, server: {program: [a]}, api: {base_url: 'http://a', routes: {}}}", "either `server`"),
        ("{name: x, api: {base_url: 'http://a'}}", "either `openapi` or `routes`"),
        (A + "routes: {}, openapi: api.json}}", "either `openapi`"),
        (A + "surprise: 1, openapi: api.json}}", "unknown key `surprise`"),
        (A + "openapi: nowhere.json}}", "no file"),
        (A + "openapi: /dev/zero}}", "not a regular file"),
        ("{name: x, api: {base_url: 'file:///etc/passwd', openapi: api.json}, others: method}", "no address"),
        (A + "auth: {token: abc}, openapi: api.json}}", "holds a secret"),
        (A + "openapi: api.json}}", "no tool that is not hidden"),
        (A + "openapi: api.json}, tools: {lisThosts: read}}", "`listHosts`"),
        (ROUTE.replace("R", "{method: TRACE, path: /}"), "one of GET"),
        (ROUTE.replace("R", "{method: GET, path: '/{a'}"), "its path"),
        (ROUTE.replace("R", "{method: GET, path: '/a?b=c'}"), "its path"),
        (ROUTE.replace("R", "{method: GET, path: '/${b}'}"), "its path"),
        (ROUTE.replace("R", "{method: GET, path: /, required: [a]}"), "no `query`"),
        (ROUTE.replace("R", "{method: GET, path: /, query: {a: {type: zebra}}}"),
         "JSON schema"),
        (ROUTE.replace("R", "{method: GET, path: /, query: {a: {pattern: '('}}}"),
         "no pattern"),
        (ROUTE.replace("R", "{method: GET, path: /, body: {type: object}}"),
         "does not carry"),
        ("{name: x, server: {program: [a]}, others: method}", "one of read"),
    ],
)  # fmt: skip
def test_a_file_that_says_no_gateway_is_one_clear_line(
    settings: Settings, text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = settings.root.parent / "odd.yaml"
    file.write_text(f"gateway: {text}")

    assert accept(settings, file) == 2
    told = capsys.readouterr().err
    assert "error[" in told and words in told and "Traceback" not in told
    assert not (settings.root / "gateways" / "x").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "nothing in it"),
        ("{", "not JSON"),
        ('{"a": 1, "a": 2}', "a"),
        ("[" * 100_000, "nest"),
        ("{" + '"a":{' * 200 + "}" * 201, "nest"),
        ("openapi: &a 3.0.0", "anchor"),
        ('{"swagger": "2.0"}', "no description by OpenAPI 3"),
        (PATHS + '[]}', "a mapping belongs"),
        (PATHS + '{"/a": {"get": 7}}}', "a mapping belongs"),
        (PATHS + '{"/a": {"get": {"operationId": ""}}}}', "no name"),
        (PATHS + '{"/a": {"get": {"operationId": "a b"}, "put": {"operationId": "a_b"}}}}',
         "two operations"),
        (QUERY.replace("P", '"schema": {"properties": {"größe": {}}}'), "evidence cannot hold"),
        (PATHS + '{"/a/{b}": {"get": {"operationId": "a"}}}}', "its path"),
        (PATHS + '{"/a": {"$ref": "#/components/x/y"}}}', "leads to nothing"),
        (PATHS + '{"/a": {"$ref": "http://other/a.json"}}}', "no reference"),
        (PATHS + '{"/a": {"$ref": "#/components/x/y"}}, '
         '"components": {"x": {"y": {"$ref": "#/components/x/y"}}}}', "lead round"),
        (GET.replace("P", '{"name": "h", "in": "header", "required": true}'), "cannot be given"),
        (QUERY.replace("P", '"style": "deepObject", "schema": {}'), "not known here"),
        (QUERY.replace("P", '"schema": {"$ref": "file:///etc/passwd"}'), "no reference"),
        (QUERY.replace("P", '"schema": {"$ref": "#/components/schemas/q"}'), "leads to nothing"),
    ],
)  # fmt: skip
def test_a_description_that_cannot_be_followed_is_one_clear_line(
    settings: Settings, text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = settings.root.parent
    (folder / "odd.json").write_text(text)
    (folder / "odd.yaml").write_text(
        "gateway: {name: x, api: {base_url: 'http://127.0.0.1:9', openapi: odd.json}, others: method}"
    )

    assert accept(settings, folder / "odd.yaml") == 2
    told = capsys.readouterr().err
    assert "error[" in told and words in told and "Traceback" not in told
    assert not (settings.root / "gateways" / "x").exists()
