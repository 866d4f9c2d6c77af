"""Secrets written out where a reference belongs. The value found is never repeated."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from rexecop.execution.strict_yaml import Path, Yaml
from rexecop.operations.errors import SecretInline
from rexecop.operations.reading import Node
from rexecop.proof.canonical import Json

_NAMES: Final = re.compile(
    r"passw(or)?d|passphrase|secret|token|api_?key|private_?key|credential|authorization|auth_header|bearer",
    re.IGNORECASE,
)
_ESCAPES: Final = re.compile(r"\\[xuU/\r\n]")  # What may hide one in a text, but not in what it says.
# What such a key may hold: the name of a secret, or where secrets come from.
_REFERS: Final = re.compile(r"_(refs?|source|file|path|name)$", re.IGNORECASE)
_VALUES: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{36,}\b|\bgithub_pat_[A-Za-z0-9_]{40,}\b"
    r"|\bglpat-[A-Za-z0-9_-]{20,}\b"
    r"|\bxox[abeoprs]-[A-Za-z0-9-]{10,}\b"
    r"|\bpypi-[A-Za-z0-9_-]{32,}\b|\bnpm_[A-Za-z0-9]{36}\b"
    r"|\bAIza[0-9A-Za-z_-]{35}\b"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\b"
    r"|\b[Bb]earer +[A-Za-z0-9._~+/=-]{16,}"
    r"|\b[Bb]asic +[A-Za-z0-9+/=]{16,}"
    r"|\b[a-z][a-z0-9+.-]{1,20}://[^/\s:@]{1,128}:[^/\s@]{1,128}@"
)


def may_hold_a_value(text: str) -> bool:
    """Return whether what `text` says, as YAML, may hold a value that is a secret by its looks."""
    return _VALUES.search(" ".join(text.split())) is not None or _ESCAPES.search(text) is not None


def refuse_inline_secrets(root: Node, *, values_only: bool = False) -> None:
    """Keep a `secret-inline` error for every secret below `root`, naming its place only.

    With `values_only` the names of keys say nothing: in a profile they are names of things.
    """
    for path, name in _found(root.value, (), values_only):
        node = Node(root.document, None, path, root.problems)
        node.refuse(
            f"`{node.name}` holds a secret; write `{name}_ref` and the name of the secret instead",
            allowed=f"{name}_ref",
            code=SecretInline.code,
        )


def refuse_secret_values(values: Mapping[str, Json]) -> None:
    """Return only if no parameter looks like a provider's token.

    Raises:
        SecretInline: one does; it would stand in the records for ever.
    """
    for name, value in values.items():
        if isinstance(value, str) and _VALUES.search(value):
            raise SecretInline(f"parameter `{name}` holds a secret; pass a reference instead", field=name)


def _found(value: Yaml, path: Path, values_only: bool) -> Iterator[tuple[Path, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            place = (*path, key)
            text = isinstance(item, str | int) and not isinstance(item, bool) and item != ""
            if text and not values_only and _NAMES.search(key) and not _REFERS.search(key):
                yield place, key
            else:
                # What stands under `secrets` of a connector are names of secrets, on either side.
                names = values_only or (key == "secrets" and path[1:2] == ("connectors",))
                yield from _found(item, place, names)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _found(item, (*path, index), values_only)
    elif isinstance(value, str) and _VALUES.search(value):
        yield path, str(path[-1]) if path else "value"
