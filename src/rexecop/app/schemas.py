"""JSON Schemas (2020-12) of what leaves the house, made from the dataclasses that read and write it.

They say all the shape that the codec asks for and JSON Schema can express: closed
objects, closed words, digests, times, and that a field with a default is left out when
it has it. That bytes are canonical, that a date exists and how deep values nest, they
cannot say; a schema never stands in for reading.
"""

from __future__ import annotations

import dataclasses
import enum
import types
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, Union, cast, get_args, get_origin, get_type_hints

from rexecop.proof.bundle import Manifest, Proofs
from rexecop.proof.canonical import INTEGER_MAX, Digest, Json
from rexecop.proof.records import KINDS
from rexecop.proof.records.approval import ApprovalStatement
from rexecop.proof.verify import Claims, NotChecked, Rung
from rexecop.proof.verify.report import OperationVerdict
from rexecop.proof.vocabulary import State

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
PREFIX: Final = "https://rexecop.dev/schemas/"

Schema = dict[str, Json]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ReportFinding:
    """Something wrong: a code that never changes its meaning, and the record to blame, if one is."""

    code: str
    step: int
    meaning: str
    message: str
    record: Digest | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VerificationReport:
    """What `rexecop verify --json` prints."""

    operation_id: str
    state: State | None
    operations: tuple[OperationVerdict, ...]
    verdict: str
    answer: str
    required: Rung
    rungs: tuple[Rung, ...]
    instance: str
    signer: str | None
    records: int
    log_size: int | None
    findings: tuple[ReportFinding, ...]
    claims: Claims
    not_checked: tuple[NotChecked, ...]
    crypto: str


class _FreeForm:
    """Stands for the recursive alias `Json` while type hints are read."""


_INTEGER: Final[Schema] = {"type": "integer", "minimum": -INTEGER_MAX, "maximum": INTEGER_MAX}
_TIME: Final = r"^[0-9]{4}(-[0-9]{2}){2}T([0-9]{2}:){2}[0-9]{2}\.[0-9]{3}Z$"
_ITSELF: Final[Schema] = {"$ref": "#/$defs/Json"}
_KEYS: Final[Schema] = {"pattern": r"^[\u0000-\u007f]*$"}
_SCALARS: Final[Mapping[object, Schema]] = {
    str: {"type": "string"},
    int: _INTEGER,
    bool: {"type": "boolean"},
    # Lengths too, because for some readers `$` stands before a line break at the end as well.
    Digest: {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$", "maxLength": 71},
    datetime: {"type": "string", "format": "date-time", "pattern": _TIME, "maxLength": 24},
    types.NoneType: {"type": "null"},
    _FreeForm: _ITSELF,
}
_JSON: Final[Schema] = {
    "anyOf": [
        {"type": ["null", "boolean", "string"]},
        _INTEGER,
        {"type": "array", "items": _ITSELF},
        {"type": "object", "propertyNames": _KEYS, "additionalProperties": _ITSELF},
    ]
}


def schemas() -> dict[str, Schema]:
    """Return every schema by the name of its file."""
    written: dict[str, type] = {cls.kind: cls for cls in (Manifest, Proofs, ApprovalStatement)} | KINDS
    found = {
        f"{kind.replace('/', '-')}.json": _document(written[kind], kind, whole=False)
        for kind in sorted(written)
    }
    report = _document(VerificationReport, "verification/1", whole=True)
    return {**found, "verification-1.json": report}


def components(kinds: Iterable[type], place: str) -> dict[str, Schema]:
    """Return the schemas of views and what they are made of, by name; each refers to others at `place`."""
    found: dict[str, Schema] = {}
    maker = _Maker(found, whole=True)
    for kind in kinds:
        maker.add(kind)
    return {name: cast("Schema", _moved(schema, place)) for name, schema in sorted(found.items())}


def _moved(value: Json, place: str) -> Json:
    if isinstance(value, Mapping):
        return {
            key: f"{place}{str(item).removeprefix('#/$defs/')}" if key == "$ref" else _moved(item, place)
            for key, item in value.items()
        }
    return [_moved(item, place) for item in value] if isinstance(value, list | tuple) else value


def _document(cls: type, name: str, *, whole: bool) -> Schema:
    definitions: dict[str, Schema] = {}
    body = _Maker(definitions, whole=whole).of_class(cls)
    head: Schema = {"$schema": DIALECT, "$id": PREFIX + name, "title": name}
    return {**head, **body, "$defs": dict(sorted(definitions.items()))}


class _Maker:
    """Makes schemas of types; classes met on the way go into `definitions`.

    `whole` says that every field is written, as the command line does, and not left
    out where it has its default, as the codec does.
    """

    def __init__(self, definitions: dict[str, Schema], *, whole: bool) -> None:
        self._definitions = definitions
        self._whole = whole

    def of_class(self, cls: type) -> Schema:
        """Return the closed object that values of the dataclass `cls` are written as."""
        hints = get_type_hints(cls, localns={"Json": _FreeForm})
        kind = getattr(cls, "kind", None)
        # A view may have a field of that name, of which the class has a slot.
        properties: dict[str, Schema] = {"kind": {"const": kind}} if isinstance(kind, str) else {}
        required = list(properties)
        for field in dataclasses.fields(cls):
            found = self._of(hints[field.name])
            if self._whole or field.default is dataclasses.MISSING:
                required.append(field.name)
            else:
                found = self._but_default(hints[field.name], field.default)
            properties[field.name] = found
        text = " ".join((cls.__doc__ or "").split("\n\n")[0].split())
        return {
            "description": text,
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }

    def _but_default(self, hint: object, default: object) -> Schema:
        """Return the schema of a field that is left out where it is `default`."""
        if default is None:
            members = [member for member in get_args(hint) if member is not types.NoneType]
            # A free-form value is declared without None, and may be anything else.
            return self._any(members) if members else {**self._of(hint), "not": {"type": "null"}}
        return {**self._of(hint), "not": {"const": cast("Json", [] if default == () else default)}}

    def _any(self, members: list[object]) -> Schema:
        found: list[Json] = [self._of(member) for member in members]
        return self._of(members[0]) if len(found) == 1 else {"anyOf": found}

    def _of(self, hint: object) -> Schema:
        if hint in _SCALARS:
            if hint is _FreeForm:
                self._definitions["Json"] = _JSON
            return _SCALARS[hint]
        origin, members = get_origin(hint), list(get_args(hint))
        if origin in (Union, types.UnionType):
            return self._any(members)
        if origin is tuple:
            return {"type": "array", "items": self._of(members[0])}
        if origin is not None:
            return {"type": "object", "additionalProperties": self._of(members[1])}
        if not isinstance(hint, type):
            raise TypeError(f"no schema for the type {hint!r}")
        if issubclass(hint, enum.StrEnum):
            return {"enum": [member.value for member in hint]}
        self.add(hint)
        return {"$ref": f"#/$defs/{hint.__name__}"}

    def add(self, cls: type) -> None:
        """Define the dataclass `cls`, and what it is made of."""
        if cls.__name__ not in self._definitions:
            self._definitions[cls.__name__] = {}  # It is under way: classes may name each other.
            self._definitions[cls.__name__] = self.of_class(cls)
