"""Bytes and values stand for each other: one encoding per value, and no reading of anything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pytest

from rexecop.proof.canonical import Digest, Json, canonical_bytes
from rexecop.proof.codec import decode, encode, to_json
from rexecop.proof.errors import KindUnknown, NotCanonical, ProofError, RecordMalformed
from rexecop.proof.vocabulary import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    """A part without a kind."""

    count: int
    note: str = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    """A thing with a kind."""

    kind: ClassVar[str] = "outer/1"

    mode: Mode
    digest: Digest
    parts: tuple[Inner, ...]
    free: Mapping[str, Json] | None = None
    value: str | int | bool | None = None


GOOD = Outer(mode=Mode.APPLY, digest=Digest("sha256:" + "a" * 64), parts=(Inner(count=1),))
BASE = to_json(GOOD)


def test_a_default_is_left_out_and_comes_back() -> None:
    assert "note" not in to_json(GOOD)["parts"][0]  # type: ignore[index,operator]
    assert decode(Outer, encode(GOOD)) == GOOD


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"extra": 1}, RecordMalformed),
        ({"mode": None}, RecordMalformed),
        ({"mode": "full"}, RecordMalformed),
        ({"digest": "sha256:abc"}, RecordMalformed),
        ({"digest": "sha256:" + "A" * 64}, RecordMalformed),
        ({"parts": {}}, RecordMalformed),
        ({"parts": [{"count": True}]}, RecordMalformed),
        ({"parts": [{"count": "1"}]}, RecordMalformed),
        ({"parts": [{}]}, RecordMalformed),
        ({"parts": [{"count": 1, "note": "none"}]}, NotCanonical),
        ({"free": None}, NotCanonical),
        ({"value": []}, RecordMalformed),
        ({"kind": "outer/2"}, KindUnknown),
        ({"kind": 1}, KindUnknown),
    ],
)
def test_any_other_shape_is_refused_by_field(changes: Mapping[str, Json], error: type[ProofError]) -> None:
    with pytest.raises(error):
        decode(Outer, canonical_bytes({**BASE, **changes}))


@pytest.mark.parametrize("name", ["mode", "digest", "parts", "kind"])
def test_a_field_without_a_default_is_never_filled_in(name: str) -> None:
    rest = {key: value for key, value in BASE.items() if key != name}

    with pytest.raises(RecordMalformed if name != "kind" else KindUnknown):
        decode(Outer, canonical_bytes(rest))


def test_the_message_names_the_place() -> None:
    with pytest.raises(RecordMalformed, match=r"parts\[0\]\.count"):
        decode(Outer, canonical_bytes({**BASE, "parts": [{"count": "1"}]}))


def test_another_spelling_of_the_same_value_is_refused() -> None:
    body = encode(GOOD)

    for other in (b" " + body, body + b"\n", body.replace(b'":', b'": ', 1), body.replace(b"/1", b"\\/1")):
        with pytest.raises(NotCanonical):
            decode(Outer, other)


def test_a_free_form_field_holds_only_what_evidence_may() -> None:
    with pytest.raises(NotCanonical):
        encode(Outer(mode=GOOD.mode, digest=GOOD.digest, parts=(), free={"x": 1.5}))  # type: ignore[dict-item]
