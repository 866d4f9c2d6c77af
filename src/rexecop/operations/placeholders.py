"""Placeholders: how values enter calls. Each becomes part of one text; nothing is parsed again.

`{name}` is a parameter, `{target}` the target's id, `{target.NAME}` one of its attributes,
`{env.NAME}` a value of the environment, `{secret.NAME}` a secret that the environment gives
the connector, `{slot.NAME}` a hole filled from a fact when the call is made. Braces in any
other form (`%{x}`, `${x}`, `{{x}}`, `{}`) stand for themselves.
Among the words of a command `{*name}` stands for all words of a parameter that is a list. As a value of a
query or as a whole body it stands for the parameter as it is, and for nothing where that was not given. As
the arguments of a tool, `{*}` stands for all parameters that were given, as they are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final

from rexecop.operations.errors import ParameterRefused, ProfileRefused
from rexecop.operations.reading import unknown
from rexecop.proof.call import Hole, Part, SecretRef, Text
from rexecop.proof.canonical import Json
from rexecop.proof.message import Scalar, holds_place, parts_of

VALUE_LENGTH_MAX: Final = 32 * 1024  # Longer values are files; a record holds 256 KiB in all.

_PLACEHOLDER: Final = re.compile(r"(?<![%${])\{([a-z_][a-z0-9_]*)(?:\.([a-z_][a-z0-9_]*))?\}(?!\})")
_SPREAD: Final = re.compile(r"\{\*([a-z_][a-z0-9_]*)\}")
EVERYTHING: Final = "{*}"
WORDS_MAX: Final = 256  # A command with more arguments is a list of files, and belongs into its input.
_SPACES: Final = ("target", "env", "slot", "secret")


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """What placeholders may name. `known` lists the parameters the intent has, given or not."""

    known: Collection[str]
    parameters: Mapping[str, Json]
    target: str
    attributes: Mapping[str, Scalar]
    environment: Mapping[str, Scalar]
    slots: Collection[str]
    secrets: Mapping[str, str] = field(default_factory=dict)


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


def expand_words(words: Sequence[str], values: Values, where: str) -> tuple[Text, ...]:
    """Return the words of a command with their placeholders replaced, `{*name}` by the words of a list.

    Raises:
        ProfileRefused, ParameterRefused: as `expand`, and for a list that is none, or too long.
    """
    found: list[Text] = []
    for word in words:
        spread = _SPREAD.fullmatch(word)
        found += [expand(word, values, where)] if spread is None else _listed(spread[1], values, where)
    return tuple(found)


def is_spread(word: str) -> bool:
    """Return whether `word` stands for the words of a list."""
    return _SPREAD.fullmatch(word) is not None


def given_whole(word: str, values: Values, where: str) -> Json:
    """Return the parameter that `{*name}` stands for as it is; None where it was not given.

    Raises:
        ProfileRefused: it names nothing. ParameterRefused: the value would be taken for a place.
    """
    name = word[2:-1]
    if name not in values.known:
        message = f"{where}: placeholder `{{*{name}}}` names nothing"
        raise unknown(ProfileRefused, message, name, sorted(values.known))
    given = values.parameters.get(name)
    if holds_place(given):
        # Who asks would otherwise name a secret of the operator's.
        raise ParameterRefused(f"parameter `{name}` cannot be sent as it is", field=name)
    return given


def _listed(name: str, values: Values, where: str) -> list[str]:
    if name not in values.known:
        raise unknown(
            ProfileRefused, f"{where}: placeholder `{{*{name}}}` names nothing", name, sorted(values.known)
        )
    given = values.parameters.get(name)
    if not isinstance(given, list) or not given or len(given) > WORDS_MAX:
        raise ParameterRefused(f"parameter `{name}` is no list of 1 to {WORDS_MAX} words", field=name)
    for word in given:
        if not isinstance(word, str) or "\x00" in word or len(word) > VALUE_LENGTH_MAX:
            raise ParameterRefused(f"parameter `{name}` holds a NUL or what is no word", field=name)
    return [word for word in given if isinstance(word, str)]


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


def is_left_open(value: Json, values: Values) -> bool:
    """Return whether `value` is nothing but a parameter that was not given."""
    match = _PLACEHOLDER.fullmatch(value) if isinstance(value, str) else None
    name = match[1] if match is not None and match[2] is None else None
    return name in values.known and values.parameters.get(name or "") is None


def message_value(value: Json, values: Values, where: str) -> Json:
    """Return `value` of a message with the placeholders of all its texts replaced.

    `{name}` alone keeps the type of the parameter, a list or an object too; slots and secrets
    become places (`proof.message`).

    Raises:
        ProfileRefused, ParameterRefused: as `expand`, and for an object that would be taken for a place.
    """
    if isinstance(value, dict):
        if parts_of(value) is not None:
            raise ProfileRefused(
                f"{where}: an object of only `{min(value)}` cannot be sent", found=min(value)
            )
        return {key: message_value(item, values, where) for key, item in value.items()}
    if isinstance(value, list):
        return [message_value(item, values, where) for item in value]
    if not isinstance(value, str):
        return value
    whole = _PLACEHOLDER.fullmatch(value)
    if whole is not None and whole[2] is None and whole[1] in values.known:
        given = values.parameters.get(whole[1])
        if holds_place(given):
            # Who asks would otherwise name a secret of the operator's.
            raise ParameterRefused(f"parameter `{whole[1]}` cannot be sent as it is", field=whole[1])
        return _scalar(whole[1], values, where) if given is None or isinstance(given, str) else given
    parts = _places(expand(value, values, where))
    return parts if isinstance(parts, str) else parts[0] if len(parts) == 1 else {"text": parts}


def everything_given(values: Values, where: str) -> dict[str, Json]:
    """Return all parameters that were given, as they are.

    Raises:
        ParameterRefused: they would be taken for a place.
    """
    given: dict[str, Json] = {n: value for n, value in values.parameters.items() if value is not None}
    if holds_place(given):
        # Who asks would otherwise name a secret of the operator's.
        raise ParameterRefused(f"the parameters cannot be sent by {where} as they are")
    return given


def message_text(text: str, values: Values, where: str) -> Json:
    """Return `text` of a message with its placeholders replaced; what goes into its places becomes text.

    Raises:
        ProfileRefused, ParameterRefused: as `expand`.
    """
    return as_message(expand(text, values, where))


def as_message(text: Text) -> Json:
    """Return `text` as a message holds it."""
    parts = _places(text)
    return parts if isinstance(parts, str) else {"text": parts}


def _places(text: Text) -> str | list[Json]:
    """Return `text`, or the parts of one that has places, as a message holds them."""
    if isinstance(text, str):
        return text
    return [
        part
        if isinstance(part, str)
        else {"slot": part.slot}
        if isinstance(part, Hole)
        else {"secret": part.secret}
        for part in text
    ]


def names_in(text: str) -> Iterator[tuple[str, str | None]]:
    """Yield (space or parameter, name) of every placeholder in `text`."""
    for match in _PLACEHOLDER.finditer(text):
        yield match[1], match[2]


def _part(match: re.Match[str], values: Values, where: str) -> Part:
    space, name = match[1], match[2]
    spaces = {
        "slot": values.slots,
        "target": values.attributes,
        "env": values.environment,
        "secret": values.secrets,
    }
    known = ("target", *values.known) if name is None else spaces.get(space, ())
    if (name or space) not in known:
        message = f"{where}: placeholder `{match[0]}` names nothing"
        raise unknown(ProfileRefused, message, name or space, sorted(known))
    if name is None:
        return values.target if space == "target" else _as_text(_scalar(space, values, where))
    if space == "slot":
        return Hole(slot=name)
    if space == "secret":
        return SecretRef(secret=values.secrets[name])
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
