"""A PostgreSQL ledger as a SQLite file, and back: row by row, the records byte for byte.

A backup is always such a file, whatever it was taken of: one format to verify, and to restore either of.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

import apsw
from psycopg.rows import TupleRow

from rexecop.store.packing import pack_key, pack_operation, unpack_digest, unpack_operation
from rexecop.store.postgres_connection import ServerConnection

PAGE_ROWS: Final = 500  # In memory at one time; a piece of output is 256 KiB.

_INDEX: Final = (
    "state, intent, profile, environment, target, mode, requester, created, updated, records, head, waiting"
)
_TABLES: Final = {
    "operations": f"number, id, {_INDEX}",
    "records": "leaf, op, n, body, nodes",
    "claims": "space, key, op",
    "signatures": "place, digest, form, data",
    "inputs": "digest, role, data",
    "blobs": "number, commitment, key, media, raw, kept, truncated, redactions, op",
    "chunks": "place, data",
    "locks": "target, op, exclusive",
    "leases": "op, runner, fence, expires",
    "changes": "leaf, target, n, attempt",
    "checkpoints": "size, note, given",
}
_SHORTENED: Final = {("operations", "id"): pack_operation, ("claims", "key"): pack_key}
_OWN: Final = ("kind", "schema", "root")  # What `meta` says of the schema and not of the ledger.


def to_file(source: ServerConnection, target: apsw.Connection) -> None:
    """Copy everything in the open transaction of `source` to the empty ledger `target`."""
    target.execute("BEGIN IMMEDIATE")
    for name, value in source.execute("SELECT name, value FROM meta"):
        if name not in _OWN:
            target.execute("INSERT INTO meta(name, value) VALUES(?,?)", (name, value))
    for table, columns in _TABLES.items():
        names = columns.split(", ")
        shorten = [_SHORTENED.get((table, name)) for name in names]
        sql = f"INSERT INTO {table}({columns}) VALUES({','.join('?' * len(names))})"
        with source.raw.cursor(f"copy_{table}", withhold=False) as cursor:
            cursor.itersize = PAGE_ROWS
            cursor.execute(f"SELECT {columns} FROM {table}".encode(), binary=True)
            for row in cursor:
                target.execute(
                    sql,
                    [
                        value if make is None else make(value)
                        for make, value in zip(shorten, row, strict=True)
                    ],
                )
    target.execute("COMMIT")


def from_file(source: apsw.Connection, target: ServerConnection) -> None:
    """Copy the ledger `source` to the empty one in the open transaction of `target`."""
    for name, value in source.execute("SELECT name, value FROM meta"):
        target.execute(
            "INSERT INTO meta(name, value) VALUES(?,?) ON CONFLICT(name) DO UPDATE SET value=excluded.value",
            (name, str(value)),
        )
    for table, columns in _TABLES.items():
        names = columns.split(", ")
        marks = ",".join("?" * len(names))
        sql = f"INSERT INTO {table}({columns}) OVERRIDING SYSTEM VALUE VALUES({marks})"
        if table == "changes":
            sql = f"INSERT INTO changes({columns}, op, place) SELECT {marks}, op, n FROM records WHERE leaf=?"
        order = "leaf" if table == "records" else names[0]
        rows = iter(source.execute(f"SELECT {columns} FROM {table} ORDER BY {order}"))
        while page := [_long(table, row) for row in islice(rows, PAGE_ROWS)]:
            target.executemany(sql, page)
    for sequence, number in (("operation_numbers", "max(number)"), ("chain_numbers", "min(number)")):
        sign = ">" if sequence == "operation_numbers" else "<"
        target.script(
            f"SELECT setval('{sequence}', {number}) FROM operations WHERE number {sign} 0 HAVING count(*)>0"
        )
    for table, key in (("signatures", "place"), ("blobs", "number")):
        some = f"FROM {table} HAVING count(*)>0"
        target.script(f"SELECT setval(pg_get_serial_sequence('{table}', '{key}'), max({key})) {some}")


def _long(table: str, row: TupleRow) -> TupleRow:
    """Return `row` with texts where short forms stand for them."""
    if table == "operations":
        return (row[0], unpack_operation(row[1]), *row[2:])
    if table == "claims":
        return (row[0], unpack_digest(row[1]) if isinstance(row[1], bytes) else row[1], row[2])
    return (*row, row[0]) if table == "changes" else row
