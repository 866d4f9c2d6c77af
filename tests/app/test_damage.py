"""Roots that are damaged, unsafe, full or not there: one clear line, and everything else keeps working."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from rexecop.app import build
from rexecop.app.build import init_root, open_instance
from rexecop.app.evidence import Asked
from rexecop.app.instance import Instance
from rexecop.app.root import Root
from rexecop.operations.fold import fold
from rexecop.proof.chain import seal, unseal
from rexecop.proof.errors import RexecopError
from rexecop.proof.merkle import leaf_hash
from rexecop.proof.principal import Principal
from rexecop.proof.vocabulary import Established
from rexecop.store.packing import pack_body, pack_operation, unpack_body
from rexecop.store.sqlite import SqliteStore
from tests.app.support import asked, bob, change, made, opened, records, scratch, settings, verified
from tests.store.faulty import Disk, fail_at


async def ran(instance: Instance, folder: Path) -> str:
    view = await instance.plan(asked(folder, "host_facts", "dry_run"))
    await instance.start(view.operation_id)
    return view.operation_id


def spoil(folder: Path, number: int, n: int, how: str) -> None:
    connection = apsw.Connection(str(folder / "root" / "ledger.sqlite"))
    if how == "gone":
        connection.execute("DELETE FROM records WHERE op=? AND n=?", (number, n))
    else:
        connection.execute("UPDATE records SET body=zeroblob(length(body)) WHERE op=? AND n=?", (number, n))
    connection.close()


def status_of(instance: Instance, name: str) -> str:
    return next(check.status for check in instance.check().checks if check.name == name)


@pytest.mark.parametrize("n", range(10))
def test_a_damaged_record_is_named_and_everything_else_keeps_working(n: int) -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            with opened(folder) as instance:
                broken, sound = await ran(instance, folder), await ran(instance, folder)
                count = len(records(instance, broken))
            assert count > 9
            spoil(folder, 1, n, "zeroed")
            with opened(folder) as instance:
                assert len(instance.list()) == 2
                assert instance.status(sound).state == "completed"
                assert len(instance.history(broken)) == count - 1
                if n:
                    assert any(f"record {n}" in words for words in instance.status(broken).damaged)
                else:
                    with pytest.raises(RexecopError) as unreadable:
                        instance.status(broken)
                    assert unreadable.value.code == "journal-damaged"
                for look in (
                    instance.why,
                    instance.preview,
                    instance.validate,
                    lambda name: instance.export(name, Asked(path=folder / "broken.rxb")),
                ):
                    try:
                        look(broken)
                    except RexecopError as error:
                        assert error.code
                for go in (instance.start, instance.cancel, instance.rollback, instance.retry):
                    with pytest.raises(RexecopError) as refused:
                        await asyncio.wait_for(go(broken), 60)
                    assert refused.value.code == "journal-damaged"
                assert instance.status(await ran(instance, folder)).state == "completed"
                assert verified(instance, sound).findings == ()
                doctor = instance.check()
                assert doctor.status == "failed"
                log = next(check for check in doctor.checks if check.name == "log")
                assert log.status == "failed" and f"record {n}" in log.message

    asyncio.run(story())


def replaced(folder: Path, operation: str, n: int) -> None:
    """Put another record in place of one, with the hash of its leaf, as whoever can write the file might."""
    connection = apsw.Connection(str(folder / "root" / "ledger.sqlite"))
    where = "op=(SELECT number FROM operations WHERE id=?) AND n=?"
    at = (pack_operation(operation), n)
    ((stored, nodes),) = connection.execute(f"SELECT body, nodes FROM records WHERE {where}", at)
    other = seal(replace(unseal(unpack_body(stored)).record, by=Principal(
        person="mallory", established=Established.OS_USER, credential="uid:7")))  # fmt: skip
    values = (pack_body(other.body), leaf_hash(other.body) + nodes[32:])
    connection.execute(f"UPDATE records SET body=?, nodes=? WHERE {where}", (*values, *at))
    connection.close()


def test_an_operation_whose_chain_does_not_verify_is_not_started_resumed_or_retried() -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            with opened(folder) as instance:
                waits = (await instance.plan(asked(folder, "host_facts", "read_only"))).operation_id
                ended = await ran(instance, folder)
            replaced(folder, waits, 1)
            replaced(folder, ended, 4)
            with opened(folder) as instance:
                for go, operation in (
                    (instance.start, waits),
                    (instance.resume, waits),
                    (instance.retry, ended),
                    (instance.resume, ended),
                ):
                    with pytest.raises(RexecopError) as refused:
                        await go(operation)
                    assert refused.value.code == "journal-damaged"
                    assert "does not name the record before it" in refused.value.message
                assert instance.status(await ran(instance, folder)).state == "completed"

    asyncio.run(story())


def test_doctor_finds_a_wrong_index_and_rebuilds_it_from_the_records() -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            with opened(folder) as instance:
                operation = await ran(instance, folder)
                waiting = (await instance.plan(replace(change(folder), observe=False))).operation_id
            connection = apsw.Connection(str(folder / "root" / "ledger.sqlite"))
            connection.execute("UPDATE operations SET state='failed', requester='mallory' WHERE number > 0")
            connection.close()
            with opened(folder) as instance:
                assert {line.state for line in instance.list()} == {"failed"}
                assert instance.status(operation).state == "completed"
                assert status_of(instance, "index") == "failed"
                instance.check(fix=True)
                assert status_of(instance, "index") == "ok"
                assert {line.operation_id: line.state for line in instance.list()} == {
                    operation: "completed",
                    waiting: "waiting_for_approval",
                }

    asyncio.run(story())


def test_a_root_that_others_can_write_is_not_opened_and_says_what_to_do() -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            (folder / "root").chmod(0o770)
            with pytest.raises(RexecopError) as refused:
                open_instance(settings(folder))
            assert refused.value.code == "root-unsafe"
            assert any("chmod" in step for step in refused.value.next_steps)
            (folder / "root").chmod(0o700)
            policy = folder / "root" / "policy"
            policy.chmod(0o777)
            with opened(folder) as instance:
                assert status_of(instance, "root") == "failed"
                assert status_of(instance, "policy") == "failed"
                view = await instance.plan(asked(folder, "host_facts", "read_only"))
                assert view.state == "blocked"

    asyncio.run(story())


def test_a_policy_taken_away_after_approval_denies() -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            with opened(folder) as instance:
                operation = (await instance.plan(change(folder))).operation_id
                await instance.approve(operation, key=bob(folder))
                shutil.rmtree(folder / "root" / "policy" / "starter")
                view = await instance.start(operation)
                assert view.state == "blocked"
                assert verified(instance, operation).findings == ()

    asyncio.run(story())


def test_a_root_below_a_regular_file_is_refused_in_one_line() -> None:
    async def story() -> None:
        with scratch() as folder:
            (folder / "file").write_text("no folder")
            below = settings(folder / "file")
            with pytest.raises(RexecopError) as refused:
                await init_root(below)
            assert refused.value.code == "root-unwritable" and "\n" not in refused.value.message
            with pytest.raises(RexecopError) as missing:
                open_instance(below)
            assert missing.value.code == "root-missing"
            assert (folder / "file").read_text() == "no folder"

    asyncio.run(story())


def test_whichever_write_meets_a_full_disk_nothing_is_half_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            place, met = 0, True
            while met:
                place += 1 if place < 4 else 3  # Later writes repeat what the first ones do.
                met = await _full_at(folder, place, monkeypatch)
            assert place > 4

    asyncio.run(story())


async def _full_at(template: Path, place: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run an operation on a copy whose disk is full from write `place` on; say if that was met."""
    with scratch() as folder:
        for name in ("root", "rexecop-hello"):
            shutil.copytree(template / name, folder / name)
        shutil.copy(template / "alice", folder / "alice")
        disk = Disk()

        def on_disk(root: Root, *_: object) -> SqliteStore:
            return SqliteStore.open(root.ledger, vfs=disk.name)

        failed = False
        with monkeypatch.context() as patched:
            patched.setattr(build, "open_ledger", on_disk)
            with opened(folder) as instance:
                disk.reset()
                disk.fault = fail_at(place, apsw.SQLITE_FULL, for_ever=True)
                try:
                    await ran(instance, folder)
                except RexecopError as error:
                    failed = True
                    assert error.code in ("store-unavailable", "store-uncertain"), error.code
                    assert "\n" not in error.message
                    instance.list()
                disk.fault = lambda what, count, after: None
        with opened(folder) as instance:
            assert status_of(instance, "log") == status_of(instance, "index") == "ok"
            for line in instance.list():
                fold(records(instance, line.operation_id))
                await instance.start(line.operation_id)
            assert instance.status(await ran(instance, folder)).state == "completed"
        return failed
