"""A support bundle says how a root is doing, and nothing of what is done with it."""

from __future__ import annotations

import asyncio
import json
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import apsw
import pytest

from conformance.worlds import OPERATIONS
from rexecop.app.sealed import ENVELOPE, MANIFEST, signer_of
from rexecop.app.support import SupportManifest, _record, write_support_bundle
from rexecop.proof.canonical import digest_of
from rexecop.proof.codec import decode
from rexecop.proof.container import unpack
from rexecop.proof.errors import RexecopError
from rexecop.proof.records import Note
from tests.app.support import asked, bob, change, made, opened, records, scratch

CANARIES = {
    "parameter": "canary-parameter-1f3a",
    "output": "canary-output-77b0",
    "reason": "canary-reason-c9d2",
    "variable": "canary-variable-04e8",
    "secret": "canary-secret-5be1",
    "environment": "canary-environment-9a90",
    "label": "canary-label-e7c4",
    "policy": "canary-policy-3d35",
}


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A root in which everything that must not leave was planted somewhere."""
    with scratch() as folder:
        monkeypatch.setenv("REXECOP_SECRET_TOKEN", CANARIES["variable"])
        secrets = folder / "secrets.yaml"
        secrets.write_text(f"secrets:\n  token: {CANARIES['secret']}\n")
        secrets.chmod(0o600)
        monkeypatch.setenv("REXECOP_SECRETS_FILE", str(secrets))
        asyncio.run(planted(folder))
        yield folder


async def planted(folder: Path) -> None:
    await made(folder)
    environment = folder / "root" / "hello.environment.yaml"
    environment.write_text(environment.read_text() + f"# {CANARIES['environment']}\n")
    with opened(folder) as instance:
        done = (
            await instance.plan(change(folder, CANARIES["parameter"], reason=CANARIES["reason"]))
        ).operation_id
        await instance.approve(done, key=bob(folder), reason=CANARIES["reason"])
        await instance.start(done)
        await instance.rollback(done, CANARIES["reason"])
        (folder / "rexecop-hello" / "greeting.txt").write_text(CANARIES["output"])
        read = (await instance.plan(asked(folder, "show_greeting", "read_only"))).operation_id
        await instance.start(read)
        cancelled = (
            await instance.plan(change(folder, CANARIES["parameter"], reason=CANARIES["label"]))
        ).operation_id
        await instance.cancel(cancelled, CANARIES["reason"])
        (folder / "rexecop-hello" / "greeting.txt").unlink()
        failed = (await instance.plan(asked(folder, "show_greeting", "read_only"))).operation_id
        await instance.start(failed)
        instance.erase(read, step=None, rule=CANARIES["label"], reason=CANARIES["reason"])
    broken = folder / "root" / "policy" / "broken"
    broken.mkdir(mode=0o700)
    (broken / "pack.yaml").write_text(f"id: {CANARIES['policy']}!\n")


def test_no_canary_and_no_name_is_in_it(folder: Path) -> None:
    with opened(folder) as instance:
        write_support_bundle(instance, folder / "support.zip", redacted=True)
        everything = b"".join(
            sealed.body for line in instance.list() for sealed in records(instance, line.operation_id)
        )
    assert all(CANARIES[name].encode() in everything for name in ("parameter", "reason"))

    with zipfile.ZipFile(folder / "support.zip") as archive:
        found = {name: archive.read(name) for name in archive.namelist()}

    text = b"\n".join(
        (*found.values(), *(name.encode() for name in found), (folder / "support.zip").read_bytes())
    )
    for planted_, canary in CANARIES.items():
        assert canary.encode() not in text, planted_
    for name in (b"alice", b"bob", b"carol", b"localhost", str(folder).encode()):
        assert name not in text, name


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_free_text_of_any_record_is_in_its_skeleton(name: str) -> None:
    book = OPERATIONS[name]()
    book.outcome("look", None, message="canary", error_class="canary", facts={"canary": "canary"})
    book.add(Note, topic="canary", text="canary")

    shown = json.dumps([_record(sealed, {}) for sealed in book.records])

    for text in ("canary", "because", '"done"', "not wanted", "seen", "old line", "/srv", "jan", "host-1"):
        assert text not in shown, text


def test_it_says_what_helps(folder: Path) -> None:
    with opened(folder) as instance:
        write_support_bundle(instance, folder / "support.zip", redacted=True)
        size = instance.parts.ledger.size()
    members = unpack((folder / "support.zip").read_bytes()).members
    found = {name: json.loads(data) for name, data in members.items() if name.endswith(".json")}

    states = [operation["state"] for operation in found["skeletons.json"]]
    assert {"undone", "completed", "cancelled", "failed"} <= set(states)
    assert found["ledger.json"]["states"] == {state: states.count(state) for state in states}
    assert found["ledger.json"]["rows"]["records"] == size
    assert {check["name"]: check["status"] for check in found["doctor.json"]}["policy"] == "failed"
    assert found["policy.json"]["packs"][0]["id"] == "starter" and found["policy.json"]["rules"]
    assert found["errors.json"] and found["errors.json"][0]["error_class"] == "nonzero_exit"
    assert found["about.json"]["packages"]["apsw"] and found["about.json"]["python"]
    assert found["settings.json"]["permit_seconds"] == 30 and found["settings.json"]["identity"] == "set"
    assert {operation["target"] for operation in found["skeletons.json"]} == {"target-1"}
    people = {
        record["by"].split(" (")[0]
        for operation in found["skeletons.json"]
        for record in operation["records"]
    }
    assert people == {"person-1", "person-2", "person-3"}  # Who asked, who approved, and the engine.
    kinds = {record["kind"] for operation in found["skeletons.json"] for record in operation["records"]}
    assert {"intent/1", "approval/1", "attempt/1", "outcome/1", "command/1", "receipt/1"} <= kinds


def test_every_member_is_named_and_the_whole_is_signed_and_bound_to_a_checkpoint(folder: Path) -> None:
    with opened(folder) as instance:
        write_support_bundle(instance, folder / "support.zip", redacted=True)
        key, note = instance.parts.world.signer.public, instance.log_checkpoint().encode()
    unpacked = unpack((folder / "support.zip").read_bytes())
    members = dict(unpacked.members)
    manifest = decode(SupportManifest, members[MANIFEST], bytes_max=1 << 20)

    assert unpacked.exact
    assert signer_of(members[ENVELOPE], members[MANIFEST], [key]) == key
    assert manifest.checkpoint == digest_of(note) and members["checkpoint.txt"] == note
    assert manifest.members == {
        name: digest_of(data) for name, data in members.items() if name not in (MANIFEST, ENVELOPE)
    }


def test_it_is_made_redacted_or_not_at_all(folder: Path) -> None:
    with opened(folder) as instance:
        with pytest.raises(RexecopError) as refused:
            write_support_bundle(instance, folder / "support.zip", redacted=False)
        assert refused.value.code == "support-unredacted"
        write_support_bundle(instance, folder / "support.zip", redacted=True)
        with pytest.raises(RexecopError) as taken:
            write_support_bundle(instance, folder / "support.zip", redacted=True)
        assert taken.value.code == "file-refused"


def test_of_a_damaged_root_it_is_made_all_the_same(folder: Path) -> None:
    connection = apsw.Connection(str(folder / "root" / "ledger.sqlite"))
    connection.execute(
        "UPDATE records SET body=? WHERE op=1 AND n=2", (f'{{"x":"{CANARIES["output"]}"}}'.encode(),)
    )
    connection.execute(
        "UPDATE records SET nodes=zeroblob(length(nodes)) WHERE leaf=(SELECT max(leaf) FROM records)"
    )
    connection.close()
    with opened(folder) as instance:
        write_support_bundle(instance, folder / "support.zip", redacted=True)
    data = (folder / "support.zip").read_bytes()
    with zipfile.ZipFile(BytesIO(data)) as archive:
        operations = json.loads(archive.read("skeletons.json"))

    assert [operation["damaged"] for operation in operations if operation["damaged"]] == [[2]]
    assert CANARIES["output"].encode() not in data
