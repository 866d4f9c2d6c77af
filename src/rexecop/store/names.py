"""What people call an operation: its id, the beginning of it, a short number, or `@`."""

from __future__ import annotations

from typing import Final

import apsw

from rexecop.operations.errors import OperationUnknown
from rexecop.store.packing import Packed, pack_operation, unpack_operation

PREFIX_MIN: Final = 6  # Shorter beginnings are typing errors more often than names.
NAME_MAX: Final = 128

_ID_DIGITS: Final = 32
_NUMBER_MAX: Final = 2**63 - 1


def number_of(connection: apsw.Connection, operation: str) -> int:
    """Return the number the ledger knows `operation` by; below 0 for chains that are no operations.

    Raises:
        OperationUnknown: the ledger holds no record of it.
    """
    row = connection.execute(
        "SELECT number FROM operations WHERE id=?", (pack_operation(operation),)
    ).fetchone()
    if row is None:
        raise OperationUnknown(f"no operation `{operation[:NAME_MAX]}`", operation=operation[:NAME_MAX])
    return int(row[0])


def resolve(connection: apsw.Connection, name: str) -> str:
    """Return the id of the operation that `name` means.

    Raises:
        OperationUnknown: none, or more than one.
    """
    if name == "@":
        row = connection.execute(
            "SELECT id FROM operations WHERE number>0 ORDER BY number DESC LIMIT 1"
        ).fetchone()
        if row is None:
            raise OperationUnknown("there is no operation yet", operation=name)
        return unpack_operation(row[0])
    for find in (_by_id, _by_number, _by_prefix):
        found = find(connection, name)
        if found is not None:
            return unpack_operation(found)
    raise OperationUnknown(f"no operation `{name[:NAME_MAX]}`", operation=name[:NAME_MAX])


def _by_id(connection: apsw.Connection, name: str) -> Packed | None:
    return _id(connection.execute("SELECT id FROM operations WHERE id=?", (pack_operation(name),)).fetchone())


def _by_number(connection: apsw.Connection, name: str) -> Packed | None:
    if not (name.isascii() and name.isdigit() and len(name) < 20 and 0 < int(name) <= _NUMBER_MAX):
        return None
    return _id(connection.execute("SELECT id FROM operations WHERE number=?", (int(name),)).fetchone())


def _by_prefix(connection: apsw.Connection, name: str) -> Packed | None:
    digits = name.removeprefix("op_")
    if not PREFIX_MIN <= len(digits) <= _ID_DIGITS or not set(digits) <= set("0123456789abcdef"):
        return None
    low, high = (bytes.fromhex(digits.ljust(_ID_DIGITS, fill)) for fill in "0f")
    found = connection.execute(
        "SELECT id FROM operations WHERE id BETWEEN ? AND ? LIMIT 2", (low, high)
    ).fetchall()
    if len(found) > 1:
        raise OperationUnknown(
            f"more than one operation begins with `{name}`: give more digits", operation=name
        )
    return _id(found[0]) if found else None


def _id(row: tuple[object, ...] | None) -> Packed | None:
    if row is None:
        return None
    return row[0] if isinstance(row[0], bytes | str) else None
