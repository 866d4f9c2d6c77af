"""Ledgers of older schemas: refused, brought up to date whole or not at all, and then like new ones."""

import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from rexecop.operations.errors import StoreError
from rexecop.store import schema
from rexecop.store.errors import StoreDamaged, StoreForeign, StoreNewer, StoreOutdated
from rexecop.store.postgres_connection import migrations as postgres_migrations
from rexecop.store.sqlite import SqliteStore
from rexecop.store.sqlite_migrate import migrate
from tests.store.contract import A, B, blob, more, put
from tests.store.faulty import Disk, fail_at
from tests.store.samples import batch, notes, two_step

OLDER = [number for number in schema.migrations("sqlite") if number < schema.VERSION]
PLACES = 12  # Of the writes and flushes of a migration, so many fail, each as the first.
KEPT = blob(b"what was put out" * 500)


def tables(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of every table, without the columns that later schemas have."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return {
            name: sorted(connection.execute(f"SELECT {columns_of(connection, name)} FROM {name}"), key=repr)
            for name in schema.TABLE_NAMES
        }
    finally:
        connection.close()


def columns_of(connection: apsw.Connection, table: str) -> str:
    names = [str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})")]
    return ", ".join(name for name in names if (table, name) != ("blobs", "op"))


@pytest.fixture(scope="module")
def modern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of today with operations, an output and a board."""
    path = tmp_path_factory.mktemp("modern") / "ledger.db"
    with SqliteStore.create(path, "instance") as store:
        put(store, *two_step(3), *two_step(4), batch(notes(A, 3)))
        put(store, more(store.journal(A).records[-1], blobs=(KEPT,)))
        store.post("worker", "one", b"{}")
    return path


@pytest.fixture(params=OLDER)
def older(request: pytest.FixtureRequest, modern: Path, tmp_path: Path) -> Path:
    """The same in a file of an older schema, made by the numbered files up to it."""
    path = tmp_path / "ledger.db"
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    for number, statements in schema.migrations("sqlite").items():
        if number <= request.param:
            connection.execute(statements)
    connection.pragma("application_id", schema.APPLICATION_ID)
    connection.pragma("user_version", request.param)
    connection.execute("ATTACH ? AS modern", (str(modern),))
    for table in schema.TABLE_NAMES:
        named = columns_of(connection, table)
        connection.execute(f"INSERT INTO main.{table}({named}) SELECT {named} FROM modern.{table}")
    connection.close()
    return path


def test_the_newest_migration_is_the_schema_of_this_version() -> None:
    known = list(schema.migrations("sqlite"))
    assert known == list(range(schema.VERSION_MIN, schema.VERSION + 1))
    assert list(schema.migrations("postgres")) == list(range(1, len(postgres_migrations()) + 1))


@pytest.mark.parametrize("read_only", [True, False])
def test_an_older_ledger_is_refused_with_what_to_do(older: Path, read_only: bool) -> None:
    before = tables(older)

    with pytest.raises(StoreOutdated) as refused:
        SqliteStore.open(older, read_only=read_only)

    assert refused.value.next_steps == ("rexecop doctor --fix",)
    assert tables(older) == before


def test_an_older_ledger_brought_up_to_date_is_like_a_new_one(older: Path, modern: Path) -> None:
    before = tables(older)

    assert migrate(older)[1] == schema.VERSION
    assert migrate(older) == (schema.VERSION, schema.VERSION)

    assert tables(older) == before
    assert shape(older) == shape(modern)
    with SqliteStore.open(older) as store, SqliteStore.open(modern, read_only=True) as new:
        assert store.verify_log().bad is None and store.root(store.size()) == new.root(new.size())
        assert store.journal(A) == new.journal(A) and store.blob(KEPT.ref.commitment) == KEPT
        put(store, more(store.journal(A).records[-1]), batch(notes(B, 2)))
        assert store.verify_log().bad is None


def shape(path: Path) -> set[str]:
    """Return what tells the file's make: its tables and indexes, and how it gives space back."""
    connection = apsw.Connection(str(path))
    made = {" ".join(str(sql).split()) for (sql,) in connection.execute("SELECT sql FROM sqlite_schema")}
    made |= {f"{name} {connection.pragma(name)}" for name in ("user_version", "auto_vacuum", "journal_mode")}
    connection.close()
    return made


def test_a_disk_that_fails_or_a_death_at_any_moment_leaves_the_older_ledger_whole(
    older: Path, tmp_path: Path
) -> None:
    disk, counted = Disk(), tmp_path / "counted.db"
    shutil.copyfile(older, counted)
    migrate(counted, disk.name)
    assert disk.calls > 10
    before = tables(older)
    for place in range(1, disk.calls + 1, max(1, disk.calls // PLACES)):
        for result in (apsw.SQLITE_IOERR_WRITE, apsw.SQLITE_IOERR_FSYNC):
            path, failing = tmp_path / "failing.db", Disk()
            for file in tmp_path.glob("failing.db*"):
                file.unlink()
            shutil.copyfile(older, path)
            failing.fault = fail_at(place, result, for_ever=True)
            try:
                migrate(path, failing.name)
            except StoreError:
                assert version_of(path) in (*OLDER, schema.VERSION)
            assert tables(path) == before
            migrate(path)
            with SqliteStore.open(path, read_only=True) as store:
                assert store.verify_log().bad is None and store.integrity() == ()


def version_of(path: Path) -> int:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return int(connection.pragma("user_version"))
    finally:
        connection.close()


def test_what_stands_in_the_middle_of_a_migration_is_taken_back(
    older: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, made = tables(older), schema.migrations("sqlite")
    halfway = {**made, schema.VERSION + 1: "CREATE TABLE added(a); SELECT no_such_function()"}
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    monkeypatch.setattr(schema, "migrations", lambda database: halfway)

    with pytest.raises(StoreError):
        migrate(older)

    assert version_of(older) in OLDER and tables(older) == before
    assert not any("added" in sql for sql in shape(older))


def _newer(connection: apsw.Connection) -> None:
    connection.pragma("user_version", schema.VERSION + 1)


def _triggered(connection: apsw.Connection) -> None:
    connection.execute("CREATE TRIGGER t AFTER INSERT ON meta BEGIN DELETE FROM records; END")


def _foreign(connection: apsw.Connection) -> None:
    connection.pragma("application_id", 1)


@pytest.mark.parametrize(
    ("change", "error"), [(_newer, StoreNewer), (_triggered, StoreForeign), (_foreign, StoreForeign)]
)
def test_only_an_older_ledger_of_ours_is_brought_up_to_date(
    older: Path, change: Callable[[apsw.Connection], None], error: type[StoreError]
) -> None:
    connection = apsw.Connection(str(older))
    change(connection)
    connection.close()
    before = version_of(older)

    with pytest.raises(error):
        migrate(older)

    assert version_of(older) == before


def test_a_damaged_file_keeps_its_schema(older: Path) -> None:
    content = bytearray(older.read_bytes())
    content[schema.PAGE_BYTES * 5 : schema.PAGE_BYTES * 6] = b"\xff" * schema.PAGE_BYTES
    older.write_bytes(content)

    with pytest.raises(StoreDamaged):
        migrate(older)

    assert version_of(older) in OLDER
