"""One walk over a whole log: every leaf, node, chain and checkpoint, up to the first thing that is wrong.

It does not matter where the leaves come from: a ledger and a folder of tiles are checked
by the same walk. What is wrong is named by the code of the error that finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rexecop.proof.chain import End, check_follows, unseal
from rexecop.proof.checkpoint import Checkpoint, require_continued
from rexecop.proof.errors import (
    ChainBroken,
    CheckpointForged,
    LogNodeWrong,
    LogRecordAltered,
    LogTruncated,
    ProofError,
)
from rexecop.proof.merkle import Frontier, leaf_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """The bytes of the next leaf; `kept` returns what is kept beside it for the node of a level, if anything.

    `operation` and `n` are where an index says the record belongs.
    """

    body: bytes
    kept: Callable[[int], bytes | None]
    operation: str | None = None
    n: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRecord:
    """The first thing that is not what the log says: the `code` of its error, and where, if known."""

    code: str
    reason: str
    leaf: int
    operation_id: str
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReport:
    """What checking found: the log's `size` and `root` as recomputed, and the first bad record.

    `quarantined` are records known to be lost; everything else was checked around them.
    """

    size: int
    root: bytes
    bad: BadRecord | None
    quarantined: tuple[BadRecord, ...] = ()


def check_log(
    leaves: Iterable[Leaf], size: int, *, own: Iterable[Checkpoint], held: Iterable[Checkpoint]
) -> LogReport:
    """Return what a walk over `leaves`, which should be `size` many, finds.

    `own` are checkpoints that lie with the log, `held` ones that somebody else kept from earlier.
    """
    walk = _Walk(size, own, held)
    bad: BadRecord | None = None
    operation, n = "", 0
    try:
        walk.compare(walk.frontier)
        for leaf in leaves:
            operation, n = leaf.operation or "", leaf.n or 0
            walk.take(leaf)
            operation, n = "", 0
        walk.end()
    except ProofError as error:
        at = walk.frontier.size
        bad = BadRecord(code=error.code, reason=error.message, leaf=at, operation_id=operation, n=n)
    return LogReport(size=walk.frontier.size, root=walk.frontier.root(), bad=bad)


class _Walk:
    """`frontier` is the tree of what was found good."""

    def __init__(self, size: int, own: Iterable[Checkpoint], held: Iterable[Checkpoint]) -> None:
        self.frontier = Frontier.empty()
        self._size = size
        self._due: dict[int, list[tuple[Checkpoint, bool]]] = {}
        for checkpoint, earlier in (*((one, False) for one in own), *((one, True) for one in held)):
            self._due.setdefault(checkpoint.size, []).append((checkpoint, earlier))
        # One small value for each operation, for ever: a record may follow long after, and a second one
        # that claims an old place has to be known for what it is.
        self._ends: dict[str, End] = {}

    def take(self, leaf: Leaf) -> None:
        """Take in `leaf`, which is the next.

        Raises:
            ProofError: what is wrong with it.
        """
        frontier, completed = self.frontier.append(leaf_hash(leaf.body))
        for level, node in enumerate(completed):
            kept = leaf.kept(level)
            if kept is not None and kept != node:
                if level == 0:
                    raise LogRecordAltered("the record's bytes are not those that were logged")
                raise LogNodeWrong(f"the tree node of level {level} that is kept is not the one of its log")
        self.compare(frontier)
        self._link(leaf)
        self.frontier = frontier

    def _link(self, leaf: Leaf) -> None:
        sealed = unseal(leaf.body)
        record = sealed.record
        if leaf.n is not None and (leaf.operation, leaf.n) != (record.operation, record.n):
            raise ChainBroken(f"it is record {record.n} of `{record.operation}`, filed as another one")
        last = self._ends.get(record.operation)
        check_follows(last, sealed, last.n + 1 if last else 0)
        self._ends[record.operation] = End.of(sealed)

    def compare(self, frontier: Frontier) -> None:
        """Return only if every checkpoint of this size has the root of `frontier`.

        Raises:
            LogForked, LogRewound, CheckpointForged: one has not.
        """
        for checkpoint, earlier in self._due.get(frontier.size, ()):
            if earlier:
                require_continued(checkpoint, self._size, lambda _: frontier.root())
            elif checkpoint.root != frontier.root():
                raise CheckpointForged(f"the checkpoint of {checkpoint.size} records has another root")

    def end(self) -> None:
        """Return only if nothing claims that there is more.

        Raises:
            LogTruncated: a checkpoint does.
        """
        size, longest = self.frontier.size, max(self._due, default=0)
        if longest > size:
            raise LogTruncated(f"a checkpoint covers {longest} records, the log holds {size}", size=longest)
