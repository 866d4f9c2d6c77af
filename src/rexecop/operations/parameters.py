"""Parameters of an intent: a JSON Schema (2020-12) that values are held to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, cast

from rexecop.operations.errors import ParameterRefused
from rexecop.operations.reading import FOUND_MAX, Node, unknown
from rexecop.proof.canonical import Json, canonical_bytes, parse_json, require_canonical

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

PARAMETERS_MAX: Final = 64  # More knobs than a form has is a document, not a request.
PARAMETERS_BYTES_MAX: Final = 64 * 1024  # They stand in the intent record, which holds 256 KiB in all.


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterSchema:
    """The `parameters` of an intent; `names` are the ones it knows, `defaults` fill what is not given."""

    schema: Mapping[str, Json]
    names: tuple[str, ...]
    defaults: Mapping[str, Json]

    def check(self, given: Mapping[str, Json]) -> dict[str, Json]:
        """Return the values to use, defaults filled in.

        Raises:
            ParameterRefused: a value is unknown, missing or outside the schema.
        """
        for name in given:
            if name not in self.names:
                message = f"unknown parameter `{name:.60}`"
                raise unknown(ParameterRefused, message, name, self.names, field=name)
        values: dict[str, Json] = {**self.defaults, **given}
        require_canonical(values)
        if len(canonical_bytes(values)) > PARAMETERS_BYTES_MAX:
            raise ParameterRefused(
                f"parameters take more than {PARAMETERS_BYTES_MAX} bytes", limit=PARAMETERS_BYTES_MAX
            )
        found = _validator(canonical_bytes(self.schema)).iter_errors(_plain(values))
        try:
            first = min(found, key=lambda error: list(map(str, error.path)), default=None)
        except RecursionError as error:
            raise ParameterRefused("parameters: their schema leads round, or they are too deep") from error
        if first is not None:
            field, message = ".".join(map(str, first.path)), first.message[: 4 * FOUND_MAX]
            raise ParameterRefused(
                f"parameter `{field}`: {message}" if field else f"parameters: {message}", field=field or None
            )
        return values


def read_parameters(node: Node) -> ParameterSchema | None:
    """Return the schema at `node`: a JSON Schema of an object, or its `properties` alone."""
    schema = node.mapping()
    if "properties" not in schema and "type" not in schema:
        schema = {"type": "object", "properties": schema}
    properties = schema.get("properties", {})
    if schema.get("type") != "object" or not isinstance(properties, Mapping):
        node.refuse("`parameters` is a JSON schema of type `object` with `properties`")
        return None
    if len(properties) > PARAMETERS_MAX:
        node.refuse(f"{len(properties)} parameters, at most {PARAMETERS_MAX}", allowed=str(PARAMETERS_MAX))
        return None
    schema = {"additionalProperties": False, **schema}
    problem = _schema_problem(schema)
    if problem is not None:
        node.refuse(f"not a JSON schema: {problem}")
        return None
    defaults = {
        name: spec["default"]
        for name, spec in properties.items()
        if isinstance(spec, Mapping) and "default" in spec
    }
    return ParameterSchema(schema=schema, names=tuple(properties), defaults=defaults)


def _schema_problem(schema: Mapping[str, Json]) -> str | None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    if _refers_outside(schema):
        return "`$ref` may only point into the schema itself"
    try:
        Draft202012Validator.check_schema(cast("dict[str, Json]", _plain(schema)))
    except SchemaError as error:
        return f"{error.message:.200}"
    return None


@lru_cache(maxsize=256)  # One per intent in use; a profile has some dozens.
def _validator(schema: bytes) -> Validator:
    from jsonschema import Draft202012Validator
    from referencing import Registry

    # An empty registry: a schema can never make this process fetch anything.
    plain = cast("dict[str, Json]", parse_json(schema, bytes_max=len(schema)))
    return Draft202012Validator(plain, registry=Registry())


def _plain(value: Json) -> Json:
    """Return `value` made of the plain lists and dicts that the validator knows."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _refers_outside(value: Json) -> bool:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key in ("$ref", "$dynamicRef") and not (isinstance(item, str) and item.startswith("#")):
                return True
            if _refers_outside(item):
                return True
        return False
    return isinstance(value, list | tuple) and any(_refers_outside(item) for item in value)
