"""Bundles altered by whoever knows the format but holds no key: none that says something else is believed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from conformance import campaign, fuzz_verify
from conformance.campaign import LESS, REFUSED, UNCHANGED, originals
from conformance.mutations import ALTERATIONS, Meaning, alter, meaning, meaning_of
from conformance.worlds import TRUSTED, cut, planned_change
from rexecop.proof.bundle import build
from rexecop.proof.verify import verify

SEEDS = range(400)  # `make fuzz` judges 20,000.


def test_no_altered_bundle_that_says_something_else_is_believed() -> None:
    counts, wrong = campaign.campaign(SEEDS)

    assert wrong == []
    assert counts[REFUSED] > counts[LESS] + counts[UNCHANGED] > 0
    assert sum(counts[outcome] for outcome in (REFUSED, LESS, UNCHANGED)) == len(SEEDS)


@pytest.mark.soak
def test_no_altered_bundle_of_twenty_thousand_is_believed() -> None:
    assert campaign.main(["--bundles", "20000"]) == 0


def test_every_way_to_alter_a_bundle_is_used_and_follows_from_its_seed() -> None:
    of = originals()
    made = [alter(of.bundles, of.opened, seed) for seed in SEEDS]
    ways = Counter(way for altered in made for way in altered.how.split(", and "))

    assert ways.keys() == {make.__name__.replace("_", " ") for make in ALTERATIONS} | {"the file is altered"}
    assert made[7] == alter(of.bundles, of.opened, 7)


def test_what_a_bundle_says_is_told_from_how_it_is_written() -> None:
    book, _, _ = planned_change()
    made = cut(book)
    contents = made.contents
    said = meaning(contents, TRUSTED)

    def of(**changes: object) -> Meaning:
        found = meaning_of(build(replace(contents, **changes)))  # type: ignore[arg-type]
        assert found is not None
        return found

    (name, armored), *_ = contents.signatures.items()
    assert of() == of(signatures={name: armored.replace(b"\n", b"\r\n")}) == said
    assert not of(records=contents.records[:2]).says_otherwise(said)
    assert not of(inputs=()).says_otherwise(said) and of(inputs=()) != said
    assert of(records=contents.records[1:]).says_otherwise(said)
    assert of(records=(*contents.records, contents.records[-1])).says_otherwise(said)
    assert of(instance_records=contents.instance_records[::-1]).says_otherwise(said)
    assert of(checkpoint=made.held).says_otherwise(said)
    assert said.says_otherwise(of(inputs=()))


def test_a_bundle_that_says_less_says_what_it_leaves_open() -> None:
    of = originals()
    opened = next(one for one in of.opened if one.operation == "op_change" and one.blobs)
    whole = verify(build(opened), TRUSTED)
    cut_off = replace(
        opened,
        records=opened.records[:-3],
        proofs=replace(opened.proofs, operation=opened.proofs.operation[:-3]),
        envelopes=dict([*opened.envelopes.items()][:-1]),
    )
    for less in (replace(opened, blobs={}), replace(opened, inputs=()), cut_off):
        report = verify(build(less), TRUSTED)
        open_still = {item.what for item in report.not_checked}

        assert report.findings == () or "E04g" in {finding.code for finding in report.findings}
        assert open_still - {item.what for item in whole.not_checked} or report.findings


def test_bytes_that_a_fuzzer_might_try_end_in_a_verdict() -> None:
    for seed in range(300):
        fuzz_verify.fuzz_one(fuzz_verify.by_chance(seed))


def test_a_believed_forgery_would_stop_the_fuzzer(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = (fuzz_verify.CASES / fuzz_verify.SEEDED[0] / "bundle.rxb").read_bytes()
    monkeypatch.setattr(fuzz_verify, "file_of", lambda data: whole)

    fuzz_verify.fuzz_one(b"")
    monkeypatch.setattr(fuzz_verify, "originals", list)
    with pytest.raises(AssertionError):
        fuzz_verify.fuzz_one(b"")
