"""Values of any dataclass of evidence, made from its type hints."""

# ruff: noqa: ANN401 - a strategy is made for whatever a type hint says

from __future__ import annotations

import dataclasses
import enum
import types
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from rexecop.proof.canonical import INTEGER_MAX, Digest
from rexecop.proof.records import KINDS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
KEYS = st.text(st.characters(max_codepoint=126, min_codepoint=33), min_size=1, max_size=8)
INTEGERS = st.integers(-INTEGER_MAX, INTEGER_MAX)
DIGESTS = st.binary(min_size=32, max_size=32).map(lambda raw: Digest("sha256:" + raw.hex()))
TIMES = st.integers(0, 4_102_444_800_000).map(lambda ms: EPOCH + timedelta(milliseconds=ms))
JSON = st.recursive(
    st.none() | st.booleans() | INTEGERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


class AnyJson:
    """Stands for the recursive alias `Json` while type hints are read."""


SCALARS: Mapping[Any, st.SearchStrategy[Any]] = {
    str: TEXTS,
    int: INTEGERS,
    bool: st.booleans(),
    Digest: DIGESTS,
    datetime: TIMES,
    AnyJson: JSON,
}


def values(cls: type) -> st.SearchStrategy[Any]:
    """Return a strategy for instances of the dataclass `cls`; fields with a default are there or not."""
    hints = get_type_hints(cls, localns={"Json": AnyJson})
    required = {f.name: _of(hints[f.name]) for f in dataclasses.fields(cls) if _required(f)}
    optional = {f.name: _of(hints[f.name]) for f in dataclasses.fields(cls) if not _required(f)}
    return st.fixed_dictionaries(required, optional=optional).map(lambda fields: cls(**fields))


def records() -> st.SearchStrategy[Any]:
    """Return a strategy for records of every kind."""
    return st.sampled_from(sorted(KINDS)).flatmap(lambda kind: values(KINDS[kind]))


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING


def _of(hint: Any) -> st.SearchStrategy[Any]:
    if hint in SCALARS:
        return SCALARS[hint]
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return st.one_of([st.none() if one is type(None) else _of(one) for one in get_args(hint)])
    if origin is tuple:
        return st.lists(_of(get_args(hint)[0]), max_size=3).map(tuple)
    if origin is not None and issubclass(origin, Mapping):
        return st.dictionaries(KEYS, _of(get_args(hint)[1]), max_size=3)
    if isinstance(hint, type) and issubclass(hint, enum.StrEnum):
        return st.sampled_from(hint)
    return st.deferred(lambda: values(hint))
