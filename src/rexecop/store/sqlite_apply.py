"""Batches in SQLite: one writer at a time, and every record gets its leaf in the transaction that adds it."""

from __future__ import annotations

from collections.abc import Callable

import apsw

from rexecop.operations.ports import TargetHead
from rexecop.proof.errors import ProofError
from rexecop.proof.merkle import Frontier
from rexecop.store.apply import Applier
from rexecop.store.database import Connection
from rexecop.store.errors import StoreDamaged
from rexecop.store.log import nodes_in, size_in
from rexecop.store.packing import Packed, pack_digest
from rexecop.store.prepare import Prepared


class SqliteApplier(Applier):
    """Beside chains it remembers the tree's right edge, used only while the log still ends there."""

    duplicate = apsw.ConstraintError

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._kept = self._frontier = Frontier.empty()

    def start(self) -> None:
        """Read where the log ends."""
        super().start()
        size = size_in(self.connection)
        if size != self._kept.size:
            try:
                self._kept = Frontier.load(size, nodes_in(self.connection))
            except ProofError as error:
                raise StoreDamaged(f"nothing can follow the log: {error.message}") from error
        self._frontier = self._kept

    def keep(self) -> None:
        """Remember the tree's edge as well."""
        super().keep()
        self._kept = self._frontier

    # The transaction has the one write lock: nobody else writes anything until it ends.

    def hold(self, key: Packed) -> None:
        """Hold it already."""

    def hold_all(self) -> None:
        """Hold everything already; every record has its place."""

    def enter(self, prepared: Prepared) -> None:
        """Hold everything already."""

    def undoing(self) -> Callable[[], None]:
        """Return what puts the tree's edge back."""
        frontier = self._frontier

        def undo() -> None:
            self._frontier = frontier

        return undo

    def next_number(self, key: Packed) -> int:
        """Return the number after the last one."""
        # One end at a time: asked for both at once, SQLite looks at every row.
        which, step = ("max", 1) if isinstance(key, bytes) else ("min", -1)
        row = self.connection.execute(f"SELECT {which}(number) FROM operations").fetchone()
        last = 0 if row is None or row[0] is None else int(row[0])
        return (last if last * step > 0 else 0) + step

    def insert(self, number: int, prepared: Prepared) -> int:
        """Add the records and the tree nodes that they complete."""
        first, n = self._frontier.size, prepared.batch.expected
        frontier, nodes = self._frontier.extend(prepared.leaves)
        rows = [
            (first + at, number, n + at, body, row)
            for at, (body, row) in enumerate(zip(prepared.bodies, nodes, strict=True))
        ]
        self.connection.executemany("INSERT INTO records(leaf, op, n, body, nodes) VALUES(?,?,?,?,?)", rows)
        self._frontier = frontier
        return first

    def insert_change(self, number: int, head: TargetHead, n: int, leaf: int | None) -> None:
        """Add the change at its leaf."""
        self.connection.execute(
            "INSERT INTO changes(leaf, target, n, attempt) VALUES(?,?,?,?)",
            (leaf, head.target, head.n, pack_digest(head.attempt)),
        )
