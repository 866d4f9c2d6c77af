"""Events of callers with a token: taken as the trigger rules say, in every form there is, or refused."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from rexecop.app.build import open_instance
from rexecop.app.clock import SystemClock
from rexecop.app.door import ServiceScope
from rexecop.app.instance import Instance
from rexecop.app.profiles import find_profile
from rexecop.app.settings import Settings, load_settings
from rexecop.app.tokens import TokenAsked, Tokens
from rexecop.app.triggering import Inbox
from rexecop.proof.canonical import digest_of
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.intent import Intent
from rexecop.proof.records.ticket import Ticket
from tests.app.support import records
from tests.app.test_events import without_parameter
from tests.service.running import Reply, Running, running

TOKEN: Final = "a-token-of-some-length"
OTHER: Final = "another-token-of-some-length"
SECOND: Final = "a-token-of-the-second-caller"
STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
RULES: Final = """
id: greetings
rules:
  - id: look
    event_type: host.seen
    decision: plan_operation
    operation: {intent: host_facts, target_from: subject, mode: read_only}
    cooldown_seconds: 300
  - id: greet
    event_type: host.new
    decision: plan_operation
    operation: {intent: set_greeting, target: localhost, mode: apply}
  - id: entry
    event_type: host.listed
    decision: plan_operation
    operation: {intent: host_facts, catalog_target_from: subject, mode: read_only}
  - {id: tell, event_type: host.odd, decision: escalate}
"""
CATALOG: Final = """
target_catalog:
  version: "0.1"
  targets:
    - id: here
      target_kind: host
      profile_ref: ./greeter
      environment_ref: hello.environment.yaml
      environment_target: localhost
      capabilities: []
      connector_refs: [local]
    - id: bare
      target_kind: host
      profile_ref: ./greeter
      environment_ref: hello.environment.yaml
      environment_target: localhost
      capabilities: []
      connector_refs: []
"""
CALLERS: Final = f"""
callers:
  gateway: {digest_of(TOKEN.encode())}
  asker: {digest_of(OTHER.encode())}
  second: {digest_of(SECOND.encode())}
"""
HOOKS: Final = """
webhooks:
  gate: {caller: gateway, profile: ./greeter, env: hello.environment.yaml, catalog: targets.yaml, start: true}
  more: {caller: second, profile: ./greeter, env: hello.environment.yaml}
  far: {caller: far, profile: ./greeter, env: hello.environment.yaml, catalog: targets.yaml, start: true}
  away: {caller: away, profile: ./greeter, env: hello.environment.yaml, start: true}
  looks: {caller: looks, profile: ./greeter, env: hello.environment.yaml, catalog: targets.yaml}
"""
SCOPES: Final = {
    "far": ServiceScope(targets=("mars*",)),
    "away": ServiceScope(environments=("there",)),
    "looks": ServiceScope(intents=("hello/host_facts",), targets=("local*",), environments=("h*",)),
}


@pytest.fixture(scope="module")
def service(settings: Settings) -> Iterator[Running]:
    root: Path = settings.root
    for name, data in find_profile("hello").files.items():
        path = root / "greeter" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(without_parameter(data))
    (root / "greeter" / "triggers").mkdir()
    (root / "greeter" / "triggers" / "trigger_rules.yaml").write_text(RULES)
    for name, text in (("authzen.yaml", CALLERS), ("webhooks.yaml", HOOKS), ("targets.yaml", CATALOG)):
        (root / name).write_text(text)
        (root / name).chmod(0o600)
    with running(root) as found:
        yield found


@pytest.fixture(scope="module")
def tokens(service: Running) -> dict[str, str]:
    """Return the tokens of callers who may do everything, on some of it."""

    async def made() -> dict[str, str]:
        with opened(service) as instance:
            tokens = Tokens(instance)
            asked = {name: TokenAsked(name=name, roles=("admin",), scope=SCOPES[name]) for name in SCOPES}
            return {name: str((await tokens.new(one)).token) for name, one in asked.items()}

    return asyncio.run(made())


def opened(service: Running) -> Instance:
    return open_instance(load_settings({"root": str(service.root)}, {}, service.root, service.root))


def cloud(name: str, kind: str = "host.seen", **more: object) -> dict[str, object]:
    return {
        "specversion": "1.0", "id": name, "source": "/t", "type": kind, "subject": "localhost",
        "time": SystemClock().now().isoformat(), "cooldownkey": name, **more,
    }  # fmt: skip


def tell(
    service: Running, body: object, media: str = STRUCTURED, token: str | None = TOKEN, **headers: str
) -> Reply:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Authorization": f"Bearer {token}"} if token is not None else {}
    return service.call("POST", "/v1/events", sent, Content_Type=media, **given, **headers)


def look(service: Running, path: str = "/v1/events", token: str = TOKEN) -> Reply:
    return service.call("GET", path, Authorization=f"Bearer {token}")


def is_problem(reply: Reply, status: int, code: str = "event-refused") -> bool:
    found = (reply.status, reply.headers["content-type"], reply.json["code"])
    assert found == (status, "application/problem+json", code), (found, reply.body)
    return True


def test_an_event_is_planned_once_and_can_be_looked_up(service: Running) -> None:
    event = cloud("one")
    taken, again = tell(service, event), tell(service, event)

    assert (taken.status, taken.json["outcome"], taken.json["rule"]) == (202, "planned", "look")
    assert (again.status, again.json["outcome"]) == (202, "drop_duplicate")
    assert again.json["operation_id"] == taken.json["operation_id"]
    assert taken.headers["location"] == f"/v1/events/{taken.json['id']}"
    one = look(service, taken.headers["location"])
    assert one.status == 200 and one.json["operation_id"] == taken.json["operation_id"]
    assert (one.json["event"], one.json["intent"]) == (digest_of(json.dumps(event).encode()), "host_facts")
    with open_instance(load_settings({"root": str(service.root)}, {}, service.root, service.root)) as found:
        intent = records(found, str(taken.json["operation_id"]))[0].record
        place = found.status(str(taken.json["operation_id"])).place
    assert isinstance(intent, Intent) and intent.idempotency_key == f"event:gateway:{taken.json['id']}"
    assert intent.origin.channel == "trigger" and place is not None, (
        "the operator says that reads are started"
    )


@pytest.mark.parametrize("caller", ["far", "away"])
def test_what_an_event_would_plan_beyond_the_scope_of_who_tells_it_is_not_there(
    service: Running, tokens: dict[str, str], caller: str
) -> None:
    def planned() -> tuple[int, int]:
        with opened(service) as instance:
            return len(instance.list(limit=1000)), len(Inbox(instance).dead())

    token, before, seen = tokens[caller], planned(), cloud(f"beyond-{caller}")
    refused = tell(service, seen, token=token)
    assert is_problem(refused, 404, "forbidden") and planned() == before
    several = tell(
        service, [cloud(f"b-{caller}", "host.new"), cloud(f"c-{caller}", "host.none")], BATCH, token
    )
    assert several.status == 202 and planned() == before
    assert [(one["outcome"], one.get("code")) for one in several.json["events"]] == [  # type: ignore[attr-defined]
        ("refused", "forbidden"),
        ("ignored", None),
    ]

    # Who may learns of it, and who may not is told the same after as before, whatever the cooldown says.
    taken = tell(service, seen)
    assert taken.json["outcome"] == "planned"
    after = [
        tell(service, one, token=token)
        for one in (seen, cloud(f"d-{caller}", cooldownkey=f"beyond-{caller}"))
    ]
    assert [one.body for one in after] == [refused.body] * 2 and "operation" not in refused.body.decode()
    assert is_problem(look(service, f"/v1/events/{taken.json['id']}", token), 404)
    assert look(service, token=token).json["events"] == []


def test_of_a_catalog_what_is_not_there_and_what_is_beyond_the_scope_read_the_same(
    service: Running, tokens: dict[str, str]
) -> None:
    subjects = ("here", "bare", "nowhere")
    told = [
        tell(service, cloud(f"cat-{one}", "host.listed", subject=one), token=tokens["far"])
        for one in subjects
    ]

    assert [one.status for one in told] == [404] * 3 and len({one.body for one in told}) == 1


def test_within_their_scope_events_of_a_caller_are_planned_and_looked_up(
    service: Running, tokens: dict[str, str]
) -> None:
    token = tokens["looks"]
    seen, listed = cloud("within-1"), cloud("within-2", "host.listed", subject="here")
    told = [tell(service, one, token=token) for one in (seen, listed, seen)]

    assert [one.json["outcome"] for one in told] == ["planned", "planned", "drop_duplicate"]
    assert told[0].json["operation_id"] == told[2].json["operation_id"]
    found = look(service, token=token).json["events"]
    assert isinstance(found, list) and [one["id"] for one in found] == [
        told[1].json["id"],
        told[0].json["id"],
    ]
    assert look(service, f"/v1/events/{told[0].json['id']}", token).status == 200
    assert is_problem(tell(service, cloud("within-3", "host.new"), token=token), 404, "forbidden")


def test_the_same_event_in_headers_is_the_same_event(service: Running) -> None:
    event = cloud("binary", subject="localhost", type="host.gone", source="/ümlaut")
    first = tell(service, event)
    headers = {f"ce-{name}": str(value) for name, value in event.items()}
    again = tell(
        service,
        {"load": 1.5},
        "application/json",
        **{**headers, "ce-source": "/%C3%BCmlaut", "ce-id": '"binary"'},
    )

    assert (first.json["outcome"], again.status, again.json["outcome"]) == ("ignored", 202, "drop_duplicate")
    assert first.json["id"] == again.json["id"]
    seen = cloud("binary-2")
    named = {f"ce-{name}": str(value) for name, value in seen.items()}
    assert tell(service, {"load": 1.5}, "application/vnd.host+json", **named).json["outcome"] == "planned"
    assert tell(service, b"", "application/json", **named).json["outcome"] == "drop_duplicate"


def test_several_at_once_are_each_answered_and_one_that_is_none_stops_all(service: Running) -> None:
    events = [cloud("b1"), cloud("b2", subject="mars"), cloud("b3", "host.odd")]
    wrong = tell(service, [*events, {**cloud("b4"), "time": "soon"}], BATCH)
    assert is_problem(wrong, 422) and "event 3 of the batch" in str(wrong.json["detail"])

    answer = tell(service, events, BATCH)

    found = answer.json["events"]
    assert answer.status == 202 and isinstance(found, list)
    assert [one["outcome"] for one in found] == ["planned", "refused", "escalated"]
    assert found[1]["code"] == "target-unknown"
    assert is_problem(tell(service, [cloud(str(n)) for n in range(65)], BATCH), 422)
    assert is_problem(tell(service, [], BATCH), 422)


def test_a_rule_starts_no_change_that_nobody_approved(service: Running) -> None:
    answer = tell(service, cloud("change", "host.new", data={"start": True, "approve": True}))

    assert (answer.status, answer.json["state"]) == (202, "waiting_for_approval")
    around = {"profile": "hello", "env": "e", "start": True, "event": cloud("around", "host.new")}
    assert is_problem(tell(service, around, "application/json"), 422)
    # Where policy asks nobody, it waits for a person to start it.
    pack = service.root / "policy" / "starter" / "requirements" / "approvals.cedar"
    rules = pack.read_text()
    pack.write_text(rules.replace('Action::"change"', 'Action::"destroy"'))
    try:
        free = tell(service, cloud("free", "host.new"))
    finally:
        pack.write_text(rules)
    assert (free.status, free.json["state"]) == (202, "approved")
    with open_instance(
        load_settings({"root": str(service.root)}, {}, service.root, service.root)
    ) as instance:
        for one, place in ((answer, 2), (free, None)):
            operation = str(one.json["operation_id"])
            kinds = [type(sealed.record) for sealed in records(instance, operation)]
            assert Attempt not in kinds and Ticket not in kinds
            assert (instance.status(operation).place is None) is (place is None)


def test_what_a_rule_names_in_a_catalog_is_asked_of_the_catalog(service: Running) -> None:
    here = tell(service, cloud("c1", "host.listed", subject="here"))
    bare = tell(service, cloud("c2", "host.listed", subject="bare"))
    nowhere = tell(service, cloud("c3", "host.listed", subject="localhost"))

    assert (here.status, here.json["outcome"]) == (202, "planned")
    assert is_problem(bare, 422, "not-applicable") and "missing_connector" in str(bare.json["detail"])
    assert is_problem(nowhere, 422, "target-unknown")
    with open_instance(
        load_settings({"root": str(service.root)}, {}, service.root, service.root)
    ) as instance:
        plan = instance.operation(str(here.json["operation_id"])).the_plan
        letters = {
            letter.code: text
            for name in Inbox(instance).dead()
            for letter, text in [Inbox(instance).text(name)]
        }
    assert plan.targets[0].id == "localhost" and (plan.notes or {})["catalog"]["target"] == "here"  # type: ignore[index,call-overload]
    assert '"catalog"' in letters["not-applicable"]


def test_who_may_not_tell_events_learns_nothing(service: Running) -> None:
    event = cloud("stranger")
    for path, method in (("/v1/events", "POST"), ("/v1/events", "GET"), ("/v1/events/sha256:0", "GET")):
        body = json.dumps(event).encode() if method == "POST" else None
        none = service.call(method, path, body, Content_Type=STRUCTURED)
        assert is_problem(none, 401, "caller-unknown") and none.headers["www-authenticate"] == "Bearer"
        asker = service.call(method, path, body, Content_Type=STRUCTURED, Authorization=f"Bearer {OTHER}")
        assert is_problem(asker, 403, "webhook-refused")
    assert is_problem(tell(service, event, token=TOKEN[:-1]), 401, "caller-unknown")
    assert is_problem(tell(service, event, Host="evil.example"), 421)
    assert is_problem(tell(service, event, Origin="https://evil.example"), 403)
    gate = service.call("POST", "/webhooks/gate", json.dumps(event).encode(), Content_Type=STRUCTURED)
    assert gate.status == 404, "a caller's entry is no way round the signature"
    assert tell(service, event).json["outcome"] == "planned"


def test_pages_hold_so_many_and_say_where_the_next_begins(service: Running) -> None:
    for n in range(3):
        assert tell(service, cloud(f"page-{n}")).json["outcome"] == "planned"

    first = look(service, "/v1/events?limit=2").json
    second = look(service, f"/v1/events?limit=2&cursor={first['next']}").json

    assert isinstance(first["events"], list) and isinstance(second["events"], list)
    numbers = [one["number"] for one in (*first["events"], *second["events"])]
    assert len(numbers) == 4 and numbers == sorted(set(numbers), reverse=True)
    whole = look(service).json["events"]
    assert isinstance(whole, list) and [one["number"] for one in whole][:4] == numbers
    for wrong in (
        "limit=0",
        "limit=101",
        "limit=x",
        "cursor=-1",
        "cursor=9" + "9" * 20,
        "page=2",
        "limit=%FF",
    ):
        assert is_problem(look(service, f"/v1/events?{wrong}"), 400)
    theirs = tell(service, cloud("of-another"), token=SECOND).json
    own = look(service, token=SECOND).json["events"]
    assert isinstance(own, list) and [one["id"] for one in own] == [theirs["id"]]
    assert look(service).json["events"] == whole, "a caller sees its own events"
    ignored = tell(service, cloud("unknown", "host.gone")).json
    assert look(service, f"/v1/events/{ignored['id']}").json == {"id": ignored["id"], "operation_id": None}
    for missing in ("sha256:" + "0" * 64, "x", "%00", "%FF"):
        assert is_problem(look(service, f"/v1/events/{missing}"), 404)
    assert is_problem(look(service, "/v1/nothing"), 404, "path-unknown")
    assert is_problem(service.call("PUT", "/v1/events"), 405, "method-refused")


GOOD: Final = json.dumps(cloud("good"))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"[", 422),
        (b"\xff\xfe", 422),
        (b"\x00", 422),
        (b'"specversion"', 422),
        (b"null", 422),
        (b"[]", 422),
        (b"{}", 422),
        (b'{"specversion": null}', 422),
        (b'{"specversion": NaN}', 422),
        (b'{"specversion": "1.0", "id": "\\ud800"}', 422),
        (GOOD.replace('"specversion"', '"id": "x", "specversion"').encode(), 422),
        (GOOD.replace('"1.0"', '"0.3"').encode(), 422),
        (GOOD.replace('"/t"', "1").encode(), 422),
        (GOOD.replace('"/t"', '"a\\u0000b"').encode(), 422),
        (GOOD.replace('"host.seen"', '"' + "x" * 600 + '"').encode(), 422),
        (GOOD[:-1].encode() + b', "data": ' + b"[" * 5000 + b"]" * 5000 + b"}", 422),
        (GOOD[:-1].encode() + b', "data": NaN}', 422),
        (GOOD[:-1].encode() + b', "data": 1e999}', 422),
        (GOOD[:-1].encode() + b', "data_base64": "AA=="}', 422),
        (json.dumps({**cloud("old"), "time": "2020-01-01T00:00:00Z"}).encode(), 422),
        (b" " * 65_537, 413),
        (b"[" * 65_536, 422),
    ],
)
def test_what_is_no_event_is_refused_with_a_code(service: Running, body: bytes, status: int) -> None:
    assert is_problem(tell(service, body), status)


@pytest.mark.parametrize(
    "media",
    [
        "text/plain",
        "",
        "application/xml",
        "application/cloudevents+xml",
        "application/json; charset=utf-16",
        "multipart/form-data",
        ";",
        "\xff/\xff",
    ],
)
def test_what_is_no_json_by_its_type_is_refused(service: Running, media: str) -> None:
    assert is_problem(tell(service, cloud("media"), media), 415)
    assert is_problem(tell(service, cloud("media"), media, **{"ce-specversion": "1.0"}), 415)


@pytest.mark.parametrize(
    "headers",
    [
        {"ce-specversion": ""},
        {"ce-id": "only"},
        {"ce-id": "%FF"},
        {"ce-id": "\xfc"},
        {"ce-id": ""},
        {"ce-id": "a%00b"},
        {"ce-data": "x"},
        {"ce-datacontenttype": "text/plain"},
        {"ce-": "x"},
        {"ce-a_b": "x"},
        {"ce-time": "now"},
    ],
)
def test_headers_that_are_no_event_are_refused(service: Running, headers: dict[str, str]) -> None:
    whole = {f"ce-{name}": str(value) for name, value in cloud("headers").items()}
    given = headers if headers == {"ce-id": "only"} else {**whole, **headers}

    assert is_problem(tell(service, {"a": 1}, "application/json", **given), 422)


def test_whatever_is_sent_is_answered_and_never_by_an_error_of_ours(service: Running) -> None:
    seeded = random.Random(7)
    whole = json.dumps([cloud("f1"), cloud("f2", data={"deep": [1, {"x": None}]})]).encode()
    for _ in range(300):
        body = bytearray(whole if seeded.random() < 0.5 else GOOD.encode())
        for _ in range(seeded.randint(1, 6)):
            at = seeded.randrange(len(body))
            if seeded.random() < 0.5:
                body[at] = seeded.randrange(256)
            else:
                body[at:at] = seeded.choice(
                    [b"\xff", b'"', b"{", b"]", b"NaN", b"1e99999", b"\\ud800", b"\x00"]
                )
        media = seeded.choice([STRUCTURED, BATCH, "application/json"])
        answer = tell(service, bytes(body), media)
        assert answer.status in (202, 422), (answer.status, answer.body, bytes(body))
        assert answer.status == 202 or answer.json["code"]


def test_a_file_of_the_root_that_cannot_be_followed_lets_nobody_in(service: Running) -> None:
    hooks = service.root / "webhooks.yaml"
    for text in (
        HOOKS + "  twin: {caller: gateway, profile: ./greeter, env: hello.environment.yaml}\n",
        HOOKS.replace("caller: gateway", "caller: gateway, secret: [hook]"),
        HOOKS.replace("env: hello.environment.yaml, catalog: targets.yaml, ", ""),
    ):
        hooks.write_text(text)
        answer = tell(service, cloud("closed"))
        hooks.write_text(HOOKS)
        assert is_problem(answer, 503, "webhooks-refused") and answer.headers["retry-after"] == "1"
    rules = service.root / "greeter" / "triggers" / "trigger_rules.yaml"
    rules.write_text("rules: 3")
    broken = tell(service, cloud("closed"))
    rules.write_text(RULES)
    assert is_problem(broken, 503, "webhooks-refused")
    assert "trigger_rules.yaml:1: key `id` is missing" in str(broken.json["detail"])
    assert tell(service, cloud("closed")).json["outcome"] == "planned"
