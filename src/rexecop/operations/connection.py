"""Reading a connection, or the shape of an action: closed keys of plain types, and one clear refusal."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from rexecop.operations.errors import ConnectorRefused
from rexecop.operations.reading import KNOWN_MAX, close_to, listed, milliseconds
from rexecop.proof.canonical import Json

ENTRIES_MAX: Final = 256  # Of one list or mapping.


class Keys:
    """The keys of one mapping, of which `allowed` are known; `where` names it in errors.

    Raises:
        ConnectorRefused: a key is unknown; the methods: its value is of the wrong type or out of bounds.
    """

    def __init__(self, values: Mapping[str, Json], allowed: str, where: str) -> None:
        known = allowed.split()
        for key in values:
            if key not in known:
                message = (
                    f"unknown key `{key:.60}`{close_to(key, known)}; allowed: {listed(known[:KNOWN_MAX])}"
                )
                raise ConnectorRefused(
                    f"{where}: {message}", field=key, found=key[:60], allowed=listed(known)
                )
        self.values = values
        self.where = where

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def refuse(self, key: str, allowed: str) -> ConnectorRefused:
        """Return the refusal of what stands at `key`; a container is named and not shown."""
        value = self.values.get(key)
        word = (
            "missing"
            if value is None
            else f"`{value!s:.60}`"
            if isinstance(value, str | int)
            else "a structure"
        )
        return ConnectorRefused(
            f"{self.where}: `{key}` is {word}; allowed: {allowed}",
            field=key,
            found=word[:60],
            allowed=allowed,
        )

    def text(self, key: str, default: str = "") -> str:
        value = self.values.get(key, default)
        if not isinstance(value, str):
            raise self.refuse(key, "text")
        return value

    def one_of(self, key: str, words: Collection[str], default: str) -> str:
        value = self.text(key, default)
        if value not in words:
            raise self.refuse(key, listed(words))
        return value

    def boolean(self, key: str, default: bool = False) -> bool:
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.refuse(key, "true, false")
        return value

    def integer(self, key: str, default: int, least: int, most: int) -> int:
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.refuse(key, f"{least} to {most}")
        return value

    def duration(self, key: str) -> int:
        """Return milliseconds of `10s`, `500ms` or a number of seconds; 0 without the key."""
        value = self.values.get(key)
        if value is None:
            return 0
        found = 0 if isinstance(value, bool) or not isinstance(value, str | int) else milliseconds(str(value))
        if not found:
            raise self.refuse(key, "like 500ms, 10s, 2m")
        return found

    def items(self, key: str) -> list[Json]:
        value = self.values.get(key)
        if value is None:
            return []
        if not isinstance(value, list) or len(value) > ENTRIES_MAX:
            raise self.refuse(key, f"a list of at most {ENTRIES_MAX}")
        return value

    def texts(self, key: str) -> list[str]:
        found = [item for item in self.items(key) if isinstance(item, str)]
        if len(found) != len(self.items(key)):
            raise self.refuse(key, "a list of texts")
        return found

    def mapping(self, key: str) -> Mapping[str, Json]:
        value = self.values.get(key)
        if value is None:
            return {}
        if not isinstance(value, Mapping) or len(value) > ENTRIES_MAX:
            raise self.refuse(key, f"a mapping of at most {ENTRIES_MAX}")
        return value

    def part(self, key: str, allowed: str) -> Keys:
        """Return the mapping at `key`, read as strictly; an empty one without the key."""
        return Keys(self.mapping(key), allowed, f"{self.where}: {key}")
