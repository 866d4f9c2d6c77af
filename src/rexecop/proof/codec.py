"""The one codec between frozen dataclasses and canonical JSON.

A field with a default is left out when it has that value, so every value has one
encoding; a field without a default (all that carry authority) must be present.
Unknown fields, wrong types and any other spelling of the same value are refused.
Converters are built once per class from its type hints.
"""

from __future__ import annotations

import dataclasses
import enum
import operator
import types
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from rexecop.proof.canonical import (
    INTEGER_MAX,
    Digest,
    Entries,
    Json,
    ReadEntry,
    is_digest,
    load_in_pieces,
    load_json,
    require_canonical,
    trusted_bytes,
)
from rexecop.proof.errors import KindUnknown, NotCanonical, RecordMalformed
from rexecop.proof.times import format_time, parse_time

RECORD_BYTES_MAX: Final = 256 * 1024  # Where a kind says nothing else; larger evidence goes into blobs.
PLAN_RECORD_BYTES_MAX: Final = (
    32 * 1024 * 1024
)  # 10,000 targets of four steps, 800 bytes each: the longest kind.
LONG: Final = 256  # Objects in an array from which on they are written one by one.

T = TypeVar("T")
Encoder = Callable[[Any], Any]
Decoder = Callable[[Any, str], Any]


@dataclasses.dataclass(frozen=True, slots=True)
class _Shape:
    """How one dataclass is written and read."""

    kind: str | None
    values: Callable[[Any], tuple[Any, ...]]  # All fields of a value, in the order of `encoders`.
    encoders: tuple[tuple[str, Encoder | None, bool, Any], ...]  # name, encoder, has default, default
    decoders: dict[str, Decoder]
    required: frozenset[str]
    arrays: dict[str, tuple[Encoder, Decoder]]  # Of objects: how one of each is written and read.


class _FreeForm:
    """Stands for the recursive alias `Json` while type hints are read."""


_shapes: dict[type, _Shape] = {}


def encode(value: object) -> bytes:
    """Return the canonical bytes of a dataclass value.

    Raises:
        NotCanonical: a free-form field holds something evidence may not.
    """
    arrays = _shape(type(value)).arrays
    long = [name for name in arrays if len(getattr(value, name)) >= LONG]
    if not long:
        return trusted_bytes(to_json(value))
    # Of a long array one entry is JSON at a time: all together would take ten times their bytes.
    rest = to_json(dataclasses.replace(cast("Any", value), **dict.fromkeys(long, ())))
    parts: list[bytes] = []
    for name in sorted({*rest, *long}):
        parts.append(b'%b"%b":' % (b"," if parts else b"{", name.encode()))
        if name not in long:
            parts.append(trusted_bytes(rest[name]))
            continue
        for number, entry in enumerate(getattr(value, name)):
            parts.append((b"," if number else b"[") + trusted_bytes(arrays[name][0](entry)))
        parts.append(b"]")
    return b"".join((*parts, b"}"))


def to_json(value: object) -> dict[str, Json]:
    """Return `value` as JSON objects and arrays, defaults left out."""
    shape = _shapes.get(type(value)) or _shape(type(value))
    out: dict[str, Json] = {} if shape.kind is None else {"kind": shape.kind}
    for item, (name, encoder, has_default, default) in zip(shape.values(value), shape.encoders, strict=False):
        if has_default and (item is default or item == default):
            continue
        out[name] = item if encoder is None or item is None else encoder(item)
    return out


def decode(cls: type[T], data: bytes, *, bytes_max: int = RECORD_BYTES_MAX) -> T:
    """Return the `cls` that `data` is the canonical form of.

    Raises:
        NotCanonical: `data` is not canonical, or spells the value another way.
        RecordMalformed: a field is missing, unknown or of the wrong type.
        KindUnknown: `data` names another kind than `cls`.
    """
    return from_parsed(cls, load_json(data, bytes_max=bytes_max), data)


def decode_long(kinds: Mapping[str, type[T]], data: bytes, bytes_max: Callable[[type[T]], int]) -> T:
    """Return as `decode` which of `kinds` `data` is, entry by entry of its arrays of objects.

    Raises:
        NotCanonical, RecordMalformed, KindUnknown: as `decode`.
    """

    def reader(found: Mapping[str, object], name: str) -> ReadEntry | None:
        # Sorted as names are, a kind stands before what is long, or else that is read as any JSON is.
        cls = kinds.get(str(found.get("kind")))
        if cls is not None and len(data) > bytes_max(cls):
            words = f"a `{found['kind']}` takes {len(data)} bytes, at most {bytes_max(cls)}"
            raise RecordMalformed(words, limit=bytes_max(cls))
        entry = _shape(cls).arrays.get(name) if cls is not None else None
        return None if entry is None else lambda value, at: entry[1](value, f"{name}[{at}]")

    parsed = load_in_pieces(data, bytes_max=max(map(bytes_max, kinds.values())), reader=reader)
    cls = kinds.get(str(parsed.get("kind")))
    if cls is None:
        raise KindUnknown(f"no kind `{parsed.get('kind')!s:.60}`", kind=str(parsed.get("kind"))[:60])
    return from_parsed(cls, cast("Json", parsed), data)


def from_parsed(cls: type[T], parsed: Json, data: bytes) -> T:
    """Return the `cls` that `data`, already parsed, is the canonical form of.

    Raises:
        NotCanonical, RecordMalformed, KindUnknown: as `decode`.
    """
    value = from_json(cls, parsed)
    # Writing it again finds every other spelling, and checks what free-form fields hold.
    if encode(value) != data:
        raise NotCanonical(f"bytes are not the canonical form of this `{cls.__name__.lower()}`")
    return value


def from_json(cls: type[T], value: Json, path: str = "") -> T:
    """Return the `cls` that parsed JSON `value` describes.

    Raises:
        RecordMalformed, KindUnknown: as `decode`.
    """
    shape = _shape(cls)
    if not isinstance(value, dict):
        raise RecordMalformed(f"`{path or cls.__name__}` is not an object", field=path)
    names = set(value)
    if shape.kind is not None:
        if value.get("kind") != shape.kind:
            raise KindUnknown(
                f"kind `{value.get('kind')}` stands where `{shape.kind}` belongs",
                field=path,
            )
        names.discard("kind")
    unknown, missing = names - shape.decoders.keys(), shape.required - names
    if unknown or missing:
        word, wrong = ("unknown", unknown) if unknown else ("missing", missing)
        raise RecordMalformed(f"{word} field `{_join(path, min(wrong))}`", field=_join(path, min(wrong)))
    # In declared order: of several faults everybody finds the same one first.
    read = {
        name: decoder(value[name], _join(path, name))
        for name, decoder in shape.decoders.items()
        if name in names
    }
    return cls(**read)


def _shape(cls: type) -> _Shape:
    found = _shapes.get(cls)
    if found is None:
        found = _shapes[cls] = _build(cls)
    return found


def _build(cls: type) -> _Shape:
    hints = get_type_hints(cls, localns={"Json": _FreeForm})
    encoders, decoders, required, arrays = [], {}, set(), {}
    for field in dataclasses.fields(cls):
        encoder, decoder = _converters(hints[field.name])
        has_default = field.default is not dataclasses.MISSING
        encoders.append((field.name, encoder, has_default, field.default if has_default else None))
        decoders[field.name] = decoder
        if not has_default:
            required.add(field.name)
        if (item := _object_in(hints[field.name])) is not None:
            arrays[field.name] = item
    names = tuple(decoders)
    values = operator.attrgetter(*names, names[0])  # Of one name alone it would make no tuple.
    kind = getattr(cls, "kind", None)
    return _Shape(kind, values, tuple(encoders), decoders, frozenset(required), arrays)


def _converters(hint: Any) -> tuple[Encoder | None, Decoder]:
    if hint in _SCALARS:
        return _SCALARS[hint]
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _union(get_args(hint))
    if origin is tuple:
        return _sequence(get_args(hint)[0])
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(get_args(hint)[1])
    if isinstance(hint, type) and issubclass(hint, enum.StrEnum):
        return str, _enum_decoder(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return to_json, lambda value, path: from_json(hint, value, path)
    raise TypeError(f"no canonical form for the type {hint!r}")


def _object_in(hint: Any) -> tuple[Encoder, Decoder] | None:
    """Return the converters of the entries of `hint` where it is an array of objects."""
    entry = get_args(hint)[0] if get_origin(hint) is tuple else None
    every = get_args(entry) if get_origin(entry) in (Union, types.UnionType) else (entry,)
    write, read = _converters(entry) if all(map(dataclasses.is_dataclass, every)) else (None, None)
    return None if write is None or read is None else (write, read)


def _sequence(item: Any) -> tuple[Encoder | None, Decoder]:
    encode_item, decode_item = _converters(item)

    def read(value: Any, path: str) -> tuple[Any, ...]:
        if type(value) is Entries:
            return tuple(value)
        if not isinstance(value, list):
            raise RecordMalformed(f"`{path}` is not an array", field=path)
        return tuple(decode_item(entry, f"{path}[{index}]") for index, entry in enumerate(value))

    if encode_item is None:
        return list, read
    return lambda values: [encode_item(entry) for entry in values], read


def _mapping(item: Any) -> tuple[Encoder | None, Decoder]:
    encode_item, decode_item = _converters(item)

    def read(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise RecordMalformed(f"`{path}` is not an object", field=path)
        if not all(map(str.isascii, value)):
            raise RecordMalformed(f"`{path}` has a key that is not ASCII", field=path)
        return {key: decode_item(entry, _join(path, key)) for key, entry in value.items()}

    def write(values: Any) -> dict[str, Any]:
        if not all(map(str.isascii, values)):
            raise NotCanonical("a key of an object is not ASCII text")
        return {key: encode_item(entry) for key, entry in values.items()} if encode_item else dict(values)

    return write, read


def _union(members: tuple[Any, ...]) -> tuple[Encoder | None, Decoder]:
    """Build converters for `A | B | None`, told apart by JSON type, then `kind`, then keys."""
    options = [member for member in members if member is not type(None)]
    nullable = len(options) < len(members)
    if len(options) == 1:
        encoder, decoder = _converters(options[0])
        return encoder, lambda value, path: None if value is None else decoder(value, path)
    classes: list[type] = [option for option in options if hasattr(option, "__dataclass_fields__")]
    plain = {option: _converters(option) for option in options if option not in classes}
    tuples = [converters for option, converters in plain.items() if get_origin(option) is tuple]

    def write(value: Any) -> Any:
        if isinstance(value, tuple) and tuples and tuples[0][0] is not None:
            return tuples[0][0](value)
        return to_json(value) if type(value) in classes else value

    def read(value: Any, path: str) -> Any:
        if value is None and nullable:
            return None
        if isinstance(value, dict):
            return from_json(_class_for(classes, value, path), value, path)
        if isinstance(value, list) and tuples:
            return tuples[0][1](value, path)
        if type(value) in plain:
            return plain[type(value)][1](value, path)
        raise RecordMalformed(f"`{path}` has a type that is not allowed there", field=path)

    return write, read


def _class_for(classes: list[type], value: dict[str, Json], path: str) -> type:
    for cls in classes:
        shape = _shape(cls)
        if shape.kind is not None:
            if value.get("kind") == shape.kind:
                return cls
        elif shape.required <= value.keys() <= shape.decoders.keys():
            return cls
    raise KindUnknown(f"`{path}` holds kind `{value.get('kind')}`, unknown there", field=path)


def _enum_decoder(cls: type[enum.StrEnum]) -> Decoder:
    table = {member.value: member for member in cls}

    def read(value: Any, path: str) -> Any:
        if not isinstance(value, str) or value not in table:
            raise RecordMalformed(f"`{path}` is `{value}`, not one of {', '.join(table)}", field=path)
        return table[value]

    return read


def _exactly(kind: type) -> Decoder:
    def read(value: Any, path: str) -> Any:
        if type(value) is not kind:
            raise RecordMalformed(f"`{path}` is not {_WORDS[kind]}", field=path)
        return value

    return read


def _read_int(value: Any, path: str) -> int:
    if type(value) is not int or not -INTEGER_MAX <= value <= INTEGER_MAX:
        raise RecordMalformed(f"`{path}` is not an integer within ±2^53", field=path)
    return value


def _read_digest(value: Any, path: str) -> Any:
    if not isinstance(value, str) or not is_digest(value):
        raise RecordMalformed(f"`{path}` is not a digest like `sha256:` and 64 hex digits", field=path)
    return value


def _read_time(value: Any, path: str) -> datetime:
    if not isinstance(value, str):
        raise RecordMalformed(f"`{path}` is not a time", field=path)
    return parse_time(value)


def _write_json(value: Any) -> Any:
    require_canonical(value)
    return value


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


_WORDS: Final = {str: "a string", bool: "true or false"}
_SCALARS: Final[dict[Any, tuple[Encoder | None, Decoder]]] = {
    str: (None, _exactly(str)),
    int: (None, _read_int),
    bool: (None, _exactly(bool)),
    Digest: (None, _read_digest),
    datetime: (format_time, _read_time),
    _FreeForm: (_write_json, lambda value, path: value),
}
