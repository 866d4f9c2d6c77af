"""A form's fields from the JSON Schema of an intent's parameters, and the values from what was typed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rexecop.proof.canonical import Json, canonical_bytes, parse_json
from rexecop.proof.errors import NotCanonical

PREFIX: Final = "p."  # Before the names of parameters, so that none is taken for a field of ours.
VALUE_BYTES_MAX: Final = 64 * 1024  # As much as all parameters may take.
LINE_MAX: Final = 200  # A text that may be longer gets several lines.
WORDS: Final[Mapping[str, str]] = {"true": "yes", "false": "no"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field: `kind` is `line`, `lines`, `whole`, `choice` or `json`; `limits` are attributes of it."""

    name: str
    label: str
    kind: str
    required: bool
    help: str
    value: str
    choices: tuple[tuple[str, str], ...]
    limits: Mapping[str, str]


def fields_of(schema: Mapping[str, Json], typed: Mapping[str, str]) -> tuple[Field, ...]:
    """Return the fields for `schema`, filled with what was `typed`, else with defaults."""
    specs, required = _mapping(schema.get("properties")), schema.get("required")
    needed = required if isinstance(required, list | tuple) else ()
    return tuple(_field(name, _mapping(spec), name in needed, typed) for name, spec in specs.items())


def _field(name: str, spec: Mapping[str, Json], required: bool, typed: Mapping[str, str]) -> Field:
    kind, key = _kind(spec), f"{PREFIX}{name}"
    default = _text(kind, spec["default"]) if "default" in spec else ""
    return Field(
        name=key,
        label=str(spec.get("title") or name),
        kind=kind,
        required=required and "default" not in spec,
        help=" ".join(_help(kind, spec)),
        value=typed.get(key, default),
        choices=tuple(_choices(spec)),
        limits=dict(_limits(kind, spec)),
    )


def _kind(spec: Mapping[str, Json]) -> str:
    if isinstance(spec.get("enum"), list | tuple) or spec.get("type") == "boolean":
        return "choice"
    if spec.get("type") == "integer":
        return "whole"
    if spec.get("type") != "string":
        return "json"
    longest = spec.get("maxLength")
    return "line" if isinstance(longest, int) and longest <= LINE_MAX else "lines"


def _choices(spec: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    listed = spec.get("enum")
    values = listed if isinstance(listed, list | tuple) else [True, False] if _kind(spec) == "choice" else []
    for value in values:
        text = canonical_bytes(value).decode()
        yield text, WORDS.get(text, value if isinstance(value, str) else text)


def _help(kind: str, spec: Mapping[str, Json]) -> Iterator[str]:
    if spec.get("description"):
        yield str(spec["description"])
    least, most = spec.get("minimum"), spec.get("maximum")
    if kind == "whole" and (least is not None or most is not None):
        yield f"From {least if least is not None else 'any'} to {most if most is not None else 'any'}."
    if kind in ("line", "lines") and isinstance(spec.get("maxLength"), int):
        yield f"At most {spec['maxLength']} characters."
    if kind == "json":
        yield "As JSON."


def _limits(kind: str, spec: Mapping[str, Json]) -> Iterator[tuple[str, str]]:
    """Yield what a browser can hold the value to; the schema holds it again, and to all the rest."""
    names = {"whole": {"minimum": "min", "maximum": "max"}}.get(kind, {"maxLength": "maxlength"})
    for key, attribute in names.items():
        if isinstance(spec.get(key), int) and kind != "json":
            yield attribute, str(spec[key])


def _text(kind: str, value: Json) -> str:
    return value if kind in ("line", "lines") and isinstance(value, str) else canonical_bytes(value).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """The values that were typed, and what is wrong, by the name of the field."""

    values: Mapping[str, Json]
    wrong: Mapping[str, str]


def values_of(fields: Sequence[Field], typed: Mapping[str, str]) -> Typed:
    """Return what was `typed` into `fields` as parameters; an empty field that need not be there is not."""
    values: dict[str, Json] = {}
    wrong: dict[str, str] = {}
    for field in fields:
        text, name = typed.get(field.name, ""), field.name.removeprefix(PREFIX)
        if text == "" and not field.required:
            continue
        if field.kind in ("line", "lines"):
            values[name] = text
            continue
        try:
            values[name] = parse_json(text.strip(), bytes_max=VALUE_BYTES_MAX)
        except NotCanonical:
            wrong[field.name] = "a whole number is needed" if field.kind == "whole" else "this is no JSON"
    return Typed(values=values, wrong=wrong)


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}
