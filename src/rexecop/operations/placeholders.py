"""Placeholders: how values enter calls. Each becomes part of one text; nothing is parsed again.

`{name}` is a parameter, `{target}` the target's id, `{target.NAME}` one of its attributes,
`{env.NAME}` a value of the environment, `{slot.NAME}` a hole filled from a fact when the
call is made. Braces in any other form (`%{x}`, `${x}`, `{{x}}`, `{}`) stand for themselves.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from rexecop.operations.errors import ParameterRefused, ProfileRefused
from rexecop.operations.reading import unknown
from rexecop.proof.call import Hole, Part, Scalar, Text
from rexecop.proof.canonical import Json

VALUE_LENGTH_MAX: Final = 32 * 1024  # Longer values are files; a record holds 256 KiB in all.

_PLACEHOLDER: Final = re.compile(r"(?<![%${])\{([a-z_][a-z0-9_]*)(?:\.([a-z_][a-z0-9_]*))?\}(?!\})")
_SPACES: Final = ("target", "env", "slot")


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """What placeholders may name. `known` lists the parameters the intent has, given or not."""

    known: Collection[str]
    parameters: Mapping[str, Json]
    target: str
    attributes: Mapping[str, Scalar]
    environment: Mapping[str, Scalar]
    slots: Collection[str]


def expand(text: str, values: Values, where: str) -> Text:
    """Return `text` with its placeholders replaced; a slot becomes a hole.

    Raises:
        ProfileRefused: a placeholder names nothing.
        ParameterRefused: a parameter that is needed was not given, or is not a single value.
    """
    if "{" not in text:
        return text
    parts: list[Part] = []
    at = 0
    for match in _PLACEHOLDER.finditer(text):
        parts += [text[at : match.start()], _part(match, values, where)]
        at = match.end()
    parts.append(text[at:])
    if all(isinstance(part, str) for part in parts):
        return "".join(part for part in parts if isinstance(part, str))
    return tuple(_joined(parts))


def literal(text: str, values: Values, where: str) -> str:
    """Return `text` with its placeholders replaced, where no hole may stand.

    Raises:
        ProfileRefused, ParameterRefused: as `expand`, and for a slot.
    """
    found = expand(text, values, where)
    if not isinstance(found, str):
        raise ProfileRefused(f"{where}: a slot cannot stand in `{text:.60}`", found=text[:60])
    return found


def literal_scalar(value: Scalar, values: Values, where: str) -> Scalar:
    """Return `value`; a text with its placeholders replaced, `{name}` alone keeping its type."""
    if not isinstance(value, str):
        return value
    match = _PLACEHOLDER.fullmatch(value)
    if match is not None and match[2] is None and match[1] in values.known and match[1] not in _SPACES:
        return _scalar(match[1], values, where)
    return literal(value, values, where)


def names_in(text: str) -> Iterator[tuple[str, str | None]]:
    """Yield (space or parameter, name) of every placeholder in `text`."""
    for match in _PLACEHOLDER.finditer(text):
        yield match[1], match[2]


def _part(match: re.Match[str], values: Values, where: str) -> Part:
    space, name = match[1], match[2]
    spaces = {"slot": values.slots, "target": values.attributes, "env": values.environment}
    known = ("target", *values.known) if name is None else spaces.get(space, ())
    if (name or space) not in known:
        message = f"{where}: placeholder `{match[0]}` names nothing"
        raise unknown(ProfileRefused, message, name or space, sorted(known))
    if name is None:
        return values.target if space == "target" else _as_text(_scalar(space, values, where))
    if space == "slot":
        return Hole(slot=name)
    return _as_text((values.attributes if space == "target" else values.environment)[name])


def _scalar(name: str, values: Values, where: str) -> Scalar:
    value = values.parameters.get(name)
    if value is None:
        raise ParameterRefused(f"parameter `{name}` is needed by {where} and was not given", field=name)
    if not isinstance(value, str | int | bool):
        raise ParameterRefused(f"parameter `{name}` is not a single value, and {where} needs one", field=name)
    if isinstance(value, str) and ("\x00" in value or len(value) > VALUE_LENGTH_MAX):
        raise ParameterRefused(
            f"parameter `{name}` holds a NUL or more than {VALUE_LENGTH_MAX} characters", field=name
        )
    return value


def _as_text(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _joined(parts: list[Part]) -> Iterator[Part]:
    """Yield the parts with neighbouring texts as one and empty ones left out."""
    for is_text, run in groupby(parts, key=lambda part: isinstance(part, str)):
        if is_text:
            text = "".join(part for part in run if isinstance(part, str))
            yield from [text] if text else []
        else:
            yield from run
