"""A restored log is believed for what it continues, and for nothing that it lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.epoch_worlds import SECOND, restored, without_epoch
from conformance.worlds import INSTANCE, Log, a_read, codes, cut, judged
from rexecop.proof.checkpoint import epoch_of, origin_of
from rexecop.proof.merkle import inclusion_proof, leaf_hash, node_reader, root_before, root_of
from rexecop.proof.verify import Report, Rung

REWOUND = "whether the log was rewound"


def skipped(report: Report) -> set[str]:
    return {item.what for item in report.not_checked}


def test_a_restored_log_is_verified_like_any_other() -> None:
    report = judged(restored().made)

    assert report.findings == ()
    assert report.rungs[-1] is Rung.LOGGED


@pytest.mark.parametrize("held", ["early", "full"])
def test_a_checkpoint_of_the_epoch_before_is_compared_across_the_restore(held: str) -> None:
    world = restored()

    report = judged(world.made, checkpoint=getattr(world, held))

    assert report.findings == ()
    assert REWOUND not in skipped(report)


def test_what_the_restore_lost_is_named_to_whoever_kept_a_checkpoint_of_it() -> None:
    world = restored()

    report = judged(world.made, checkpoint=world.lost)

    assert codes(report) == {"E06f"}
    assert "continues from 8 records, the checkpoint held has 10" in report.findings[0].message


def test_a_log_that_was_another_one_at_the_restore_is_a_fork() -> None:
    world = restored()
    log = Log()
    for number in range(8):
        log.append(b"%d" % number)

    assert codes(judged(world.made, checkpoint=log.checkpoint())) == {"E06a"}


def test_where_the_epoch_records_are_left_out_it_is_said_and_not_guessed() -> None:
    world = restored()
    bare = replace(
        world.made,
        contents=replace(
            world.made.contents,
            instance_records=(),
            proofs=replace(world.made.contents.proofs, instance=()),
        ),
    )

    report = judged(bare, checkpoint=world.early)

    assert report.findings == ()
    assert {REWOUND, "which epoch the log is in"} <= skipped(report)
    assert codes(judged(without_epoch(world.made))) == {"E05f"}


def test_a_checkpoint_of_a_later_epoch_is_not_pretended_to_be_earlier() -> None:
    made = cut(a_read())

    report = judged(made, checkpoint=made.log.checkpoint(origin=SECOND))

    assert report.findings == ()
    assert REWOUND in skipped(report)


@given(st.integers(1, 80), st.data())
def test_the_proof_of_any_leaf_shows_the_root_of_all_before_it(size: int, data: st.DataObject) -> None:
    log, leaves = Log(), [b"%d" % number for number in range(size)]
    for leaf in leaves:
        log.append(leaf)
    index = data.draw(st.integers(0, size - 1))
    path = inclusion_proof(index, size, node_reader(log.rows.__getitem__))

    assert root_before(index, size, path) == root_of([leaf_hash(leaf) for leaf in leaves[:index]])


@pytest.mark.parametrize(
    "origin", ["rexecop/x/0", "rexecop/x/01", "rexecop/x/", "rexecop/y/1", "rexecop/x/-1"]
)
def test_an_origin_says_its_epoch_in_one_way_only(origin: str) -> None:
    assert epoch_of(origin, "x") is None
    assert epoch_of(origin_of("x", 12), "x") == 12
    assert epoch_of(origin_of(INSTANCE, 1), INSTANCE) == 1
