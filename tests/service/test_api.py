"""The API below `/v1`: what it takes, answers and refuses, over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Final, cast

import pytest

from rexecop.app.approver import Word, prepare
from rexecop.app.build import init_root, open_instance
from rexecop.app.settings import load_settings
from rexecop.proof.verify import verify
from rexecop.proof.verify.trusted import trust_of
from tests.app.support import scratch
from tests.service.api import Api, api
from tests.service.running import Reply, at_once

PEOPLE: Final = ("alice", "carol", "elsa", "robot", "ada")
OPERATIONS: Final = "/v1/operations"
ABSENT: Final = "op_" + "0" * 32


@pytest.fixture(scope="module")
def v1() -> Iterator[Api]:
    with scratch() as folder:
        settings = load_settings({"root": str(folder / "root")}, {}, folder, folder)
        asyncio.run(init_root(settings, others=PEOPLE, approver="bob"))
        with api(settings.root) as found:
            yield found


@pytest.fixture(scope="module")
def done(v1: Api) -> str:
    """The id of a read that is over."""
    name = v1.plan()
    assert v1.post(f"{OPERATIONS}/{name}/start", Prefer="wait=10").json["state"] == "completed"
    return name


def is_problem(reply: Reply, status: int, code: str) -> bool:
    found = (reply.status, reply.headers["content-type"], reply.json["code"])
    assert found == (status, "application/problem+json", code), (found, reply.body)
    assert reply.json["type"] == f"urn:rexecop:code:{code}" and reply.json["status"] == status
    return True


def rows(reply: Reply, name: str) -> list[dict[str, object]]:
    """Return the list that an answer has under `name`."""
    return cast("list[dict[str, object]]", reply.json[name])


def events(reply: Reply) -> list[tuple[str, dict[str, object]]]:
    """Return kind and data of each event."""
    found = []
    for block in reply.body.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


def follow(v1: Api, name: str, **headers: str) -> tuple[HTTPConnection, HTTPResponse]:
    """Begin to follow an operation."""
    connection = HTTPConnection("127.0.0.1", v1.service.port, timeout=60)
    connection.request(
        "GET", f"{OPERATIONS}/{name}/events", headers={"Authorization": f"Bearer {v1.token}", **headers}
    )
    return connection, connection.getresponse()


def answered(v1: Api, name: str, folder: Path) -> bytes:
    """Return bob's signed yes to an operation, made from nothing but the request that the API gives."""
    request, answer = folder / "request", folder / "answer"
    request.write_bytes(v1.by("approver").get(f"{OPERATIONS}/{name}/approval-request").body)
    key = v1.service.root / "keys" / "approver"
    prepare(request, key=key, agent=False, environ={}, word=Word(reason="read it")).write(answer)
    return answer.read_bytes()


def test_a_change_is_planned_approved_by_a_signed_answer_run_followed_and_proved(
    v1: Api, tmp_path: Path
) -> None:
    name = v1.plan("set_greeting", "apply", parameters={"greeting": "good day"}, reason="guests")
    shown = v1.get(f"{OPERATIONS}/{name}")
    assert shown.json["state"] == "waiting_for_approval" and shown.json["requester"] == "alice"
    assert "good day" in v1.get(f"{OPERATIONS}/{name}/preview").body.decode()
    # Starting it early runs nothing, and nobody who only runs things takes an answer in.
    assert v1.post(f"{OPERATIONS}/{name}/start").json["state"] == "waiting_for_approval"
    answer = answered(v1, name, tmp_path)
    assert is_problem(v1.post(f"{OPERATIONS}/{name}/answers", answer), 403, "forbidden")
    other = v1.plan("set_greeting", "apply", parameters={"greeting": "good night"})
    assert is_problem(v1.by("approver").post(f"{OPERATIONS}/{other}/answers", answer), 422, "answer-unfit")
    forged = answer.replace(b"read it", b"read at")
    assert v1.by("approver").post(f"{OPERATIONS}/{name}/answers", forged).status == 422
    taken = v1.by("approver").post(f"{OPERATIONS}/{name}/answers", answer)
    assert (taken.status, taken.json["state"], taken.json["approved_by"]) == (200, "approved", ["bob"])

    connection, stream = follow(v1, name)
    started = v1.post(f"{OPERATIONS}/{name}/start", {}, Prefer="respond-async")
    assert started.status in (200, 202)
    heard = events(Reply(200, stream.read(), {}))
    connection.close()

    kinds = [str(data["kind"]) for kind, data in heard if kind == "record"]
    assert kinds[:2] == ["intent/1", "plan/1"] and kinds[-1] == "receipt/1"
    assert heard[-1] == ("end", {"operation_id": name, "state": "completed"})
    assert (v1.service.root.parent / "rexecop-hello" / "greeting.txt").read_text() == "good day\n"
    bundle = v1.by("auditor").get(f"{OPERATIONS}/{name}/bundle")
    assert bundle.headers["content-type"] == "application/octet-stream"
    settings = load_settings({"root": str(v1.service.root)}, {}, tmp_path, tmp_path)
    with open_instance(settings) as instance:
        report = verify(bundle.body, trust_of(instance.parts.authority.enrolments()))
        assert report.findings == () and report.claims.approvals_own == 1
        handed = instance.evidence(name).accesses
    assert [str(one["by"]) for one in handed if "audrey" in str(one["by"])] and len(handed) == 1


def test_the_same_key_and_request_are_one_operation_and_another_request_is_refused(v1: Api) -> None:
    body = {"intent": "host_facts", "target": "localhost", "mode": "read_only"}
    first = v1.post(OPERATIONS, body, Idempotency_Key="monday")
    again = v1.post(OPERATIONS, body, Idempotency_Key="monday")
    other = v1.post(OPERATIONS, {**body, "mode": "dry_run"}, Idempotency_Key="monday")
    theirs = v1.by("other").post(OPERATIONS, body, Idempotency_Key="monday")

    assert (first.status, again.status) == (201, 200)
    assert first.headers["location"] == f"{OPERATIONS}/{first.json['operation_id']}"
    assert again.json["operation_id"] == first.json["operation_id"]
    assert is_problem(other, 409, "request-conflict")
    assert theirs.status == 201, "a key is of who uses it"
    assert is_problem(v1.post(OPERATIONS, body, Idempotency_Key="k" * 300), 400, "query-refused")


def test_however_many_ask_at_once_under_one_key_one_operation_is_recorded(v1: Api) -> None:
    body = {"intent": "host_facts", "target": "localhost", "mode": "read_only"}
    found = at_once(8, lambda _: v1.post(OPERATIONS, body, Idempotency_Key="all at once"))

    assert sorted(reply.status for reply in found) == [200] * 7 + [201]
    assert len({reply.json["operation_id"] for reply in found}) == 1
    name = str(found[0].json["operation_id"])
    moved = at_once(4, lambda _: v1.post(f"{OPERATIONS}/{name}/start", Prefer="wait=10"))
    assert {reply.status for reply in moved} <= {200, 202, 409}, "who comes second may find it at work"
    records = rows(v1.get(f"{OPERATIONS}/{name}/records?limit=200"), "records")
    kinds = [one["kind"] for one in records]
    assert [kinds.count(f"{one}/1") for one in ("ticket", "attempt", "receipt")] == [1, 3, 1]


def test_a_request_is_asked_about_before_it_is_made_and_nothing_is_recorded(v1: Api) -> None:
    before = v1.get(OPERATIONS).json["operations"]
    found = v1.post(
        f"{OPERATIONS}/why",
        {
            "intent": "set_greeting", "target": "localhost", "mode": "apply", "parameters": {"greeting": "hi"}
        },
    )  # fmt: skip

    assert found.status == 200 and found.json["operation_id"] is None
    assert "approval" in " ".join(cast("list[str]", found.json["lines"]))
    assert v1.get(OPERATIONS).json["operations"] == before


def test_an_agent_asks_with_its_sponsor_and_approves_nothing(v1: Api, done: str) -> None:
    name = v1.by("agent").plan()
    intent = rows(v1.get(f"{OPERATIONS}/{name}/records?limit=1"), "records")[0]

    assert '"sponsor": "alice"' in json.dumps(intent["body"]) and str(intent["by"]).startswith("robot ")
    answer = {"kind": "approval-answer/1", "statement": {}, "signature": ""}
    assert is_problem(v1.by("agent").post(f"{OPERATIONS}/{name}/answers", answer), 403, "forbidden")


def test_an_operation_that_did_not_change_is_not_sent_again(v1: Api, done: str) -> None:
    for path in ("", "/preview"):
        first = v1.get(f"{OPERATIONS}/{done}{path}")
        again = v1.get(f"{OPERATIONS}/{done}{path}", If_None_Match=f'"x", {first.headers["etag"]}')
        other = v1.get(f"{OPERATIONS}/{done}{path}", If_None_Match='W/"another"')

        assert (first.status, again.status, again.body, other.status) == (200, 304, b"", 200)
        assert again.headers["etag"] == first.headers["etag"]
    name = v1.plan()
    planned = v1.get(f"{OPERATIONS}/{name}").headers["etag"]
    v1.post(f"{OPERATIONS}/{name}/start", Prefer="wait=10")
    assert v1.get(f"{OPERATIONS}/{name}", If_None_Match=planned).status == 200


def test_pages_go_on_where_the_one_before_ended(v1: Api, done: str) -> None:
    for _ in range(3):
        v1.plan()
    whole = v1.get(f"{OPERATIONS}?limit=200").json
    seen, path = list[object](), f"{OPERATIONS}?limit=2"
    while path:
        reply = v1.get(path)
        seen += rows(reply, "operations")
        link = reply.headers.get("link", "")
        path = link.partition(">")[0].removeprefix("<")
        assert (reply.json["next"] is not None) == bool(path)

    assert seen == whole["operations"] and len(seen) >= 4
    states = v1.get(f"{OPERATIONS}?state=completed&limit=200")
    assert {one["state"] for one in rows(states, "operations")} == {"completed"}
    records, cursor = list[object](), cast("str | None", "0")
    while cursor is not None:
        reply = v1.get(f"{OPERATIONS}/{done}/records?limit=3&cursor={cursor}")
        records += rows(reply, "records")
        cursor = cast("str | None", reply.json["next"])
    assert records == v1.get(f"{OPERATIONS}/{done}/records?limit=200").json["records"]
    names = [one["target"] for one in rows(v1.get("/v1/targets"), "targets")]
    assert names == ["localhost"]
    first = v1.get("/v1/intents?limit=1").json
    assert first["next"] == "adhoc/change"
    second = v1.get(f"/v1/intents?limit=1&cursor={first['next']}").json["intents"]
    assert second != first["intents"]


def test_following_goes_on_behind_the_last_event_that_came(v1: Api, done: str) -> None:
    whole = events(v1.get(f"{OPERATIONS}/{done}/events"))
    rest = events(v1.get(f"{OPERATIONS}/{done}/events", Last_Event_ID="2"))
    last = len(whole) - 2

    assert [data["n"] for kind, data in whole if kind == "record"] == [*range(last + 1)]
    assert rest == whole[3:]
    over = v1.get(f"{OPERATIONS}/{done}/events", Last_Event_ID=str(last))
    assert (over.status, over.body) == (204, b""), "who asks again by itself is to stop"
    assert is_problem(v1.get(f"{OPERATIONS}/{done}/events", Last_Event_ID="x"), 400, "query-refused")


def test_what_is_out_of_scope_reads_as_if_it_were_not_there(v1: Api, done: str) -> None:
    elsa = v1.by("elsewhere")
    for path in ("", "/records", "/preview", "/why", "/events", "/bundle", "/approval-request"):
        hidden, absent = (elsa.get(f"{OPERATIONS}/{name}{path}") for name in (done, ABSENT))
        assert is_problem(hidden, 404, "path-unknown")
        assert hidden.body.replace(done.encode(), b"") == absent.body.replace(ABSENT.encode(), b"")
    for verb in ("start", "resume", "retry", "rollback", "pause", "cancel", "escalate", "reconcile"):
        assert is_problem(elsa.post(f"{OPERATIONS}/{done}/{verb}"), 404, "path-unknown")
    asked = {"intent": "host_facts", "mode": "read_only"}
    for path in (OPERATIONS, f"{OPERATIONS}/why"):
        hidden = elsa.post(path, {**asked, "target": "localhost"})
        absent = elsa.post(path, {**asked, "target": "mars-1"})
        assert is_problem(hidden, 404, "path-unknown") and hidden.body == absent.body
    assert elsa.get(OPERATIONS).json == {"operations": [], "next": None}
    assert elsa.get("/v1/targets").json["targets"] == []
    assert is_problem(elsa.get(f"/v1/log/inclusion?operation={done}"), 404, "path-unknown")
    assert is_problem(elsa.get("/v1/windows?target=localhost"), 404, "path-unknown")
    for name in ("1", "@", "op_01", "../x", "%00"):
        assert v1.get(f"{OPERATIONS}/{name}").status == 404


def test_what_one_caller_just_read_is_not_there_for_whom_it_is_none_of_their_business(
    v1: Api, done: str
) -> None:
    for path in ("", "/records", "/preview", "/why"):
        assert [v1.get(f"{OPERATIONS}/{done}{path}").status for _ in range(2)] == [200, 200]
        assert is_problem(v1.by("elsewhere").get(f"{OPERATIONS}/{done}{path}"), 404, "path-unknown")
    assert rows(v1.get(OPERATIONS), "operations")
    assert v1.by("elsewhere").get(OPERATIONS).json["operations"] == []


def test_a_further_record_shows_at_once_in_every_answer(v1: Api, tmp_path: Path) -> None:
    name = v1.plan("set_greeting", "apply", parameters={"greeting": "good evening"})

    def read() -> tuple[object, object, int, str]:
        line = next(one for one in rows(v1.get(OPERATIONS), "operations") if one["operation_id"] == name)
        records = rows(v1.get(f"{OPERATIONS}/{name}/records?limit=200"), "records")
        first = cast("list[str]", v1.get(f"{OPERATIONS}/{name}/why").json["lines"])[0]
        return line["state"], v1.get(f"{OPERATIONS}/{name}").json["state"], len(records), first.split("`")[1]

    seen = [read()]
    for verb in ("answers", "start", "rollback"):
        if verb == "answers":
            v1.by("approver").post(f"{OPERATIONS}/{name}/answers", answered(v1, name, tmp_path))
        else:
            v1.post(f"{OPERATIONS}/{name}/{verb}", Prefer="wait=60")
        seen += [read(), read()]

    states = ["waiting_for_approval", *(2 * ["approved"]), *(2 * ["completed"]), *(2 * ["undone"])]
    assert [(line, view, why) for line, view, _, why in seen] == [(one, one, one) for one in states]
    counts = [count for _, _, count, _ in seen]
    assert counts[1::2] == counts[2::2] and counts[0] < counts[1] < counts[3] < counts[5]


def test_what_policy_says_now_of_an_operation_that_is_over_is_asked_each_time(v1: Api) -> None:
    rules = v1.service.root / "policy" / "starter" / "rules.cedar"
    before = rules.read_text()
    try:
        rules.write_text(before + '@id("not-she") forbid (principal == User::"alice", action, resource);\n')
        name = v1.plan()
        blocked = [v1.get(f"{OPERATIONS}/{name}/why").json for _ in range(2)]
    finally:
        rules.write_text(before)
    now = v1.get(f"{OPERATIONS}/{name}/why").json

    assert blocked[0]["state"] == now["state"] == "blocked" and blocked[0] == blocked[1]
    assert now["lines"] != blocked[0]["lines"]


def test_who_may_not_is_told_so_and_who_is_nobody_too(v1: Api, done: str) -> None:
    assert is_problem(v1.by("nobody").get(OPERATIONS), 401, "caller-unknown")
    assert v1.by("nobody").get("/openapi.json").headers["www-authenticate"] == "Bearer"
    assert is_problem(v1.by("viewer").post(OPERATIONS, {"intent": "host_facts"}), 403, "forbidden")
    assert is_problem(v1.by("viewer").post(f"{OPERATIONS}/{done}/retry"), 403, "forbidden")
    assert is_problem(v1.get(f"{OPERATIONS}/{done}/bundle"), 403, "forbidden")
    assert is_problem(v1.get("/v1/log/checkpoint"), 403, "forbidden")
    assert is_problem(v1.post("/v1/halts", {"scope": "all", "reason": "x"}), 403, "forbidden")
    foreign = v1.get(OPERATIONS, Origin="https://elsewhere.example")
    assert is_problem(foreign, 403, "site-foreign")
    assert is_problem(v1.get(OPERATIONS, Host="elsewhere.example"), 421, "site-foreign")


def test_a_request_that_is_none_is_refused_with_what_is_allowed(v1: Api, done: str) -> None:
    good = {"intent": "host_facts", "target": "localhost"}
    wrong = v1.post(OPERATIONS, {**good, "tarrget": "x"})
    assert is_problem(wrong, 422, "body-unfit") and "`break_glass`" in str(wrong.json["facts"])
    asked = v1.get(f"{OPERATIONS}?since=now")
    assert is_problem(asked, 400, "query-refused") and "`cursor`, `limit`, `state`" in str(
        asked.json["detail"]
    )
    assert is_problem(v1.get(f"{OPERATIONS}?limit=1&limit=2"), 400, "query-refused")
    for query in (
        "limit=0",
        "limit=201",
        "limit=x",
        "cursor=-1",
        "state=asleep",
        "cursor=99999999999999999999",
    ):
        assert is_problem(v1.get(f"{OPERATIONS}?{query}"), 400, "query-refused")
    assert is_problem(v1.post(OPERATIONS, b"x" * 70_000), 413, "body-unfit")
    assert is_problem(v1.post(OPERATIONS, b"{}", Content_Type="text/plain"), 415, "body-unfit")
    for body in (
        b"{",
        b"[]",
        b'{"intent": NaN}',
        b'{"intent":"a","intent":"b"}',
        b"\xff",
        b'{"intent":"\\ud800"}',
    ):
        assert is_problem(v1.post(OPERATIONS, body), 422, "body-unfit")
    nested: object = 1
    for _ in range(70):
        nested = [nested]
    deep = v1.post(OPERATIONS, {**good, "parameters": {"x": nested}})
    assert is_problem(deep, 422, "body-unfit")
    assert is_problem(v1.post(OPERATIONS, {**good, "parameters": {"x": 1.5}}), 422, "parameter-refused")
    assert is_problem(v1.post(OPERATIONS, {**good, "mode": "hard"}), 422, "body-unfit")
    assert is_problem(v1.post(OPERATIONS, {**good, "profile": "/etc"}), 404, "not-offered")
    assert is_problem(v1.post(OPERATIONS, {**good, "environment": "../x.yaml"}), 404, "not-offered")
    assert is_problem(v1.post(f"{OPERATIONS}/{done}/start", {"x": 1}), 422, "body-unfit")
    assert is_problem(v1.post(f"{OPERATIONS}/{done}/pause"), 409, "illegal-move")
    assert is_problem(v1.post(f"{OPERATIONS}/{done}/reconcile", {"happened": True}), 422, "body-unfit")
    assert is_problem(v1.post(f"{OPERATIONS}/{done}/reconcile"), 409, "nothing-to-settle")
    missing = v1.get("/v1/nothing")
    assert is_problem(missing, 404, "path-unknown")
    refused = v1.service.call("DELETE", f"{OPERATIONS}/{done}", Authorization="Bearer operator")
    assert is_problem(refused, 405, "method-refused") and "GET" in refused.headers["allow"]


def test_a_halt_stops_what_would_start_until_it_is_lifted(v1: Api) -> None:
    admin, name = v1.by("admin"), v1.plan()
    wrong = admin.post("/v1/halts", {"scope": "everything", "reason": "x"})
    assert is_problem(wrong, 422, "halt-refused")
    stands = admin.post("/v1/halts", {"scope": "target:localhost", "reason": "smoke"})
    try:
        assert [one["scope"] for one in rows(stands, "halts")] == ["target:localhost"]
        assert "halted" in str(v1.get(f"{OPERATIONS}/{name}").json["waiting"])
        assert v1.get("/v1/halts").json == stands.json
        assert v1.get("/v1/windows").json["halts"] == stands.json["halts"]
        assert v1.by("elsewhere").get("/v1/halts").json["halts"] == []
    finally:
        lifted = admin.post("/v1/halts/lift", {"scope": "target:localhost", "reason": "only toast"})
    assert lifted.json["halts"] == []
    assert v1.post(f"{OPERATIONS}/{name}/start", Prefer="wait=10").json["state"] == "completed"


def test_what_is_left_to_a_worker_waits_in_the_queue_and_is_shown_there(v1: Api) -> None:
    name = v1.plan()
    left = v1.post(f"{OPERATIONS}/{name}/start", {"detach": True, "priority": "high"})

    assert (left.status, left.headers["location"]) == (202, f"{OPERATIONS}/{name}")
    (one,) = rows(v1.get("/v1/queue"), "queue")
    assert name in str(one["operation"]) and one["priority"] == "high"
    assert v1.by("elsewhere").get("/v1/queue").json["queue"] == []
    assert v1.get("/v1/locks").json == {"locks": []}
    assert v1.post(f"{OPERATIONS}/{name}/cancel", {"reason": "no"}).json["state"] == "cancelled"


def test_an_admin_drains_the_queue_and_nothing_begins_until_that_is_lifted(v1: Api) -> None:
    admin, name = v1.by("admin"), v1.plan()
    for path in ("drain", "resume"):
        assert is_problem(v1.post(f"/v1/queue/{path}"), 403, "forbidden")
    assert str(admin.post("/v1/queue/drain").json["drained"]).startswith("drained by ada at ")
    try:
        held = v1.post(f"{OPERATIONS}/{name}/start", Prefer="wait=10")
        (one,) = rows(v1.get("/v1/queue"), "queue")
        assert held.status == 202 and name in str(one["operation"]) and "drained by ada" in str(one["waits"])
    finally:
        lifted = admin.post("/v1/queue/resume").json
    assert lifted["drained"] is None and v1.get("/v1/queue").json == lifted
    assert v1.post(f"{OPERATIONS}/{name}/start", Prefer="wait=10").json["state"] == "completed"
    assert is_problem(admin.post("/v1/queue/drain", {"by": "me"}), 422, "body-unfit")


def test_intents_say_which_parameters_they_take(v1: Api) -> None:
    found = rows(v1.get("/v1/intents"), "intents")
    one = next(one for one in found if one["intent"] == "set_greeting")

    schema = cast("dict[str, dict[str, dict[str, object]]]", one["parameters"])
    assert schema["properties"]["greeting"]["type"] == "string" and one["effect"] == "change"


def test_the_log_is_proved_to_who_may_see_evidence(v1: Api, done: str) -> None:
    auditor = v1.by("auditor")
    checkpoint = auditor.get("/v1/log/checkpoint")
    size = int(checkpoint.body.split(b"\n")[1])

    assert checkpoint.headers["content-type"].startswith("text/plain")
    assert auditor.get(f"/v1/log/inclusion?operation={done}&record=1").json["n"] == 1
    assert is_problem(auditor.get(f"/v1/log/inclusion?operation={done}&record=99"), 404, "path-unknown")
    assert auditor.get(f"/v1/log/consistency?old=2&new={size}").json["new"] == size
    assert is_problem(auditor.get(f"/v1/log/consistency?old=2&new={size + 99}"), 422, "size-refused")


def test_told_to_stop_the_service_ends_streams_and_lets_a_call_under_way_end() -> None:
    with scratch() as folder:
        settings = load_settings({"root": str(folder / "root")}, {}, folder, folder)
        asyncio.run(init_root(settings, others=PEOPLE, approver="bob"))
        with api(settings.root) as v1:
            name = v1.plan("set_greeting", "apply", parameters={"greeting": "hi"})
            connection, stream = follow(v1, name)
            assert stream.readline() == b"retry: 1000\n"
            runs = v1.plan("look", profile="adhoc", parameters={"argv": ["sleep", "1"]})
            began = v1.post(f"{OPERATIONS}/{runs}/start", Prefer="respond-async")
            assert began.status == 202, began.body
            other, at_work = follow(v1, runs)
            while b'"attempt/1"' not in (line := at_work.readline()):
                assert line

            code = v1.service.stop()

            assert code == 0 and b"event: end" not in stream.read()
            connection.close()
            other.close()
        with open_instance(settings) as instance:
            # The call that was under way has its outcome, and is not made again by whoever goes on.
            (step,) = [one for one in instance.status(runs).steps if one.id == "run"]
            assert (step.ended, step.attempts) == ("ok", 1)
            assert asyncio.run(instance.start(runs)).state == "completed"
