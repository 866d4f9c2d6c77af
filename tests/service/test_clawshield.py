"""What clients of `/execute` rest on where every request needs an approval, and what nobody gets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from conformance.memory_signer import MemorySigner
from rexecop.app.build import open_instance
from rexecop.app.contract import Contract, contract_of, minted
from rexecop.app.errors import ModeUnsupported
from rexecop.app.evidence import Asked
from rexecop.app.settings import Settings, load_settings
from rexecop.app.verifying import verify_bundle
from rexecop.governance.artifacts import Artifact, action_hash, mint
from rexecop.proof.bundle import from_members
from rexecop.proof.codec import to_json
from rexecop.proof.container import unpack
from rexecop.proof.times import format_time
from rexecop.proof.verify import Rung
from tests.forked import Forked, rexecop
from tests.service.running import Reply, Running, at_once, running

SECRET: Final = "a-shared-secret-for-tests"
KEY: Final = MemorySigner(41)
BY_SECRET: Final = {
    "OPENEXEC_MODE": "clawshield",
    "CLAWSHIELD_SECRET_KEY": SECRET,
    "CLAWSHIELD_TENANT_ID": "tenant-001",
}
BY_KEY: Final = {
    "OPENEXEC_MODE": "clawshield",
    "CLAWSHIELD_PUBLIC_KEY": KEY.public.pem,
    "CLAWSHIELD_TENANT_ID": "tenant-001",
}
HI: Final = {"msg": "governed"}
_numbers: Iterator[int] = count()


@dataclass(slots=True, kw_only=True)
class Governed(Running):
    """A service that asks for approvals, signed with a `shared` secret or by a key."""

    shared: bool


def nonce() -> str:
    return f"claw-{next(_numbers)}"


@pytest.fixture(scope="module", params=["secret", "key"])
def service(request: pytest.FixtureRequest, settings: Settings) -> Iterator[Governed]:
    variables = BY_SECRET if request.param == "secret" else BY_KEY
    with running(settings.root, None, **variables) as found:
        shared = request.param == "secret"
        yield Governed(process=found.process, port=found.port, root=found.root, shared=shared)


def approval(
    service: Governed,
    action: str = "echo",
    payload: object = HI,
    *,
    tenant: str = "tenant-001",
    age: timedelta = timedelta(0),
    key: bytes | MemorySigner | None = None,
) -> dict[str, object]:
    shared = service.shared
    issued = datetime.now(UTC) - age
    blank = Artifact(
        approval_id=f"0199aaaa-0000-7000-8000-{next(_numbers):012d}",
        action_hash=action_hash(action, payload),  # type: ignore[arg-type]
        signature="",
        issued_at=format_time(issued),
        tenant_id=tenant,
        issued_by="clawshield",
        expires_at=None if shared else format_time(issued + timedelta(seconds=300)),
    )
    made = mint(blank, key or (SECRET.encode() if shared else KEY))
    return {name: value for name, value in to_json(made).items() if value is not None}


def ask(service: Running, artifact: object, name: str | None = None, payload: object = HI) -> Reply:
    return service.execute("echo", payload, name or nonce(), approval_artifact=artifact)


def test_with_an_approval_for_it_a_request_is_carried_out_and_answered_again_for_the_same(
    service: Governed,
) -> None:
    artifact, name = approval(service), nonce()
    first, again = ask(service, artifact, name), ask(service, artifact, name)

    assert (first.status, first.json["result"], first.json["approved"]) == (200, {"echo": HI}, True)
    assert again.json["id"] == first.json["id"] and again.json["receipt"] == first.json["receipt"]


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"payload": {"msg": "changed"}}, "Action hash mismatch"),
        ({"action": "add"}, "Action hash mismatch"),
        ({"tenant": "tenant-002"}, "Tenant mismatch"),
        ({"age": timedelta(seconds=302)}, "expired"),
        ({"age": timedelta(seconds=-60)}, "in the future"),
        ({"key": b"another secret, not ours"}, "signature"),
        ({"key": MemorySigner(42)}, "signature"),
    ],
)
def test_without_one_that_counts_nothing_runs_and_the_refusal_has_a_signed_receipt(
    service: Governed, how: dict[str, object], says: str
) -> None:
    reply = ask(service, approval(service, **how))  # type: ignore[arg-type]

    assert reply.status == 403 and says in str(reply.json["detail"])
    assert "tenant-001" not in str(reply.json["detail"])
    assert reply.json["signed_receipt"] and str(reply.json["operation_id"]).startswith("op_")
    assert ask(service, None).json["detail"] == "Approval artifact required"


def test_an_approval_is_used_once_however_many_ask(service: Governed) -> None:
    artifact = approval(service)
    replies = at_once(8, lambda number: ask(service, artifact, f"many-{service.port}-{number}"))

    assert sorted(reply.status for reply in replies) == [200] + [403] * 7
    assert {str(reply.json["detail"]) for reply in replies if reply.status == 403} == {
        "Approval artifact was used already"
    }


def test_a_nonce_tells_nothing_to_who_brings_no_approval_or_another(service: Governed) -> None:
    artifact, name = approval(service), nonce()
    answered = ask(service, artifact, name)

    for other, status in ((None, 403), (dict(artifact, signature="x"), 403), (approval(service), 409)):
        refused = ask(service, other, name)
        assert refused.status == status and str(answered.json["id"]) not in refused.body.decode()
        assert "result" not in refused.json


def test_what_is_malformed_is_refused_by_its_field_and_never_a_fault(service: Governed) -> None:
    for changes in (
        {"issued_at": "2030-01-01T00:00:00+02:00"},
        {"signature": "é"},
        {"approval_id": 7},
        {"tenant_id": "x" * 300},
        {"action_hash": None},
    ):
        reply = ask(service, {**approval(service), **changes})
        assert reply.status == 403 and "\n" not in str(reply.json["detail"])
    assert ask(service, "text").status == 422


def test_health_and_readiness_say_that_approvals_are_checked(service: Governed) -> None:
    found = service.get("/health").json
    assert (found["exec_mode"], found["signature_verification"]) == ("clawshield", "enabled")
    assert service.get("/ready").json == {"ready": True}


def test_the_evidence_holds_the_approval_and_verifies(service: Governed, settings: Settings) -> None:
    artifact = approval(service)
    operation = str(ask(service, artifact).json["operation_id"])
    with open_instance(settings) as instance:
        path = settings.root.parent / f"{operation}.rxb"
        instance.export(operation, Asked(path=path))

    contents, _ = from_members(unpack(path.read_bytes()).members)
    kept = [item.data for item in contents.inputs if item.role == "approval-artifact"]
    assert [json.loads(data)["approval_id"] for data in kept] == [artifact["approval_id"]]
    report = verify_bundle(path, trust_dir=None, checkpoint=None, root=settings.root)
    assert report.findings == () and report.holds(Rung.LOGGED)


def test_a_receipt_counts_where_the_ledger_holds_what_it_is_of(service: Governed) -> None:
    done = ask(service, approval(service)).json
    result = json.dumps(done["result"], sort_keys=True)

    def valid(**fields: object) -> object:
        body = json.dumps({"exec_id": done["id"], "result": result, "receipt": done["receipt"], **fields})
        return service.call(
            "POST", "/receipts/verify", body.encode(), Content_Type="application/json"
        ).json.get("valid")

    import hashlib

    forged = "0199aaaa-0000-7000-8000-000000000000"
    assert valid() is True
    assert valid(receipt="0" * 64) is False and valid(result='{"echo": {}}') is False
    assert valid(exec_id=forged, receipt=hashlib.sha256(f"{forged}:{result}".encode()).hexdigest()) is False
    assert valid(exec_id="../../x") is False
    missing = service.call("POST", "/receipts/verify", b"{}", Content_Type="application/json")
    assert missing.status == 422 and len(missing.json["detail"]) == 3  # type: ignore[arg-type]


def test_an_approval_that_expired_after_it_was_used_still_gets_the_recorded_answer(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    from rexecop.app.serving import Serving

    made = minted("echo", json.dumps(HI), "tenant-001", None, None, timedelta(1), False, BY_SECRET)
    artifact = to_json(made)

    async def story(serving: Serving) -> None:
        brought = {name: value for name, value in artifact.items() if value is not None}
        first = await serving.execute("echo", dict(HI), "late", brought)  # type: ignore[arg-type]
        clock = serving._world.clock
        real = type(clock).now
        monkeypatch.setattr(type(clock), "now", lambda self: real(self) + timedelta(seconds=400))
        late = await serving.execute("echo", dict(HI), "late", brought)  # type: ignore[arg-type]
        other = await serving.execute("echo", dict(HI), "later", brought)  # type: ignore[arg-type]
        assert late == first and "expired" in other.detail  # type: ignore[union-attr]

    with Serving(open_instance(settings), contract_of(BY_SECRET)) as serving:
        asyncio.run(story(serving))


def test_only_what_the_list_allows_runs_in_either_mode(root: Path) -> None:
    with running(root, OPENEXEC_ALLOWED_ACTIONS="add, other") as service:
        found = service.get("/health").json
        assert (found["restriction"], found["allow_list"]) == ("restricted", ["add", "other"])
        assert "warning" not in found
        refused = service.execute("echo", {}, nonce())
        assert refused.status == 403 and refused.json["detail"] == "Action not allowed: echo"
        assert service.execute("add", {"a": 1, "b": 2}, nonce()).status == 200
    with running(root, OPENEXEC_ALLOWED_ACTIONS=",") as service:
        assert service.execute("add", {"a": 1, "b": 2}, nonce()).status == 403


def test_without_a_key_or_a_tenant_everything_is_refused_and_it_is_not_ready(root: Path) -> None:
    with running(root, OPENEXEC_MODE="clawshield") as service:
        assert service.execute("echo", {}, nonce()).status == 403
        ready = service.get("/ready")
        assert ready.status == 503 and "CLAWSHIELD_TENANT_ID" in ready.body.decode()


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"OPENEXEC_MODE": "clawsheld"}, "allowed: `demo`, `clawshield`"),
        ({"OPENEXEC_DB_URL": "sqlite:///x"}, "the ledger is the root's"),
        (BY_SECRET | {"CLAWSHIELD_SECRET_KEY": "short"}, "shorter than 16 bytes"),
        (BY_SECRET | BY_KEY, "are both set"),
        (BY_KEY | {"CLAWSHIELD_PUBLIC_KEY": "nonsense"}, "no Ed25519 key in PEM"),
        (BY_KEY | {"REXECOP_ARTIFACT_FRAMING": "loose"}, "allowed: `strict`, `concatenated`"),
    ],
)
def test_a_mode_that_cannot_be_served_is_refused_at_the_start_and_no_secret_is_told(
    environ: dict[str, str], says: str
) -> None:
    with pytest.raises(ModeUnsupported) as refused:
        contract_of(environ)
    assert says in refused.value.message and SECRET not in refused.value.message


def test_minted_by_the_command_line_it_is_taken(root: Path, tmp_path: Path) -> None:
    key = tmp_path / "issuer.key"
    asked = ("--root", str(root), "keys", "new", str(key), "--person", "issuer", "--role", "requester")
    assert Forked(rexecop, asked).ended()[0] == 0
    from rexecop.keys import load_signer

    public = load_signer(key).public.pem
    for joined in (False, True):
        artifact = minted("echo", json.dumps(HI), "tenant-001", None, key, timedelta(minutes=5), joined, {})
        framing = "concatenated" if joined else "strict"
        environ = {**BY_KEY, "CLAWSHIELD_PUBLIC_KEY": public, "REXECOP_ARTIFACT_FRAMING": framing}
        with running(root, None, **environ) as service:
            fields = {name: value for name, value in to_json(artifact).items() if value is not None}
            assert ask(service, fields).status == 200


def test_demo_mode_is_what_no_environment_asks_for() -> None:
    assert contract_of({}) == Contract()


def test_the_application_runs_under_a_server_of_ones_own(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.testclient import TestClient

    monkeypatch.setenv("REXECOP_ROOT", str(root))
    from rexecop.asgi import app

    with TestClient(app, base_url="http://localhost") as client:
        reply = client.post("/execute", json={"action": "add", "payload": {"a": 1, "b": 2}, "nonce": "n"})
        assert reply.status_code == 200 and reply.json()["result"] == {"sum": 3}


def test_settings_are_read_where_the_command_reads_them(root: Path) -> None:
    assert load_settings({"root": str(root)}, {}, root, root).root == root
