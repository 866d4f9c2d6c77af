"""Whatever a stranger writes, and signs with a key we trust, ends soon in a verdict, never in a traceback."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.worlds import OPERATIONS, TRUSTED, Book, change_step, cut, judged, planned_change, read_step
from rexecop.proof.canonical import Json, canonical_bytes, digest_of, parse_json
from rexecop.proof.chain import seal, unseal
from rexecop.proof.errors import ProofError
from rexecop.proof.verify import verify
from rexecop.proof.verify.patterns import affordable
from tests.proof.strategies import records

WORDS: list[Json] = [
    *("", "x", "0", "../..", "[", "(a+)+$", "\u202e", "sha256:" + "0" * 64, "1970-01-01T00:00:00.000Z"),
    *("8999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z", "0001-01-01T00:00:00.000Z", "apply", "undo"),
    *(0, 1, -1, 2**53, -(2**53), True, False, None, [], {}),
]


def _mutated(value: Json, chance: random.Random) -> Json:
    """Return `value` with one member somewhere in it replaced, dropped or doubled."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(sorted(value))
        if chance.random() < 0.1:
            return {name: item for name, item in value.items() if name != key}
        return {**value, key: _mutated(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        place = chance.randrange(len(value))
        if chance.random() < 0.2:
            return [*value, value[place]]
        return [*value[:place], _mutated(value[place], chance), *value[place + 1 :]]
    return chance.choice(WORDS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_well_formed_record_makes_the_verifier_stumble(name: str) -> None:
    chance = random.Random(name)
    tried = 0
    for _ in range(150):
        book = OPERATIONS[name]()
        place = chance.randrange(len(book.records))
        value = parse_json(book.records[place].body, bytes_max=10**6)
        try:
            changed = unseal(canonical_bytes(_mutated(value, chance)))
        except ProofError:
            continue
        tried += 1
        book.records[place] = changed
        for index in range(place + 1, len(book.records)):
            # The rest of the chain is written on, as whoever holds the key would do it.
            record = book.records[index].record
            book.records[index] = seal(replace(record, prev=book.records[index - 1].digest))
        report = judged(cut(book))
        if changed.body != OPERATIONS[name]().records[place].body:
            assert report.answer()
    assert tried > 20


@settings(max_examples=40)
@given(st.lists(records(), min_size=1, max_size=6))
def test_records_in_any_order_and_of_any_content_end_in_findings(found: list[object]) -> None:
    book = Book("op_any")
    book.records = [seal(record) for record in found]  # type: ignore[arg-type]

    assert judged(cut(book)).findings


@pytest.mark.parametrize(
    ("pattern", "length", "quick"),
    [
        ("[a-z]+", 4096, False),
        ("[a-z]+", 900, True),
        ("/srv/[a-z0-9_.-]{1,64}", 4096, True),
        ("[a-z]+-[a-z]+", 64, True),
        ("a*a*a*a*a*a*b", 256, False),
        ("(a+)+$", 30, False),
        ("(?:a|a)*b", 30, False),
        ("a**", 3, False),
        ("a++", 3, False),
        ("a+?", 3, False),
        ("a{1,5}{1,5}", 3, False),
        ("[[a]]", 3, False),
        ("\\1", 3, False),
        ("\\d{4}-\\d{2}", 256, True),
        ("+", 3, False),
        ("[", 3, False),
        ("x" * 600, 3, False),
        ("", 3, True),
        ("a{,3}", 10, True),
    ],
)
def test_only_patterns_whose_cost_is_bounded_are_tried(pattern: str, length: int, quick: bool) -> None:
    assert affordable(pattern, length) is quick


@given(st.text("ab[]^-\\d.*+?{},1|()$", max_size=12), st.text("ab1-", max_size=30))
def test_an_affordable_pattern_compiles_or_is_refused_at_once(pattern: str, text: str) -> None:
    if affordable(pattern, len(text)):
        try:
            re.fullmatch(pattern, text)
        except re.error:
            return


def test_a_pattern_that_would_never_end_is_left_unchecked_and_said_to_be() -> None:
    book, look, change = planned_change()
    del book.records[1:]
    slot = replace((change.slots or {})["path"], pattern="(/|/|[a-z]|[a-z]+)+!", length_max=4096)
    slow = change_step(slots={"path": slot})
    book.plan((read_step(), slow), slow.call.effect)
    from rexecop.proof.vocabulary import Verdict

    book.decision(Verdict.ALLOWED)
    book.ticket()
    path = "/srv/" + "a" * 200
    book.run(look, facts={"path": path})
    book.attempt(slow, values={"path": path})

    report = judged(cut(book))

    assert any("pattern" in skipped.why for skipped in report.not_checked)


def test_an_empty_file_and_a_lone_header_end_in_a_verdict() -> None:
    for data in (b"", b"PK", b"PK\x03\x04", b"PK\x05\x06" + b"\0" * 18, digest_of(b"x").encode() * 1000):
        assert {finding.code for finding in verify(data, TRUSTED).findings} == {"E01a"}
