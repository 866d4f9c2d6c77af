"""A ledger in a file is made and written only where the disk keeps processes apart, and under one name."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rexecop.store import locking
from rexecop.store.errors import StoreLocks, StoreOtherRoot
from rexecop.store.locking import require_locks
from rexecop.store.sqlite import SqliteStore
from tests.store.contract import A, begin


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "root" / "ledger.db"
    path.parent.mkdir()
    with SqliteStore.create(path, "instance") as store:
        begin(store, A)
    return path


def mounted(monkeypatch: pytest.MonkeyPatch, folder: Path, kind: str, table: Path) -> None:
    """Let the system say that the disk of `folder` is of `kind`."""
    device = os.stat(folder).st_dev
    line = (
        f"36 35 {os.major(device)}:{os.minor(device)} / {folder} rw,noatime shared:1 - {kind} server:/x rw\n"
    )
    table.write_text(f"1 0 0:1 / /other rw - tmpfs tmpfs rw\n{line}")
    monkeypatch.setattr(locking, "MOUNTS", table)


def _never(descriptor: int) -> bool:
    return False


def _always(descriptor: int) -> bool:
    return True


@pytest.mark.parametrize(("lock", "words"), [(_never, "takes no locks"), (_always, "hold at once")])
def test_a_disk_whose_locks_hold_nobody_off_is_not_written(
    path: Path, monkeypatch: pytest.MonkeyPatch, lock: Callable[[int], bool], words: str
) -> None:
    monkeypatch.setattr(locking, "_lock", lock)

    with pytest.raises(StoreLocks, match=words):
        SqliteStore.open(path)
    with pytest.raises(StoreLocks, match=words):
        SqliteStore.create(path.with_name("fresh.db"), "instance")

    assert not path.with_name("fresh.db").exists()
    with SqliteStore.open(path, read_only=True) as store:
        assert store.size() == 1


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_a_disk_that_several_machines_may_share_is_not_written(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    mounted(monkeypatch, path.parent, kind, tmp_path / "mounts")

    with pytest.raises(StoreLocks, match=kind):
        SqliteStore.open(path)


def test_a_local_disk_is_taken_whatever_else_is_mounted(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(path.parent.iterdir())
    mounted(monkeypatch, path.parent, "ext4", tmp_path / "mounts")
    require_locks(path.parent)
    monkeypatch.setattr(locking, "MOUNTS", tmp_path / "none")
    require_locks(path.parent)

    assert sorted(path.parent.iterdir()) == before


@pytest.mark.parametrize("link", [os.link, os.symlink])
@pytest.mark.parametrize("read_only", [True, False])
def test_a_ledger_under_two_names_is_refused_under_both(
    path: Path, tmp_path: Path, link: Callable[[Path, Path], None], read_only: bool
) -> None:
    other = tmp_path / "ledger.db"
    link(path, other)

    with pytest.raises(StoreOtherRoot):
        SqliteStore.open(other, read_only=read_only)
    if link is os.link:
        with pytest.raises(StoreOtherRoot):
            SqliteStore.open(path, read_only=read_only)
    other.unlink()
    SqliteStore.open(path, read_only=read_only).close()


def test_the_name_under_which_a_ledger_was_made_is_no_second_one(path: Path) -> None:
    os.link(path, path.with_name(f"{path.name}.new-4711"))

    SqliteStore.open(path).close()
