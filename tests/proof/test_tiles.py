"""Tiles, held to the specification's own formulas and examples."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.proof.chain import seal
from rexecop.proof.errors import LogError, LogLeafUnreadable
from rexecop.proof.logcheck import LogReport, check_log
from rexecop.proof.merkle import Frontier, leaf_hash, node_reader
from rexecop.proof.principal import ENGINE
from rexecop.proof.records.instance import Note
from rexecop.proof.tiles import (
    BIG_ENTRIES,
    ENTRIES,
    Tile,
    TileReader,
    levels_of,
    pack_entries,
    tile_at,
    tiles_of,
    unpack_entries,
)
from tests.proof.logs import at, bodies, digits, tile_files
from tests.store.samples import START, operation_id

SIZES = (1, 2, 255, 256, 257, 511, 512, 600)
RECORDS = bodies(max(SIZES))
FILES = {size: tile_files(RECORDS[:size]) for size in SIZES}


def test_the_specifications_examples_of_paths() -> None:
    assert Tile(level=0, index=1234067, width=256).path() == "tile/0/x001/x234/067"
    assert Tile(level=3, index=0, width=1).path() == "tile/3/000.p/1"
    assert Tile(level=0, index=999, width=255).path(ENTRIES) == "tile/entries/999.p/255"
    assert Tile(level=63, index=1000, width=256).path() == "tile/63/x001/000"


def test_the_specifications_example_of_a_tree_of_seventy_thousand() -> None:
    tiles = [list(tiles_of(70_000, level)) for level in levels_of(70_000)]

    assert [len(level) for level in tiles] == [274, 2, 1]
    assert [[tile.width for tile in level if tile.width < 256] for level in tiles] == [[112], [17], [1]]
    assert [[tile.width for tile in tiles_of(256, level)] for level in levels_of(256)] == [[256], [1]]
    assert list(levels_of(0)) == []


@given(st.integers(0, 2**53))
def test_every_index_is_written_as_the_specification_writes_it(index: int) -> None:
    assert Tile(level=0, index=index, width=256).path() == f"tile/0/{digits(index)}"


@given(
    st.integers(0, 7),
    st.integers(0, 2**45),
    st.integers(1, 256),
    st.sampled_from([None, ENTRIES, BIG_ENTRIES]),
)
def test_a_path_names_the_tile_that_is_written_there(
    level: int, index: int, width: int, kind: str | None
) -> None:
    tile = Tile(level=level if kind is None else 0, index=index, width=width)
    assert tile_at(tile.path(kind).removeprefix("tile/")) == (tile, kind)


OTHERWISE = """
- 0 0/ 0/0 0/0000 00/000 8/000 0/x000/000 0/000/ 0/000.p/0 0/000.p/256 0/000.p/01 0/000.p 0/../000
entries ../checkpoint /0/000 ../0/000 0/\u0660\u0660\u0660
"""


@pytest.mark.parametrize("path", ["", "entries/000\n", *OTHERWISE.split()])
def test_what_is_written_otherwise_names_no_tile(path: str) -> None:
    assert tile_at(path) is None


@pytest.mark.parametrize("size", SIZES)
def test_the_tiles_of_a_tree_are_those_of_the_formula(size: int) -> None:
    rows = []
    frontier = Frontier.empty()
    for body in RECORDS[:size]:
        frontier, completed = frontier.append(leaf_hash(body))
        rows.append(b"".join(completed))
    nodes = node_reader(rows.__getitem__)

    tiles = [tile for level in levels_of(size) for tile in tiles_of(size, level)]
    ours = {tile.path(): b"".join(nodes(tile.places())) for tile in tiles}
    for tile in tiles_of(size, 0):
        kind, data = pack_entries(RECORDS[tile.index * 256 : tile.index * 256 + tile.width])
        ours[tile.path(kind)] = data

    assert ours == FILES[size]


@given(st.integers(0, 600), st.integers(0, 600))
def test_a_tree_that_grew_has_new_tiles_only_where_it_grew(old: int, new: int) -> None:
    old, new = sorted((old, new))
    for level in levels_of(new):
        everything, fresh = list(tiles_of(new, level)), list(tiles_of(new, level, old))
        kept = [tile for tile in tiles_of(old, level) if tile.width == 256]

        assert everything[: len(everything) - len(fresh)] == kept[: len(everything) - len(fresh)]
        assert set(everything) - set(fresh) <= set(kept)


def read(files: Mapping[str, bytes], size: int) -> LogReport:
    leaves = TileReader(size, lambda name, bytes_max: files.get(name)).leaves()
    return check_log(leaves, size, own=[at(RECORDS[:size])], held=())


@pytest.mark.parametrize("size", SIZES)
def test_a_folder_of_tiles_is_read_back_whole(size: int) -> None:
    assert read(FILES[size], size).bad is None


@pytest.mark.parametrize("size", [1, 2, 257])
def test_no_file_of_a_folder_can_be_missing_or_changed_by_a_bit(size: int) -> None:
    for name, data in FILES[size].items():
        without = {path: kept for path, kept in FILES[size].items() if path != name}
        gone = read(without, size).bad
        assert gone is not None and gone.code == "log-leaf-unreadable", name
        for place in (0, len(data) // 2, len(data) - 1):
            spoiled = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
            changed = read({**without, name: spoiled}, size).bad
            expected = (
                {"log-leaf-unreadable", "log-record-altered"}
                if "entries" in name
                else {"log-record-altered" if name.startswith("tile/0") else "log-node-wrong"}
            )
            assert changed is not None and changed.code in expected, (name, place)
        for other in (data[:-1], data + b"\0", b""):
            cut = read({**without, name: other}, size).bad
            assert cut is not None and cut.code == "log-leaf-unreadable", name


def test_a_bundle_with_a_record_too_long_for_two_bytes_says_so_by_its_name() -> None:
    long = seal(
        Note(operation=operation_id(1), n=0, prev=None, at=START, by=ENGINE, topic="t", text="x" * 70_000)
    ).body
    records = [*RECORDS[:5], long]
    kind, data = pack_entries(records)
    tile = Tile(level=0, index=0, width=6)
    files = {**tile_files(records, length=4)}
    assert files.pop("tile/entries/000.p/6") == data

    assert kind == BIG_ENTRIES and unpack_entries(kind, data, 6) == tuple(records)
    assert tile.path(kind) == "tile/big-entries/000.p/6"
    leaves = list(TileReader(6, lambda name, _: {**files, tile.path(kind): data}.get(name)).leaves())
    assert [leaf.body for leaf in leaves] == records


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=8), st.sampled_from([ENTRIES, BIG_ENTRIES]))
def test_a_bundle_gives_back_what_was_put_in(records: list[bytes], kind: str) -> None:
    length = 2 if kind == ENTRIES else 4
    data = b"".join(len(record).to_bytes(length, "big") + record for record in records)

    assert unpack_entries(kind, data, len(records)) == tuple(records)
    with pytest.raises(LogLeafUnreadable):
        unpack_entries(kind, data, len(records) + 1)
    with pytest.raises(LogLeafUnreadable):
        unpack_entries(kind, data + b"\0", len(records))


@given(st.binary(max_size=64), st.integers(0, 5), st.sampled_from([ENTRIES, BIG_ENTRIES]))
def test_any_bytes_are_a_bundle_or_an_error_of_ours(data: bytes, count: int, kind: str) -> None:
    try:
        found = unpack_entries(kind, data, count)
    except LogError:
        return
    assert len(found) == count
