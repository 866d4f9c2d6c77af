"""Windows made by hand: several operations that change two targets, heads at both ends, and false ones."""

# ruff: noqa: ANN401 - see worlds

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

from conformance.tamperings import Case, earns
from conformance.worlds import (
    APPROVER_KEY,
    ENROLMENTS,
    ENVIRONMENT,
    INSTANCE,
    INSTANCE_KEY,
    MARA,
    ONE_OF_OPS,
    PACK,
    PATHS,
    PROFILE,
    START,
    TARGET,
    VALUES,
    Book,
    Log,
    Made,
    change_step,
    instance_chain,
    read_step,
    recorded,
    standing,
    used_change,
)
from rexecop.proof.bundle import BundleContents, Window, build, pack_proofs
from rexecop.proof.canonical import Digest, digest_of
from rexecop.proof.chain import Sealed, seal, unseal
from rexecop.proof.codec import encode
from rexecop.proof.heads import (
    Head,
    HeadProof,
    HeadsProofs,
    Unfinished,
    has_ended,
    heads_root,
    prove_target,
    prove_unfinished,
    unfinished_root,
    whole_map,
)
from rexecop.proof.logproof import ConsistencyProof
from rexecop.proof.principal import ENGINE
from rexecop.proof.receipts import record_envelope
from rexecop.proof.records import Attempt, Receipt
from rexecop.proof.records.instance import Heads, UnfinishedList
from rexecop.proof.records.plan import CallStep
from rexecop.proof.vocabulary import Effect, State, Verdict

OTHER: Final = "host-2"


def a_write(name: str, target: str, n: int, prev: Digest | None, **attempt: Any) -> Book:
    """An approved change of `target`, which is its change number `n`."""
    book = Book(name, target=target)
    look, change = aimed(read_step(), target), aimed(change_step(), target)
    book.intent()
    book.plan((look, change), Effect.CHANGE)
    book.decision(Verdict.APPROVAL_REQUIRED, ONE_OF_OPS)
    book.approve(MARA, APPROVER_KEY)
    book.ticket()
    book.run(look, facts=PATHS)
    fields = {"target_n": n, "target_prev": prev} | attempt
    book.outcome("set", book.attempt(change, values=VALUES, **fields))
    book.validation()
    book.receipt(State.COMPLETED)
    return book


def aimed(step: CallStep, target: str) -> CallStep:
    """Return `step` with all its calls aimed at `target`."""
    return replace(
        step,
        target=target,
        call=replace(step.call, target=target),
        undo=step.undo and replace(step.undo, target=target),
        probe=step.probe and replace(step.probe, call=replace(step.probe.call, target=target)),
    )


def attempts(book: Book) -> list[Sealed]:
    """The counted attempts of `book`."""
    return [s for s in book.records if isinstance(s.record, Attempt) and s.record.target_n is not None]


@dataclass
class World:
    """An instance that is written down record by record: its log, its chain, its heads."""

    log: Log = field(default_factory=Log)
    chain: list[Sealed] = field(default_factory=lambda: instance_chain(ENROLMENTS))
    leaves: dict[Digest, int] = field(default_factory=dict)
    heads: dict[str, Head] = field(default_factory=dict)
    books: list[Book] = field(default_factory=list)
    maps: dict[Digest, tuple[Head, ...]] = field(default_factory=dict)
    unfinished: dict[Digest, tuple[Unfinished, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for sealed in self.chain:
            self.put(sealed)

    def put(self, sealed: Sealed) -> None:
        self.leaves[sealed.digest] = self.log.append(sealed.body)

    def write(self, book: Book) -> Book:
        """Append all of `book`; its counted attempts move the heads."""
        self.books.append(book)
        for sealed in book.records:
            self.put(sealed)
        for sealed in attempts(book):
            record = sealed.record
            assert isinstance(record, Attempt) and record.target_n is not None
            self.heads[record.target] = Head(target=record.target, n=record.target_n, attempt=sealed.digest)
        return book

    def change(self, target: str = TARGET) -> Book:
        """An honest change of `target`."""
        head = self.heads.get(target)
        n, prev = (1, None) if head is None else (head.n + 1, head.attempt)
        return self.write(a_write(f"op_{len(self.books)}", target, n, prev))

    def open_ones(self) -> tuple[Unfinished, ...]:
        return tuple(
            Unfinished(operation=book.operation, record=book.records[-1].digest)
            for book in self.books
            if attempts(book) and not has_ended(book.records)
        )

    def mark(self, heads: Sequence[Head] | None = None, *, silent: bool = False, **unfinished: Any) -> Digest:
        """Record the heads, or others than there are; return the record's digest.

        `silent` ones do not say what had not ended.
        """
        entries = tuple(self.heads.values()) if heads is None else tuple(heads)
        open_ones = self.open_ones()
        said: dict[str, Any] = {
            "size": len(self.log.rows),
            "operations": len(open_ones),
            "root": unfinished_root(open_ones),
        }
        last = self.chain[-1]
        record = Heads(
            operation=INSTANCE,
            n=len(self.chain),
            prev=last.digest,
            at=max(START + timedelta(hours=1), last.record.at) + timedelta(minutes=1),
            by=ENGINE,
            root=heads_root(entries),
            targets=len(entries),
            unfinished=None if silent else UnfinishedList(**said | unfinished),
        )
        sealed = seal(record)
        self.chain.append(sealed)
        self.put(sealed)
        self.maps[sealed.digest], self.unfinished[sealed.digest] = entries, open_ones
        return sealed.digest

    def cut(
        self,
        start: Digest | None,
        end: Digest,
        target: str | None = None,
        books: Sequence[Book] | None = None,
    ) -> Made:
        """Cut the bundle of a window with `books`, by default those with a change in it."""
        chosen = self.inside(start, end, target) if books is None else list(books)
        records = [sealed for book in chosen for sealed in book.records]
        contents = BundleContents(
            instance=INSTANCE,
            operation=None,
            window=Window(start=start, end=end, target=target),
            heads=HeadsProofs(
                start=self.proofs(start, target),
                end=self.proofs(end, target),
                unfinished=prove_unfinished(self.unfinished[end], [book.operation for book in chosen]),
            ),
            records=tuple(sealed.body for sealed in records),
            instance_records=tuple(sealed.body for sealed in self.chain),
            proofs=pack_proofs(
                [self.log.prove(self.leaves[sealed.digest]) for sealed in records],
                [self.log.prove(self.leaves[sealed.digest]) for sealed in self.chain],
            ),
            checkpoint=self.log.checkpoint(INSTANCE_KEY),
            envelopes={
                s.digest: record_envelope(s, INSTANCE_KEY) for s in records if isinstance(s.record, Receipt)
            },
            signatures={digest: data for book in chosen for digest, data in book.signatures.items()},
            inputs=(ENVIRONMENT, PACK, PROFILE) if records else (),
        )
        return Made(contents=contents, log=self.log, held=b"")

    def inside(self, start: Digest | None, end: Digest, target: str | None) -> list[Book]:
        first = -1 if start is None else self.leaves[start]
        return [
            book
            for book in self.books
            if any(
                first < self.leaves[s.digest] < self.leaves[end] and target in (None, s.record.target)
                for s in attempts(book)
                if isinstance(s.record, Attempt)
            )
        ]

    def proofs(self, at: Digest | None, target: str | None) -> tuple[HeadProof, ...]:
        if at is None:
            return ()
        return whole_map(self.maps[at]) if target is None else prove_target(self.maps[at], target)


def a_week() -> tuple[World, Digest, Digest]:
    """Two changes before the window, four in it (three of one target), and one after it."""
    world = World()
    world.change()
    world.change(OTHER)
    start = world.mark()
    for target in (TARGET, OTHER, TARGET, TARGET):
        world.change(target)
    end = world.mark()
    world.change()
    return world, start, end


def cut_week(**changes: Any) -> Made:
    world, start, end = a_week()
    return world.cut(start, end, **changes)


def leaving_out(missing: int) -> Case:
    world, start, end = a_week()
    books = world.inside(start, end, None)
    return Case(bundle=world.cut(start, end, None, [*books[:missing], *books[missing + 1 :]]).bundle())


def an_open_world(after: int = 1) -> World:
    """A change that ended, and one of which there are records up to its attempt, or so many from there on."""
    world = World()
    world.change(OTHER)
    book = a_write("op_open", TARGET, 1, None)
    world.write(replace(book, records=book.records[: attempts(book)[0].record.n + after]))
    return world


def an_open_window() -> Made:
    """A window in which a change has no outcome yet, beside one that ended."""
    world = an_open_world()
    return world.cut(None, world.mark())


def a_silent_window() -> Made:
    """A window whose heads do not say what had not ended, as they did not before they could."""
    world = World()
    world.change()
    return world.cut(None, world.mark(silent=True))


# --- what somebody who holds the instance's key might leave out, add or move ---


@earns("E11b")
def a_change_left_out_of_the_middle() -> Case:
    return leaving_out(2)


@earns("E11b")
def the_first_change_left_out() -> Case:
    return leaving_out(0)


@earns("E11c")
def the_last_change_cut_off() -> Case:
    return leaving_out(3)


@earns("E11c")
def every_change_of_a_target_cut_off() -> Case:
    return leaving_out(1)


@earns("E11c")
def heads_that_name_another_last_change() -> Case:
    world = World()
    book = world.change()
    false = replace(world.heads[TARGET], attempt=book.records[0].digest)
    return Case(bundle=world.cut(None, world.mark([false])).bundle())


@earns("E11c")
def a_target_that_lost_changes_between_the_heads() -> Case:
    world = World()
    world.change()
    start = world.mark()
    return Case(bundle=world.cut(start, world.mark([]), None, []).bundle())


@earns("E11c")
def heads_that_name_another_change_of_the_same_number() -> Case:
    world = World()
    book = world.change()
    start = world.mark()
    false = replace(world.heads[TARGET], attempt=book.records[0].digest)
    return Case(bundle=world.cut(start, world.mark([false]), None, []).bundle())


@earns("E11d")
def a_number_given_to_two_changes() -> Case:
    world = World()
    first = world.change()
    world.write(a_write("op_again", TARGET, 1, None))
    world.heads[TARGET] = Head(target=TARGET, n=1, attempt=attempts(first)[0].digest)
    return Case(bundle=world.cut(None, world.mark()).bundle())


@earns("E11e")
def heads_that_do_not_lead_to_their_root() -> Case:
    made = cut_week()
    heads = made.contents.heads
    assert heads is not None
    false = replace(heads.end[0], head=replace(heads.end[0].head, n=9))
    contents = replace(made.contents, heads=replace(heads, end=(false, *heads.end[1:])))
    return Case(bundle=replace(made, contents=contents).bundle())


@earns("E11e")
def a_target_said_to_be_absent_from_the_heads() -> Case:
    made = cut_week(target=TARGET)
    heads = made.contents.heads
    assert heads is not None
    contents = replace(made.contents, heads=replace(heads, start=()))
    return Case(bundle=replace(made, contents=contents).bundle())


@earns("E11e")
def heads_before_the_beginning() -> Case:
    world, start, end = a_week()
    made = world.cut(None, end)
    heads = HeadsProofs(start=world.proofs(start, None), end=world.proofs(end, None))
    return Case(bundle=replace(made, contents=replace(made.contents, heads=heads)).bundle())


@earns("E11f")
def a_window_that_ends_at_no_heads_record() -> Case:
    made = cut_week()
    window = made.contents.window
    assert window is not None
    contents = replace(made.contents, window=replace(window, end=PACK.digest))
    return Case(bundle=replace(made, contents=contents).bundle())


@earns("E11f")
def a_window_that_ends_before_it_begins() -> Case:
    world, start, end = a_week()
    return Case(bundle=world.cut(end, start, None, []).bundle())


@earns("E11g")
def a_change_without_a_number() -> Case:
    book = a_write("op_silent", TARGET, 1, None, target_n=None)
    world = World()
    world.write(book)
    made = world.cut(None, world.mark(), None, [book])
    contents = replace(made.contents, operation=book.operation, window=None, heads=None)
    return Case(bundle=replace(made, contents=contents).bundle())


@earns("E11h")
def a_change_numbered_for_before_the_window() -> Case:
    world = World()
    book = a_write("op_0", TARGET, 1, None)
    start = world.mark([Head(target=TARGET, n=1, attempt=attempts(book)[0].digest)])
    world.write(book)
    return Case(bundle=world.cut(start, world.mark()).bundle())


@earns("E11i")
def an_operation_that_changed_nothing_in_the_window() -> Case:
    world, start, end = a_week()
    return Case(bundle=world.cut(start, end, None, world.books).bundle())


def shortened(contents: BundleContents, operation: str, by: int) -> bytes:
    """Return the bundle of `contents` without the last `by` records of `operation` and their signatures."""
    theirs = [at for at, line in enumerate(contents.records) if unseal(line).record.operation == operation]
    kept = [at for at in range(len(contents.records)) if at not in theirs[len(theirs) - by :]]
    records = tuple(contents.records[at] for at in kept)
    operations = tuple(contents.proofs.operation[at] for at in kept)
    digests = {digest_of(line) for line in records}
    envelopes = {digest: data for digest, data in contents.envelopes.items() if digest in digests}
    proofs = replace(contents.proofs, operation=operations)
    return build(replace(contents, records=records, proofs=proofs, envelopes=envelopes))


@earns("E11j")
def a_receipt_cut_off() -> Case:
    return Case(bundle=shortened(cut_week().contents, "op_4", 1))


@earns("E11j")
def an_outcome_cut_off_and_all_after_it() -> Case:
    return Case(bundle=shortened(cut_week(target=TARGET).contents, "op_5", 3))


@earns("E11j")
def the_outcome_of_an_unfinished_operation_cut_off() -> Case:
    world = an_open_world(after=2)
    return Case(bundle=shortened(world.cut(None, world.mark()).contents, "op_open", 1))


@earns("E11j")
def an_unfinished_operation_that_the_heads_do_not_name() -> Case:
    made = an_open_window()
    heads = made.contents.heads
    assert heads is not None
    contents = replace(made.contents, heads=replace(heads, unfinished=()))
    return Case(bundle=replace(made, contents=contents).bundle())


@earns("E11e")
def an_unfinished_operation_that_is_not_in_the_list() -> Case:
    made = an_open_window()
    heads = made.contents.heads
    assert heads is not None
    entry = heads.unfinished[0]
    false = replace(entry, unfinished=replace(entry.unfinished, record=PACK.digest))
    contents = replace(made.contents, heads=replace(heads, unfinished=(false,)))
    return Case(bundle=replace(made, contents=contents).bundle())


@earns("E11e")
def an_unfinished_operation_that_is_not_in_the_window() -> Case:
    world = an_open_world()
    end = world.mark()
    made = world.cut(None, end, OTHER)
    heads = made.contents.heads
    assert heads is not None
    extra = prove_unfinished(world.unfinished[end], ["op_open"])
    contents = replace(made.contents, heads=replace(heads, unfinished=extra))
    return Case(bundle=replace(made, contents=contents).bundle())


@earns("E11e")
def heads_that_look_at_less_than_the_changes_before_them() -> Case:
    world = World()
    world.change()
    return Case(bundle=world.cut(None, world.mark(size=3)).bundle())


@earns("E11e")
def heads_that_look_at_more_than_there_was_before_them() -> Case:
    world = World()
    world.change()
    return Case(bundle=world.cut(None, world.mark(size=999)).bundle())


@earns("E03a")
def records_of_one_operation_that_stand_apart() -> Case:
    made = cut_week()
    contents, proofs = made.contents, made.contents.proofs
    order = [*range(1, len(contents.records)), 0]
    contents = replace(
        contents,
        records=tuple(contents.records[i] for i in order),
        proofs=replace(proofs, operation=tuple(proofs.operation[i] for i in order)),
    )
    return Case(bundle=replace(made, contents=contents).bundle())


@earns("E05d")
def operations_in_another_order() -> Case:
    world, start, end = a_week()
    books = world.inside(start, end, None)
    return Case(bundle=world.cut(start, end, None, [*books[1:], books[0]]).bundle())


def a_rewound_log() -> tuple[Made, bytes, bytes]:
    """A bundle cut from a log, and a checkpoint and proof of growth of the same log grown on."""
    made = cut_week()
    size, old = len(made.log.rows), made.log.frontier.root()
    made.log.append(b"one more")
    _, path = made.log.grown(size)
    held = made.log.checkpoint()
    proof = ConsistencyProof(
        old=size,
        new=size + 1,
        old_root=old.hex(),
        new_root=made.log.frontier.root().hex(),
        path=tuple(step.hex() for step in path),
        checkpoint=held.decode(),
    )
    return made, held, encode(proof)


@earns("E06e")
def a_log_that_lost_its_newest_record() -> Case:
    made, held, _ = a_rewound_log()
    return Case(bundle=made.bundle(), more={"checkpoint": held})


@earns("E06e")
def a_log_that_was_rewound_and_went_another_way() -> Case:
    made, held, proof = a_rewound_log()
    return Case(
        bundle=made.bundle(), more={"checkpoint": held, "growth": proof.replace(b'"old":', b'"old":1')}
    )


@earns("E08l")
def one_use_of_a_standing_approval_for_two_operations() -> Case:
    prev: Digest | None = None
    books: list[Book] = []
    for n in (1, 2):
        book, _ = used_change(name=f"op_{n}")
        book.run(read_step(), facts=PATHS)
        attempt = book.attempt(change_step(), values=VALUES, target_n=n, target_prev=prev)
        book.outcome("set", attempt)
        book.validation()
        book.receipt(State.COMPLETED)
        books, prev = [*books, book], attempt.digest
    world = World(chain=instance_chain((*ENROLMENTS, recorded(*standing(books[0])))))
    for book in books:
        world.write(book)
    return Case(bundle=world.cut(None, world.mark()).bundle())
