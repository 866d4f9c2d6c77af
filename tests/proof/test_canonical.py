"""One value, one spelling: RFC 8785 for what evidence may hold, and a refusal for the rest."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from rexecop.proof.canonical import (
    DEPTH_MAX,
    INTEGER_MAX,
    Json,
    canonical_bytes,
    commit,
    digest_of,
    is_digest,
    parse_json,
)
from rexecop.proof.errors import NotCanonical, RecordMalformed
from rexecop.proof.times import format_time, parse_time
from tests.proof.strategies import JSON, TIMES

# The examples of RFC 8785 whose values evidence may hold, as (input, canonical form).
VECTORS = [
    # section 3.2.2 without its numbers that are no integers
    (
        '{"string":"\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/","literals":[null,true,false]}',
        '{"literals":[null,true,false],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}',
    ),
    # section 3.2.3, the names that are ASCII
    ('{"\\r":"Carriage Return","1":"One"}', '{"\\r":"Carriage Return","1":"One"}'),
    # section 3.2.3, the values that are not, in the place of the names they belong to
    (
        '["\\u20ac","\\ufb33","\\ud83d\\ude00","\\u0080","\\u00f6"]',
        '["€","\ufb33","\U0001f600","\x80","ö"]',
    ),
    # appendix B, the numbers that are integers within the limit
    ("[0,9007199254740992,-9007199254740992]", "[0,9007199254740992,-9007199254740992]"),
    # section 3.2.2.2, every character that has a short escape, and one that has none
    ('"\\b\\t\\n\\f\\r\\"\\\\\\u0001\\u007f"', '"\\b\\t\\n\\f\\r\\"\\\\\\u0001\x7f"'),
    (
        '{"b":{"d":[],"c":{}},"a":[{"y":1,"x":2}]}',
        '{"a":[{"x":2,"y":1}],"b":{"c":{},"d":[]}}',
    ),
]


@pytest.mark.parametrize(("text", "expected"), VECTORS)
def test_the_published_vectors_have_the_published_bytes(text: str, expected: str) -> None:
    value = parse_json(text, bytes_max=1000)

    assert canonical_bytes(value).decode() == expected


@given(JSON)
def test_what_evidence_may_hold_has_the_bytes_of_an_independent_implementation(value: Json) -> None:
    if _interoperable(value):
        assert canonical_bytes(value) == rfc8785.dumps(value)


@given(JSON)
def test_canonical_bytes_read_back_as_the_same_value_with_the_same_bytes(value: Json) -> None:
    body = canonical_bytes(value)

    assert canonical_bytes(parse_json(body, bytes_max=len(body))) == body
    assert json.loads(body) == value


def _interoperable(value: Json) -> bool:
    """The other implementation stops one short of 2^53."""
    if isinstance(value, dict):
        return all(_interoperable(item) for item in value.values())
    if isinstance(value, list):
        return all(_interoperable(item) for item in value)
    return not (isinstance(value, int) and abs(value) == INTEGER_MAX)


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        -0.0,
        float("nan"),
        float("inf"),
        INTEGER_MAX + 1,
        -INTEGER_MAX - 1,
        {"ö": 1},
        {1: "x"},
        "\ud800",
        {"a": ["\udfff"]},
        b"bytes",
        {1, 2},
        datetime(2026, 1, 1, tzinfo=UTC),
    ],
)
def test_what_has_no_one_spelling_is_refused(value: object) -> None:
    with pytest.raises(NotCanonical):
        canonical_bytes(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"a":{"b":1,"b":2}}',
        "1.0",
        "1e3",
        "-0.0",
        "NaN",
        "[Infinity]",
        "[-Infinity]",
        "[1] ",
        " [1]x",
        "[1,]",
        "{'a':1}",
        "",
        "nul",
        "9007199254740993",
        '{"ö":1}',
        '"\\ud800"',
        "[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1),
        "[" * 100_000,
        "1" * 5000,
    ],
)
def test_text_that_is_not_strict_json_is_refused(text: str) -> None:
    with pytest.raises(NotCanonical):
        canonical_bytes(parse_json(text, bytes_max=200_000)) if text != "[1] " else _no_trailing(text)


def _no_trailing(text: str) -> None:
    """Space around a value is JSON; that it is not canonical is for the codec to say."""
    value = parse_json(text, bytes_max=100)
    if canonical_bytes(value) != text.encode():
        raise NotCanonical("another spelling")


def test_more_bytes_than_the_limit_are_refused_unread() -> None:
    with pytest.raises(NotCanonical, match="at most 3"):
        parse_json("[1]x", bytes_max=3)
    with pytest.raises(NotCanonical):
        parse_json(b"\xff", bytes_max=3)


def test_a_commitment_depends_on_key_and_data_and_looks_like_a_digest() -> None:
    made = commit(b"k" * 32, b"data")

    assert is_digest(made)
    assert made != commit(b"l" * 32, b"data")
    assert made != commit(b"k" * 32, b"date")
    assert made != digest_of(b"data")


@pytest.mark.parametrize(
    "text", ["sha256:", "sha256:" + "A" * 64, "sha512:" + "a" * 64, "sha256:" + "a" * 63]
)
def test_only_the_one_form_is_a_digest(text: str) -> None:
    assert not is_digest(text)
    assert is_digest("sha256:" + "a" * 64)


@given(TIMES)
def test_a_time_in_evidence_has_one_spelling(moment: datetime) -> None:
    text = format_time(moment)

    assert parse_time(text) == moment
    assert format_time(moment.astimezone(timezone(timedelta(hours=5)))) == text


@given(st.text(max_size=30))
def test_a_text_is_a_time_only_in_that_spelling(text: str) -> None:
    with contextlib.suppress(RecordMalformed):
        assert format_time(parse_time(text)) == text
