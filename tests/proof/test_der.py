"""DER is read one way only: what could be read as two things, or written two ways, is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.proof import der
from rexecop.proof.errors import DerMalformed


def one(data: bytes) -> der.Element:
    (found,) = der.elements(data)
    return found


@given(st.integers(0, 0x1E) | st.integers(0x20, 0x3E) | st.integers(0xA0, 0xBE), st.binary(max_size=70_000))
def test_what_is_written_is_read_back_and_in_no_other_way(tag: int, body: bytes) -> None:
    written = der.encode(tag, body)

    found = one(written)

    assert (found.tag, found.body, found.whole) == (tag, body, written)
    with pytest.raises(DerMalformed):
        der.elements(written[:-1])


@pytest.mark.parametrize(
    "data",
    [
        b"\x30",
        b"\x30\x80\x00\x00",
        b"\x30\x81\x01\x00",
        b"\x30\x82\x00\x80" + bytes(128),
        b"\x30\x85\x00\x00\x00\x00\x01\x00",
        b"\x30\x84\xff\xff\xff\xff",
        b"\x30\x81",
        b"\x1f\x81\x01\x00",
        b"\x30\x01",
    ],
    ids=[
        "cut",
        "indefinite",
        "long for short",
        "padded",
        "five bytes",
        "beyond",
        "no size",
        "long tag",
        "short",
    ],
)
def test_a_length_has_one_spelling_and_fits(data: bytes) -> None:
    with pytest.raises(DerMalformed):
        der.elements(data)


@given(st.integers(-(2**300), 2**300))
def test_every_integer_reads_back(number: int) -> None:
    body = number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)

    assert der.integer(one(der.encode(der.INTEGER, body))) == number
    longer = (b"\xff" if number < 0 else b"\x00") + body
    with pytest.raises(DerMalformed):
        der.integer(one(der.encode(der.INTEGER, longer)))


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("1.2.840.113549.1.7.2", "06092a864886f70d010702"),
        ("2.5.29.37", "0603551d25"),
        ("0.39", "060127"),
        ("2.999.3", "0603883703"),
        ("1.3.132.0.34", "06052b81040022"),
    ],
)
def test_an_identifier_is_read_as_it_is_written_in_the_standards(text: str, data: str) -> None:
    assert der.oid(one(bytes.fromhex(data))) == text


@pytest.mark.parametrize(
    ("read", "data"),
    [
        (der.integer, "0200"),
        (der.integer, "0100"),
        (der.oid, "0600"),
        (der.oid, "060180"),
        (der.oid, "0603550081"),
        (der.oid, "06032a8001"),
        (der.oid, "0642" + "2a" * 66),
        (der.oid, "0401" + "2a"),
        (der.boolean, "010101"),
        (der.boolean, "0100"),
        (der.bits, "0300"),
        (der.bits, "030101"),
        (der.bits, "03020803"),
        (der.bits, "03020103"),
        (der.bits, "040100"),
    ],
)
def test_a_value_that_is_not_written_the_one_way_is_refused(
    read: Callable[[der.Element], object], data: str
) -> None:
    with pytest.raises(DerMalformed):
        read(one(bytes.fromhex(data)))


def test_bits_and_truth_values_read_as_what_they_are() -> None:
    assert der.bits(one(bytes.fromhex("03020780"))) == b"\x80"
    assert der.bits(one(bytes.fromhex("030100"))) == b""
    assert der.boolean(one(b"\x01\x01\xff")) and not der.boolean(one(b"\x01\x01\x00"))


def at(tag: int, text: str) -> datetime:
    return der.moment(one(der.encode(tag, text.encode())))


@given(st.integers(-631_152_000_000_000, 2_524_521_600_000_000))
def test_both_kinds_of_time_read_back_to_what_they_hold(microseconds: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)  # 1950 to 2049
    seconds = moment.replace(microsecond=0)

    assert at(der.UTC_TIME, seconds.strftime("%y%m%d%H%M%SZ")) == seconds
    assert at(der.GENERALIZED_TIME, seconds.strftime("%Y%m%d%H%M%SZ")) == seconds
    fraction = f"{moment.microsecond:06}".rstrip("0")
    whole = moment.strftime("%Y%m%d%H%M%S") + (f".{fraction}" if fraction else "") + "Z"
    assert at(der.GENERALIZED_TIME, whole) == moment


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        (der.GENERALIZED_TIME, "20260131093000"),
        (der.GENERALIZED_TIME, "20260131093000+0100"),
        (der.GENERALIZED_TIME, "202601310930Z"),
        (der.GENERALIZED_TIME, "20260131093000.Z"),
        (der.GENERALIZED_TIME, "20260131093000.50Z"),
        (der.GENERALIZED_TIME, "20260131093060Z"),
        (der.GENERALIZED_TIME, "20260231093000Z"),
        (der.GENERALIZED_TIME, "00000131093000Z"),
        (der.GENERALIZED_TIME, "\uff12\uff10\uff12\uff160131093000Z"),
        (der.GENERALIZED_TIME, "260131093000Z"),
        (der.UTC_TIME, "20260131093000Z"),
        (der.UTC_TIME, "260131093000.5Z"),
        (der.UTC_TIME, "2601310930Z"),
        (der.UTC_TIME, ""),
        (der.OCTET_STRING, "20260131093000Z"),
    ],
)
def test_a_time_has_one_spelling_and_exists(tag: int, text: str) -> None:
    with pytest.raises(DerMalformed):
        at(tag, text)


def test_fields_are_taken_in_order_and_none_is_left_over() -> None:
    fields = der.parse(der.encode(der.SEQUENCE, b"\x02\x01\x05\x05\x00\x01\x01\xff")).fields()

    assert fields.optional(der.NULL) is None
    assert der.integer(fields.take(der.INTEGER)) == 5
    with pytest.raises(DerMalformed):
        fields.end()
    assert fields.optional(der.NULL) is not None
    with pytest.raises(DerMalformed):
        fields.take(der.INTEGER)
    with pytest.raises(DerMalformed):
        fields.next()
    assert fields.optional(der.NULL) is None
    fields.end()


def test_a_value_is_of_bounded_size_and_nothing_follows_it() -> None:
    longest = der.encode(der.SEQUENCE, bytes(der.BYTES_MAX - 4))

    assert len(der.parse(longest).whole) == der.BYTES_MAX
    for wrong in (
        der.encode(der.SEQUENCE, bytes(der.BYTES_MAX - 3)),
        b"\x30\x00\x00",
        b"\x30\x00\x05\x00",
        b"",
    ):
        with pytest.raises(DerMalformed):
            der.parse(wrong)


@given(st.binary(max_size=100))
def test_any_bytes_are_values_or_an_error_of_ours(data: bytes) -> None:
    try:
        found = der.elements(data)
    except DerMalformed:
        return
    assert b"".join(element.whole for element in found) == data
    for element in found:
        for read in (der.integer, der.oid, der.boolean, der.bits, der.moment):
            try:
                read(element)
            except DerMalformed:
                continue
