"""What every store promises. A new one subclasses this, gives `store`, and adds its own."""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

import pytest

from rexecop.operations.errors import (
    AppendConflict,
    CapacityFull,
    ClaimTaken,
    InputMissing,
    LeaseHeld,
    LockHeld,
    OperationUnknown,
    StoreError,
)
from rexecop.operations.ports import (
    Appended,
    Batch,
    Blob,
    Claim,
    Lease,
    Lock,
    PinnedInput,
    Signature,
    Slot,
    Store,
    TargetHead,
)
from rexecop.proof.canonical import Digest, commit, digest_of
from rexecop.proof.chain import Sealed
from rexecop.proof.merkle import leaf_hash, root_of
from rexecop.proof.records.outcome import BlobRef
from rexecop.store.retention import Aged
from tests.store.samples import START, batch, name, note, notes, operation_id, row

LATER = START + timedelta(seconds=30)
A, B = operation_id(1), operation_id(2)


class LoggedStore(Store, Protocol):
    """A store with the log beside the port."""

    def settle(self) -> None: ...
    def leaf_of(self, operation: str, n: int) -> int: ...
    def size(self) -> int: ...
    def root(self, size: int) -> bytes: ...
    def body_at(self, leaf: int) -> bytes: ...
    def aged_outputs(self, before: datetime, states: Collection[str]) -> Iterator[Aged]: ...
    def erase_aged(
        self, record: Batch | None, ended: Mapping[str, int], outputs: Sequence[Digest]
    ) -> None: ...
    def forget_keys(self, before: datetime, states: Collection[str], *, really: bool) -> int: ...
    def heads(self, before: int | None = None) -> tuple[Sequence[TargetHead], int]: ...
    def changed_between(self, start: int, end: int, target: str | None = None) -> Sequence[str]: ...


def put(store: LoggedStore, *batches: Batch) -> list[Appended]:
    """Append `batches` one after the other, each with its place in the log."""

    async def appending() -> list[Appended]:
        return [await store.append(each) for each in batches]

    try:
        return asyncio.run(appending())
    finally:
        store.settle()


def begin(store: LoggedStore, operation: str) -> Sealed:
    """Give `operation` one record."""
    first = notes(operation, 1)
    put(store, batch(first))
    return first[0]


def more(
    last: Sealed,
    *,
    fence: int | None = None,
    blobs: tuple[Blob, ...] = (),
    claims: tuple[Claim, ...] = (),
    signatures: tuple[Signature, ...] = (),
    inputs: tuple[PinnedInput, ...] = (),
    locks: tuple[Lock, ...] = (),
    changes: tuple[tuple[str, int], ...] = (),
    after_change: int | None = None,
    beside: tuple[str, int] | None = None,
    lease: Lease | None = None,
    slots: tuple[Slot, ...] = (),
    release: bool = False,
) -> Batch:
    """Return a batch of one record after `last`; it stands for each (target, n) of `changes`."""
    records = notes(last.record.operation, 1, after=last)
    return Batch(
        operation=last.record.operation,
        expected=last.record.n + 1,
        records=records,
        fence=fence,
        blobs=blobs,
        claims=claims,
        signatures=signatures,
        inputs=inputs,
        locks=locks,
        heads=tuple(TargetHead(target=target, n=n, attempt=records[0].digest) for target, n in changes),
        after_change=after_change,
        beside=beside,
        lease=lease,
        slots=slots,
        release=release,
    )


def in_state(operation: str, state: str, **more: str) -> Batch:
    """Return the first batch of an operation whose row says that it is in `state`."""
    first = batch(notes(operation, 1), state)
    assert first.row is not None
    return replace(first, row=replace(first.row, **more))  # type: ignore[arg-type]


def lease(operation: str, runner: str, fence: int, expires: datetime = LATER) -> Lease:
    return Lease(operation=operation, runner=runner, fence=fence, expires=expires)


def blob(data: bytes, key: bytes = b"k" * 32) -> Blob:
    ref = BlobRef(
        commitment=commit(key, data),
        raw_bytes=len(data) + 7,
        kept_bytes=len(data),
        truncated=True,
        redactions=2,
    )
    return Blob(ref=ref, key=key, data=data)


class StoreContract:
    """The port, as statements."""

    @pytest.fixture
    def store(self) -> LoggedStore:
        raise NotImplementedError

    # --- the chain ---

    def test_what_was_appended_is_read_back_in_order(self, store: LoggedStore) -> None:
        records = notes(A, 5, text="é" * 400)

        put(store, batch(records))

        assert store.journal(A).records == records
        assert (store.records_of(A), store.records_of(B)) == (5, 0)
        assert ([store.leaf_of(A, n) for n in range(5)], store.size()) == ([0, 1, 2, 3, 4], 5)
        assert [store.body_at(leaf) for leaf in range(5)] == [sealed.body for sealed in records]

    def test_a_batch_lands_only_where_it_expects_to(self, store: LoggedStore) -> None:
        first = begin(store, A)
        second = more(first)
        put(store, second)

        for wrong in (second, more(note(A, 4, name("x"))), batch(notes(A, 1, text="other"))):
            with pytest.raises(AppendConflict):
                put(store, wrong)

        assert store.size() == 2

    def test_a_record_that_does_not_name_the_last_one_is_refused(self, store: LoggedStore) -> None:
        begin(store, A)
        stranger = Batch(operation=A, expected=1, records=(note(A, 1, name("another")),))

        with pytest.raises(AppendConflict):
            put(store, stranger)

        assert len(store.journal(A).records) == 1

    def test_a_record_dated_more_than_five_seconds_back_is_refused(self, store: LoggedStore) -> None:
        first = begin(store, A)
        back = note(A, 1, first.digest, at=START - timedelta(seconds=5, milliseconds=1))
        barely = note(A, 1, first.digest, at=START - timedelta(seconds=5))

        with pytest.raises(StoreError):
            put(store, Batch(operation=A, expected=1, records=(back,)))
        put(store, Batch(operation=A, expected=1, records=(barely,)))

    def test_a_batch_that_contradicts_itself_is_refused(self, store: LoggedStore) -> None:
        good = notes(A, 3)
        forged = Sealed(good[1].record, good[1].body + b" ", good[1].digest)
        wrong = (
            Batch(operation=B, expected=0, records=good),
            Batch(operation=A, expected=0, records=(good[0], good[2])),
            Batch(operation=A, expected=0, records=(good[0], forged, good[2])),
            Batch(operation=A, expected=0, records=(good[0],), row=row(good)),
            Batch(operation=A, expected=0, records=(note(A, 0, name("before")),)),
        )

        for each in wrong:
            with pytest.raises(StoreError):
                put(store, each)

        assert store.size() == 0

    def test_of_many_who_append_the_same_place_one_succeeds(self, store: LoggedStore) -> None:
        first = begin(store, A)
        rivals = [
            Batch(operation=A, expected=1, records=(note(A, 1, first.digest, text=str(i)),)) for i in range(8)
        ]

        async def race() -> list[Appended | BaseException]:
            return await asyncio.gather(*(store.append(each) for each in rivals), return_exceptions=True)

        ended = asyncio.run(race())

        assert [type(each) for each in ended].count(Appended) == 1
        assert sum(isinstance(each, AppendConflict) for each in ended) == 7

    def test_one_refused_batch_takes_no_other_with_it(self, store: LoggedStore) -> None:
        begin(store, A)
        good = [batch(notes(operation_id(10 + i), 2)) for i in range(5)]

        async def together() -> list[Appended | BaseException]:
            mixed = [good[0], good[1], batch(notes(A, 1)), good[2], good[3], good[4]]
            return await asyncio.gather(*(store.append(each) for each in mixed), return_exceptions=True)

        ended = asyncio.run(together())
        store.settle()

        assert [isinstance(each, AppendConflict) for each in ended] == [
            False,
            False,
            True,
            False,
            False,
            False,
        ]
        assert store.size() == 11
        assert [len(store.journal(each.operation).records) for each in good] == [2] * 5

    def test_a_batch_refused_at_its_last_part_leaves_no_gap_among_others(self, store: LoggedStore) -> None:
        first, other = begin(store, A), begin(store, B)
        claim = Claim(space="ticket", key=name("t"))
        put(store, more(first, claims=(claim,)))
        crowd = [batch(notes(operation_id(10 + i), 3)) for i in range(4)]
        crowd.insert(2, more(other, claims=(claim,)))

        async def together() -> list[Appended | BaseException]:
            return await asyncio.gather(*(store.append(each) for each in crowd), return_exceptions=True)

        ended = asyncio.run(together())
        store.settle()

        assert [isinstance(each, ClaimTaken) for each in ended] == [False, False, True, False, False]
        assert [store.leaf_of(operation_id(10 + i), 0) for i in range(4)] == [3, 6, 9, 12]
        assert store.records_of(B) == 1
        put(store, more(other))
        bodies = [store.body_at(leaf) for leaf in range(store.size())]
        assert store.root(16) == root_of([leaf_hash(body) for body in bodies])

    # --- names and rows ---

    def test_operations_have_short_numbers_prefixes_and_a_newest(self, store: LoggedStore) -> None:
        begin(store, A)
        begin(store, "instance-chain")
        begin(store, B)

        assert (store.number(A), store.number(B)) == (1, 2)
        assert [store.resolve(n) for n in (A, "1", "2", "@", A[:35], B[3:])] == [A, A, B, B, A, B]
        assert store.resolve("instance-chain") == "instance-chain"

    @pytest.mark.parametrize(
        "unknown", ["3", "0", "-1", "op_", "op_ffffff", A[3:8], A[:20], "", "é", "9" * 40]
    )
    def test_a_name_that_means_nothing_or_too_much_is_unknown(self, store: LoggedStore, unknown: str) -> None:
        begin(store, A)
        begin(store, B)

        with pytest.raises(OperationUnknown):
            store.resolve(unknown)

    def test_nothing_is_newest_in_an_empty_store(self, store: LoggedStore) -> None:
        for ask in (store.resolve, store.journal, store.number):
            with pytest.raises(OperationUnknown):
                ask("@")

    def test_rows_come_newest_first_by_state_and_page_by_page(self, store: LoggedStore) -> None:
        for number in range(1, 6):
            put(store, batch(notes(operation_id(number), 1), state="completed" if number % 2 else "running"))
        begin(store, "instance-chain")

        assert [number for number, _ in store.rows()] == [5, 4, 3, 2, 1]
        assert [number for number, _ in store.rows(state="completed")] == [5, 3, 1]
        assert [number for number, _ in store.rows(after=4, limit=2)] == [3, 2]
        assert store.rows(after=5, limit=1)[0][1] == row(notes(operation_id(4), 1))

    def test_a_page_that_was_read_shows_what_comes_next(self, store: LoggedStore) -> None:
        for number in range(1, 4):
            put(store, batch(notes(operation_id(number), 1)))

            assert [found for found, _ in store.rows(limit=2)] == [*range(number, 0, -1)][:2]
            assert [found for found, _ in store.rows(limit=2)] == [*range(number, 0, -1)][:2]

    # --- once only ---

    def test_a_claim_is_used_once_and_the_second_use_leaves_nothing(self, store: LoggedStore) -> None:
        first, other = begin(store, A), begin(store, B)
        claims = (Claim(space="ticket", key=name("t")), Claim(space="nonce", key="n-1"))
        put(store, more(first, claims=claims))

        for claim in claims:
            with pytest.raises(ClaimTaken):
                put(store, more(other, claims=(Claim(space="other", key="x"), claim)))

        assert [store.claimed(claim) for claim in claims] == [A, A]
        assert store.claimed(Claim(space="other", key="x")) is None
        assert len(store.journal(B).records) == 1

    def test_target_heads_advance_one_by_one(self, store: LoggedStore) -> None:
        first = begin(store, A)
        put(store, more(first, changes=(("t", 1),)))
        last = store.journal(A).records[-1]

        for n in (1, 3):
            with pytest.raises(AppendConflict):
                put(store, more(last, changes=(("t", n),)))

        assert store.target_head("t") == TargetHead(target="t", n=1, attempt=last.digest)
        assert store.target_head("u") is None

    def test_heads_are_told_for_any_place_of_the_log_with_the_operations_that_moved_them(
        self, store: LoggedStore
    ) -> None:
        first, other = begin(store, A), begin(store, B)
        put(store, more(first, changes=(("t", 1),)))
        put(store, more(other, changes=(("t", 2),)))
        put(store, more(store.journal(B).records[-1], changes=(("u", 1),)))

        def numbers(before: int | None) -> tuple[dict[str, int], int]:
            heads, newest = store.heads(before)
            return {head.target: head.n for head in heads}, newest

        assert numbers(2) == ({}, -1)
        assert numbers(3) == ({"t": 1}, 2)
        assert numbers(None) == ({"t": 2, "u": 1}, 4)
        assert store.changed_between(-1, 5) == [A, B]
        assert store.changed_between(2, 5, "t") == store.changed_between(-1, 5, "u") == [B]
        assert store.changed_between(4, 9) == []

    def test_what_rests_on_heads_is_refused_once_a_change_came_in_between(self, store: LoggedStore) -> None:
        first, other = begin(store, A), begin(store, B)
        _, newest = store.heads()
        put(store, more(first, changes=(("t", 1),)))

        with pytest.raises(AppendConflict):
            put(store, more(other, after_change=newest))

        put(store, more(other, after_change=store.heads()[1]))

    def test_what_rests_on_another_chain_is_refused_once_that_has_grown(self, store: LoggedStore) -> None:
        first, other = begin(store, A), begin(store, B)
        read = store.records_of(B)
        put(store, more(other))

        with pytest.raises(AppendConflict):
            put(store, more(first, beside=(B, read)))

        assert store.records_of(A) == 1
        put(store, more(first, beside=(B, store.records_of(B))))

    # --- locks ---

    def test_an_exclusive_lock_keeps_others_out_until_it_is_given_back(self, store: LoggedStore) -> None:
        first, other = begin(store, A), begin(store, B)
        put(store, more(first, locks=(Lock(target="t", exclusive=True),)))

        for exclusive in (True, False):
            with pytest.raises(LockHeld):
                put(store, more(other, locks=(Lock(target="t", exclusive=exclusive),)))
        assert store.locked_by("t") == [A]

        put(
            store, more(store.journal(A).records[-1], locks=(Lock(target="t", exclusive=True, release=True),))
        )
        put(store, more(other, locks=(Lock(target="t", exclusive=True),)))
        assert store.locked_by("t") == [B]

    def test_shared_locks_go_together_and_keep_an_exclusive_one_out(self, store: LoggedStore) -> None:
        first, other = begin(store, A), begin(store, B)
        put(store, more(first, locks=(Lock(target="t", exclusive=False),)))
        put(store, more(other, locks=(Lock(target="t", exclusive=False),)))

        with pytest.raises(LockHeld):
            put(store, more(store.journal(A).records[-1], locks=(Lock(target="t", exclusive=True),)))

        assert store.locked_by("t") == [A, B]

        assert [(lock.target, lock.operation, lock.exclusive) for lock in store.locks()] == [
            ("t", A, False),
            ("t", B, False),
        ]

    # --- room ---

    def test_no_more_leases_are_taken_than_there_is_room_for(self, store: LoggedStore) -> None:
        for operation in (A, B):
            put(store, in_state(operation, "running", mode="apply", environment="prod"))
        last_a, last_b = store.journal(A).records[-1], store.journal(B).records[-1]
        put(store, more(last_a, lease=lease(A, "one", 1), slots=(Slot(environment=None, limit=1),)))
        full = (
            Slot(environment=None, limit=1),
            Slot(environment="prod", limit=1),
        )
        for slot in full:
            with pytest.raises(CapacityFull):
                put(store, more(last_b, lease=lease(B, "two", 1), slots=(slot,)))
        assert store.lease(B) is None and store.records_of(B) == 1

        elsewhere = (Slot(environment=None, limit=2), Slot(environment="test", limit=1))
        put(store, more(last_b, lease=lease(B, "two", 1), slots=elsewhere))

        held = store.lease(A)
        assert held is not None
        store.release(held)
        last = store.journal(A).records[-1]
        with pytest.raises(CapacityFull):
            put(store, more(last, lease=lease(A, "one", 2), slots=full[:1]))

    def test_what_began_and_did_not_end_is_listed_with_its_lease(self, store: LoggedStore) -> None:
        states = {A: "running", B: "completed", operation_id(3): "paused", operation_id(4): "approved"}
        for operation, state in states.items():
            put(store, in_state(operation, state))
        store.acquire(A, "one", LATER, START)

        found = [(number, one.operation, held) for number, one, held in store.under_way()]

        assert found == [(1, A, lease(A, "one", 1)), (3, operation_id(3), None)]
        assert store.row(B)[0] == 2 and store.row(B)[1].state == "completed"
        with pytest.raises(OperationUnknown):
            store.row(operation_id(9))

    # --- the board ---

    def test_the_board_holds_the_last_word_under_each_name(self, store: LoggedStore) -> None:
        store.post("queue", "b", b"1")
        store.post("queue", "a", b"2")
        store.post("other", "a", b"3")
        store.post("queue", "b", b"4")

        assert list(store.posted("queue")) == [("a", b"2"), ("b", b"4")]
        store.post("queue", "a", None)
        store.post("queue", "never", None)
        assert list(store.posted("queue")) == [("b", b"4")]
        assert list(store.posted("other")) == [("a", b"3")]

    # --- leases and fences ---

    def test_a_lease_is_one_runners_until_it_expires_or_is_given_back(self, store: LoggedStore) -> None:
        begin(store, A)
        taken = store.acquire(A, "one", LATER, START)

        assert taken == lease(A, "one", 1)
        assert store.acquire(A, "two", LATER, START) is None
        assert store.acquire(A, "one", LATER + timedelta(seconds=9), START) == lease(
            A, "one", 1, LATER + timedelta(seconds=9)
        )
        expired = LATER + timedelta(seconds=9)
        assert store.acquire(A, "two", expired + timedelta(60), expired) == lease(
            A, "two", 2, expired + timedelta(60)
        )

    def test_a_lease_given_back_is_free_and_the_fence_still_grows(self, store: LoggedStore) -> None:
        begin(store, A)
        taken = store.acquire(A, "one", LATER, START)
        assert taken is not None
        store.release(taken)
        again = store.acquire(A, "two", LATER, START)
        store.release(taken)

        assert again == lease(A, "two", 2)
        assert store.lease(A) == again

    def test_nothing_is_appended_under_an_old_fence(self, store: LoggedStore) -> None:
        first = begin(store, A)
        with pytest.raises(AppendConflict):
            put(store, more(first, fence=1))
        store.acquire(A, "one", START, START)
        put(store, more(first, fence=1))
        store.acquire(A, "two", LATER, LATER)
        last = store.journal(A).records[-1]

        with pytest.raises(AppendConflict):
            put(store, more(last, fence=1))
        put(store, more(last, fence=2))

    def test_a_lease_is_taken_kept_and_given_back_with_records(self, store: LoggedStore) -> None:
        first = begin(store, A)
        put(store, more(first, lease=lease(A, "one", 1)))
        last = store.journal(A).records[-1]
        for rival in (lease(A, "two", 1), lease(A, "two", 2), lease(A, "one", 3)):
            with pytest.raises(LeaseHeld):
                put(store, more(last, lease=rival))
        put(store, more(last, fence=1, lease=lease(A, "one", 1, LATER + timedelta(9))))
        last = store.journal(A).records[-1]
        put(store, more(last, fence=1, release=True))
        last = store.journal(A).records[-1]

        with pytest.raises(AppendConflict):
            put(store, more(last, fence=1))
        put(store, more(last, lease=lease(A, "two", 2)))
        assert store.lease(A) == lease(A, "two", 2)

    def test_an_expired_lease_may_be_taken_with_records(self, store: LoggedStore) -> None:
        first = begin(store, A)
        put(store, more(first, lease=lease(A, "one", 1, START)))

        put(store, more(store.journal(A).records[-1], lease=lease(A, "two", 2)))

        assert store.lease(A) == lease(A, "two", 2)

    # --- what hangs on records ---

    @pytest.mark.parametrize("size", [0, 1, 256 * 1024, 256 * 1024 + 1, 1_000_000])
    def test_output_is_kept_whole(self, store: LoggedStore, size: int) -> None:
        kept = blob(bytes(range(256)) * (size // 256) + b"x" * (size % 256))
        put(store, more(begin(store, A), blobs=(kept,)))

        assert store.blob(kept.ref.commitment) == kept
        assert store.blob(name("none")) is None

    def test_output_that_is_not_what_it_commits_to_is_refused(self, store: LoggedStore) -> None:
        first, kept = begin(store, A), blob(b"output")
        other = Blob(ref=kept.ref, key=kept.key, data=b"Output")

        with pytest.raises(StoreError):
            put(store, more(first, blobs=(other,)))

        assert store.size() == 1

    def test_pinned_inputs_are_stored_once_and_found_by_digest(self, store: LoggedStore) -> None:
        first, data = begin(store, A), b"pack" * 1000
        pinned = PinnedInput(digest=digest_of(data), role="pack", data=data)
        put(store, more(first, inputs=(pinned,)))
        put(store, more(store.journal(A).records[-1], inputs=(pinned,)))

        assert store.pinned(pinned.digest) == data
        with pytest.raises(InputMissing):
            store.pinned(name("none"))
        with pytest.raises(StoreError):
            wrong = PinnedInput(digest=name("x"), role="pack", data=data)
            put(store, more(store.journal(A).records[-1], inputs=(wrong,)))

    def test_signatures_lie_beside_their_record(self, store: LoggedStore) -> None:
        first = begin(store, A)
        signed = tuple(
            Signature(digest=first.digest, form=form, data=form.encode()) for form in ("dsse", "sshsig")
        )
        put(store, more(first, signatures=signed))

        assert tuple(store.signatures(first.digest)) == signed
        assert list(store.signatures(name("none"))) == []

    # --- what may go by its age ---

    def test_what_ended_before_a_moment_and_is_looked_at_no_more_is_old(self, store: LoggedStore) -> None:
        late = "review by 2026-03-01T00:00:00.000Z"
        for number, state, waiting in ((1, "completed", ""), (2, "running", ""), (3, "failed", late)):
            records = notes(operation_id(number), 1)
            kept = blob(bytes([number]))
            seen = replace(row(records, state), waiting=waiting)
            claims = (Claim(space="idempotency", key=str(number)), Claim(space="ticket", key=str(number)))
            put(store, replace(batch(records), row=seen, blobs=(kept,), claims=claims))
        ended = ("completed", "failed")

        assert list(store.aged_outputs(START, ended)) == []
        (found,) = store.aged_outputs(LATER, ended)
        assert (found.operation, found.outputs, found.bytes) == (A, (blob(b"\1").ref.commitment,), 1)
        assert (
            store.forget_keys(LATER, ended, really=False) == store.forget_keys(LATER, ended, really=True) == 1
        )
        assert store.claimed(Claim(space="idempotency", key="1")) is None
        assert store.claimed(Claim(space="idempotency", key="2")) is not None
        assert store.claimed(Claim(space="ticket", key="1")) == A

    def test_old_outputs_go_with_the_record_that_says_so_or_not_at_all(self, store: LoggedStore) -> None:
        first, kept, said = begin(store, A), blob(b"output"), batch(notes(B, 1))
        put(store, more(first, blobs=(kept,)))

        with pytest.raises(AppendConflict):
            store.erase_aged(said, {A: 1}, [kept.ref.commitment])
        assert store.blob(kept.ref.commitment) == kept and store.records_of(B) == 0

        store.erase_aged(said, {A: 2}, [kept.ref.commitment])
        assert store.blob(kept.ref.commitment) is None and store.records_of(B) == 1
