"""Who is taken for gone: whoever was silent while the one who says so was heard, and nobody else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from rexecop.store import postgres_presence
from rexecop.store.postgres import PostgresStore
from rexecop.store.postgres_connection import ServerConnection, open_connection
from rexecop.store.postgres_presence import say_in, silent_in
from tests.store import servers

ROWS = "SELECT runner, since = seen, clock_timestamp() - seen < interval '1 s' FROM presence ORDER BY runner"
SECONDS_MAX = 60


@pytest.fixture
def url() -> Iterator[str]:
    """Give an empty ledger in PostgreSQL."""
    with servers.schema() as found:
        PostgresStore.create(servers.server(found), "inst_1")
        yield found


@pytest.fixture
def connection(url: str) -> Iterator[ServerConnection]:
    """Give a connection to it that writes."""
    with closing(open_connection(servers.server(url), writing=True)) as found:
        yield found


def there(connection: ServerConnection, runner: str, since: float, seen: float) -> None:
    """Let `runner` have been heard of from `since` to `seen` seconds ago."""
    ago = "clock_timestamp() - %s * interval '1 s'"
    connection.raw.execute(
        f"INSERT INTO presence(runner, since, seen) VALUES(%s, {ago}, {ago})", (runner, since, seen)
    )


@pytest.mark.parametrize(
    ("own", "other", "gone"),
    [
        ((60, 0), (60, 30), True),
        ((60, 0), (60, 1), False),  # It was heard of just now.
        ((1, 0), (60, 30), False),  # Whoever asks was not heard of for as long as that.
        ((60, 10), (60, 30), False),  # The server heard nobody lately: it or its clock stood still.
        ((60, 0), (60, -30), False),  # The server's clock was set back.
        (None, (60, 30), False),  # Who is not heard of says so of nobody.
        ((60, 0), None, False),  # Of a process that never said anything nobody knows.
    ],
)
def test_a_runner_is_gone_when_it_was_silent_while_who_asks_was_heard(
    connection: ServerConnection, own: tuple[int, int] | None, other: tuple[int, int] | None, gone: bool
) -> None:
    for runner, times in (("own", own), ("other", other)):
        if times is not None:
            there(connection, runner, *times)

    assert silent_in(connection, "own") == ({"other"} if gone else set())


@pytest.mark.parametrize(("seen", "begins_anew"), [(0.6, False), (10, True), (-10, True)])
def test_a_gap_before_or_after_begins_the_time_in_which_one_was_heard_anew(
    connection: ServerConnection, seen: float, begins_anew: bool
) -> None:
    there(connection, "own", 60, seen)

    say_in(connection, "own")

    assert connection.raw.execute(ROWS).fetchall() == [("own", begins_anew, True)]


def test_a_store_lets_its_runner_be_heard_hears_who_is_not_and_takes_leave(
    url: str, connection: ServerConnection
) -> None:
    with PostgresStore.open(servers.server(url)) as store:
        assert store.silent() == frozenset() and store.is_heard()
        store.be_heard("own")
        there(connection, "other", 60, 30)
        there(connection, "long ago", 9000, 8000)
        until(lambda: store.silent() == {"other", "long ago"})
        servers.restart("immediate")
        until(lambda: seen(url) == [("own",)])
        until(lambda: store.silent() == frozenset())
        assert store.is_heard()
    assert seen(url) == []


def test_a_process_whose_thread_cannot_reach_the_server_knows_that_it_may_be_taken_for_gone(
    url: str, connection: ServerConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PostgresStore.open(servers.server(url)) as store:
        store.be_heard("own")
        until(lambda: ("own",) in seen(url))
        monkeypatch.setattr(postgres_presence, "_SAY", "SELECT * FROM nowhere WHERE ?<>''")
        until(lambda: not store.is_heard())
        monkeypatch.undo()
        until(store.is_heard)


def seen(url: str) -> list[tuple[object, ...]]:
    with closing(open_connection(servers.server(url), writing=False)) as found:
        return found.raw.execute("SELECT runner FROM presence ORDER BY runner").fetchall()


def until(true: object) -> None:
    end = time.monotonic() + SECONDS_MAX
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)
