"""Actions: what somebody, often a model, proposes to check. Read strictly; a proposal grants nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from recon.errors import ActionRefused

ACTION_BYTES_MAX: Final = 16 * 1024  # An action is some words and one address.
ARGUMENTS_MAX: Final = 32  # More options than this are a script.
ARGUMENT_LENGTH_MAX: Final = 2048  # As long as an address that servers take.
ACTION_TYPES: Final = ("single_probe",)
_FIELDS: Final = ("action_type", "capability", "tool", "args")


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One proposed action, well formed and not yet judged."""

    action_type: str
    capability: str
    tool: str
    args: tuple[str, ...]


def parse_action(data: bytes) -> Action:
    """Return the action in JSON text `data`.

    Raises:
        ActionRefused: it is too long, no JSON, says a field twice, or is not as `read_action` wants it.
    """
    if len(data) > ACTION_BYTES_MAX:
        raise ActionRefused(f"an action takes at most {ACTION_BYTES_MAX} bytes, not {len(data)}")
    try:
        value = json.loads(data, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ActionRefused(f"not an action in JSON: {' '.join(str(error).split()):.120}") from error
    return read_action(value)


def read_action(value: object) -> Action:
    """Return the action that `value` says.

    Raises:
        ActionRefused: a field is unknown, missing or of another type, or the action is of no kind offered.
    """
    if not isinstance(value, Mapping):
        raise ActionRefused("an action is an object", allowed=", ".join(_FIELDS))
    unknown = sorted(str(name) for name in value if name not in _FIELDS)
    if unknown:
        message = f"unknown field `{unknown[0]:.40}`"
        raise ActionRefused(message, field=unknown[0], allowed=", ".join(_FIELDS))
    kind = _word(value, "action_type")
    if kind not in ACTION_TYPES:
        message = f"no action type `{kind:.40}`"
        raise ActionRefused(message, field="action_type", allowed=", ".join(ACTION_TYPES))
    return Action(
        action_type=kind, capability=_word(value, "capability"), tool=_word(value, "tool"), args=_args(value)
    )


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is there twice")
    return found


def _word(value: Mapping[str, object], name: str) -> str:
    found = value.get(name)
    if not isinstance(found, str) or not 0 < len(found) <= ARGUMENT_LENGTH_MAX or not found.isprintable():
        raise ActionRefused(f"`{name}` is missing or not a word", field=name)
    return found


def _args(value: Mapping[str, object]) -> tuple[str, ...]:
    found = value.get("args")
    if not isinstance(found, list | tuple) or not 0 < len(found) <= ARGUMENTS_MAX:
        raise ActionRefused(f"`args` is a list of 1 to {ARGUMENTS_MAX} texts", field="args")
    for n, item in enumerate(found):
        if not isinstance(item, str) or len(item) > ARGUMENT_LENGTH_MAX or not item.isprintable():
            raise ActionRefused(f"`args[{n}]` is not a short printable text", field=f"args[{n}]")
    return tuple(found)
