"""Messages of exchanges: JSON in which a value may be a slot, a secret, or a text made of parts.

An object with the single member `slot` or `secret` (a name), or `text` (a list of strings,
slots and secrets), stands for a value; every other object stands for itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rexecop.proof.canonical import Json
from rexecop.proof.errors import TemplateMismatch

Scalar = str | int | bool


def slots_in(value: Json) -> Iterator[str]:
    """Yield the names of the slots that `value` has places for."""
    yield from _names(value, "slot")


def secrets_in(value: Json) -> Iterator[str]:
    """Yield the names of the secrets that `value` refers to."""
    yield from _names(value, "secret")


def fill_slots(value: Json, values: Mapping[str, Scalar]) -> Json:
    """Return `value` with every slot replaced; one that is a whole value keeps the type of what it gets.

    Raises:
        TemplateMismatch: a slot has no value.
    """
    return _replaced(value, "slot", values)


def fill_secrets(value: Json, values: Mapping[str, str]) -> Json:
    """Return `value` with every secret replaced. What it returns never leaves the lane call.

    Raises:
        TemplateMismatch: a secret has no value.
    """
    return _replaced(value, "secret", values)


def parts_of(value: Json) -> list[Json] | None:
    """Return the parts of `value` if it is a text made of parts, a slot or a secret; None otherwise."""
    if _is_place(value):
        return [value]
    if isinstance(value, dict) and value.keys() == {"text"}:
        parts = value["text"]
        if isinstance(parts, list) and all(isinstance(part, str) or _is_place(part) for part in parts):
            return parts
    return None


def holds_place(value: Json) -> bool:
    """Return whether `value` is a place, or holds one at any depth."""
    if parts_of(value) is not None:
        return True
    if isinstance(value, dict | list):
        return any(map(holds_place, value.values() if isinstance(value, dict) else value))
    return False


def _is_place(value: Json) -> bool:
    return _name(value, "slot") is not None or _name(value, "secret") is not None


def _name(value: Json, kind: str) -> str | None:
    """Return the name of the slot or secret (`kind`) that `value` is; None if it is something else."""
    if isinstance(value, dict) and value.keys() == {kind}:
        name = value[kind]
        return name if isinstance(name, str) else None
    return None


def _names(value: Json, kind: str) -> Iterator[str]:
    name = _name(value, kind)
    if name is not None:
        yield name
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _names(item, kind)


def _replaced(value: Json, kind: str, values: Mapping[str, Scalar]) -> Json:
    name = _name(value, kind)
    if name is not None:
        if name not in values:
            raise TemplateMismatch(f"{kind} `{name:.60}` has no value", slot=name)
        return values[name]
    if _is_place(value):
        return value
    parts = parts_of(value)
    if parts is not None:
        return _text([_replaced(part, kind, values) for part in parts])
    if isinstance(value, dict):
        return {key: _replaced(item, kind, values) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, kind, values) for item in value]
    return value


def _text(parts: list[Json]) -> Json:
    """Return `parts` as one text, neighbouring strings merged, so that one text has one form."""
    merged: list[Json] = []
    for part in parts:
        text = str(part).lower() if isinstance(part, bool) else str(part) if isinstance(part, int) else part
        if isinstance(text, str) and merged and isinstance(merged[-1], str):
            merged[-1] = merged[-1] + text
        else:
            merged.append(text)
    if all(isinstance(part, str) for part in merged):
        return "".join(part for part in merged if isinstance(part, str))
    return {"text": merged}
