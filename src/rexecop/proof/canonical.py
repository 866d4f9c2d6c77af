"""Canonical JSON (RFC 8785, for the values evidence may hold), digests and commitments.

Evidence holds null, booleans, integers within ±2^53, strings without lone
surrogates, arrays, and objects with ASCII keys. For such values compact, sorted
JSON is the RFC 8785 form. Everything else is refused, never rounded. This is the
only module that hashes or writes canonical JSON.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NewType, TypeAlias

from rexecop.proof.errors import NotCanonical

Json: TypeAlias = "bool | int | str | Sequence[Json] | Mapping[str, Json] | None"
Digest = NewType("Digest", str)
ReadEntry: TypeAlias = Callable[[Json, int], object]


class Entries(list[object]):
    """An array whose entries were read already, each by itself."""


INTEGER_MAX: Final = 2**53  # The largest magnitude every JSON reader keeps exactly.
DEPTH_MAX: Final = 64  # Deeper nesting serves no evidence and exhausts stacks.
CONTAINERS_MAX: Final = 1_000_000  # Arrays and objects of a text: in memory each is thirty times its bytes.

HASHES: Final = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}
_DIGEST: Final = re.compile("sha256:[0-9a-f]{64}")
_encoder = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False, check_circular=False
)


def _writer() -> Callable[[Json], str]:
    """Return what writes compact, sorted JSON; the C writer is made once where there is one."""
    make: Callable[..., Callable[[Json, int], Iterable[str]]] | None
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return _encoder.encode
    text = json.encoder.encode_basestring
    write = make(None, _encoder.default, text, None, ":", ",", True, False, False)
    return lambda value: "".join(write(value, 0))


_encode = _writer()


def canonical_bytes(value: Json) -> bytes:
    """Return the canonical bytes of `value`.

    Raises:
        NotCanonical: a float, an integer beyond ±2^53, a non-ASCII key, a lone
            surrogate, or nesting deeper than `DEPTH_MAX`.
    """
    require_canonical(value)
    return trusted_bytes(value)


def trusted_bytes(value: Json) -> bytes:
    """Return canonical bytes of a value whose types were already checked.

    Raises:
        NotCanonical: a string holds a lone surrogate.
    """
    try:
        return _encode(value).encode("utf-8")
    except UnicodeEncodeError as error:
        raise NotCanonical("a string holds a lone surrogate", found="lone surrogate") from error


def require_canonical(value: object, depth: int = 0) -> None:
    """Return only if `value` may stand in evidence.

    Raises:
        NotCanonical: see `canonical_bytes`.
    """
    if value is None or value is True or value is False or isinstance(value, str):
        return
    if isinstance(value, int):
        if not -INTEGER_MAX <= value <= INTEGER_MAX:
            raise NotCanonical(f"integer `{value}` is beyond ±2^53", found=str(value))
        return
    if depth >= DEPTH_MAX:
        raise NotCanonical(f"nesting is deeper than {DEPTH_MAX}", limit=DEPTH_MAX)
    if type(value) is dict or isinstance(value, Mapping):  # To ask the second takes its time.
        for key, item in value.items():
            if not isinstance(key, str) or not key.isascii():
                raise NotCanonical(f"object key `{key!a}` is not ASCII text")
            if type(item) is not str:
                require_canonical(item, depth + 1)
        return
    if isinstance(value, list | tuple):
        for item in value:
            require_canonical(item, depth + 1)
        return
    raise NotCanonical(f"a value of type `{type(value).__name__}` has no place in evidence")


def parse_json(data: bytes | str, *, bytes_max: int) -> Json:
    """Parse one JSON text strictly: no duplicate keys, floats, NaN or trailing data.

    Raises:
        NotCanonical: the text is longer than `bytes_max` or breaks a rule.
    """
    value = load_json(data, bytes_max=bytes_max)
    require_canonical(value)
    return value


def load_json(data: bytes | str, *, bytes_max: int) -> Json:
    """Parse as `parse_json`, leaving keys, sizes of integers and depth to a typed reader.

    Raises:
        NotCanonical: the text is longer than `bytes_max` or not strict JSON.
    """
    return _load(_decoder, data, bytes_max)


def load_in_pieces(
    data: bytes, *, bytes_max: int, reader: Callable[[Mapping[str, object], str], ReadEntry | None]
) -> dict[str, object]:
    """Parse a canonical object without holding all of it as JSON, which takes ten times its bytes.

    `reader` is given what was parsed so far and the name that is next. Where it returns a function, the
    value is an array, and what that makes of each entry and its place is returned instead. What is
    not canonical may get through: the caller writes the object again and compares.

    Raises:
        NotCanonical: the text is longer than `bytes_max` or no such object. As `reader`'s functions.
    """
    text = _text(data, bytes_max)
    found: dict[str, object] = {}
    at, more = 1, text[:1] == "{"
    try:
        while more:
            name, at = _decoder.raw_decode(text, at)
            read, at = reader(found, name), at + 1
            if read is None:
                found[name], at = _decoder.raw_decode(text, at)
            else:
                found[name], at = _entries(text, at, read)
            more, at = text[at] == ",", at + 1
    except (ValueError, RecursionError, IndexError, TypeError) as error:
        raise NotCanonical(f"not strict JSON: {error}") from error
    if at != len(text):
        raise NotCanonical("not strict JSON: it is no object, or something follows it")
    return found


def _entries(text: str, at: int, read: ReadEntry) -> tuple[Entries, int]:
    entries = Entries()
    while text[at] in "[,":
        entry, at = _decoder.raw_decode(text, at + 1)
        entries.append(read(entry, len(entries)))
    return entries, at + 1


def load_foreign(data: bytes | str, *, bytes_max: int) -> Json:
    """Parse JSON of another system: strict too, but a number that evidence may not hold becomes its text.

    Raises:
        NotCanonical: the text is longer than `bytes_max`, not strict JSON, or nested deeper than `DEPTH_MAX`.
    """
    value = _load(_foreign, data, bytes_max)
    _require_shallow(value)
    return value


def _load(decoder: json.JSONDecoder, data: bytes | str, bytes_max: int) -> Json:
    try:
        value: Json = decoder.decode(_text(data, bytes_max))
    except (ValueError, RecursionError) as error:
        raise NotCanonical(f"not strict JSON: {error}") from error
    return value


def _text(data: bytes | str, bytes_max: int) -> str:
    """Return `data` as text, where it is within the limits that any JSON here has."""
    if len(data) > bytes_max:
        raise NotCanonical(f"{len(data)} bytes, at most {bytes_max} are read", limit=bytes_max)
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
    except ValueError as error:
        raise NotCanonical(f"not strict JSON: {error}") from error
    if len(text) > CONTAINERS_MAX and text.count("[") + text.count("{") > CONTAINERS_MAX:
        raise NotCanonical(f"not strict JSON: it has more than {CONTAINERS_MAX} arrays and objects")
    return text


def _no_duplicates(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object repeats a key")
    return found


def _refuse_number(text: str) -> Json:
    raise ValueError(f"`{text}` is not an integer")


def _whole_or_text(digits: str) -> Json:
    fits = len(digits) <= len(str(INTEGER_MAX)) + 1 and abs(int(digits)) <= INTEGER_MAX
    return int(digits) if fits else digits


def _require_shallow(value: Json, depth: int = 0) -> None:
    if isinstance(value, dict | list):
        if depth >= DEPTH_MAX:
            raise NotCanonical(f"nesting is deeper than {DEPTH_MAX}", limit=DEPTH_MAX)
        for item in value.values() if isinstance(value, dict) else value:
            _require_shallow(item, depth + 1)


_decoder = json.JSONDecoder(
    object_pairs_hook=_no_duplicates,
    parse_float=_refuse_number,
    parse_constant=_refuse_number,
)
_foreign = json.JSONDecoder(
    object_pairs_hook=_no_duplicates,
    parse_float=str,
    parse_int=_whole_or_text,
    parse_constant=_refuse_number,
)


def sha256(data: bytes) -> bytes:
    """Return the 32 bytes of SHA-256 over `data`."""
    return hashlib.sha256(data).digest()


def sha512(data: bytes) -> bytes:
    """Return the 64 bytes of SHA-512 over `data`."""
    return hashlib.sha512(data).digest()


def sha1(data: bytes) -> bytes:
    """Return the 20 bytes of SHA-1 over `data`: how older formats name a thing, and never what is signed."""
    return hashlib.sha1(data, usedforsecurity=False).digest()


def hash_bytes(name: str, data: bytes) -> bytes:
    """Return the hash `name` over `data`; `name` is one of `HASHES`."""
    return HASHES[name](data).digest()


def digest_of(data: bytes) -> Digest:
    """Return `sha256:<hex>` over `data`."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def digest_of_pieces(pieces: Iterable[bytes]) -> Digest:
    """Return `sha256:<hex>` over `pieces` joined, for what is too large to be held whole."""
    state = hashlib.sha256()
    for piece in pieces:
        state.update(piece)
    return Digest("sha256:" + state.hexdigest())


def is_digest(text: str) -> bool:
    """Return whether `text` has the form of a digest."""
    return _DIGEST.fullmatch(text) is not None


def commit(key: bytes, data: bytes) -> Digest:
    """Return the commitment to `data` under `key` (HMAC-SHA256).

    Without the 32 random bytes of `key` nobody can test a guess of the data, and
    once key and data are erased the commitment says nothing.
    """
    return Digest("sha256:" + hmac.new(key, data, hashlib.sha256).hexdigest())


def same(left: str, right: str) -> bool:
    """Return whether two texts are equal, taking the same time wherever they differ."""
    return hmac.compare_digest(left.encode(), right.encode())
