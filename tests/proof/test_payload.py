"""The one text of a payload, held against the plain JSON library."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.proof.errors import NotCanonical
from rexecop.proof.payload import DEPTH_MAX, Value, parse_payload, payload_text, spaced_text

BYTES_MAX = 1 << 20
letters = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | letters,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(letters, inner, max_size=4),
    max_leaves=12,
)


def parse(data: bytes | str) -> Value:
    return parse_payload(data, bytes_max=BYTES_MAX)


@given(values)
def test_a_payload_reads_back_as_it_was_and_has_one_text(value: Value) -> None:
    text = payload_text(value)

    assert text.isascii()
    assert payload_text(parse(text)) == text
    assert repr(json.loads(text)) == repr(json.loads(json.dumps(value, sort_keys=True)))


@given(values)
def test_the_order_of_keys_and_the_space_between_parts_make_no_difference(value: Value) -> None:
    assert payload_text(parse(json.dumps(value, indent=3, ensure_ascii=False))) == payload_text(value)
    assert spaced_text(value) == json.dumps(value, sort_keys=True)


def test_one_and_one_point_nought_are_two_payloads() -> None:
    assert (payload_text(parse("1")), payload_text(parse("1.0"))) == ("1", "1.0")


@pytest.mark.parametrize(
    "text",
    [
        *('{"a":1,"a":1}', "NaN", "-Infinity", "1e400", "-1e400", "1 2", "", "'a'", '"\\ud800"', "9" * 9000),
        *('{"\\udc00":1}', "[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1), "[" * 100_000),
    ],
)
def test_what_parsers_let_through_is_refused(text: str) -> None:
    with pytest.raises(NotCanonical):
        parse(text)


def test_nesting_up_to_the_limit_and_many_brackets_beside_each_other_are_fine() -> None:
    parse("[" * DEPTH_MAX + "]" * DEPTH_MAX)
    parse("[" + ",".join(["[]"] * 1000) + "]")


def test_a_pair_of_escapes_is_one_letter() -> None:
    assert parse('"\\ud83d\\ude00"') == "\U0001f600"


def test_bytes_that_are_not_utf_8_and_too_many_of_them_are_refused() -> None:
    with pytest.raises(NotCanonical, match="UTF-8"):
        parse(b'"\xff"')
    with pytest.raises(NotCanonical):
        parse_payload(b"123", bytes_max=2)


def test_a_value_without_text_is_refused() -> None:
    with pytest.raises(NotCanonical):
        payload_text(float("nan"))
