"""Tiles: the tree and the records of a log as plain files (C2SP tlog-tiles).

A tile holds 256 consecutive hashes of every eighth level of the tree, an entry bundle
the records of 256 consecutive leaves. The rightmost ones of a tree are partial and
named by their width. Full ones never change.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from rexecop.proof.codec import PLAN_RECORD_BYTES_MAX
from rexecop.proof.errors import LogLeafUnreadable
from rexecop.proof.logcheck import Leaf
from rexecop.proof.merkle import HASH_BYTES, Place

TILE_WIDTH: Final = 256
TILE_HEIGHT: Final = 8  # Levels of the tree in one tile: 2**8 is the width.
SHORT_ENTRY_BYTES_MAX: Final = 65_535  # What the format's two-byte length can say.
BUNDLE_BYTES_MAX: Final = 8 * PLAN_RECORD_BYTES_MAX  # As many of the largest plans as follow one another.
ENTRIES: Final = "entries"
BIG_ENTRIES: Final = "big-entries"  # Bundles with a record too long for `entries`; see the format page.

_PATH: Final = re.compile(
    rf"(?P<kind>[0-7]|{ENTRIES}|{BIG_ENTRIES})/(?P<place>(?:x[0-9]{{3}}/){{0,5}}[0-9]{{3}})"
    r"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)

Fetch: TypeAlias = Callable[[str, int], bytes | None]
"""Returns the file at a path, of at most so many bytes; None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """The tile `index` of `level`, `width` hashes wide."""

    level: int
    index: int
    width: int

    def path(self, kind: str | None = None) -> str:
        """Return where the tile is, or the bundle of `kind` for its leaves."""
        digits = f"{self.index:d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        *parents, last = (digits[at : at + 3] for at in range(0, len(digits), 3))
        place = "/".join([*(f"x{parent}" for parent in parents), last])
        return f"tile/{kind or self.level}/{place}{'' if self.width == TILE_WIDTH else f'.p/{self.width}'}"

    def places(self) -> list[Place]:
        """Return which nodes of the tree it holds."""
        first = self.index * TILE_WIDTH
        return [(self.level * TILE_HEIGHT, first + at) for at in range(self.width)]


def tile_at(path: str) -> tuple[Tile, str | None] | None:
    """Return the tile at `tile/` and `path`, and of which kind the bundle there is; None for another path."""
    found = _PATH.fullmatch(path)
    if found is None:
        return None
    kind = None if found["kind"].isdigit() else found["kind"]
    tile = Tile(
        level=int(found["kind"]) if kind is None else 0,
        index=int(re.sub("[x/]", "", found["place"])),
        width=int(found["width"] or TILE_WIDTH),
    )
    return (tile, kind) if tile.path(kind) == f"tile/{path}" else None


def tiles_of(size: int, level: int, start: int = 0) -> Iterator[Tile]:
    """Yield the tiles of `level` in the tree of `size`, from the one that holds leaf `start`."""
    count = size >> (level * TILE_HEIGHT)
    for index in range(start >> ((level + 1) * TILE_HEIGHT), -(-count // TILE_WIDTH)):
        yield Tile(level=level, index=index, width=min(TILE_WIDTH, count - index * TILE_WIDTH))


def levels_of(size: int) -> range:
    """Return the levels of tiles that the tree of `size` has."""
    return range(-(-size.bit_length() // TILE_HEIGHT))


def pack_entries(records: Sequence[bytes]) -> tuple[str, bytes]:
    """Return the kind of bundle that holds `records`, and its bytes."""
    big = any(len(record) > SHORT_ENTRY_BYTES_MAX for record in records)
    length = 4 if big else 2
    data = b"".join(len(record).to_bytes(length, "big") + record for record in records)
    return BIG_ENTRIES if big else ENTRIES, data


def unpack_entries(kind: str, data: bytes, count: int) -> tuple[bytes, ...]:
    """Return the `count` records that the bundle `data` of `kind` holds.

    Raises:
        LogLeafUnreadable: it holds fewer, more, or a length beyond its end.
    """
    length, at = 4 if kind == BIG_ENTRIES else 2, 0
    found: list[bytes] = []
    while at < len(data) and len(found) < count:
        begin = at + length
        at = begin + int.from_bytes(data[at:begin], "big")
        found.append(data[begin:at])
    if at != len(data) or len(found) != count:
        raise LogLeafUnreadable(f"a bundle is not made of {count} records with their lengths")
    return tuple(found)


class TileReader:
    """The leaves of the log of `size` whose files `fetch` returns."""

    def __init__(self, size: int, fetch: Fetch) -> None:
        self._size = size
        self._fetch = fetch
        self._read: dict[int, tuple[int, bytes]] = {}

    def leaves(self) -> Iterator[Leaf]:
        """Yield every leaf, with the hashes that the tiles have for the nodes it completes.

        Raises:
            LogLeafUnreadable: a tile or bundle is not there or malformed.
        """
        for tile in tiles_of(self._size, 0):
            for at, body in enumerate(self._bundle(tile), tile.index * TILE_WIDTH):
                yield Leaf(body=body, kept=partial(self._kept, at))

    def _bundle(self, tile: Tile) -> tuple[bytes, ...]:
        for kind in (ENTRIES, BIG_ENTRIES):
            data = self._fetch(tile.path(kind), BUNDLE_BYTES_MAX)
            if data is not None:
                return unpack_entries(kind, data, tile.width)
        raise LogLeafUnreadable(f"there is no bundle `{tile.path(ENTRIES)}`")

    def _kept(self, leaf: int, level: int) -> bytes | None:
        """Return the hash that a tile has for the node of `level` that `leaf` completes."""
        if level % TILE_HEIGHT:
            return None
        index, at = divmod(leaf >> level, TILE_WIDTH)
        level //= TILE_HEIGHT
        if self._read.get(level, (-1, b""))[0] != index:
            tile = next(tiles_of(self._size, level, index << ((level + 1) * TILE_HEIGHT)))
            data = self._fetch(tile.path(), TILE_WIDTH * HASH_BYTES)
            if data is None or len(data) != tile.width * HASH_BYTES:
                raise LogLeafUnreadable(f"there is no tile `{tile.path()}` of {tile.width} hashes")
            self._read[level] = index, data
        return self._read[level][1][at * HASH_BYTES : (at + 1) * HASH_BYTES]
