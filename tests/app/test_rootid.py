"""A copy is not taken for the root it was copied from, and a moved root is not taken for a copy."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from rexecop.app import rootid
from rexecop.app.build import open_instance, open_ledger
from rexecop.app.evidence import Asked
from rexecop.app.instance import Instance
from rexecop.app.instance_key import InstanceKey
from rexecop.app.recovering import recover
from rexecop.app.root import Root
from rexecop.app.rootid import Mark, doubt, mark_of
from rexecop.proof.errors import RexecopError
from rexecop.proof.verify import Rung, trust_of, verify
from rexecop.store.sqlite import SqliteStore
from tests.app.support import asked, change, made, opened, scratch, settings, verified


@pytest.fixture(scope="module")
def template() -> object:
    with scratch() as folder:
        asyncio.run(made(folder))
        with opened(folder) as instance:
            asyncio.run(ran(instance, folder))
        yield folder


@pytest.fixture
def folder(template: Path) -> object:
    """A root that was written here."""
    with scratch() as folder:
        shutil.copytree(template, folder, dirs_exist_ok=True)
        recover(settings(folder), backup=None, new_epoch="a copy for a test")
        yield folder


async def ran(instance: Instance, folder: Path, mode: str = "dry_run") -> str:
    view = await instance.plan(asked(folder, "host_facts", mode))
    await instance.start(view.operation_id)
    return view.operation_id


def doubts(folder: Path) -> str | None:
    root = Root(folder / "root")
    with SqliteStore.open(root.ledger, read_only=True) as ledger:
        return doubt(root, ledger, mark_of(root, ledger.instance_id))


def copied(folder: Path, name: str = "copy") -> Path:
    """Copy a root into a folder of its own beside the original."""
    (folder / name).mkdir()
    for item in ("root", "rexecop-hello", "alice", "alice.pub"):
        source = folder / item
        copy: Callable[..., object] = shutil.copytree if source.is_dir() else shutil.copy2
        copy(source, folder / name / item)
    return folder / name


def test_in_a_copy_nothing_changes_and_reading_and_dry_work_go_on(folder: Path) -> None:
    async def story() -> None:
        copy = copied(folder)
        with opened(copy) as instance:
            before = instance.parts.ledger.kept_checkpoint()
            for attempt in (
                instance.plan(replace(change(copy), observe=False)),
                instance.key_new("carol", "approver", copy / "carol"),
            ):
                with pytest.raises(RexecopError) as refused:
                    await attempt
                assert refused.value.code == "root-identity-doubtful"
                assert "rexecop recover --new-epoch --reason TEXT" in refused.value.next_steps
            assert not (copy / "carol").exists()
            for mode in ("dry_run", "read_only"):
                assert instance.status(await ran(instance, copy, mode)).state == "completed"
            assert next(c.status for c in instance.check().checks if c.name == "identity") == "failed"
            assert instance.export(
                instance.list()[-1].operation_id, Asked(path=copy / "old.rxb")
            ).checkpoint_size
            with pytest.raises(RexecopError) as uncovered:
                instance.export("@", Asked(path=copy / "new.rxb"))
            assert uncovered.value.code == "root-identity-doubtful"
            assert instance.parts.ledger.kept_checkpoint() == before
        with opened(copy) as instance:
            assert instance.parts.ledger.kept_checkpoint() == before
        with opened(folder) as instance:
            assert (
                await instance.plan(replace(change(folder), observe=False))
            ).state == "waiting_for_approval"

    asyncio.run(story())


def test_a_copy_goes_on_as_a_new_epoch_and_whoever_held_more_is_told(folder: Path) -> None:
    async def story() -> None:
        copy = copied(folder)
        with opened(folder) as instance:
            held_before = instance.log_checkpoint().encode()
            await ran(instance, folder)
            held_after = instance.log_checkpoint().encode()
        view = recover(settings(copy), backup=None, new_epoch="moved to another disk")
        assert (view.began, view.epoch, view.damaged) == (True, 3, ())
        with opened(copy) as instance:
            operation = await ran(instance, copy)
            assert (await instance.plan(replace(change(copy), observe=False))).state == "waiting_for_approval"
            bundle = instance.parts.evidence.bundle(operation)
            trust = trust_of(instance.parts.authority.enrolments())
            assert instance.log_verify()["verdict"] == "consistent"
        assert verify(bundle, trust).holds(Rung.LOGGED)
        assert verify(bundle, trust, checkpoint=held_before).findings == ()
        assert [f.code for f in verify(bundle, trust, checkpoint=held_after).findings] == ["E06f"]

    asyncio.run(story())


def test_a_root_that_was_only_moved_is_itself(folder: Path) -> None:
    (folder / "root").rename(folder / "elsewhere")
    (folder / "elsewhere").rename(folder / "root")

    assert doubts(folder) is None


def test_a_copy_in_place_of_the_original_is_not_it(folder: Path) -> None:
    shutil.copytree(folder / "root", folder / "copy", copy_function=shutil.copy2)
    shutil.rmtree(folder / "root")
    (folder / "copy").rename(folder / "root")

    assert "another file" in str(doubts(folder))


@pytest.mark.parametrize("place", [os.replace, shutil.copyfile])
def test_an_older_ledger_in_its_place_is_noticed(folder: Path, place: Callable[[Path, Path], object]) -> None:
    ledger = Root(folder / "root").ledger
    shutil.copy(ledger, folder / "older")
    with opened(folder) as instance:
        asyncio.run(ran(instance, folder))
    place(folder / "older", ledger)

    assert doubts(folder) is not None
    view = recover(settings(folder), backup=None, new_epoch="restored by hand")
    assert view.problem is None
    assert doubts(folder) is None


def test_a_ledger_of_another_instance_is_noticed(folder: Path) -> None:
    ledger, other = Root(folder / "root").ledger, folder / "other"
    SqliteStore.create(other, "in_other").close()
    shutil.copyfile(other, ledger)

    assert "another instance" in str(doubts(folder))


def test_a_damaged_tree_is_damage_and_not_another_ledger(folder: Path) -> None:
    connection = apsw.Connection(str(Root(folder / "root").ledger))
    connection.execute("UPDATE records SET nodes=zeroblob(length(nodes)) WHERE leaf=15")
    connection.close()

    assert doubts(folder) is None
    assert recover(settings(folder), backup=None, new_epoch=None).problem is None


@pytest.mark.parametrize(
    ("machine", "boot", "inode", "doubtful"),
    [
        ("m1", "b1", 1, False),
        ("m1", "b2", 1, False),  # Started again.
        ("m2", "b1", 1, False),  # In a container with an id of its own, on the same kernel.
        ("", "b2", 1, False),  # In a container without one.
        ("m2", "b2", 1, True),  # A cloned disk in another machine.
        ("m1", "b1", 2, True),  # A copied folder.
    ],
)
def test_what_makes_a_mark_another_one(
    folder: Path, machine: str, boot: str, inode: int, doubtful: bool
) -> None:
    root = Root(folder / "root")
    with SqliteStore.open(root.ledger) as ledger:
        ledger.mark(Mark(machine="m1", boot="b1", inode=1).text())
        found = doubt(root, ledger, Mark(machine=machine, boot=boot, inode=inode))

    assert (found is not None) == doubtful


def test_machines_may_share_the_folder_of_a_root_whose_ledger_is_on_a_server(folder: Path) -> None:
    root = Root(folder / "root")
    root.place.write_text("postgresql://db.example/ledger\nid\n")
    with SqliteStore.open(root.ledger) as ledger:
        ledger.mark(Mark(machine="m1", boot="b1", inode=1).text())
        elsewhere = [doubt(root, ledger, Mark(machine="m2", boot="b2", inode=inode)) for inode in (1, 2)]

    assert [found is not None for found in elsewhere] == [False, True]


@pytest.mark.parametrize(
    ("text", "known"), [("3d1219c7c4c5404aaa1f6d2a48adfda4\n", True), ("uninitialized\n", False), ("", False)]
)
def test_the_mark_does_not_give_the_machine_away(
    folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, known: bool
) -> None:
    (folder / "machine-id").write_text(text)
    monkeypatch.setattr(rootid, "MACHINE_ID", folder / "machine-id")

    mark = mark_of(Root(folder / "root"), "in_a")

    assert bool(mark.machine) == known
    assert not text.strip() or text.strip() not in mark.text()
    assert not known or mark.machine != mark_of(Root(folder / "root"), "in_b").machine


def test_a_damaged_mark_is_doubtful_and_a_torn_checkpoint_beside_the_ledger_says_nothing(
    folder: Path,
) -> None:
    root = Root(folder / "root")
    root.newest_checkpoint.write_bytes(b"torn")
    assert doubts(folder) is None
    with SqliteStore.open(root.ledger) as ledger:
        ledger.mark("{")
    assert "cannot be read" in str(doubts(folder))


def test_who_opened_the_root_before_an_epoch_began_signs_and_writes_nothing_more(folder: Path) -> None:
    async def story() -> None:
        with opened(folder) as late:
            recover(settings(folder), backup=None, new_epoch="while somebody works")
            with pytest.raises(RexecopError) as over:
                for _ in range(2):
                    await ran(late, folder)
                    late.log_checkpoint()
            assert over.value.code in ("epoch-over", "store-uncertain")
        with open_instance(settings(folder)) as instance:
            assert instance.log_verify()["verdict"] == "consistent"
            assert instance.log_checkpoint().startswith(f"rexecop/{instance.parts.ledger.instance_id}/3\n")
            operation = await ran(instance, folder)
            assert verified(instance, operation).findings == ()

    asyncio.run(story())


def test_a_root_from_before_marks_is_marked_when_it_is_opened(folder: Path) -> None:
    root = Root(folder / "root")
    key = InstanceKey(root)
    with open_ledger(root, key) as ledger:
        ledger._writing.run(
            lambda applier: applier.connection.execute("DELETE FROM meta WHERE name='identity'")
        )
    with open_ledger(root, key) as ledger:
        assert (ledger.doubt, ledger.identity) == (None, mark_of(root, ledger.instance_id).text())
