"""A window holds all changes between its two ends, or is refused: what is missing is named."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.windows import (
    OTHER,
    World,
    a_rewound_log,
    a_week,
    a_write,
    an_open_world,
    attempts,
    cut_week,
    shortened,
)
from conformance.worlds import PACK, TARGET, TRUSTED, judged
from rexecop.proof.codec import from_json
from rexecop.proof.errors import HeadsProofWrong
from rexecop.proof.heads import (
    Head,
    HeadsProofs,
    Unfinished,
    check_target,
    check_unfinished,
    check_whole,
    heads_root,
    prove_target,
    prove_unfinished,
    unfinished_root,
    whole_map,
)
from rexecop.proof.verify import CODES, Rung, verify

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
maps = st.lists(names, unique=True, max_size=9).map(
    lambda targets: [Head(target=name, n=n, attempt=PACK.digest) for n, name in enumerate(targets, 1)]
)


def test_a_window_over_all_targets_says_how_its_changes_ended() -> None:
    report = judged(cut_week())

    assert report.findings == ()
    assert report.answer() == "verified: logged"
    complete = report.claims.complete
    assert complete is not None and complete.start is not None
    assert (complete.target, complete.targets, complete.changes) == (None, 2, 4)
    assert complete.ended == {"ok": 4} and complete.unknown == ()
    assert [one.operation for one in report.operations] == ["op_2", "op_3", "op_4", "op_5"]
    assert report.claims.approvals == report.claims.approvals_own == 4


@pytest.mark.parametrize(("target", "changes"), [(TARGET, 3), (OTHER, 1), ("host-0", 0), ("host-9", 0)])
def test_a_window_of_one_target_holds_its_changes_and_those_only(target: str, changes: int) -> None:
    report = judged(cut_week(target=target))

    assert report.findings == ()
    assert report.claims.complete is not None and report.claims.complete.changes == changes


def test_a_window_from_the_beginning_needs_no_heads_there() -> None:
    world, _, end = a_week()

    report = judged(world.cut(None, end))

    assert report.findings == ()
    assert report.claims.complete is not None
    assert (report.claims.complete.start, report.claims.complete.changes) == (None, 6)


def test_windows_that_meet_hold_together_what_one_over_both_holds() -> None:
    world, start, end = a_week()

    def changes(*ends: str | None) -> int:
        complete = judged(world.cut(*ends)).claims.complete  # type: ignore[arg-type]
        assert complete is not None
        return complete.changes

    assert changes(None, start) + changes(start, end) == changes(None, end)


def test_a_change_of_which_nothing_is_known_is_named() -> None:
    world = an_open_world()
    book = world.books[-1]
    attempt = attempts(book)[0]

    report = judged(world.cut(None, world.mark()))

    assert report.findings == ()
    assert report.claims.complete is not None
    assert report.claims.complete.unknown == (attempt.digest,)
    assert report.claims.complete.ended == {"ok": 1, "open": 1}
    assert f"the end of `{book.operation}`" in {skipped.what for skipped in report.not_checked}


@pytest.mark.parametrize("after", range(1, 5))
def test_no_record_that_an_operation_had_at_the_end_can_be_left_out_of_its_tail(after: int) -> None:
    world = an_open_world(after)
    end = world.mark()
    contents = world.cut(None, end).contents
    for book in world.books:
        for by in range(1, len(book.records)):
            report = verify(shortened(contents, book.operation, by), TRUSTED)

            assert report.claims.complete is None and not report.holds(Rung.CONSISTENT)
    assert judged(world.cut(None, end)).findings == ()


def test_what_was_recorded_behind_the_end_of_the_window_may_be_left_out() -> None:
    world = an_open_world()
    end = world.mark()
    book = a_write("op_open", TARGET, 1, None)
    world.books[-1] = book
    for sealed in book.records[attempts(book)[0].record.n + 1 :]:
        world.put(sealed)
    contents = world.cut(None, end).contents

    for by, ended in ((0, {"ok": 2}), (2, {"ok": 2}), (3, {"ok": 1, "open": 1})):
        report = verify(shortened(contents, "op_open", by), TRUSTED)

        assert report.findings == ()
        assert report.claims.complete is not None and report.claims.complete.ended == ended
    assert verify(shortened(contents, "op_open", 4 + 1), TRUSTED).claims.complete is None


def test_heads_that_do_not_say_what_had_not_ended_leave_that_unchecked() -> None:
    released = Path("conformance/released/0.1.0/logged_window-of-one-target/bundle.rxb").read_bytes()

    unchecked = {row.what for row in verify(released, TRUSTED).not_checked}

    assert "whether the newest records of the window's operations are here" in unchecked
    assert not any("newest" in row.what for row in judged(cut_week()).not_checked)


def test_a_list_shows_of_each_operation_asked_about_its_last_record_and_nothing_else() -> None:
    entries = [Unfinished(operation=f"op_{n}", record=PACK.digest) for n in range(7)]
    proofs = prove_unfinished(entries, ["op_2", "op_6", "op_9"])

    assert check_unfinished(proofs, 7, unfinished_root(entries)).keys() == {"op_2", "op_6"}
    with pytest.raises(HeadsProofWrong):
        check_unfinished((proofs[0], proofs[0]), 7, unfinished_root(entries))
    with pytest.raises(HeadsProofWrong):
        check_unfinished(proofs, 8, unfinished_root(entries))


def test_nothing_claims_to_be_complete_once_anything_is_wrong_with_the_window() -> None:
    world, start, end = a_week()

    report = judged(world.cut(start, end, None, world.inside(start, end, None)[1:]))

    assert report.claims.complete is None and not report.holds(Rung.CONSISTENT)


def test_a_giant_count_costs_no_more_than_a_small_one() -> None:
    world = World()
    world.change()
    false = replace(world.heads[TARGET], n=2**53)

    report = judged(world.cut(None, world.mark([false])))

    assert {finding.code for finding in report.findings} == {"E11c"}


def test_an_old_bundle_is_believed_beside_a_newer_checkpoint_with_the_proof_that_the_log_grew() -> None:
    made, held, proof = a_rewound_log()

    assert verify(made.bundle(), TRUSTED, checkpoint=held, growth=proof).findings == ()
    assert {f.code for f in verify(made.bundle(), TRUSTED, checkpoint=held, growth=b"{}").findings} == {
        "E06e"
    }


@given(maps, names)
def test_a_map_shows_of_any_target_what_it_holds_or_that_it_holds_nothing(
    heads: list[Head], target: str
) -> None:
    root = heads_root(heads)
    for name in (target, *(head.target for head in heads)):
        found = check_target(prove_target(heads, name), name, len(heads), root)

        assert found == next((head for head in heads if head.target == name), None)

    assert check_whole(whole_map(heads), len(heads), root) == {head.target: head for head in heads}


@given(maps.filter(bool), st.data())
def test_a_map_is_not_believed_short_of_an_entry_or_about_another_target(
    heads: list[Head], data: st.DataObject
) -> None:
    root, gone = heads_root(heads), data.draw(st.sampled_from(heads))
    rest = [head for head in heads if head is not gone]

    with pytest.raises(HeadsProofWrong):
        check_whole(whole_map(rest), len(heads), root)
    with pytest.raises(HeadsProofWrong):
        check_target(prove_target(rest, gone.target), gone.target, len(heads), root)
    with pytest.raises(HeadsProofWrong):
        check_target(prove_target(heads, gone.target)[1:], gone.target, len(heads), root)


def test_the_examples_of_the_formats_page_are_read_as_what_they_say() -> None:
    page = (Path(__file__).parents[2] / "docs" / "formats" / "windows.md").read_text(encoding="utf-8")
    blocks = [json.loads(block) for block in re.findall(r"```json\n(.+?)```", page, re.DOTALL)]
    entry, unfinished, proofs = blocks

    assert from_json(Head, entry) == from_json(HeadsProofs, proofs).end[0].head
    assert from_json(Unfinished, unfinished).operation == "op_1"
    assert set(re.findall(r"E11[a-z]", page)) == {code for code in CODES if code.startswith("E11")}
