"""A process that appends to a ledger and says after each batch that it was acknowledged."""

import asyncio
import sys
from pathlib import Path

from rexecop.store.ledger import LedgerStore
from rexecop.store.sqlite import SqliteStore
from tests.store.samples import two_step


def opened(path: str) -> LedgerStore:
    """Return the ledger at `path`, a file or a URL."""
    if "://" not in path:
        return SqliteStore.open(Path(path))
    from rexecop.store.postgres import PostgresStore
    from tests.store import servers

    return PostgresStore.open(servers.server(path))


async def drive(store: LedgerStore, number: int) -> None:
    for each in two_step(number):
        await store.append(each)
        print(each.operation, each.expected + len(each.records), flush=True)


async def main(path: str, base: str, operations: str, abreast: str) -> None:
    store = opened(path)
    numbers = iter(range(int(base), int(base) + int(operations)))

    async def work() -> None:
        for number in numbers:
            await drive(store, number)

    await asyncio.gather(*(work() for _ in range(int(abreast))))
    store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
