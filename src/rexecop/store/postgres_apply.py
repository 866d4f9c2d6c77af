"""Batches in PostgreSQL: rows and advisory locks keep rivals apart, and places in the log come later."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final

from psycopg.errors import DataError, UniqueViolation

from rexecop.operations.errors import AppendConflict
from rexecop.operations.ports import TargetHead
from rexecop.proof.merkle import HASH_BYTES
from rexecop.store.apply import Applier
from rexecop.store.errors import LogBehind
from rexecop.store.packing import Packed, pack_digest, pack_operation
from rexecop.store.postgres_connection import ServerConnection
from rexecop.store.prepare import Prepared, is_changing

EVERYTHING: Final = 0  # The advisory lock that every writer shares, and whoever wants nobody to write takes.
INTEGRATOR: Final = 1  # Held by whoever gives records their places.
ROOM: Final = 2  # Held by whoever counts how many operations are driven, and adds one.
TARGETS_FROM: Final = 16  # Locks of targets; two that share one only wait for each other.
TARGETS_MAX: Final = 256  # Beyond it everybody waits: the server's table of locks is not endless.


class ServerApplier(Applier):
    """Applies batches while other processes do; what they compare is held until the transaction ends.

    `behind` says that records have waited too long for their places.
    """

    duplicate = UniqueViolation
    unfit = DataError

    def __init__(self, connection: ServerConnection) -> None:
        super().__init__(connection)
        self.server = connection
        self.behind = False

    def undoing(self) -> Callable[[], None]:
        """Nothing is remembered that a savepoint does not take back."""
        return lambda: None

    def use(self, connection: ServerConnection) -> None:
        """Go on with another connection; it may lead to a server that knows less."""
        self.connection = self.server = connection
        self.forget()

    def hold(self, key: Packed) -> None:
        """Lock the row of the chain."""
        self.connection.execute("SELECT 1 FROM operations WHERE id=? FOR UPDATE", (key,))

    def hold_all(self) -> None:
        """Wait for every writer and keep new ones out; AppendConflict while a record has no place."""
        self._lock_all()
        row = self.connection.execute("SELECT 1 FROM records WHERE leaf IS NULL LIMIT 1").fetchone()
        if row is not None:
            raise AppendConflict("records were added a moment ago: try again")

    def _lock_all(self) -> None:
        self.connection.execute("SELECT pg_advisory_xact_lock(?, ?)", (self.server.lock_space, EVERYTHING))

    def enter(self, prepared: Prepared) -> None:
        """Hold the chain, the chain beside it and the targets; for heads nobody else may add a change."""
        batch = prepared.batch
        if self.behind and is_changing(batch):
            raise LogBehind("records wait for their places in the log: nothing changing is appended")
        if batch.lease is not None and batch.slots:
            self.connection.execute("SELECT pg_advisory_xact_lock(?, ?)", (self.server.lock_space, ROOM))
        targets = {lock.target for lock in batch.locks} | {head.target for head in batch.heads}
        if batch.after_change is not None or len(targets) > TARGETS_MAX:
            self._lock_all()
        elif targets:
            span = 2**31 - TARGETS_FROM
            keys = sorted({TARGETS_FROM + zlib.crc32(target.encode()) % span for target in targets})
            places = ",".join("?" * len(keys))
            self.connection.execute(
                f"SELECT pg_advisory_xact_lock(?, key) FROM unnest(ARRAY[{places}]::int[]) AS key",
                (self.server.lock_space, *keys),
            )
        self.hold(prepared.key)
        if batch.beside is not None:
            beside = (pack_operation(batch.beside[0]),)
            self.connection.execute("SELECT 1 FROM operations WHERE id=? FOR SHARE", beside)

    def next_number(self, key: Packed) -> int:
        """Return the next number of a sequence; what is rolled back leaves a gap."""
        which = "operation_numbers" if isinstance(key, bytes) else "chain_numbers"
        row = self.connection.execute("SELECT nextval(?::regclass)", (which,)).fetchone()
        return 0 if row is None else int(row[0])

    def insert(self, number: int, prepared: Prepared) -> None:
        """Add the records with the hashes of their leaves."""
        n = prepared.batch.expected
        both = zip(prepared.bodies, prepared.leaves, strict=True)
        rows = [(number, n + at, body, leaf[:HASH_BYTES]) for at, (body, leaf) in enumerate(both)]
        self.connection.executemany("INSERT INTO records(op, n, body, nodes) VALUES(?,?,?,?)", rows)

    def insert_change(self, number: int, head: TargetHead, n: int, leaf: int | None) -> None:
        """Add the change beside the record that it begins with."""
        self.connection.execute(
            "INSERT INTO changes(target, n, leaf, attempt, op, place) VALUES(?,?,?,?,?,?)",
            (head.target, head.n, leaf, pack_digest(head.attempt), number, n),
        )
