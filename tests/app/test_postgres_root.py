"""A root whose ledger is in PostgreSQL does what every root does, and its database serves no other."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rexecop.app.backup import create_backup, restore_backup, verify_backup
from rexecop.app.build import init_root, migrate, open_instance
from rexecop.app.instance import Instance
from rexecop.app.ledger import ServerPlace, ledger_of
from rexecop.app.reading import open_reading
from rexecop.app.recovering import recover
from rexecop.app.root import Root
from rexecop.app.settings import Settings
from rexecop.app.verifying import trusted_keys
from rexecop.operations.errors import StoreError
from rexecop.proof.errors import RexecopError
from rexecop.proof.verify import Rung
from rexecop.store import postgres_connection
from rexecop.store.errors import StoragePassword
from tests.app.support import asked, bob, change, greeting, scratch, settings, verified
from tests.store import servers


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with servers.schema() as named:
        yield named


@pytest.fixture(scope="module")
def folder(url: str) -> Iterator[Path]:
    """A root with one finished change; nothing but `init` was told where its ledger is."""

    async def story(folder: Path) -> None:
        await init_root(told(folder, url), others=("alice",), approver="bob")
        with open_instance(settings(folder)) as instance:
            await instance.key_new("alice", "requester", folder / "alice")
        with open_instance(settings(folder, folder / "alice")) as instance:
            planned = await instance.plan(change(folder))
            await instance.approve(planned.operation_id, key=bob(folder))
            assert (await instance.start(planned.operation_id)).state == "completed"

    with scratch() as folder:
        asyncio.run(story(folder))
        yield folder


def told(folder: Path, url: str) -> Settings:
    return replace(settings(folder), storage=url)


def checks(instance: Instance) -> dict[str, str]:
    return {check.name: check.status for check in instance.check().checks}


def refused(code: str) -> pytest.RaisesExc[RexecopError]:
    return pytest.raises(RexecopError, check=lambda error: error.code == code)


def test_a_governed_change_runs_and_is_proved(folder: Path) -> None:
    assert greeting(folder) == "good evening\n"
    assert not (folder / "root" / "ledger.sqlite").exists()
    with open_instance(settings(folder)) as instance:
        report = verified(instance, instance.resolve("2"))  # Between what it rests on and its repetition.
        assert report.holds(Rung.LOGGED), report
        found = checks(instance)
        assert [found[name] for name in ("root", "identity", "log", "index")] == ["ok"] * 4
    with open_reading(settings(folder)) as reading:
        assert [line.state for line in reading.list()] == ["completed"] * 3
        assert reading.log_verify()["verdict"] == "consistent"
    assert trusted_keys(None, folder / "root").keys


def test_a_root_that_keeps_its_ledger_in_a_file_needs_no_client_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith(("psycopg", "rexecop.store.postgres"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    asyncio.run(init_root(settings(tmp_path), hello=False))

    with open_instance(settings(tmp_path)) as instance:
        assert instance.list() == ()
    with refused("extra-missing"):
        asyncio.run(init_root(told(tmp_path / "other", "postgresql://db.example/ledger"), hello=False))


def test_a_second_root_is_refused_and_a_copy_appends_nothing(folder: Path, url: str) -> None:
    with scratch() as other:
        with refused("store-other-root"):
            asyncio.run(init_root(told(other, url), hello=False))
        assert not Root(other / "root").anchor.exists()

        shutil.copytree(folder / "root", other / "copy" / "root")
        with open_instance(settings(other / "copy")) as copy:
            assert checks(copy)["identity"] == "failed"
            with refused("root-identity-doubtful"):
                asyncio.run(copy.plan(asked(other / "copy", "host_facts", "dry_run")))
    with open_instance(settings(folder)) as instance:
        assert checks(instance)["identity"] == "ok"


def test_a_root_is_not_told_another_kind_of_ledger(tmp_path: Path, url: str) -> None:
    asyncio.run(init_root(settings(tmp_path), hello=False))

    with refused("storage-unsupported"):
        open_instance(told(tmp_path, url))
    (tmp_path / "root" / "ledger.url").write_text("nonsense")
    with refused("store-missing"):
        open_instance(settings(tmp_path))


def test_a_backup_is_a_ledger_in_a_file_and_becomes_a_root_of_either_kind(folder: Path) -> None:
    create_backup(settings(folder), folder / "backup", with_keys=True)
    own = trusted_keys(None, folder / "root")
    assert verify_backup(folder / "backup", own).verdict == "whole"
    with open_instance(settings(folder)) as instance:
        before = instance.list()

    with servers.schema() as named, scratch() as new:
        for kind, storage in (("file", "sqlite"), ("server", named)):
            target = new / kind / "root"
            restore_backup(folder / "backup", target, own, reason=None, key=None, storage=storage)
            with open_instance(settings(new / kind)) as restored:
                assert restored.list() == before
                assert restored.parts.ledger.epoch == 2
                found = checks(restored)
                assert [found[name] for name in ("identity", "log", "index")] == ["ok"] * 3
                assert restored.log_checkpoint().split("\n")[0].endswith("/2")
        assert Root(new / "server" / "root").anchor.name == "ledger.url"
        with refused("store-other-root"):
            again = new / "again" / "root"
            restore_backup(folder / "backup", again, own, reason=None, key=None, storage=named)
        assert not (new / "again" / "root").exists()


def test_a_damaged_record_is_put_back_from_a_backup(folder: Path, url: str) -> None:
    create_backup(settings(folder), folder / "before", with_keys=True)
    sound = recover(settings(folder), backup=None, new_epoch=None)
    assert sound.damaged == () and sound.next == ("rexecop recover --full",)
    with servers.raw(url) as connection:
        connection.execute("UPDATE records SET body='x' WHERE leaf=4")

    quick = recover(settings(folder), backup=None, new_epoch=None)
    assert [(item.leaf, item.done) for item in quick.damaged] == [(4, "quarantined")]
    view = recover(settings(folder), backup=folder / "before", new_epoch=None)

    assert [(item.leaf, item.done) for item in view.damaged] == [(4, "put back")]
    assert view.problem is None
    with open_instance(settings(folder)) as instance:
        assert checks(instance)["log"] == "ok"


def test_a_moved_root_goes_on_in_a_new_epoch_and_the_old_one_does_not(url: str) -> None:
    with servers.schema() as named, scratch() as old, scratch() as new:
        asyncio.run(init_root(told(old, named), hello=False))
        shutil.copytree(old / "root", new / "root")
        assert recover(settings(new), backup=None, new_epoch="a new machine").epoch == 2

        with open_instance(settings(new)) as instance:
            assert checks(instance)["identity"] == "ok"
        with open_instance(settings(old)) as instance:
            assert checks(instance)["identity"] == "failed"


def test_an_older_schema_is_brought_up_by_init_and_doctor_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with servers.schema() as named, scratch() as folder:
        asyncio.run(init_root(told(folder, named), hello=False))
        newer = (*postgres_connection.migrations(), "CREATE TABLE added(x int)")
        monkeypatch.setattr(postgres_connection, "migrations", lambda: newer)
        with refused("store-outdated"):
            open_instance(settings(folder))

        assert migrate(settings(folder)) == (len(newer) - 1, len(newer))
        open_instance(settings(folder)).close()
        monkeypatch.setattr(postgres_connection, "migrations", lambda: (*newer, "CREATE TABLE more(x int)"))
        asyncio.run(init_root(settings(folder), hello=False))
        open_instance(settings(folder)).close()


def test_a_password_comes_by_reference_and_never_in_the_url(tmp_path: Path) -> None:
    root, named = Root(tmp_path), "postgresql://rexecop@db.example/ledger?password_ref=ledger-db"

    async def within_a_loop() -> str | None:
        place = ledger_of(root, named, environ={"REXECOP_SECRET_LEDGER_DB": "correct-horse"})
        assert isinstance(place, ServerPlace)
        return place._server().password()

    assert asyncio.run(within_a_loop()) == "correct-horse"
    place = ledger_of(root, named, environ={})
    with pytest.raises(RexecopError, match="REXECOP_SECRET_LEDGER_DB"):
        place.open()
    with pytest.raises(StoragePassword):
        ledger_of(root, "postgresql://rexecop:correct-horse@db.example/ledger")


def test_the_files_that_open_the_ledger_are_named_to_be_hidden_from_programs(tmp_path: Path) -> None:
    for name in ("pass", "key"):
        (tmp_path / name).touch()
    environ = {"PGPASSFILE": f"{tmp_path}/pass", "PGSSLKEY": f"{tmp_path}/none"}
    for query, found in (("", ["pass"]), (f"?sslkey={tmp_path}/key", ["pass", "key"])):
        place = ledger_of(Root(tmp_path), f"postgresql://db.example/ledger{query}", environ=environ)
        assert place.openers() == tuple(f"{tmp_path}/{name}" for name in found)


def test_a_server_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir(mode=0o700)
    with pytest.raises(StoreError) as gone:
        asyncio.run(init_root(told(tmp_path, f"postgresql:///ledger?host={tmp_path}"), hello=False))

    assert (gone.value.code, "\n" in gone.value.message) == ("store-unavailable", False)
    assert not (tmp_path / "root" / "ledger.url").exists()
