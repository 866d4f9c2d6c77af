"""Redaction rules of a profile: what they take out, what they may not be, and that they take no time."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.operations.errors import ProfileRefused
from rexecop.operations.profile import load_profile
from rexecop.operations.redaction import LINE_MAX, MARKER, Redacting, RedactionRule
from rexecop.proof.canonical import Json
from tests.operations.folders import HELLO, folder

CARD = RedactionRule(pattern=r"\b[0-9]{4}-[0-9]{4}\b", marker="[card]")
USER = RedactionRule(pattern=r"user=\S+", marker=r"user=\1")


def test_what_matches_is_replaced_counted_and_the_rest_stays_byte_for_byte() -> None:
    taking = Redacting((CARD, USER))
    data = b"\xff 1234-5678 user=ann\r\nnothing\n9999-0000"
    assert taking.output(data, cut=False) == b"\xff [card] user=\\1\r\nnothing\n[card]"
    assert taking.count == 3


def test_of_an_output_that_was_cut_the_unfinished_line_goes_for_half_of_it_matches_nothing() -> None:
    assert Redacting((CARD,)).output(b"one\n1234-56", cut=True) == b"one\n"
    assert Redacting((CARD,)).output(b"1234-56", cut=True) == b""


def test_facts_pass_it_with_their_keys_and_numbers_too() -> None:
    taking = Redacting((CARD, RedactionRule(pattern="[0-9]{6}", marker="[id]")))
    facts: dict[str, Json] = {
        "a 1234-5678": ["1234-5678", True, None, 12, 123456],
        "deep": {"x": "y 1234-5678"},
    }
    assert taking.mapping(facts) == {
        "a [card]": ["[card]", True, None, 12, "[id]"],
        "deep": {"x": "y [card]"},
    }
    assert taking.count == 4


def test_a_line_too_long_to_be_looked_at_is_not_kept() -> None:
    taking = Redacting((CARD,))
    assert taking.text("x" * (LINE_MAX + 1) + "\nshort") == f"{MARKER}\nshort"
    assert taking.count == 1


@given(st.text(alphabet="0123456789-\nx \u00e9", max_size=60))
def test_nothing_that_matches_is_left_in_any_line(text: str) -> None:
    found = Redacting((CARD,)).text(text)
    assert not any(re.search(CARD.pattern, line) for line in found.split("\n"))
    assert found.count("\n") == text.count("\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("redaction: [{pattern: '(a+)+b'}]", "a repeated group"),
        ("redaction: [{pattern: '('}]", "not a pattern"),
        ("redaction: [{pattern: 'x*'}]", "matches nothing at all"),
        ("redaction: [{pattern: x, marker: ''}]", "not printable ASCII"),
        ('redaction: [{pattern: x, marker: "a\\nb"}]', "not printable ASCII"),
        ("redaction: [{pattern: x, with: y}]", "unknown key `with`"),
        ("description: none", "`redaction` is missing"),
        ("redaction: {pattern: x}", "not a list"),
    ],
)
def test_a_rule_that_is_none_or_takes_long_is_refused_with_its_place(text: str, words: str) -> None:
    files = {**folder(HELLO), "redactions/cards.yaml": text.encode()}
    with pytest.raises(ProfileRefused, match=rf"redactions/cards.yaml:\d+: .*{re.escape(words)}"):
        load_profile(files)
