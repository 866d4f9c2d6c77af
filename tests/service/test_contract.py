"""What clients of the `/execute` contract rest on."""

import json
from collections.abc import Iterator
from itertools import count
from typing import Final

import pytest

from rexecop.app.build import open_instance
from rexecop.app.evidence import Asked
from rexecop.app.receipts import verify_receipt
from rexecop.app.settings import Settings
from rexecop.app.verifying import verify_bundle
from rexecop.proof import dsse
from rexecop.proof.publickey import PublicKey
from rexecop.proof.receipts import PAYLOAD_TYPE
from rexecop.proof.verify import Rung
from tests.service.running import Reply, Running

ECHO: Final = {"msg": "hello", "n": 1, "f": 1.0, "ü": ["é", None, True, 1e-7]}
_nonces: Iterator[int] = count()


def nonce() -> str:
    return f"contract-{next(_nonces)}"


def as_the_contract_writes(result: object) -> str:
    return json.dumps(result, sort_keys=True)


def test_health_says_healthy_and_that_anybody_may_ask(service: Running) -> None:
    found = service.get("/health").json

    assert found["status"] == "healthy"
    assert (found["exec_mode"], found["signature_verification"]) == ("demo", "disabled")
    assert found["restriction"] == "open" and "warning" in found and "allow_list" not in found


def test_the_root_and_version_say_who_answers(service: Running) -> None:
    assert service.get("/").json == {
        "service": "OpenExec",
        "status": "running",
        "version": service.get("/version").json["version"],
    }
    assert service.get("/version").json.keys() == {"version", "timestamp"}


def test_a_service_over_a_sound_root_is_ready_and_saying_so_leaves_no_record(
    service: Running, settings: Settings
) -> None:
    with open_instance(settings) as instance:
        before = instance.log_verify()
    assert service.get("/ready").json == {"ready": True}
    with open_instance(settings) as instance:
        assert instance.log_verify() == before


def test_echo_returns_the_payload_approved_and_with_a_receipt(service: Running) -> None:
    reply = service.execute("echo", ECHO, nonce())
    found = reply.json

    assert reply.status == 200
    assert list(found)[:5] == ["id", "action", "result", "approved", "receipt"]
    assert (found["action"], found["result"], found["approved"]) == ("echo", {"echo": ECHO}, True)
    assert b'"f":1.0' in reply.body and b'"n":1,' in reply.body
    assert len(str(found["receipt"])) == 64


@pytest.mark.parametrize(
    ("payload", "total"),
    [({"a": 2, "b": 3}, 5), ({"a": 0.5, "b": 1}, 1.5), ({"a": 7}, 7), ({}, 0), (None, 0)],
)
def test_add_adds_and_takes_nothing_for_zero(service: Running, payload: object, total: float) -> None:
    assert service.execute("add", payload, nonce()).json["result"] == {"sum": total}


def test_a_request_without_payload_or_with_an_artifact_is_taken(service: Running) -> None:
    assert service.post(b'{"action":"echo","nonce":"contract-bare"}').json["result"] == {"echo": {}}
    assert service.execute("echo", {}, nonce(), approval_artifact={"approval_id": "x"}).status == 200


def test_the_same_nonce_with_the_same_request_gives_the_stored_answer(service: Running) -> None:
    one = nonce()
    first, second = service.execute("echo", ECHO, one), service.execute("echo", ECHO, one)

    assert (first.status, second.status) == (200, 200)
    assert first.json == second.json


@pytest.mark.parametrize(
    ("action", "payload"),
    [("echo", {"m": 1.0}), ("echo", {"m": True}), ("add", {"m": 1}), ("nope", {"m": 1})],
)
def test_a_nonce_stands_for_one_request(service: Running, action: str, payload: object) -> None:
    one = nonce()
    first = service.execute("echo", {"m": 1}, one)
    other = service.execute(action, payload, one)

    assert (first.status, other.status) == (200, 409)
    assert other.json["operation_id"] == first.json["operation_id"]
    assert "receipt" not in other.json


def test_an_empty_nonce_is_a_nonce(service: Running) -> None:
    assert service.execute("echo", {}, "").json == service.execute("echo", {}, "").json


def test_receipts_are_what_the_contract_computes(service: Running) -> None:
    for action, payload in (("add", {"a": 1, "b": 2.5}), ("echo", ECHO)):
        found = service.execute(action, payload, nonce()).json
        result = as_the_contract_writes(found["result"])

        assert verify_receipt(str(found["id"]), result, str(found["receipt"]))
        assert not verify_receipt(str(found["id"]), result + " ", str(found["receipt"]))


def test_the_signed_receipt_is_signed_by_the_instance(service: Running, settings: Settings) -> None:
    found = service.execute("echo", ECHO, nonce()).json
    envelope = dsse.decode(
        json.dumps(found["signed_receipt"], sort_keys=True, separators=(",", ":")).encode()
    )
    line = (settings.root / "keys" / "instance.pub").read_text(encoding="ascii")

    said = json.loads(dsse.verify(envelope, PublicKey.from_line(line), payload_type=PAYLOAD_TYPE))

    assert said["predicate"]["operation"] == found["operation_id"]
    assert said["predicate"]["state"] == "completed"


def test_an_unknown_action_is_refused_in_the_contracts_words_and_recorded(
    service: Running, settings: Settings
) -> None:
    reply = service.execute("rm -rf", {}, nonce())

    assert (reply.status, reply.json["detail"]) == (400, "Unknown action: rm -rf")
    with open_instance(settings) as instance:
        view = instance.status(str(reply.json["operation_id"]))
    assert view.state == "blocked" and view.receipt is not None


@pytest.mark.parametrize("payload", [{"a": "1"}, {"a": True}, {"a": None}, {"a": 1, "b": [2]}])
def test_a_payload_its_action_does_not_take_is_refused_without_repeating_it(
    service: Running, payload: object
) -> None:
    name = nonce()
    first, again = (service.execute("add", payload, name) for _ in range(2))

    found = first.json["detail"]
    place = "a" if isinstance(payload, dict) and "b" not in payload else "b"
    assert isinstance(found, list) and first.status == 422
    assert [fault["loc"] for fault in found] == [["body", "payload", place]]
    assert (again.status, again.json) == (422, first.json) and "signed_receipt" in again.json


def test_a_sum_that_is_no_number_is_the_callers_fault(service: Running) -> None:
    assert service.execute("add", {"a": 1.7e308, "b": 1.7e308}, nonce()).status == 400


def test_every_decision_names_the_demo_pack(service: Running, settings: Settings) -> None:
    operation = str(service.execute("echo", {}, nonce()).json["operation_id"])
    with open_instance(settings) as instance:
        decision = instance.status(operation).decision

    assert decision is not None
    assert "builtin-demo 1" in decision.packs and decision.rules[0].startswith("builtin-demo/")


def test_a_request_takes_eight_records_and_its_bundle_verifies(service: Running, settings: Settings) -> None:
    operation = str(service.execute("echo", ECHO, nonce()).json["operation_id"])
    with open_instance(settings) as instance:
        kinds = [record.kind for record in instance.history(operation)]
        path = settings.root.parent / "one.rxb"
        instance.export(operation, Asked(path=path))

    assert kinds == [
        *("intent/1", "plan/1", "decision/1", "ticket/1", "attempt/1"),
        *("outcome/1", "validation/1", "receipt/1"),
    ]
    report = verify_bundle(path, trust_dir=None, checkpoint=None, root=settings.root)
    assert report.findings == () and report.holds(Rung.LOGGED)


def test_what_is_not_there_is_said_as_the_contract_says_it(service: Running) -> None:
    def said(reply: Reply) -> tuple[int, object]:
        return reply.status, reply.json["detail"]

    assert said(service.get("/nothing")) == (404, "Not Found")
    assert said(service.get("/execute")) == (405, "Method Not Allowed")


def test_a_halt_recorded_by_another_process_denies_the_next_request_and_its_lift_allows_it(
    service: Running, settings: Settings
) -> None:
    with open_instance(settings) as instance:
        instance.halt("all", "odd answers")
    denied = service.execute("echo", ECHO, nonce())
    with open_instance(settings) as instance:
        instance.halt("all", "a drill", lift=True)

    assert denied.status != 200 and "odd answers" in str(denied.json["detail"])
    assert service.execute("echo", ECHO, nonce()).status == 200
