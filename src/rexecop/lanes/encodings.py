"""The forms in which a secret's value turns up in output: as it is, and encoded as programs do it.

Forms are literal bytes, so that they are found without compiling anything: the cache of
compiled patterns would keep the values after the call.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote, quote_plus

from rexecop.proof.canonical import canonical_bytes

ENCODED_BYTES_MIN: Final = 6  # A shorter encoded form is part of too much that is no secret.
LINE_BYTES_MIN: Final = 16  # Lines of a key that are shorter say little, and are in other texts.
_WRAPPED_AT: Final = (64, 76)  # Columns at which PEM and MIME, so `openssl` and `base64`, break lines.
_SPECIAL_IN_QUOTES: Final = b'\\"$`'
_PLAIN_IN_SHELL: Final = frozenset(
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%+,-./:=@_"
)


def forms_of(values: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return every form of `values` to take out, the longest first, none twice."""
    found: set[bytes] = set()
    for value in values:
        if value:
            found |= {value, *_lines(value)}
            found |= {form for form in _encoded(value) if len(form) >= ENCODED_BYTES_MIN}
    return tuple(sorted(found, key=lambda form: (-len(form), form)))


def _lines(value: bytes) -> Iterator[bytes]:
    """Yield the lines of a value of several: a terminal ends them otherwise, and `head` shows one alone."""
    lines = value.splitlines()
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= LINE_BYTES_MIN)


def _encoded(value: bytes) -> Iterator[bytes]:
    yield value.hex().encode()
    yield value.hex().upper().encode()
    yield from _base64(value)
    yield from _percent(value)
    yield from _quoted(value)
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return
    yield from _json(text)


def _base64(value: bytes) -> Iterator[bytes]:
    """Yield what `value` alone decides of its base64, wherever in a text it begins."""
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + value)
        # The characters at the ends hold bits of the neighbours, or padding.
        core = whole[-(-8 * before // 6) : 8 * (before + len(value)) // 6]
        yield core
        yield core.translate(bytes.maketrans(b"+/", b"-_"))
        if before == 0:
            for columns in _WRAPPED_AT:
                yield b"\n".join(core[at : at + columns] for at in range(0, len(core), columns))


def _percent(value: bytes) -> Iterator[bytes]:
    """Yield percent-encoded forms: of everything special, of paths, of browsers, of forms."""
    for text in (quote(value, ""), quote(value, "/"), quote(value, "!'()*"), quote_plus(value)):
        yield text.encode()
        parts = text.split("%")
        yield "%".join([parts[0], *(part[:2].lower() + part[2:] for part in parts[1:])]).encode()


def _json(text: str) -> Iterator[bytes]:
    """Yield the inside of JSON strings: as few escapes as can be, `/` escaped, and ASCII only."""
    try:
        plain = canonical_bytes(text)[1:-1].decode()
    except ValueError:  # Not every string of Python is one of JSON.
        return
    ascii_only = "".join(char if char < "\x7f" else _escaped(char) for char in plain)
    for form in (plain, ascii_only):
        yield form.encode()
        yield form.replace("/", "\\/").encode()


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _quoted(value: bytes) -> Iterator[bytes]:
    """Yield the inside of shell words: single quotes (two ways), double quotes, backslashes."""
    yield value.replace(b"'", b"'\"'\"'")
    yield value.replace(b"'", b"'\\''")
    yield b"".join(bytes([byte]) if byte not in _SPECIAL_IN_QUOTES else b"\\%c" % byte for byte in value)
    yield b"".join(bytes([byte]) if byte in _PLAIN_IN_SHELL else b"\\%c" % byte for byte in value)
