"""Ports of the core: what must hold when each call returns. Adapters live in `store` and `app`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.checkpoint import Checkpoint, LogKeys
from rexecop.proof.logcheck import LogReport
from rexecop.proof.records.outcome import BlobRef

READ_AGAIN: Final = "read again for a change"
"""What stands under `waiting` in the row of an operation that another one made for itself."""
REVIEW_BY: Final = "review by "
"""What stands there, before the time, while a review is due."""


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> datetime:
        """Return the time, UTC, whole milliseconds."""
        ...

    def boot_ms(self) -> int:
        """Return milliseconds on a clock that never steps and counts suspended time."""
        ...


class Ids(Protocol):
    """The only source of ids and randomness."""

    def operation(self) -> str:
        """Return a new operation id: `op_` and 32 hex digits of a UUIDv7."""
        ...

    def nonce(self) -> str:
        """Return 32 fresh hex digits."""
        ...

    def key(self) -> bytes:
        """Return 32 fresh random bytes, for a blob commitment."""
        ...


class Configuration(Protocol):
    """Configuration that stands elsewhere: read when a plan is made, and from then on part of it.

    Addresses and certificates are no secrets even where they come by the reference of one.
    """

    def reference(self, name: str) -> str:
        """Return the text that reference `name` stands for.

        Raises:
            RexecopError: it stands for nothing.
        """
        ...

    def file(self, path: str) -> str:
        """Return the text of the file at `path`.

        Raises:
            RexecopError: it cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Output to keep: `ref.commitment` is HMAC-SHA256 under `key` over `data`."""

    ref: BlobRef
    key: bytes
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Something that may be used once in this instance: a ticket, a nonce, an idempotency key."""

    space: str
    key: str


def standing_use(nonce: str, use: int) -> Claim:
    """Return the claim to be one use of the standing approval with `nonce`."""
    return Claim(space="standing", key=f"{nonce}/{use}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A signature over record `digest`, kept beside it: `form` is `dsse` or `sshsig`."""

    digest: Digest
    form: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedInput:
    """Bytes a record names by digest: a profile, an environment, a policy pack. Stored once."""

    digest: Digest
    role: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The index row of one operation: a cache of the fold, never evidence."""

    operation: str
    state: str
    intent: str
    profile: str
    environment: str
    target: str
    mode: str
    requester: str
    created: datetime
    updated: datetime
    records: int
    head: Digest
    waiting: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """Target locks to take (`exclusive` or shared) or to give back, in one transaction with the records."""

    target: str
    exclusive: bool
    release: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Who drives an operation. `fence` grows with every change of hands."""

    operation: str
    runner: str
    fence: int
    expires: datetime

    @property
    def is_released(self) -> bool:
        """Whether it was given back: such a one expires in 1970."""
        return self.expires.timestamp() == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A place among the operations driven at one time, of which there are `limit`.

    With `environment` only those that may change something in it count.
    """

    environment: str | None
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A lock that stands on `target`, and the short number of the operation that holds it."""

    target: str
    operation: str
    number: int
    exclusive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetHead:
    """The last change attempt on a target: its dense number from 1, and its digest."""

    target: str
    n: int
    attempt: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What is to be all that stands on the board under `kind` and `name`: nothing where `body` is None."""

    kind: str
    name: str
    body: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Records of one operation to append together with everything that depends on them.

    `expected` is the number of records the operation must have before: compare and swap.
    `fence`, when given, must still be the operation's lease fence.
    `lease` becomes the operation's lease in the same transaction, if the stored one is
    of the same runner and fence (a renewal), or has `fence - 1` (0 when there never was
    one) and was released or expired before the first record's `at`; else `LeaseHeld`.
    `release` gives the lease back in the same transaction. With the lease it takes its `slots`:
    each must have room among the leases that are neither given back nor expired then.
    `heads` advance the per-target chain of change attempts: `n` must follow the stored one,
    and the attempt be among `records`. `after_change`, when given, must still be the leaf of
    the newest change (-1 for none). `beside` is another chain that what the records rest on
    was read from, and how many records it must still have.
    `erased` outputs are gone with their keys once the batch is durable; others are left alone.
    `notes` stand on the board from then on.
    """

    operation: str
    expected: int
    records: tuple[Sealed, ...]
    row: Row | None = None
    fence: int | None = None
    blobs: tuple[Blob, ...] = ()
    claims: tuple[Claim, ...] = ()
    signatures: tuple[Signature, ...] = ()
    inputs: tuple[PinnedInput, ...] = ()
    locks: tuple[Lock, ...] = ()
    heads: tuple[TargetHead, ...] = ()
    lease: Lease | None = None
    slots: tuple[Slot, ...] = ()
    release: bool = False
    after_change: int | None = None
    beside: tuple[str, int] | None = None
    erased: tuple[Digest, ...] = ()
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """Where a batch landed: the leaf of its first record, None where places are given a moment later."""

    first_leaf: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Damaged:
    """A record that cannot be read: it is named and set aside, and others keep working."""

    operation: str
    n: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """All readable records of one operation in order, and what is damaged."""

    operation: str
    records: tuple[Sealed, ...]
    damaged: tuple[Damaged, ...] = field(default=())


class Ledger(Protocol):
    """The reading half of a store: it never waits for a writer, and names damaged records."""

    def journal(self, operation: str) -> Journal:
        """Return the records of `operation`.

        Raises:
            OperationUnknown: there are none.
        """
        ...

    def records_of(self, operation: str) -> int:
        """Return how many records `operation` has; 0 for none."""
        ...

    def resolve(self, name: str) -> str:
        """Return the operation id for an id, a unique prefix, a short number, or `@` (the newest).

        Raises:
            OperationUnknown: nothing has that name.
        """
        ...

    def number(self, operation: str) -> int:
        """Return the short number of `operation`."""
        ...

    def rows(
        self, *, state: str | None = None, waiting: str = "", after: int = 0, limit: int = 100
    ) -> Sequence[tuple[int, Row]]:
        """Return (short number, row) newest first; `after` pages backwards from that number.

        `waiting` is how what they wait for begins.
        """
        ...

    def changed_since(self, moment: datetime, limit: int) -> Sequence[tuple[str, Row]]:
        """Return (target, row of the operation) of at most `limit` changes, newest first.

        None is left out that was attempted from `moment` on; the operation may have written last since then.
        """
        ...

    def claimed(self, claim: Claim) -> str | None:
        """Return the operation that used `claim`, or None."""
        ...

    def pinned(self, digest: Digest) -> bytes:
        """Return the pinned input named `digest`.

        Raises:
            InputMissing: it is not stored, or its bytes are others.
        """
        ...

    def blob(self, commitment: Digest) -> Blob | None:
        """Return the kept output named `commitment`, or None if it was erased."""
        ...

    def signatures(self, digest: Digest) -> Sequence[Signature]:
        """Return the signatures kept beside record `digest`."""
        ...

    def lease(self, operation: str) -> Lease | None:
        """Return the lease of `operation`, expired or not."""
        ...

    def target_head(self, target: str) -> TargetHead | None:
        """Return the last change attempt on `target`, or None."""
        ...

    def locked_by(self, target: str) -> Sequence[str]:
        """Return the operations that hold a lock on `target`."""
        ...

    def locks(self) -> Sequence[Held]:
        """Return every lock that stands, by target."""
        ...

    def row(self, operation: str) -> tuple[int, Row]:
        """Return the short number and the row of `operation`.

        Raises:
            OperationUnknown: there is none.
        """
        ...

    def under_way(self) -> Sequence[tuple[int, Row, Lease | None]]:
        """Return number, row and lease of every operation that began and has not ended, oldest first."""
        ...

    def silent(self) -> frozenset[str]:
        """Return the runners that were not heard of for a while, in which this process was."""
        ...

    def posted(self, kind: str, name: str | None = None) -> Sequence[tuple[str, bytes]]:
        """Return (name, body) of all that stands on the board under `kind`, or of `name` alone, by name."""
        ...

    def verify_log(self, *, held: Sequence[Checkpoint] = (), log_keys: LogKeys | None = None) -> LogReport:
        """Recompute the log from its bytes, up to the first thing wrong.

        It must continue the checkpoints `held`; with `log_keys` its own must be signed by them.

        Raises:
            ProofError: a checkpoint is of another log, or not signed.
        """
        ...


class Store(Ledger, Protocol):
    """The ledger, its index, and blobs.

    When `append` returns, the batch is durable (flushed) as a whole; when it raises,
    nothing of it is, with one exception: `StoreUncertain` says that it may be, and that
    this process must stop appending. Reading never waits for a writer.
    """

    async def append(self, batch: Batch) -> Appended:
        """Append `batch` whole.

        Raises:
            AppendConflict: the operation has another number of records, the fence is old, or
                a target head does not follow. LeaseHeld: another live runner drives it.
            ClaimTaken: a claim was used already. LockHeld: another operation holds a target.
            CapacityFull: a slot has no room.
            StoreUnavailable: the ledger cannot be written. StoreUncertain: see above.
        """
        ...

    def acquire(self, operation: str, runner: str, until: datetime, now: datetime) -> Lease | None:
        """Take or renew the lease of `operation`; None while another live runner holds it."""
        ...

    def be_heard(self, runner: str) -> None:
        """Let every machine hear from now on that `runner`, this process, lives."""
        ...

    def is_heard(self) -> bool:
        """Return whether nobody can take this process for gone now."""
        ...

    def release(self, lease: Lease) -> None:
        """Give the lease back; a lease that was lost already is left alone."""
        ...

    def post(self, kind: str, name: str, body: bytes | None) -> None:
        """Let `body` be all that stands on the board under `kind` and `name`; None takes it down.

        The board holds what processes tell each other, such as who waits and who works. It is durable,
        and never evidence.
        """
        ...
