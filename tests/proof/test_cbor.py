"""CBOR as we write it is CBOR as others read it, and there is one spelling."""

from __future__ import annotations

from typing import Any, Final

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.proof.canonical import DEPTH_MAX
from rexecop.proof.cbor import Cbor, Tag, encode
from rexecop.proof.errors import NotCanonical

TEXTS: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SCALARS: Final = (
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=300) | TEXTS
)
KEYS: Final = st.integers(-70_000, 70_000) | TEXTS
VALUES: Final = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=30).map(tuple) | st.dictionaries(KEYS, inner, max_size=30),
    max_leaves=60,
)

# Appendix A of RFC 8949, what is written here of it.
VECTORS: Final[tuple[tuple[Cbor, str], ...]] = (
    (0, "00"), (23, "17"), (24, "1818"), (255, "18ff"), (256, "190100"), (1000, "1903e8"),
    (1_000_000, "1a000f4240"), (1_000_000_000_000, "1b000000e8d4a51000"),
    (18446744073709551615, "1bffffffffffffffff"), (-18446744073709551616, "3bffffffffffffffff"),
    (-1, "20"), (-10, "29"), (-100, "3863"), (-1000, "3903e7"),
    (False, "f4"), (True, "f5"), (None, "f6"), (b"", "40"), (b"\x01\x02\x03\x04", "4401020304"),
    ("", "60"), ("IETF", "6449455446"), ("\u00fc", "62c3bc"), ("\u6c34", "63e6b0b4"),
    ((), "80"), ((1, (2, 3), (4, 5)), "8301820203820405"), ({}, "a0"), ({1: 2, 3: 4}, "a201020304"),
    ({"a": 1, "b": (2, 3)}, "a26161016162820203"), (Tag(1, 1363896240), "c11a514b67b0"),
    (Tag(32, "http://www.example.com"), "d82076687474703a2f2f7777772e6578616d706c652e636f6d"),
)  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), VECTORS)
def test_the_published_vectors_come_out(value: Cbor, expected: str) -> None:
    assert encode(value).hex() == expected


@given(VALUES)
def test_another_implementation_reads_what_was_meant_and_writes_the_same(value: Any) -> None:  # noqa: ANN401
    data = encode(value)

    assert cbor2.loads(data) == listed(value)
    # Its canonical form sorts shorter keys first (RFC 7049), so only the length must agree.
    assert len(data) == len(cbor2.dumps(value, canonical=True))


def listed(value: Any) -> Any:  # noqa: ANN401
    """Return `value` with lists for tuples, as the reader gives them."""
    if isinstance(value, tuple):
        return [listed(item) for item in value]
    return {key: listed(item) for key, item in value.items()} if isinstance(value, dict) else value


@given(st.dictionaries(KEYS, st.none(), max_size=20))
def test_keys_stand_in_the_order_of_their_bytes_whatever_order_they_came_in(
    value: dict[int | str, None],
) -> None:
    keys = [encode(key) for key in cbor2.loads(encode(value))]

    assert keys == sorted(keys)
    assert encode(value) == encode(dict(reversed(value.items())))


@pytest.mark.parametrize(
    "value", [1.5, 2**64, -(2**64) - 1, "\ud800", {"\ud800": 1}, object(), bytearray(b"x")]
)
def test_what_has_no_one_spelling_is_refused(value: Any) -> None:  # noqa: ANN401
    with pytest.raises(NotCanonical):
        encode(value)


def test_endless_nesting_is_refused() -> None:
    value: Cbor = ()
    for _ in range(DEPTH_MAX):
        value = (value,)

    encode(value)
    with pytest.raises(NotCanonical, match="deeper"):
        encode((value,))
