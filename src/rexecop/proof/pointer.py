"""JSON pointers (RFC 6901): the name of one value in a JSON document."""

from __future__ import annotations

from collections.abc import Mapping

from rexecop.proof.canonical import Json


def pointed(value: Json, pointer: str) -> Json:
    """Return what `pointer` names in `value`; None where there is nothing."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and len(key) < 8 and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value
