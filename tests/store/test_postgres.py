"""The PostgreSQL ledger: the contract, the log that follows, and a server that goes away."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import psycopg
import pytest

from rexecop.operations.errors import AppendConflict, LockHeld, StoreError, StoreUnavailable
from rexecop.operations.ports import Appended, Batch, Journal, Lock, Row
from rexecop.proof.chain import Sealed
from rexecop.proof.merkle import leaf_hash, root_of
from rexecop.store import postgres, postgres_connection, postgres_log, postgres_transactions
from rexecop.store.apply import Applier
from rexecop.store.database import Connection
from rexecop.store.errors import LogBehind, StoreReadOnly
from rexecop.store.log import checkpoint_in, size_in
from rexecop.store.packing import pack_operation
from rexecop.store.postgres import PostgresStore
from rexecop.store.postgres_connection import Server, migrate, migrations
from rexecop.store.postgres_log import Integrator
from rexecop.store.sqlite import SqliteStore
from tests.store import servers
from tests.store.contract import A, B, LoggedStore, StoreContract, begin, blob, more, put
from tests.store.samples import batch, note, notes, operation_id, row, two_step
from tests.store.test_checkpoints import Key
from tests.store.test_processes import start
from tests.store.wire import Wire, wire


@pytest.fixture
def url() -> str:
    return servers.emptied()


@pytest.fixture
def own() -> Iterator[str]:
    """The URL of a ledger whose tables may be changed."""
    with servers.schema() as named:
        PostgresStore.create(servers.server(named), "instance")
        yield named


@pytest.fixture
def server(url: str) -> Server:
    return servers.server(url)


@pytest.fixture
def store(server: Server) -> Iterator[PostgresStore]:
    with PostgresStore.open(server) as opened:
        yield opened


class TestPostgres(StoreContract):
    @pytest.fixture
    def store(self, server: Server) -> Iterator[LoggedStore]:
        with PostgresStore.open(server) as opened:
            yield opened


def behind(url: str, sql: str) -> None:
    """Change the tables behind the store's back."""
    with servers.raw(url) as connection:
        connection.execute(sql.encode())


# --- the log follows ---


def test_a_record_is_there_at_once_and_in_the_log_when_somebody_gave_it_its_place(
    store: PostgresStore,
) -> None:
    appended = store.append_sync(batch(notes(A, 3)))

    assert appended == Appended(first_leaf=None)
    assert (store.records_of(A), store.size(), store.verify_log().size) == (3, 0, 0)
    assert store.leaf_of(A, 2) == 2
    assert (store.size(), store.verify_log().bad) == (3, None)


def test_a_record_whose_transaction_ended_late_gets_its_place_all_the_same(
    store: PostgresStore, url: str
) -> None:
    late = notes(B, 1)[0]
    with servers.raw(url) as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO operations(number, id) VALUES(9, %s)", (B,))
        values = (late.body, leaf_hash(late.body))
        connection.execute("INSERT INTO records(op, n, body, nodes) VALUES(9, 0, %s, %s)", values)
        begin(store, A)
        assert store.size() == 1
        connection.execute("COMMIT")
    store.settle()

    assert [store.body_at(leaf) for leaf in range(2)] == [store.journal(A).records[0].body, late.body]
    assert store.verify_log().bad is None


def test_no_record_gets_a_place_before_the_one_it_follows(store: PostgresStore, url: str) -> None:
    store.append_sync(batch(notes(A, 3)))
    # As if the numbers had been taken in the wrong order.
    behind(url, "UPDATE records SET n=-n-1")
    behind(url, "UPDATE records SET n=n+3")
    behind(
        url,
        "UPDATE records SET body=other.body, nodes=other.nodes FROM records other WHERE other.n=2-records.n",
    )
    store.settle()

    assert [store.leaf_of(A, n) for n in range(3)] == [0, 1, 2]
    assert store.verify_log().bad is None


def test_the_tree_is_that_of_all_bodies_in_the_order_of_their_places(store: PostgresStore) -> None:
    for number in range(4):
        put(store, *two_step(number))
    bodies = [leaf.body for leaf in store.leaves(0, store.size())]

    for size in (1, 7, 32, 40):
        assert store.root(size) == root_of([leaf_hash(body) for body in bodies[:size]])


def test_one_is_elected_and_when_it_hangs_up_another_one_is(server: Server) -> None:
    one, two = Integrator(server), Integrator(server)
    try:
        one.run()
        two.run()
        assert (one.is_elected, two.is_elected) == (True, False)
        one.close()
        two.run()
        one.run()
        assert (one.is_elected, two.is_elected) == (False, True)
    finally:
        one.close()
        two.close()


def test_two_that_both_think_they_are_elected_fork_nothing(
    store: PostgresStore, server: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = rivals = [Integrator(server), Integrator(server)]
    for each in rivals:
        each.run()
        each._elected = True
    chosen, go_on = threading.Event(), threading.Event()

    def size_later(connection: Connection) -> int:
        if not chosen.is_set():
            chosen.set()
            assert go_on.wait(60)
        return size_in(connection)

    monkeypatch.setattr(postgres_log, "size_in", size_later)
    for operation in (A, B):
        store.append_sync(batch(notes(operation, 5)))
    assert two._connection is not None
    session = two._connection.raw.info.backend_pid
    with ThreadPoolExecutor(2) as threads, servers.raw(url) as looking:
        first = threads.submit(one._page)  # It has chosen all ten.
        assert chosen.wait(60)
        monkeypatch.setattr(postgres_log, "PAGE_RECORDS", 5)
        second = threads.submit(two._page)
        waits = "SELECT 1 FROM pg_locks WHERE pid=%s AND NOT granted"
        while not second.done() and looking.execute(waits, (session,)).fetchone() is None:
            pass
        go_on.set()
        assert (first.result(60), second.result(60)) == (True, False)
    for each in rivals:
        each.close()

    assert (store.size(), store.verify_log().bad) == (10, None)
    with pytest.raises(psycopg.errors.UniqueViolation):
        behind(url, "UPDATE records SET leaf=0 WHERE leaf=1")


def test_what_another_process_wrote_is_covered_by_the_checkpoints_of_the_elected_one(
    server: Server,
) -> None:
    key = Key()
    with PostgresStore.open(server, checkpointer=key) as elected, PostgresStore.open(server) as worker:
        begin(elected, A)
        worker.append_sync(batch(notes(B, 2)))

        assert key.wait_for(3)
        assert elected.verify_log().bad is None
    with PostgresStore.open(server, read_only=True) as reader:
        kept = reader.kept_checkpoint()
        assert kept is not None
        assert (kept.size, checkpoint_in(kept.size, kept.note).root) == (3, reader.root(3))


def changing(records: tuple[Sealed, ...]) -> Batch:
    """Return `records` as the first batch of an operation that changes something."""
    return replace(batch(records), row=replace(row(records), mode="apply"))


def stuck(url: str, server: Server) -> "psycopg.Connection[tuple[object, ...]]":
    """Return the session of an integrator that stands still, and age what has no place."""
    holder = servers.raw(url)
    with closing(postgres_connection.open_connection(server, writing=False)) as looking:
        holder.execute("SELECT pg_advisory_lock(%s, 1)", (looking.lock_space,))
    holder.execute("UPDATE records SET added = now() - interval '1 minute' WHERE leaf IS NULL")
    return holder


def test_when_the_log_is_behind_changes_stop_and_reads_go_on(
    store: PostgresStore, server: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "SETTLE_SECONDS_MAX", 0)
    store.append_sync(batch(notes(A, 1)))
    with stuck(url, server):
        change = notes(B, 1)
        for append in (store.append_sync, lambda given: asyncio.run(store.append(given))):
            with pytest.raises(LogBehind):
                append(changing(change))
        store.append_sync(batch(notes(operation_id(3), 1)))

        assert store.records_of(B) == 0
        assert store.condition().faults


def test_an_integrator_that_stands_still_is_hung_up_on(
    store: PostgresStore, server: Server, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "BEHIND_SECONDS_MAX", 0)
    store.append_sync(batch(notes(A, 1)))
    holder = stuck(url, server)

    store.append_sync(changing(notes(B, 1)))
    store.settle()

    assert store.size() == 2
    with pytest.raises(psycopg.OperationalError):
        holder.execute("SELECT 1")


def test_what_rests_on_heads_counts_changes_that_have_no_place_yet(store: PostgresStore) -> None:
    first, other = begin(store, A), begin(store, B)
    _, newest = store.heads()
    store.append_sync(more(first, changes=(("t", 1),)))

    assert store.target_head("t") is not None
    assert [target for target, _ in store.changed_since(first.record.at, 9)] == ["t"]
    for _ in range(2):
        with pytest.raises(AppendConflict):
            store.append_sync(more(other, after_change=newest))
        newest = store.heads()[1]
    store.settle()
    store.append_sync(more(other, after_change=store.heads()[1]))


# --- rivals ---


def together(*works: Callable[[], object]) -> list[BaseException | None]:
    """Do `works` in threads that start at one moment; return what each raised."""
    barrier = threading.Barrier(len(works))

    def one(work: Callable[[], object]) -> BaseException | None:
        barrier.wait(60)
        try:
            work()
        except StoreError as error:
            return error
        return None

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(one, works))


def test_of_two_processes_that_want_one_target_one_gets_it(store: PostgresStore, server: Server) -> None:
    with PostgresStore.open(server) as other:
        for number in range(0, 12, 2):
            one, two = begin(store, operation_id(number)), begin(store, operation_id(number + 1))
            lock = (Lock(target=f"t{number}", exclusive=True),)
            ended = together(
                partial(store.append_sync, more(one, locks=lock)),
                partial(other.append_sync, more(two, locks=lock)),
            )
            assert [type(each) for each in ended if each is not None] == [LockHeld]


def test_of_two_processes_that_continue_one_chain_one_does(store: PostgresStore, server: Server) -> None:
    with PostgresStore.open(server) as other:
        for number in range(6):
            last = begin(store, operation_id(number))
            rivals = [
                Batch(operation=name, expected=1, records=(note(name, 1, last.digest, text=text),))
                for name in (last.record.operation,)
                for text in ("one", "two")
            ]
            ended = together(partial(store.append_sync, rivals[0]), partial(other.append_sync, rivals[1]))
            assert [type(each) for each in ended if each is not None] == [AppendConflict]


def test_a_chain_that_another_process_continued_is_continued_from_there(
    store: PostgresStore, server: Server
) -> None:
    with PostgresStore.open(server) as other:
        first = begin(store, A)
        put(other, more(first))
        with pytest.raises(AppendConflict):
            put(store, more(first))
        put(store, more(other.journal(A).records[-1]))
        put(other, more(store.journal(A).records[-1]))

    assert (store.size(), store.verify_log().bad) == (4, None)


def test_two_groups_that_wait_for_each_other_are_both_applied(store: PostgresStore, server: Server) -> None:
    begin(store, A)
    begin(store, B)
    met = threading.Barrier(2)
    tried: list[str] = []

    def crossing(first: str, second: str) -> Callable[..., None]:
        def work(applier: Applier) -> None:
            again = first in tried
            tried.append(first)
            applier.hold(pack_operation(first))
            if not again:
                met.wait(60)
            applier.hold(pack_operation(second))

        return work

    with PostgresStore.open(server) as other:
        ended = together(
            lambda: store._writing.run(crossing(A, B)), lambda: other._writing.run(crossing(B, A))
        )

    assert ended == [None, None]
    assert len(tried) > 2


def test_processes_that_append_together_lose_and_double_nothing(store: PostgresStore, url: str) -> None:
    started = [start(url, 1000 * (i + 1), operations) for i, operations in enumerate((5, 10_000))]
    killed = started[1]
    assert killed.stdout is not None
    acknowledged = [killed.stdout.readline() for _ in range(7)]
    killed.kill()
    acknowledged += killed.stdout.readlines()
    for each in started:
        each.communicate(timeout=60)
    store.settle()

    assert started[0].returncode == 0
    assert store.verify_log().bad is None
    for number in range(1000, 1005):
        written = [sealed.digest for each in two_step(number) for sealed in each.records]
        assert [sealed.digest for sealed in store.journal(operation_id(number)).records] == written
    for line in (each for each in acknowledged if each.endswith("\n")):
        operation, records = line.split()
        assert store.records_of(operation) >= int(records)
    assert all(row.records == store.records_of(row.operation) for _, row in store.rows())


# --- a server that goes away ---


@pytest.fixture
def broken(url: str, tmp_path: Path) -> Iterator[tuple[Wire, PostgresStore]]:
    """A store behind a wire, and the wire."""
    dialled = servers.url()
    user = psycopg.conninfo.conninfo_to_dict(dialled).get("user", "postgres")
    database = psycopg.conninfo.conninfo_to_dict(dialled)["dbname"]
    schema = url.rpartition("=")[2]
    with wire(dialled, tmp_path) as found:
        named = f"postgresql://{user}@/{database}?host={tmp_path}&schema={schema}"
        with PostgresStore.open(servers.server(named)) as store:
            yield found, store


def test_a_commit_that_the_server_never_saw_is_known_not_to_have_happened(
    broken: tuple[Wire, PostgresStore],
) -> None:
    wire, store = broken
    first = begin(store, A)
    wire.breaking = "before"

    with pytest.raises(StoreUnavailable) as refused:
        store.append_sync(more(first))

    assert refused.value.code == "store-unavailable"
    assert (store.records_of(A), store.failure) == (1, None)
    store.append_sync(more(first))
    assert store.records_of(A) == 2


def test_a_commit_whose_answer_was_lost_is_known_to_have_happened(broken: tuple[Wire, PostgresStore]) -> None:
    wire, store = broken
    first = begin(store, A)
    wire.breaking = "after"

    store.append_sync(more(first))

    assert (store.records_of(A), store.failure) == (2, None)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_process_that_cannot_learn_what_became_of_a_commit_writes_nothing_more(
    broken: tuple[Wire, PostgresStore], when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_transactions, "RESOLVE_SECONDS_MAX", 0.2)
    wire, store = broken
    first = begin(store, A)
    wire.breaking, wire.stays_down = when, True

    for _ in range(2):
        with pytest.raises(StoreError) as refused:
            store.append_sync(more(first))
        assert refused.value.code == "store-uncertain"
    wire.down = False
    with pytest.raises(StoreError):
        store.append_sync(batch(notes(B, 1)))

    assert store.records_of(A) == {"before": 1, "after": 2}[when]


def test_another_timeline_says_nothing_about_a_commit(
    broken: tuple[Wire, PostgresStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_transactions, "_STATUS", "SELECT 'FFFFFFFF', pg_xact_status(%s::text::xid8)")
    wire, store = broken
    first = begin(store, A)
    wire.breaking = "after"

    with pytest.raises(StoreError) as refused:
        store.append_sync(more(first))

    assert refused.value.code == "store-uncertain"


def hang_up(url: str, store: PostgresStore) -> None:
    """End every session of `store`, as a server does that restarts."""
    sessions = [
        store._writing._transactions._connection,  # type: ignore[attr-defined]
        store._integrator._connection,
        *store._readers._idle,  # type: ignore[attr-defined]
    ]
    pids = [each.raw.info.backend_pid for each in sessions if each is not None]
    with servers.raw(url) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", (pids,))
        # Each is told and then goes: nothing is sure before it has gone.
        while connection.execute("SELECT 1 FROM pg_stat_activity WHERE pid=ANY(%s)", (pids,)).fetchone():
            pass


def test_a_server_that_was_restarted_is_read_and_written_as_before(store: PostgresStore, url: str) -> None:
    first = begin(store, A)
    store.journal(A)
    hang_up(url, store)

    assert len(store.journal(A).records) == 1
    store.append_sync(more(first))
    store.settle()
    assert (store.size(), store.failure) == (2, None)


def test_a_store_is_closed_in_peace_while_the_server_is_away(
    broken: tuple[Wire, PostgresStore], url: str
) -> None:
    wire, store = broken
    begin(store, A)
    wire.down = True
    hang_up(url, store)

    with pytest.raises(StoreUnavailable):
        begin(store, B)
    with pytest.raises(StoreUnavailable):
        store.rows()
    store.close()


def test_an_integrator_that_the_server_hung_up_on_stands_again(server: Server, url: str) -> None:
    key = Key()
    with PostgresStore.open(server, checkpointer=key) as elected, PostgresStore.open(server) as worker:
        begin(elected, A)
        assert key.wait_for(1)
        hang_up(url, elected)
        worker.append_sync(batch(notes(B, 2)))

        assert key.wait_for(3)


def test_a_lease_outlives_the_server_that_gave_it(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = begin(store, A)
    applier, said = store._writing._applier, []

    def hold(key: object) -> None:
        row = applier.connection.execute("SELECT current_setting('synchronous_commit')").fetchone()
        said.append(row and row[0])

    monkeypatch.setattr(applier, "hold", hold)
    store.acquire(A, "one", first.record.at, first.record.at)
    store._writing.run(lambda applier: applier.hold(b""), durable=False)

    assert said == ["on", "off"]


# --- whose ledger it is ---


def _foreign(url: str) -> None:
    behind(url, "DROP TABLE meta")


def _strange(url: str) -> None:
    behind(url, "ALTER TABLE meta RENAME COLUMN value TO worth")


def _newer(url: str) -> None:
    behind(url, f"UPDATE meta SET value='{len(migrations()) + 1}' WHERE name='schema'")


def _older(url: str) -> None:
    behind(url, "UPDATE meta SET value='0' WHERE name='schema'")


def _none(url: str) -> None:
    behind(url, f"DROP SCHEMA {url.rpartition('=')[2]} CASCADE")


def _other(url: str) -> None:
    behind(url, "UPDATE meta SET value='another' WHERE name='root'")


REFUSED = {
    "store-foreign": _foreign,
    "store-foreign-2": _strange,
    "store-newer": _newer,
    "store-outdated": _older,
    "store-missing": _none,
    "store-other-root": _other,
}


@pytest.mark.parametrize("code", REFUSED)
def test_a_schema_that_is_not_ours_to_use_is_refused_by_name(own: str, code: str) -> None:
    REFUSED[code](own)

    for read_only in (True, False):
        with pytest.raises(StoreUnavailable) as refused:
            PostgresStore.open(servers.server(own), read_only=read_only)
        assert code.startswith(refused.value.code)
    if code in ("store-foreign", "store-other-root", "store-newer"):
        with pytest.raises(StoreUnavailable):
            PostgresStore.create(servers.server(own), "instance")


def test_a_ledger_is_made_once(own: str) -> None:
    for root, code in (("root", "store-exists"), ("another", "store-other-root")):
        with pytest.raises(StoreUnavailable) as refused:
            PostgresStore.create(servers.server(own, root), "another")
        assert refused.value.code == code


def test_an_older_schema_is_brought_up_only_when_asked_to(own: str, monkeypatch: pytest.MonkeyPatch) -> None:
    server = servers.server(own)
    with PostgresStore.open(server) as store:
        begin(store, A)
    newer = (*migrations(), "ALTER TABLE leases ADD COLUMN note text", "CREATE TABLE added(x int)")
    monkeypatch.setattr(postgres_connection, "migrations", lambda: newer)
    with pytest.raises(StoreUnavailable) as refused:
        PostgresStore.open(server)
    assert refused.value.facts["allowed"] == len(migrations()) + 2

    assert migrate(server) == (len(migrations()), len(newer))
    assert migrate(server) == (len(newer), len(newer))
    with PostgresStore.open(server) as store:
        assert len(store.journal(A).records) == 1
    behind(own, "SELECT note FROM leases, added")


def test_a_migration_that_fails_leaves_everything_as_it_was(
    own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = servers.server(own)
    newer = (*migrations(), "CREATE TABLE added(x int)", "SELECT 1/0")
    with monkeypatch.context() as patch:
        patch.setattr(postgres_connection, "migrations", lambda: newer)
        with pytest.raises(StoreError):
            migrate(server)

    PostgresStore.open(server).close()
    with pytest.raises(psycopg.errors.UndefinedTable):
        behind(own, "SELECT 1 FROM added")


def test_a_role_that_may_only_read_reads_and_does_not_write(own: str) -> None:
    schema = own.rpartition("=")[2]
    behind(own, f"CREATE ROLE {schema}; GRANT USAGE ON SCHEMA {schema} TO {schema}")
    behind(own, f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {schema}")
    barred = servers.server(f"{own}&options=-crole%3D{schema}")

    with pytest.raises(StoreReadOnly):
        PostgresStore.open(barred)
    with PostgresStore.open(barred, read_only=True) as store:
        assert not store.rows()
        with pytest.raises(StoreReadOnly):
            begin(store, A)


# --- index, damage, copies ---


def fold(journal: Journal) -> Row:
    states = {3: "approved", 10: "completed"}
    return row(journal.records, states.get(len(journal.records), "running"))


def test_the_index_that_is_rebuilt_equals_the_live_one(store: PostgresStore, url: str) -> None:
    for number in range(3):
        put(store, *two_step(number))
    before = store.rows()
    assert store.compare_index(fold) == ()
    behind(url, "UPDATE operations SET state=NULL, head=NULL WHERE number=2")
    behind(url, "UPDATE operations SET state='running', records=4 WHERE number=3")

    assert {each.field for each in store.rebuild_index(fold)} == {"row", "state", "records"}
    assert (store.rows(), store.compare_index(fold)) == (before, ())


def test_a_damaged_record_is_named_set_aside_and_put_back_from_a_copy(
    store: PostgresStore, url: str, tmp_path: Path
) -> None:
    put(store, batch(notes(A, 3)), batch(notes(B, 2)))
    store.copy_to(tmp_path / "copy.db")
    behind(url, "UPDATE records SET body='x' WHERE leaf=1")
    behind(url, "DELETE FROM records WHERE leaf=3")

    assert [each.n for each in store.journal(A).damaged] == [1]
    found = store.examine()
    assert [(each.operation, each.n) for each in found.damaged] == [(A, 1), (B, 0)]
    store.quarantine(found.damaged, "alice", "now")
    assert len(store.verify_log().quarantined) == 2
    with SqliteStore.open(tmp_path / "copy.db", read_only=True) as copy:
        store.put_back(list(copy.leaves(1, 2)) + list(copy.leaves(3, 4)))

    assert (store.quarantined(), store.verify_log().bad) == (frozenset(), None)


def filled(store: PostgresStore) -> None:
    for number in range(3):
        put(store, *two_step(number))
    begin(store, "instance-chain")
    last = store.journal(operation_id(1)).records[-1]
    put(
        store,
        more(
            last,
            blobs=(blob(b"o" * 300_000),),
            changes=(("t", 1),),
            locks=(Lock(target="t", exclusive=True),),
        ),
    )


def same(one: LoggedStore, two: LoggedStore) -> None:
    """Compare everything that two ledgers answer."""
    assert one.size() == two.size() == 32
    assert one.root(32) == two.root(32)
    assert one.rows() == two.rows()
    assert one.heads() == two.heads()
    kept = blob(b"o" * 300_000)
    for each in (one, two):
        assert each.verify_log().bad is None
        assert each.blob(kept.ref.commitment) == kept
        assert each.locked_by("t") == [operation_id(1)]
        assert each.number("instance-chain") == -1
    for number in range(3):
        assert one.journal(operation_id(number)) == two.journal(operation_id(number))


def test_a_ledger_is_the_same_as_a_file_and_back_in_another_schema(
    store: PostgresStore, tmp_path: Path
) -> None:
    filled(store)
    store.append_sync(batch(notes(operation_id(7), 1)))  # It has no place yet.
    behind_by = store.size()
    store.copy_to(tmp_path / "copy.db")
    assert store.size() == behind_by + 1

    with servers.schema() as named, SqliteStore.open(tmp_path / "copy.db", read_only=True) as copy:
        PostgresStore.create_from(servers.server(named), tmp_path / "copy.db")
        with PostgresStore.open(servers.server(named)) as back:
            assert copy.size() == back.size() == behind_by + 1
            begin(back, operation_id(8))
            assert (back.number(operation_id(8)), back.verify_log().bad) == (5, None)


def test_a_copy_answers_as_the_ledger_does(store: PostgresStore, tmp_path: Path) -> None:
    filled(store)
    store.copy_to(tmp_path / "copy.db")

    with SqliteStore.open(tmp_path / "copy.db", read_only=True) as copy:
        same(store, copy)
        assert copy.instance_id == "instance"


def test_a_copy_is_whole_while_others_write(store: PostgresStore, server: Server, tmp_path: Path) -> None:
    done = threading.Event()

    def writing() -> None:
        with PostgresStore.open(server) as other:
            number = 100
            while not done.is_set():
                for each in two_step(number):
                    other.append_sync(each)
                number += 1

    thread = threading.Thread(target=writing)
    thread.start()
    try:
        for number in range(3):
            store.copy_to(tmp_path / f"copy{number}.db")
    finally:
        done.set()
        thread.join()
    for number in range(3):
        with SqliteStore.open(tmp_path / f"copy{number}.db", read_only=True) as copy:
            assert copy.verify_log().bad is None
            rows = copy.rows(limit=1000)
            assert all(row.records == copy.records_of(row.operation) for _, row in rows)


def test_a_text_that_no_column_holds_is_refused(store: PostgresStore) -> None:
    first = begin(store, A)

    with pytest.raises(StoreError) as refused:
        store.append_sync(more(first, locks=(Lock(target="a\0b", exclusive=True),)))

    assert refused.value.code == "batch-refused"

    async def beside_others() -> list[Appended | BaseException]:
        wrong = more(first, locks=(Lock(target="a\0b", exclusive=True),))
        crowd = [batch(notes(operation_id(10), 1)), wrong, batch(notes(operation_id(11), 1))]
        return await asyncio.gather(*(store.append(each) for each in crowd), return_exceptions=True)

    ended = [getattr(each, "code", "appended") for each in asyncio.run(beside_others())]
    assert ended == ["appended", "batch-refused", "appended"]
