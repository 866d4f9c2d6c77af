"""JSON Schemas (2020-12) of the files that people write: profiles, environments, what a root is set up with.

They lie as data in `data/formats`, so that editors can complete and check what is typed. They say the
shape that the readers ask for; that a name exists or a pattern ends, they cannot say, and a schema never
stands in for reading. Tests hold each of them to its reader. Those of settings follow from their table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final, cast

from rexecop.app.errors import FormatUnknown
from rexecop.app.schemas import DIALECT, PREFIX, Schema
from rexecop.app.settings import FILE_NAME, SETTINGS, VALUE_LENGTH_MAX, Kind, Setting
from rexecop.operations.reading import close_to, listed
from rexecop.proof.canonical import Json, parse_json

SHARED: Final = "common.json"
_SHARED: Final = f"{SHARED}#/$defs/"
_HERE: Final = "#/$defs/"
BYTES_MAX: Final = 1024 * 1024
_SETTINGS: Final = {"project_settings": True, "user_settings": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatLine:
    """One format: `where` says which files are written in it, `says` what they say."""

    name: str
    where: str
    says: str


def formats() -> tuple[FormatLine, ...]:
    """Return every format that has a schema."""
    shown = ((name, format_schema(name)) for name in (*sorted(_data()), *_SETTINGS))
    return tuple(
        FormatLine(name=name, where=str(schema["$comment"]), says=str(schema["description"]))
        for name, schema in shown
    )


def format_schema(name: str) -> Schema:
    """Return the schema of the format `name`, whole: it refers to nothing outside itself.

    Raises:
        FormatUnknown: there is no such format.
    """
    known = (*sorted(_data()), *_SETTINGS)
    if name not in known:
        said = f"no format `{name:.60}`{close_to(name, known)}; known: {listed(known)}"
        raise FormatUnknown(said, found=name[:60], next_steps=("rexecop schema",))
    body = _settings(name, project=_SETTINGS[name]) if name in _SETTINGS else _read(name)
    shared = cast("Mapping[str, Schema]", _read(SHARED.removesuffix(".json"))["$defs"])
    wanted, defs = list(_referred(body)), dict(cast("Schema", body.get("$defs", {})))
    while wanted:
        if (one := wanted.pop()) not in defs:
            defs[one] = shared[one]
            wanted += _referred(shared[one])
    whole = {"$schema": DIALECT, "$id": PREFIX + name, **body, **({"$defs": defs} if defs else {})}
    return cast("Schema", _moved(whole))


@cache
def _data() -> frozenset[str]:
    folder = files("rexecop.app") / "data" / "formats"
    names = {path.name.removesuffix(".json") for path in folder.iterdir() if path.name.endswith(".json")}
    return frozenset(names - {SHARED.removesuffix(".json")})


def _read(name: str) -> Schema:
    data = (files("rexecop.app") / "data" / "formats" / f"{name}.json").read_bytes()
    return cast("Schema", parse_json(data, bytes_max=BYTES_MAX))


def _referred(value: Json) -> Iterator[str]:
    """Yield the names of what is shared that `value` refers to."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == "$ref" and isinstance(item, str) and item.startswith(_SHARED):
                yield item.removeprefix(_SHARED)
            else:
                yield from _referred(item)
    elif isinstance(value, list):
        for item in value:
            yield from _referred(item)


def _moved(value: Json) -> Json:
    """Return `value` with what is shared looked for in itself."""
    if isinstance(value, Mapping):
        return {key: _moved(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_moved(item) for item in value]
    return value.replace(_SHARED, _HERE) if isinstance(value, str) and value.startswith(_SHARED) else value


# --- settings ---


def _settings(name: str, *, project: bool) -> Schema:
    """Return the schema of a settings file: a project's says fewer than the user's own."""
    where = f"{FILE_NAME} of a project folder" if project else f"{FILE_NAME} of the user"
    return {
        "title": "Settings",
        "description": "What commands take for said where nothing else is.",
        "$comment": where,
        "type": "object",
        "properties": {one.name: _setting(one) for one in SETTINGS if one.project or not project},
        "additionalProperties": False,
    }


def _setting(one: Setting) -> Schema:
    said: Schema = {"description": one.meaning}
    if one.choices:
        return {**said, "enum": list(one.choices)}
    if one.kind is Kind.FLAG:
        return {**said, "enum": [True, False, "true", "false", "1", "0", 1, 0]}
    if one.kind is Kind.INTEGER:
        bounds: Schema = {"minimum": one.low, "maximum": one.high, "pattern": "^[0-9]{1,9}$"}
        return {**said, "type": ["integer", "string"], **bounds}
    return {**said, "type": "string", "minLength": 1, "maxLength": VALUE_LENGTH_MAX}
