"""What is damaged is named and set aside, and everything else goes on as if nothing had been."""

from __future__ import annotations

import asyncio
import base64
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from rexecop.app.backup import create_backup
from rexecop.app.ledger import ledger_of
from rexecop.app.reading import open_reading
from rexecop.app.recovering import recover
from rexecop.app.root import Root
from rexecop.proof.errors import RexecopError
from rexecop.proof.records.instance import Note
from rexecop.store import repair
from rexecop.store.errors import StoreDamaged
from tests.app.support import asked, bob, change, made, opened, records, scratch, settings, verified


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """A root with two finished reads."""

    async def story(folder: Path) -> None:
        await made(folder)
        with opened(folder) as instance:
            for _ in range(2):
                view = await instance.plan(asked(folder, "host_facts", "read_only"))
                await instance.start(view.operation_id)

    with scratch() as folder:
        asyncio.run(story(folder))
        yield folder


@pytest.fixture
def folder(template: Path) -> Iterator[Path]:
    with scratch() as folder:
        shutil.copytree(template, folder, dirs_exist_ok=True)
        recover(settings(folder), backup=None, new_epoch="a copy for a test")
        create_backup(settings(folder), folder / "backup", with_keys=False)
        yield folder


def damage(folder: Path, sql: str) -> None:
    connection = apsw.Connection(str(folder / "root" / "ledger.sqlite"))
    connection.execute(sql)
    connection.close()


def bytes_of(folder: Path) -> list[object]:
    connection = apsw.Connection(str(folder / "root" / "ledger.sqlite"))
    found = list(connection.execute("SELECT leaf, op, n, body, nodes FROM records ORDER BY leaf"))
    connection.close()
    return found


def test_a_sound_root_is_left_as_it_is(folder: Path) -> None:
    before = bytes_of(folder)

    view = recover(settings(folder), backup=None, new_epoch=None)

    assert (view.damaged, view.nodes, view.unfit, view.recorded, view.problem) == ((), 0, (), None, None)
    assert bytes_of(folder) == before


@pytest.mark.parametrize(
    ("n", "how"),
    [
        *((n, how) for n in range(0, 13, 6) for how in ("body=zeroblob(40)", "body=x'7b7d'")),
        *((n, "gone") for n in (3, 9)),
    ],
)
def test_a_damaged_record_is_quarantined_by_name_and_the_rest_keeps_working(
    folder: Path, n: int, how: str
) -> None:
    async def story() -> None:
        sql = f"WHERE op=1 AND n={n}"
        damage(folder, f"DELETE FROM records {sql}" if how == "gone" else f"UPDATE records SET {how} {sql}")
        view = recover(settings(folder), backup=None, new_epoch=None)
        with opened(folder) as instance:
            sound, broken = (line.operation_id for line in instance.list())
            (lost,) = view.damaged
            assert (lost.operation_id, lost.n, lost.done) == (broken, n, "quarantined")
            assert view.problem is None and view.next[0] == "rexecop recover --from BACKUP"

            found = instance.log_verify()
            assert (found["verdict"], found["bad"]) == ("quarantined", None)
            assert [item["leaf"] for item in found["quarantined"]] == [lost.leaf]  # type: ignore[index,union-attr,call-overload]
            assert next(c.status for c in instance.check().checks if c.name == "log") == "warning"
            assert instance.status(sound).state == "completed" and len(instance.history(sound)) == 13
            assert verified(instance, sound).findings == ()
            fresh = (await instance.plan(change(folder))).operation_id
            await instance.approve(fresh, key=bob(folder))
            assert (await instance.start(fresh)).state == "completed"
            assert verified(instance, fresh).findings == ()
            assert instance.log_prove(sound, 3)["leaf"]
            with pytest.raises(RexecopError) as stands:
                await instance.start(broken)
            assert stands.value.code == "journal-damaged"

            noted = records(instance, instance.parts.ledger.instance_id)[view.recorded or 0].record
            assert isinstance(noted, Note) and noted.topic == "recover"
            assert f"record {n} of `{broken}` (leaf {lost.leaf})" in noted.text and noted.by.credential
        again = recover(settings(folder), backup=None, new_epoch=None)
        assert (again.recorded, [item.n for item in again.damaged]) == (None, [n])
        assert again.checked == again.size - 1

    asyncio.run(story())


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE records SET body=zeroblob(40) WHERE op=1 AND n IN (0, 5, 12)",
        "DELETE FROM records WHERE op=1 AND n=7",
        "UPDATE records SET body=zeroblob(40), nodes=zeroblob(32) WHERE leaf BETWEEN 6 AND 11",
        "UPDATE records SET body=zeroblob(40) WHERE op=-1 AND n=1",
        "UPDATE records SET nodes=zeroblob(length(nodes)) WHERE leaf=7",
    ],
)
@pytest.mark.parametrize("quarantined", [True, False])
def test_a_backup_gives_back_the_very_bytes(folder: Path, sql: str, quarantined: bool) -> None:
    before = bytes_of(folder)
    damage(folder, sql)
    if quarantined:
        recover(settings(folder), backup=None, new_epoch=None)

    view = recover(settings(folder), backup=folder / "backup", new_epoch=None)

    assert {item.done for item in view.damaged} <= {"put back"}
    assert bytes_of(folder)[: len(before)] == before
    with opened(folder) as instance:
        assert instance.log_verify()["verdict"] == "consistent"
        assert instance.check().status != "failed"
        assert {line.state for line in instance.list()} == {"completed"}
        for line in instance.list():
            assert verified(instance, line.operation_id).findings == ()


def test_a_backup_that_is_refused_or_of_another_instance_gives_nothing(folder: Path) -> None:
    damage(folder, "UPDATE records SET body=zeroblob(40) WHERE op=1 AND n=3")
    (folder / "junk").write_bytes(b"junk" * 200)
    with scratch() as other:
        asyncio.run(made(other))
        create_backup(settings(other), folder / "foreign", with_keys=False)
    for name in ("junk", "foreign"):
        with pytest.raises(RexecopError) as refused:
            recover(settings(folder), backup=folder / name, new_epoch=None)
        assert refused.value.code == "backup-refused"


@pytest.mark.parametrize("how", ["body=zeroblob(40)", "body=zeroblob(40), nodes=zeroblob(32)"])
def test_a_backup_of_another_line_of_the_log_gives_back_nothing_that_differs(folder: Path, how: str) -> None:
    async def story() -> None:
        with scratch() as other:
            for name in ("root", "rexecop-hello"):
                shutil.copytree(folder / name, other / name)
            recover(settings(other), backup=None, new_epoch="the other line")
            for place in (folder, other):
                with opened(place, identity=None) as instance:
                    view = await instance.plan(asked(place, "host_facts", "dry_run"))
                    await instance.start(view.operation_id)
            create_backup(settings(other), folder / "other-line", with_keys=False)
        before = bytes_of(folder)
        parting = 30  # The copy's epoch began here.
        damage(folder, f"UPDATE records SET {how} WHERE leaf IN (8, {parting + 1})")
        view_ = recover(settings(folder), backup=folder / "other-line", new_epoch=None)
        found = {item.leaf: item.done for item in view_.damaged}
        assert found[parting + 1] == "quarantined"
        assert found[8] == "put back" or "nodes" in how
        assert [row for row in bytes_of(folder) if row[0] == 8] == before[8:9] or "nodes" in how  # type: ignore[index]
        view_ = recover(settings(folder), backup=folder / "backup", new_epoch=None)
        assert bytes_of(folder)[:30] == before[:30]

    asyncio.run(story())


def test_while_a_record_of_the_instance_is_lost_no_key_counts(folder: Path) -> None:
    async def story() -> None:
        with opened(folder) as instance:
            waiting = (await instance.plan(change(folder))).operation_id
        damage(folder, "UPDATE records SET body=zeroblob(40) WHERE op=-1 AND n=2")
        view = recover(settings(folder), backup=None, new_epoch=None)
        assert [item.n for item in view.damaged] == [2] and view.recorded is not None
        with opened(folder) as instance:
            with pytest.raises(RexecopError) as refused:
                await instance.approve(waiting, key=bob(folder))
            assert refused.value.code == "journal-damaged"
        with opened(folder, identity=None) as instance:
            view_ = await instance.plan(asked(folder, "host_facts", "read_only"))
            assert (await instance.start(view_.operation_id)).state == "completed"
        recover(settings(folder), backup=folder / "backup", new_epoch=None)
        with opened(folder) as instance:
            await instance.approve(waiting, key=bob(folder))

    asyncio.run(story())


def test_where_the_last_record_of_the_instance_is_lost_the_quarantine_is_kept_and_said(folder: Path) -> None:
    damage(
        folder,
        "UPDATE records SET body=zeroblob(40) WHERE op=-1 AND n=(SELECT max(n) FROM records WHERE op=-1)",
    )

    view = recover(settings(folder), backup=None, new_epoch=None)

    assert view.recorded is None and view.problem is not None and "own chain" in view.problem
    with opened(folder, identity=None) as instance:
        assert instance.log_verify()["verdict"] == "quarantined"
        assert instance.parts.ledger.quarantined()


def test_a_tail_that_was_never_covered_no_longer_stops_the_root(folder: Path) -> None:
    async def story() -> None:
        with opened(folder) as instance:
            instance.parts.ledger._checkpointer = None  # Killed before it signed.
            instance.parts.ledger._writing.on_commit = lambda: None
            broken = (await instance.plan(asked(folder, "host_facts", "dry_run"))).operation_id
        damage(folder, "UPDATE records SET body=zeroblob(40) WHERE leaf=(SELECT max(leaf) FROM records)-1")
        with opened(folder) as instance:
            with pytest.raises(RexecopError) as stopped:
                instance.log_checkpoint()
            assert stopped.value.code == "store-damaged"
        view = recover(settings(folder), backup=None, new_epoch=None)
        assert [item.operation_id for item in view.damaged] == [broken] and view.problem is None
        with opened(folder) as instance:
            operation = (await instance.plan(asked(folder, "host_facts", "dry_run"))).operation_id
            await instance.start(operation)
            assert verified(instance, operation).findings == ()

    asyncio.run(story())


def test_a_log_cut_short_is_named_and_continued_by_no_epoch(folder: Path) -> None:
    damage(folder, "DELETE FROM records WHERE leaf>=(SELECT max(leaf)-2 FROM records)")

    with pytest.raises(RexecopError) as doubtful:
        recover(settings(folder), backup=None, new_epoch=None)
    with pytest.raises(RexecopError) as refused:
        recover(settings(folder), backup=None, new_epoch="go on all the same")

    assert doubtful.value.code == "root-identity-doubtful"
    assert "covers more than the log holds" in refused.value.message


def test_nodes_that_nothing_determines_are_said_to_be_lost_until_a_backup_brings_them(folder: Path) -> None:
    before = bytes_of(folder)
    damage(folder, "DELETE FROM records WHERE leaf=15")

    view = recover(settings(folder), backup=None, new_epoch=None)

    assert view.problem is not None and "lacks its node" in view.problem
    with open_reading(settings(folder)) as reading:
        assert {line.state for line in reading.list()} == {"completed"}
    view = recover(settings(folder), backup=folder / "backup", new_epoch=None)
    assert view.problem is None and bytes_of(folder)[: len(before)] == before


BEGUN = "op=(SELECT number FROM operations WHERE state='running')"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let only four leaves be the newest ones."""
    monkeypatch.setattr(repair, "TAIL_LEAVES", 4)


@pytest.mark.usefixtures("short")
def test_what_ended_long_ago_is_looked_at_when_somebody_says_so(folder: Path) -> None:
    damage(folder, "UPDATE records SET body=zeroblob(40) WHERE op=1 AND n=5")

    view = recover(settings(folder), backup=None, new_epoch=None)
    assert (view.damaged, view.checked, view.unfinished) == ((), 4, 0)
    assert view.next == ("rexecop recover --full",)

    view = recover(settings(folder), backup=None, new_epoch=None, full=True)
    assert [item.n for item in view.damaged] == [5] and view.checked == view.size
    view = recover(settings(folder), backup=None, new_epoch=None)
    assert [(item.n, item.done) for item in view.damaged] == [(5, "quarantined")] and view.recorded is None


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    "sql",
    [
        f"UPDATE records SET body=zeroblob(40) WHERE {BEGUN} AND n=1",
        f"DELETE FROM records WHERE {BEGUN} AND n=1",
        "UPDATE records SET body=zeroblob(40) WHERE leaf=(SELECT max(leaf) FROM records)",
        "UPDATE records SET nodes=zeroblob(length(nodes)) WHERE leaf=(SELECT max(leaf)-2 FROM records)",
        "DELETE FROM records WHERE leaf=(SELECT max(leaf)-3 FROM records)",
    ],
)
def test_damage_in_what_is_not_over_or_was_written_last_has_everything_checked(
    folder: Path, sql: str
) -> None:
    async def story() -> None:
        with opened(folder) as instance:
            await instance.plan(change(folder))
            view = await instance.plan(asked(folder, "host_facts", "read_only"))
            await instance.start(view.operation_id)

    asyncio.run(story())
    damage(folder, "UPDATE operations SET state='running' WHERE state='waiting_for_approval'")
    sound = recover(settings(folder), backup=None, new_epoch=None)
    assert sound.damaged == () and sound.unfinished == 1 and 4 < sound.checked < sound.size
    assert sound.next == ("rexecop ops", "rexecop recover --full")
    damage(folder, "UPDATE records SET body=zeroblob(40) WHERE op=1 AND n=5")
    damage(folder, sql)

    view = recover(settings(folder), backup=None, new_epoch=None)

    assert view.checked == view.size
    assert len(view.damaged) + view.nodes == 2 and view.damaged[0].n == 5


def test_a_newest_checkpoint_that_is_not_of_this_log_is_no_sound_one(folder: Path) -> None:
    connection = apsw.Connection(str(folder / "root" / "ledger.sqlite"))
    (size,) = next(iter(connection.execute("SELECT max(size) FROM checkpoints")))
    (note,) = next(iter(connection.execute("SELECT note FROM checkpoints WHERE size=?", (size,))))
    lines = note.decode().split("\n")
    lines[2] = base64.b64encode(bytes(32)).decode()
    connection.execute("UPDATE checkpoints SET note=? WHERE size=?", ("\n".join(lines).encode(), size))
    connection.close()

    place, forked = (
        ledger_of(Root(folder / "root"), ""),
        pytest.raises(StoreDamaged, match="over another log"),
    )
    with place.open(read_only=True) as store, forked:
        store.glance(())


def test_an_epoch_and_repair_go_together(folder: Path) -> None:
    shutil.copytree(folder / "root", folder / "copy")
    damage(folder, "UPDATE records SET body=zeroblob(40) WHERE op=1 AND n=4")
    shutil.copyfile(folder / "root" / "ledger.sqlite", folder / "copy" / "ledger.sqlite")
    moved = replace(settings(folder), root=folder / "copy")
    with pytest.raises(RexecopError) as doubtful:
        recover(moved, backup=None, new_epoch=None)
    assert doubtful.value.code == "root-identity-doubtful"

    view = recover(moved, backup=folder / "backup", new_epoch="copied off a failing disk")

    assert (view.epoch, view.began, [item.done for item in view.damaged]) == (3, True, ["put back"])
    assert view.problem is None
