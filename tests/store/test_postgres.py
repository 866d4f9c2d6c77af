"""The PostgreSQL ledger: the contract, and what it adds to it."""

from collections.abc import Iterator

import pytest

from rexecop.store.postgres import PostgresStore
from rexecop.store.postgres_connection import Server
from tests.store import servers
from tests.store.contract import LoggedStore, StoreContract


@pytest.fixture
def server() -> Iterator[Server]:
    with servers.schema() as named:
        found = servers.server(named)
        PostgresStore.create(found, "instance")
        yield found


class TestPostgres(StoreContract):
    @pytest.fixture
    def store(self, server: Server) -> Iterator[LoggedStore]:
        with PostgresStore.open(server) as store:
            yield store
