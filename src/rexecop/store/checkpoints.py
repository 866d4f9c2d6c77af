"""Signed checkpoints: what was committed is read back, hashed again and signed, soon after.

A checkpoint is signed over bytes as they come back from the file, never over what the
writer remembers, and is stored without a flush of its own: losing one is harmless.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeAlias

from rexecop.proof import note as notes
from rexecop.proof.errors import ProofError, RexecopError
from rexecop.proof.merkle import HASH_BYTES, Frontier, leaf_hash
from rexecop.proof.note import NoteSignature
from rexecop.proof.witness import with_lines
from rexecop.store.apply import Applier
from rexecop.store.database import Readers
from rexecop.store.errors import EpochOver, StoreDamaged
from rexecop.store.log import Log, StoredCheckpoint, checkpoint_in, epoch_in
from rexecop.store.packing import unpack_body
from rexecop.store.reading import OpenedRecords
from rexecop.store.writer import Writer

Sign: TypeAlias = Callable[[int, bytes], bytes]
"""Returns the signed note of a checkpoint for (size, root)."""

# A record waits for this and for two covers at most, the one it came too late for and its own: within
# 50 ms (bench/bench_log.py).
INTERVAL_SECONDS: Final = 0.02
PAGE_LEAVES: Final = 256  # Read back in one statement: each hand-over between threads costs more than a row.
KEPT_PER_LEAVES: Final = 1024  # Of each so many leaves the newest checkpoint is kept for good.

NOTE: Final = "SELECT note FROM checkpoints WHERE size=?"
PAGE: Final = """
SELECT group_concat(leaf || ':' || hex(nodes) || ':' || hex(body), ',')
FROM (SELECT leaf, nodes, body FROM records WHERE leaf>=? AND leaf<? ORDER BY leaf)
"""


class Checkpointer:
    """Covers committed leaves with checkpoints that `sign` makes.

    `failure` is why the last attempt failed, or None.
    """

    def __init__(
        self,
        sign: Sign,
        readers: Readers,
        writer: Writer,
        opened: OpenedRecords,
        before: Callable[[], float | None] = lambda: None,
        again: float | None = None,
    ) -> None:
        """Before each cover `before` is called; it returns after how many seconds to look again, if ever.

        After a cover that failed that is `again`.
        """
        self._before = before
        self._again = self._wait = again
        self._sign = sign
        self._opened = opened
        self._readers = readers
        self._log = Log(readers)
        self._writer = writer
        self._seen: Frontier | None = None
        self._turn = threading.Lock()
        self._due = threading.Event()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self.failure: RexecopError | None = None

    def wake(self) -> None:
        """Hear that something was committed."""
        if self._due.is_set() or self._ending.is_set():
            return
        self._due.set()
        if self._thread is None:
            thread = threading.Thread(target=self._serve, name="ledger-checkpoints", daemon=True)
            thread.start()
            # Only once it runs: `close` may come in between from another thread, and joins what it sees.
            self._thread = thread

    def close(self) -> None:
        """Cover what is left and end."""
        self._ending.set()
        self._due.set()
        if self._thread is not None:
            self._thread.join()
        self._try()

    def cover(self) -> StoredCheckpoint | None:
        """Return a checkpoint over everything committed, signing one where needed; None if the log is empty.

        Raises:
            StoreDamaged: what was read back is not what was logged; nothing is signed, and this
                process writes nothing more.
            StoreUnavailable: the ledger cannot be read or written.
        """
        with self._turn:
            self._wait = self._before()
            try:
                seen = self._seen or self._begin()
                self._seen = self._read_back(seen, self._log.size())
            except ProofError as error:
                raise self._damaged(error.message) from error
            except StoreDamaged as error:
                self._writer.refuse(error)
                raise
            return self._signed(self._seen)

    def _begin(self) -> Frontier:
        """Return the tree's right edge at the newest checkpoint kept."""
        stored = self._log.kept_checkpoint()
        if stored is None:
            return Frontier.empty()
        frontier = self._log.with_nodes(lambda nodes: Frontier.load(stored.size, nodes))
        if frontier.root() != checkpoint_in(stored.size, stored.note).root:
            raise self._damaged(f"the log does not continue its checkpoint of size {stored.size}")
        return frontier

    def _read_back(self, frontier: Frontier, size: int) -> Frontier:
        if size < frontier.size:
            raise self._damaged(f"the log has {size} leaves, and had {frontier.size}")
        while frontier.size < size:
            end = min(frontier.size + PAGE_LEAVES, size)
            with self._readers.borrow() as connection:
                row = connection.execute(PAGE, (frontier.size, end)).fetchone()
            texts = str(row[0]).split(",") if row is not None and row[0] else []
            found = [text.split(":") for text in texts]
            leaves = [self._leaf(int(leaf), *map(bytes.fromhex, rest)) for leaf, *rest in found]
            frontier, completed = frontier.extend(leaves)
            for place, (leaf, nodes, _), expected in zip(
                range(end - len(found), end), found, completed, strict=True
            ):
                if int(leaf) != place or bytes.fromhex(nodes) != expected:
                    raise self._damaged(f"leaf {place} was read back as something else than was logged")
            if frontier.size != end:
                raise self._damaged(f"leaf {frontier.size} is missing")
        return frontier

    def _leaf(self, leaf: int, nodes: bytes, stored: bytes) -> bytes:
        """Return the hash that `stored`, beside which `nodes` lie, is read back as."""
        # What these very bytes open to was computed when they were written, or read before.
        found, kept = self._opened.leaf(stored), nodes[:HASH_BYTES]
        if found is None:
            try:
                found = leaf_hash(unpack_body(stored))
            except StoreDamaged:
                found = b""
        if found != kept and leaf in self._log.quarantined():
            return kept  # Lost and named as lost; its hash is still what was logged.
        return found

    def _damaged(self, reason: str) -> StoreDamaged:
        error = StoreDamaged(f"the ledger cannot be vouched for: {reason}")
        self._writer.refuse(error)
        return error

    def _signed(self, frontier: Frontier) -> StoredCheckpoint | None:
        if frontier.size == 0:
            return None
        stored = self._log.kept_checkpoint()
        if stored is not None and stored.size >= frontier.size:
            return stored
        note = self._sign(frontier.size, frontier.root())
        # Whoever opened the ledger before an epoch began would sign for the one before: a fork.
        if epoch_in(note) != self._log.epoch:
            over = EpochOver("another process began a new epoch of the log; open the root again")
            self._writer.refuse(over)
            raise over
        found = StoredCheckpoint(size=frontier.size, note=note)
        self._writer.run(lambda applier: keep(applier, found), durable=False)
        return found

    def _serve(self) -> None:
        while True:
            self._due.wait(self._wait)
            if self._ending.is_set():
                return
            self._due.clear()
            self._try()
            self._ending.wait(INTERVAL_SECONDS)

    def _try(self) -> None:
        try:
            self.cover()
            self.failure = None
        except RexecopError as error:
            self.failure, self._wait = error, self._again


def keep(applier: Applier, checkpoint: StoredCheckpoint) -> None:
    """Store `checkpoint`, and drop the older ones of its block of leaves that no witness was given."""
    # One of this size that is there already may carry what witnesses answered.
    applier.connection.execute(
        "INSERT INTO checkpoints(size, note, given) VALUES(?,?,0) ON CONFLICT DO NOTHING",
        (checkpoint.size, checkpoint.note),
    )
    block = checkpoint.size - checkpoint.size % KEPT_PER_LEAVES
    applier.connection.execute(
        "DELETE FROM checkpoints WHERE size>=? AND size<? AND given=0", (max(block, 1), checkpoint.size)
    )


def give(applier: Applier, checkpoint: StoredCheckpoint, lines: tuple[NoteSignature, ...]) -> None:
    """Keep `checkpoint` for good, with `lines` beside the signatures it has: a witness was, or is, asked."""
    row = applier.connection.execute(NOTE, (checkpoint.size,)).fetchone()
    found = notes.parse(checkpoint.note if row is None else row[0])
    applier.connection.execute(
        "INSERT INTO checkpoints(size, note, given) VALUES(?,?,1)"
        " ON CONFLICT(size) DO UPDATE SET note=excluded.note, given=1",
        (checkpoint.size, with_lines(found, lines).encode()),
    )
