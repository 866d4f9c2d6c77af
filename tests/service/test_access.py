"""AuthZEN at the service, and the file that says who may ask and whom we ask."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar, Final

import pytest

from rexecop.app.access import Outside, read_access
from rexecop.app.build import open_instance
from rexecop.app.identity import os_user
from rexecop.app.root import Root
from rexecop.app.secrets import Locator
from rexecop.app.settings import Settings, load_settings
from rexecop.lanes.secrets import Secrets
from rexecop.proof.canonical import digest_of
from rexecop.proof.errors import RexecopError
from rexecop.proof.records.decision import Decision, Opinion
from rexecop.proof.verify.report import Rung
from rexecop.proof.vocabulary import State
from tests.app.support import asked, made, opened, records, scratch, verified
from tests.governance.cases import request
from tests.service.running import Reply, Running, running

TOKEN: Final = "a-token-of-some-length"
ONE: Final = "/access/v1/evaluation"
SEVERAL: Final = "/access/v1/evaluations"
READ: Final[Mapping[str, object]] = {
    "subject": {"type": "user", "id": os_user().person},
    "action": {"name": "read", "properties": {"intent": "hello/host_facts"}},
    "resource": {"type": "host", "id": "localhost", "properties": {"criticality": "low"}},
    "context": {"mode": "read_only", "risk": "low", "environment": "here"},
}
CHANGE: Final = {
    **READ,
    "action": {"name": "change", "properties": {"intent": "hello/set_greeting"}},
    "context": {
        "mode": "apply",
        "risk": "low",
        "environment": "here",
        "parameters": {"n": 1.5},
    },
}


def secrets(environ: Mapping[str, str], root: Path) -> Secrets:
    return Secrets(Locator(Root(root), environ))


def configure(root: Path, text: str) -> None:
    (root / "authzen.yaml").write_text(text)
    (root / "authzen.yaml").chmod(0o600)


@pytest.fixture(scope="module")
def service(settings: Settings) -> Iterator[Running]:
    configure(settings.root, f"callers:\n  gateway: {digest_of(TOKEN.encode())}\n")
    with running(settings.root) as found:
        yield found


def ask(service: Running, body: object, path: str = ONE, token: str | None = TOKEN, **headers: str) -> Reply:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Authorization": f"Bearer {token}"} if token is not None else {}
    return service.call("POST", path, sent, Content_Type="application/json", **given, **headers)


def test_a_read_is_allowed_a_change_waits_and_what_nobody_permits_is_denied(service: Running) -> None:
    read, change = ask(service, READ, X_Request_ID="r-1"), ask(service, CHANGE)
    stranger = ask(service, {**READ, "subject": {"type": "user", "id": "mallory"}})

    assert (read.status, read.json["decision"], read.headers["x-request-id"]) == (200, True, "r-1")
    assert change.json["decision"] is False
    waits = change.json["context"]
    assert isinstance(waits, dict) and waits["verdict"] == "approval_required" and waits["approvals"]
    assert (stranger.status, stranger.json["decision"]) == (200, False)


def test_nothing_is_recorded_for_a_question(service: Running) -> None:
    ask(service, READ)
    settings = load_settings({"root": str(service.root)}, {}, service.root, service.root)
    with open_instance(settings) as instance:
        assert instance.list() == ()


@pytest.mark.parametrize("scope", ["intent:hello/host_facts", "target:localhost", "environment:here"])
def test_while_a_halt_stands_against_it_the_answer_is_no_and_says_who_halted(
    service: Running, scope: str
) -> None:
    settings = load_settings({"root": str(service.root)}, {}, service.root, service.root)
    with open_instance(settings) as instance:
        instance.halt(scope, "look first")
        halted = ask(service, READ).json
        other = ask(service, {**READ, "resource": {**READ["resource"], "id": "elsewhere"}}).json  # type: ignore[dict-item]
        instance.halt(scope, "looked", lift=True)

    context = halted["context"]
    assert isinstance(context, dict) and halted["decision"] is False and context["verdict"] == "blocked"
    assert f"halted ({scope}) by {os_user().person}" in str(context["reason"])
    assert "look first" in str(context["reason"])
    assert other["decision"] is (scope == "target:localhost")
    assert ask(service, READ).json["decision"] is True


def test_several_questions_are_answered_as_far_as_is_asked(service: Running) -> None:
    deny = {"action": {"name": "destroy", "properties": {"intent": "hello/x"}}}
    items = [{}, deny, {"resource": 7}, {}]

    def answered(semantic: str | None) -> list[bool]:
        options = {} if semantic is None else {"options": {"evaluations_semantic": semantic}}
        found = ask(service, {**READ, "evaluations": items, **options}, SEVERAL).json["evaluations"]
        assert isinstance(found, list)
        return [item["decision"] for item in found]

    assert answered(None) == answered("execute_all") == [True, False, False, True]
    assert answered("deny_on_first_deny") == [True, False]
    assert answered("permit_on_first_permit") == [True]
    assert ask(service, READ, SEVERAL).json["decision"] is True
    odd = {**READ, "evaluations": items, "options": {"evaluations_semantic": "x"}}
    assert ask(service, odd, SEVERAL).status == 400
    assert ask(service, {**READ, "evaluations": [{}] * 257}, SEVERAL).status == 400


@pytest.mark.parametrize("token", [None, "", "short", TOKEN[:-1], TOKEN + "x", digest_of(TOKEN.encode())])
def test_who_holds_no_token_learns_nothing(service: Running, token: str | None) -> None:
    reply = ask(service, READ, token=token)

    assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
    assert reply.headers["content-type"] == "application/problem+json"
    assert (reply.json["title"], reply.json["status"]) == ("Unauthorized", 401)
    assert reply.json["code"] == "caller-unknown" and isinstance(reply.json["detail"], str)
    assert "decision" not in reply.json


def without(place: str) -> dict[str, object]:
    found = json.loads(json.dumps(READ))
    *path, last = place.split(".")
    part = found
    for name in path:
        part = part[name]
    del part[last]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    "place",
    [
        *(
            "subject",
            "subject.id",
            "subject.type",
            "action",
            "action.name",
            "action.properties",
            "action.properties.intent",
        ),
        *("resource", "resource.id", "resource.type", "resource.properties.criticality"),
        *("context", "context.mode", "context.risk", "context.environment"),
    ],
)
def test_a_question_that_leaves_out_what_carries_authority_is_refused(service: Running, place: str) -> None:
    reply = ask(service, without(place))

    assert (reply.status, reply.json["code"]) == (400, "evaluation-refused")
    assert place.split(".", maxsplit=1)[0] in str(reply.json["detail"])


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"subject":1,"subject":2}', b"[" * 9000, b"\xff", b'"x"']
)
def test_a_body_that_is_no_question_is_a_400_or_less(service: Running, body: bytes) -> None:
    for path in (ONE, SEVERAL):
        assert ask(service, body, path).status == 400


def test_a_page_of_another_site_and_a_service_without_callers_answer_nobody(
    service: Running, settings: Settings
) -> None:
    assert ask(service, READ, Origin="http://evil.example").status == 403
    assert (
        service.call("POST", ONE, b"{}", Content_Type="text/plain", Authorization=f"Bearer {TOKEN}").status
        == 415
    )
    configure(settings.root, "callers: {}\n")
    try:
        assert ask(service, READ).status == 401
        (settings.root / "authzen.yaml").chmod(0o666)
        assert ask(service, READ).status == 503
    finally:
        configure(settings.root, f"callers:\n  gateway: {digest_of(TOKEN.encode())}\n")


# --- whom we ask ---


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "surprise: 1",
        "callers: [a]",
        "callers: {a: secret}",
        "pdp: {}",
        "pdp: []",
        "pdp: {url: 'http://pdp.example'}",
        "pdp: {url: 'http://192.0.2.1'}",
        "pdp: {url: 'ftp://127.0.0.1'}",
        "pdp: {url: 'https://'}",
        "pdp: {url: 'https://user@pdp.example'}",
        "pdp: {url: 'https://pdp.example?a'}",
        "pdp: {url: 'https://pdp.example:x'}",
        'pdp: {url: "https://pdp.example/a\\nb"}',
        "pdp: {url: 'https://pdp.example', timeout_ms: 0}",
        "pdp: {url: 'https://pdp.example', timeout_ms: 4001}",
        "pdp: {url: 'https://pdp.example', timeout_ms: true}",
        "pdp: {url: 'https://pdp.example', ca_file: /nowhere}",
        "pdp: {url: 'https://pdp.example', token_secret: gone}",
        "pdp: {url: 'https://pdp.example', token_secret: odd}",
        "pdp: {url: 'https://pdp.example', wait: 1}",
    ],
)
def test_a_file_that_cannot_be_followed_denies_and_says_why(tmp_path: Path, text: str) -> None:
    configure(tmp_path, text)
    outside = Outside(Root(tmp_path), secrets({"REXECOP_SECRET_ODD": "a\r\nHost: b"}, tmp_path))

    said = asyncio.run(outside.of(request()))

    assert said is not None and not said.allowed and said.reason and "\n" not in said.reason


def test_a_file_that_others_can_write_denies_and_without_one_nobody_is_asked(tmp_path: Path) -> None:
    outside = Outside(Root(tmp_path), secrets({}, tmp_path))
    assert asyncio.run(outside.of(request())) is None

    configure(tmp_path, "callers: {}\n")
    assert asyncio.run(outside.of(request())) is None
    (tmp_path / "authzen.yaml").chmod(0o666)
    said = asyncio.run(outside.of(request()))
    assert said is not None and not said.allowed
    with pytest.raises(RexecopError):
        read_access(Root(tmp_path))


class Decider(BaseHTTPRequestHandler):
    """A decision point that denies changes."""

    seen: ClassVar[list[dict[str, object]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.seen.append(body)
        allows = body["action"]["name"] == "read"
        data = json.dumps({"decision": allows, "context": {"reason_admin": {"en": "frozen"}}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def decider() -> Iterator[str]:
    found = ThreadingHTTPServer(("127.0.0.1", 0), Decider)
    Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{found.server_address[1]}"
    finally:
        found.shutdown()
        found.server_close()


def test_an_operation_is_put_to_the_point_outside_and_its_word_is_in_the_bundle() -> None:
    async def story(folder: Path, url: str) -> None:
        await made(folder)
        configure(folder / "root", f"pdp: {{url: '{url}'}}\n")

        def said(operation: str) -> Opinion | None:
            found = [s.record for s in records(instance, operation) if isinstance(s.record, Decision)]
            return found[-1].opinion

        with opened(folder) as instance:
            read = await instance.plan(asked(folder, "host_facts", "read_only"))
            allowed = said(read.operation_id)
            assert read.state == State.APPROVED and allowed is not None and allowed.allowed and allowed.answer
            await instance.start(read.operation_id)
            change = await instance.plan(
                asked(
                    folder,
                    "set_greeting",
                    "apply",
                    {"greeting": "hi"},
                )
            )
            denied = said(change.operation_id)
            assert change.state == State.BLOCKED and denied is not None
            assert (denied.source, denied.allowed, denied.reason) == (url, False, "no to `localhost`: frozen")
            for operation in (read.operation_id, change.operation_id):
                assert verified(instance, operation).holds(Rung.LOGGED)
        assert {str(body["action"]["name"]) for body in Decider.seen} == {"read", "change"}  # type: ignore[index]

        with opened(folder) as instance:
            assert [c.status for c in instance.check().checks if c.name == "authzen"] == ["ok"]
            configure(folder / "root", "pdp: {url: 'http://pdp.example'}\n")
            assert [c.status for c in instance.check().checks if c.name == "authzen"] == ["failed"]
            configure(folder / "root", "pdp: {url: 'http://127.0.0.1:1'}\n")
            lost = await instance.plan(asked(folder, "host_facts", "read_only"))
            assert lost.state == State.BLOCKED

    with scratch() as folder, decider() as url:
        asyncio.run(story(folder, url))
