"""The log leaves as tiles and comes back checked: only added to, never mixed, every tampering by its name."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import apsw
import pytest

from conformance.memory_signer import MemorySigner
from rexecop.app.logs import export_tiles, tile_file, verify_tiles
from rexecop.proof import checkpoint as checkpoints
from rexecop.proof import note
from rexecop.proof.canonical import Json
from rexecop.proof.checkpoint import Checkpoint
from rexecop.proof.errors import RexecopError
from rexecop.proof.note import Note
from rexecop.proof.verify import NO_KEYS, TrustedKeys
from rexecop.store.log import StoredCheckpoint
from rexecop.store.sqlite import SqliteStore
from tests.proof.logs import LOG, ORIGIN, STRANGER, TRUST, cosigned, tile_files
from tests.store.samples import batch, notes, operation_id, two_step


def signing(origin: str = ORIGIN) -> Callable[[int, bytes], bytes]:
    return lambda size, root: checkpoints.sign(Checkpoint(origin=origin, size=size, root=root), LOG)


def quiet(done: int, total: int) -> None:
    """Nobody watches."""


def ledger(path: Path, operations: Sequence[int], *, origin: str = ORIGIN) -> Path:
    """A ledger with ten records for each of `operations`."""
    with SqliteStore.create(path, "lab", checkpointer=signing(origin)) as store:
        grow(store, operations)
    return path


def grow(store: SqliteStore, operations: Sequence[int]) -> None:
    for number in operations:
        for each in two_step(number):
            store.append_sync(each)


def exported(path: Path, folder: Path, progress: Callable[[int, int], None] = quiet) -> dict[str, Json]:
    with SqliteStore.open(path, read_only=True) as store:
        stored = store.kept_checkpoint()
        assert stored is not None
        return dict(export_tiles(store, stored, folder, progress))


def expected(path: Path) -> dict[str, bytes]:
    """What the folder should hold, computed from the records and nothing else."""
    with SqliteStore.open(path, read_only=True) as store:
        stored = store.kept_checkpoint()
        assert stored is not None
        records = [leaf.body for leaf in store.leaves(0, stored.size)]
    return {**tile_files(records), "checkpoint": stored.note}


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def checked(folder: Path, *, trust: TrustedKeys = TRUST, held: bytes | None = None) -> str:
    """The code of the first thing wrong with the folder, or its verdict."""
    try:
        found = verify_tiles(folder, trust=trust, held=held, progress=quiet)
    except RexecopError as error:
        return error.code
    bad = found["bad"]
    return str(bad["code"]) if isinstance(bad, dict) else str(found["verdict"])


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A ledger of 600 records: two full tiles and a partial one."""
    yield ledger(tmp_path_factory.mktemp("large") / "ledger.db", range(60))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return ledger(tmp_path / "small.db", range(2))


def test_the_folder_holds_exactly_what_the_specification_says(large: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    view = exported(large, tmp_path / "log", lambda done, total: seen.append((done, total)))

    assert files(tmp_path / "log") == expected(large)
    assert view == {"path": str(tmp_path / "log"), "size": 600, "files": 8}
    assert seen == [(256, 600), (512, 600), (600, 600)]
    assert checked(tmp_path / "log") == "consistent"


def test_a_single_tile_is_the_file_that_an_export_has_at_its_path(large: Path) -> None:
    wanted = {name.removeprefix("tile/"): data for name, data in expected(large).items() if "/" in name}
    with SqliteStore.open(large, read_only=True) as store:
        found = {path: tile_file(store, path, records=True) for path in wanted}
        hashes = {path: tile_file(store, path, records=False) for path in wanted}

        assert found == {path: (data, ".p/" not in path) for path, data in wanted.items()}
        assert {path for path, data in hashes.items() if data is None} == {
            path for path in wanted if "entries" in path
        }
        # A tile that is full has beginnings, too; of what is not there yet there is nothing.
        assert tile_file(store, "0/001.p/3", records=True) == (wanted["0/001"][:96], False)
        beyond = ("0/002", "0/002.p/89", "entries/002.p/89", "1/000.p/3", "2/000.p/1", "0/003.p/1", "7/000")
        for path in (*beyond, "big-entries/000", "0/x900/x000/x000/x000/x000/000.p/1"):
            assert tile_file(store, path, records=True) is None, path


def test_a_second_export_only_adds(tmp_path: Path) -> None:
    path, folder = ledger(tmp_path / "ledger.db", range(30)), tmp_path / "log"
    exported(path, folder)
    before = {name: (folder / name).stat().st_mtime_ns for name in files(folder) if name != "checkpoint"}
    assert exported(path, folder)["files"] == 0
    with SqliteStore.open(path, checkpointer=signing()) as store:
        grow(store, range(30, 60))

    assert exported(path, folder)["files"] == 6

    after = files(folder)
    assert {name: (folder / name).stat().st_mtime_ns for name in before} == before
    assert expected(path).items() <= after.items()
    assert checked(folder) == "consistent"


@pytest.mark.parametrize("interrupted", [1, 2, 3])
def test_an_export_that_was_interrupted_is_no_log_yet_and_goes_on(
    large: Path, tmp_path: Path, interrupted: int
) -> None:
    folder, left = tmp_path / "log", iter(range(interrupted - 1))

    def stop(done: int, total: int) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        exported(large, folder, stop)
    assert checked(folder) == "file-missing"

    exported(large, folder)
    assert files(folder) == expected(large)


def test_what_an_interrupted_export_left_half_written_is_written_again(large: Path, tmp_path: Path) -> None:
    folder = tmp_path / "log"
    exported(large, folder)
    (folder / "checkpoint").unlink()
    (folder / "tile/entries/001").write_bytes(b"")

    assert exported(large, folder)["files"] == 2
    assert files(folder) == expected(large)


@pytest.mark.parametrize(
    ("operations", "origin", "code"),
    [
        ((0,), ORIGIN, "log-truncated"),
        ((0, 5), ORIGIN, "log-forked"),
        ((0, 5, 1), ORIGIN, "log-rewound"),
        ((0, 1), "rexecop/attic/1", "checkpoint-foreign"),
    ],
)
def test_a_folder_is_never_continued_by_another_log(
    small: Path, tmp_path: Path, operations: Sequence[int], origin: str, code: str
) -> None:
    exported(small, tmp_path / "log")
    before = files(tmp_path / "log")
    other = ledger(tmp_path / "other.db", operations, origin=origin)

    with pytest.raises(RexecopError) as caught:
        exported(other, tmp_path / "log")

    assert caught.value.code == code
    assert files(tmp_path / "log") == before


def test_another_epoch_of_the_same_tree_goes_on_in_the_same_folder(small: Path, tmp_path: Path) -> None:
    exported(small, tmp_path / "log")
    held = (tmp_path / "log" / "checkpoint").read_bytes()
    with SqliteStore.open(small, checkpointer=signing("rexecop/lab/2")) as store:
        store.begin_epoch(batch(notes("lab", 1)), 2, "here", store.size())
    with SqliteStore.open(small, checkpointer=signing("rexecop/lab/2")) as store:
        grow(store, range(2, 4))
    exported(small, tmp_path / "log")

    assert (tmp_path / "log" / "checkpoint").read_bytes().startswith(b"rexecop/lab/2\n41\n")
    assert checked(tmp_path / "log", held=held) == "consistent"


def test_a_damaged_ledger_is_not_exported(small: Path, tmp_path: Path) -> None:
    connection = apsw.Connection(str(small))
    connection.execute("UPDATE records SET body=x'7b7d' WHERE leaf=4")
    connection.close()

    with pytest.raises(RexecopError) as caught:
        exported(small, tmp_path / "log")
    assert caught.value.code == "store-damaged" and not (tmp_path / "log" / "checkpoint").exists()


def test_a_long_record_is_exported_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with SqliteStore.create(path, "lab", checkpointer=signing()) as store:
        store.append_sync(batch(notes(operation_id(1), 2, text="x" * 70_000)))
    exported(path, tmp_path / "log")

    assert set(files(tmp_path / "log")) == {"checkpoint", "tile/0/000.p/2", "tile/big-entries/000.p/2"}
    assert checked(tmp_path / "log") == "consistent"


@pytest.fixture
def folder(small: Path, tmp_path: Path) -> Path:
    """Twenty records as tiles."""
    exported(small, tmp_path / "log")
    return tmp_path / "log"


def rewritten(folder: Path, change: Callable[[Checkpoint], Checkpoint], signer: MemorySigner = LOG) -> None:
    """Let whoever holds `signer` sign another checkpoint over the folder."""
    found = checkpoints.parse(note.parse((folder / "checkpoint").read_bytes()).text)
    (folder / "checkpoint").write_bytes(checkpoints.sign(change(found), signer))


def replaced(size: int | None = None, root: bytes | None = None) -> Callable[[Checkpoint], Checkpoint]:
    return lambda found: Checkpoint(
        origin=found.origin, size=found.size if size is None else size, root=root or found.root
    )


def test_without_a_trusted_key_nothing_is_verified(folder: Path) -> None:
    found = verify_tiles(folder, trust=NO_KEYS, held=None, progress=quiet)

    assert found["verdict"] == "not verified: no trusted key" and found["signer"] is None
    assert found["not_checked"] == (
        "the signature of the checkpoint: no key is trusted for instances",
        "whether the log was rewound: no checkpoint held earlier was given",
    )


def test_a_checkpoint_of_the_folder_that_lies_is_refused_by_name(folder: Path) -> None:
    whole = (folder / "checkpoint").read_bytes()
    for change, code in (
        (replaced(root=bytes(32)), "checkpoint-forged"),
        (replaced(size=21), "log-leaf-unreadable"),
        (replaced(size=19), "log-leaf-unreadable"),
    ):
        rewritten(folder, change)
        assert checked(folder) == code
        (folder / "checkpoint").write_bytes(whole)
    rewritten(folder, replaced(), STRANGER)
    assert checked(folder) == "checkpoint-unsigned"
    (folder / "checkpoint").write_bytes(whole.replace(b"\n20\n", b"\n19\n"))
    assert checked(folder) == "signature-wrong"
    found = note.parse(whole)
    (folder / "checkpoint").write_bytes(Note(text=found.text, signatures=found.signatures * 2).encode())
    assert checked(folder) == "note-signature-repeated"
    (folder / "checkpoint").write_bytes(b"nothing")
    assert checked(folder) == "note-malformed"
    (folder / "checkpoint").write_bytes(cosigned(whole))
    assert checked(folder) == "consistent"


def test_a_checkpoint_held_earlier_finds_a_folder_that_was_cut_forked_or_rewound(
    folder: Path, tmp_path: Path
) -> None:
    held = (folder / "checkpoint").read_bytes()
    assert checked(folder, held=held) == "consistent"
    for operations, code in (((0,), "log-truncated"), ((0, 5), "log-forked"), ((0, 5, 1), "log-rewound")):
        shutil.rmtree(folder)
        exported(ledger(tmp_path / f"{code}.db", operations), folder)
        assert checked(folder) == "consistent"
        assert checked(folder, held=held) == code
    foreign = checkpoints.sign(Checkpoint(origin="rexecop/attic/1", size=1, root=bytes(32)), LOG)
    assert checked(folder, held=foreign) == "checkpoint-foreign"
    unsigned = checkpoints.sign(Checkpoint(origin=ORIGIN, size=1, root=bytes(32)), STRANGER)
    assert checked(folder, held=unsigned) == "checkpoint-unsigned"
    assert checked(folder, held=b"nothing") == "note-malformed"


def test_a_folder_whose_files_are_links_or_folders_ends_in_an_error_of_ours(folder: Path) -> None:
    (folder / "tile/0/000.p/20").unlink()
    (folder / "tile/0/000.p/20").mkdir()
    assert checked(folder) == "file-refused"
    assert checked(folder / "nowhere") == "file-missing"


def test_of_a_checkpoint_older_than_the_log_just_what_it_covers_is_exported(tmp_path: Path) -> None:
    path = ledger(tmp_path / "ledger.db", range(2))
    with SqliteStore.open(path, checkpointer=signing()) as store:
        older = StoredCheckpoint(size=13, note=signing()(13, store.root(13)))
        export_tiles(store, older, tmp_path / "log", quiet)

    assert set(files(tmp_path / "log")) == {"checkpoint", "tile/0/000.p/13", "tile/entries/000.p/13"}
    assert checked(tmp_path / "log") == "consistent"
