"""Every attack on a log that the walk over it knows, refused by its own name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.proof.canonical import canonical_bytes, parse_json
from rexecop.proof.checkpoint import Checkpoint
from rexecop.proof.errors import LogLeafUnreadable
from rexecop.proof.logcheck import Leaf, LogReport, check_log
from rexecop.proof.merkle import leaf_hash, root_of
from tests.proof.logs import at, bodies, dated, leaves
from tests.store.samples import operation_id

SIZE = 21
RECORDS = bodies(SIZE)
OTHERS = bodies(SIZE + 5, text="another")


def check(
    records: Sequence[bytes],
    *,
    own: Sequence[Checkpoint] = (),
    held: Sequence[Checkpoint] = (),
    spoil: Callable[[int, Leaf], Leaf] = lambda index, leaf: leaf,
) -> LogReport:
    """Walk over the log that is `records`, each leaf through `spoil`."""
    walked = (spoil(index, leaf) for index, leaf in enumerate(leaves(records)))
    return check_log(walked, len(records), own=own, held=held)


def code(report: LogReport) -> str | None:
    return None if report.bad is None else report.bad.code


@given(st.integers(0, 40), st.lists(st.integers(0, 40), max_size=4))
def test_a_log_that_only_grew_continues_every_checkpoint_of_it(size: int, sizes: list[int]) -> None:
    records = bodies(size)
    earlier = [at(records[:held]) for held in sizes if held <= size]

    report = check(records, own=earlier, held=earlier)

    assert report.bad is None
    assert (report.size, report.root) == (size, root_of([leaf_hash(body) for body in records]))


@given(st.integers(0, SIZE - 1), st.data())
def test_a_changed_byte_is_found_at_its_leaf(place: int, data: st.DataObject) -> None:
    body = bytearray(RECORDS[place])
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))

    def spoil(index: int, leaf: Leaf) -> Leaf:
        return replace(leaf, body=bytes(body)) if index == place else leaf

    report = check(RECORDS, spoil=spoil)

    assert report.bad is not None and (report.bad.code, report.bad.leaf) == ("log-record-altered", place)
    assert report.size == place


@pytest.mark.parametrize(("leaf_index", "level"), [(1, 1), (7, 2), (7, 3), (15, 4)])
def test_a_tree_node_that_is_not_of_its_leaves_is_found(leaf_index: int, level: int) -> None:
    def spoil(index: int, leaf: Leaf) -> Leaf:
        wrong = index == leaf_index
        return replace(leaf, kept=lambda k: bytes(32) if wrong and k == level else leaf.kept(k))

    report = check(RECORDS, spoil=spoil)

    assert report.bad is not None
    assert (report.bad.code, report.bad.leaf) == ("log-node-wrong", leaf_index)


def test_a_log_cut_short_of_a_checkpoint_held_is_truncated() -> None:
    assert code(check(RECORDS[:10], held=[at(RECORDS[:12])])) == "log-truncated"
    assert code(check(RECORDS[:10], own=[at(RECORDS[:12])])) == "log-truncated"
    assert code(check([], held=[at(RECORDS[:1])])) == "log-truncated"


@given(st.integers(1, SIZE - 1), st.integers(0, SIZE - 1))
def test_a_log_cut_back_and_grown_again_is_rewound(held: int, cut: int) -> None:
    cut %= held
    # Other operations took the places of those that were cut off.
    grown = [*RECORDS[:cut], *(body for body in OTHERS if other_chain(body, RECORDS[:cut]))][:SIZE]

    report = check(grown, held=[at(RECORDS[:held])])

    if len(grown) > held:
        assert code(report) == "log-rewound"


def other_chain(body: bytes, kept: Sequence[bytes]) -> bool:
    """Whether `body` is of an operation that nothing in `kept` is of."""
    return operation_of(body) not in {operation_of(one) for one in kept}


def operation_of(body: bytes) -> object:
    value = parse_json(body, bytes_max=1 << 20)
    assert isinstance(value, dict)
    return value["operation"]


def test_two_logs_of_one_size_are_a_fork() -> None:
    assert code(check(RECORDS, held=[at(OTHERS[:SIZE])])) == "log-forked"
    assert code(check(RECORDS, held=[at(OTHERS[: SIZE - 1])])) == "log-rewound"


def test_a_checkpoint_over_nothing_with_some_root_is_no_checkpoint_of_an_empty_log() -> None:
    assert code(check(RECORDS, held=[replace(at([]), root=bytes(32))])) == "log-rewound"


@pytest.mark.parametrize("size", [1, 10, SIZE])
def test_a_checkpoint_that_lies_with_the_log_and_states_another_root_is_forged(size: int) -> None:
    assert code(check(RECORDS, own=[replace(at(RECORDS[:size]), root=bytes(32))])) == "checkpoint-forged"
    if size > 1:
        assert code(check(RECORDS, own=[replace(at(RECORDS[:size]), size=size - 1)])) == "checkpoint-forged"


@pytest.mark.parametrize(("back", "found"), [(5.0, None), (5.001, "chain-time-reversed")])
def test_a_clock_that_stepped_back_more_than_the_tolerance_is_found(back: float, found: str | None) -> None:
    chain = dated(operation_id(1), 10, 20, 20 - back)

    assert code(check([sealed.body for sealed in chain])) == found


def test_two_records_that_claim_one_place_are_found_however_long_ago_the_first_was() -> None:
    again = dated(operation_id(0), 60)[0].body
    report = check([*RECORDS, again])

    assert report.bad is not None
    assert (report.bad.code, report.bad.leaf) == ("chain-place-repeated", SIZE)
    assert code(check([*RECORDS, RECORDS[-1]])) == "chain-place-repeated"


def test_a_record_left_out_or_put_before_its_turn_breaks_the_chain() -> None:
    assert code(check(RECORDS[:3] + RECORDS[4:])) == "chain-broken"
    assert code(check(RECORDS[3:])) == "chain-broken"
    one, two = dated(operation_id(1), 0, 1)
    stranger = dated(operation_id(1), 2, 3)[1]
    assert code(check([one.body, two.body])) is None
    assert code(check([one.body, stranger.body])) == "chain-broken"


def test_a_record_of_a_kind_nobody_knows_is_refused() -> None:
    value = parse_json(RECORDS[5], bytes_max=1 << 20)
    assert isinstance(value, dict)
    unknown = canonical_bytes({**value, "kind": "rumour/1"})

    report = check([*RECORDS[:5], unknown])

    assert report.bad is not None and (report.bad.code, report.bad.leaf) == ("kind-unknown", 5)
    assert code(check([b"{}"])) == "record-malformed"
    assert code(check([RECORDS[0] + b" "])) == "not-canonical"


def test_a_record_filed_as_another_one_is_found() -> None:
    def spoil(index: int, leaf: Leaf) -> Leaf:
        return replace(leaf, operation=operation_id(index % 3), n=index // 3 + (index == 7))

    report = check(RECORDS, spoil=spoil)

    assert report.bad is not None
    assert (report.bad.code, report.bad.leaf, report.bad.n) == ("chain-broken", 7, 3)
    assert report.bad.operation_id == operation_id(1)


def test_leaves_that_end_with_an_error_are_bad_where_they_end() -> None:
    def broken() -> Iterator[Leaf]:
        yield from leaves(RECORDS[:4])
        raise LogLeafUnreadable("gone")

    report = check_log(broken(), SIZE, own=(), held=())

    assert report.bad is not None
    assert (report.bad.code, report.bad.leaf, report.size) == ("log-leaf-unreadable", 4, 4)
