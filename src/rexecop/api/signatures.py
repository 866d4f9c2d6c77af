"""What a function takes and gives, as its type hints say, and as evidence can hold it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Final, get_type_hints

import msgspec

from rexecop.api.errors import ArgumentRefused, ResultRefused
from rexecop.proof.canonical import Json, canonical_bytes, digest_of, parse_json
from rexecop.proof.errors import NotCanonical

VALUE_BYTES_MAX: Final = 64 * 1024  # As much as an intent's parameters, and an answer, may take.
TEXT_MAX: Final = 900  # Of name and signature: what stands in a profile is read by people.
_VARIADIC: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Shape:
    """The signature of a function without its `secrets`, and the types of what it takes and returns."""

    signature: inspect.Signature
    hints: Mapping[str, object]
    typed: bool
    schema: Mapping[str, Json]
    says: str

    def given(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, Json]:
        """Return the arguments by name, defaults filled in, as evidence holds them.

        Raises:
            TypeError: a call of the function itself would not take them either.
            ArgumentRefused: one is nothing that evidence can hold.
        """
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return {name: _argument(name, value) for name, value in bound.arguments.items()}

    def taken(self, values: Mapping[str, Json]) -> tuple[tuple[object, ...], dict[str, object]]:
        """Return what a call of the function gets for `values`, read back from evidence.

        Raises:
            msgspec.ValidationError: they are not of its types.
        """
        found = {
            name: msgspec.convert(value, self.hints[name]) if self.typed else value
            for name, value in values.items()
        }
        bound = inspect.BoundArguments(self.signature, found)
        return bound.args, bound.kwargs

    def returned(self, value: Json) -> object:
        """Return what evidence holds of an answer in the type that the function returns."""
        try:
            return msgspec.convert(value, self.hints.get("return", object))
        except (msgspec.ValidationError, TypeError):
            return value  # It returned another thing than it said.


def shape_of(
    function: Callable[..., object], schema: Mapping[str, Json] | None, secrets: Mapping[str, str]
) -> Shape:
    """Return the shape of `function`; `schema` stands in for its type hints.

    Raises:
        ArgumentRefused: evidence cannot hold what it takes, or its hints do not say what that is.
    """
    if not inspect.isroutine(function):
        raise _refused(f"`governed` takes a function, not a `{type(function).__name__}`")
    where = f"{function.__module__}.{function.__qualname__}"
    signature, kinds = inspect.signature(function), inspect.Parameter
    for name, parameter in signature.parameters.items():
        if parameter.kind in _VARIADIC or (name in secrets and parameter.kind is kinds.POSITIONAL_ONLY):
            raise _refused(f"`{where}` takes `{name}` in a way that has no name in evidence")
    unknown = [name for name in secrets if name not in signature.parameters]
    if unknown:
        raise _refused(f"`{where}` takes no `{unknown[0]}`, which `secrets` names")
    kept = [each for name, each in signature.parameters.items() if name not in secrets]
    written = dict(inspect.get_annotations(function))
    returns = {name: written.pop(name) for name in ("return",) if name in written}
    try:
        hints = _read(function, written)
    except (NameError, TypeError) as error:
        raise _refused(f"type hints of `{where}` cannot be read: {error}") from error
    with suppress(NameError, TypeError):  # Without one an answer is read back as it is written.
        hints |= _read(function, returns)
    shown = signature.replace(parameters=kept)
    typed = schema is None
    schema = _schema(where, shown, hints) if schema is None else _checked(where, schema)
    says = f"{where}{signature}"[:TEXT_MAX]
    return Shape(shown, hints, typed, schema, f"{says}; {_source(function)}")


def _read(function: Callable[..., object], written: dict[str, object]) -> dict[str, object]:
    """Return the hints `written` at `function`, as types."""
    return get_type_hints(
        SimpleNamespace(__annotations__=written),
        globalns=getattr(function, "__globals__", {}),
        include_extras=True,
    )


def _schema(where: str, signature: inspect.Signature, hints: Mapping[str, object]) -> Mapping[str, Json]:
    """Return the JSON Schema of all parameters of `signature`."""
    names = list(signature.parameters)
    bare = [name for name in names if name not in hints]
    if bare:
        raise _refused(f"`{where}` has no type hint for `{bare[0]}`; write one, or give `parameters`")
    try:
        found, parts = msgspec.json.schema_components(
            [hints[name] for name in names], ref_template="#/$defs/{name}"
        )
    except (TypeError, ValueError) as error:
        raise _refused(f"`{where}` takes what has no JSON schema: {error}") from error
    properties = dict(zip(names, found, strict=True))
    schema: dict[str, object] = {"type": "object", "properties": properties, "required": names}
    if parts:
        schema["$defs"] = parts
    return _checked(where, schema)


def _checked(where: str, schema: object) -> Mapping[str, Json]:
    """Return `schema` as evidence holds it."""
    place = _place_of_number(schema)
    if place is not None:
        raise _refused(f"`{where}` takes a number at `{place}`; evidence holds whole numbers and text")
    try:
        found = parse_json(canonical_bytes(msgspec.to_builtins(schema)), bytes_max=VALUE_BYTES_MAX)
    except (NotCanonical, TypeError) as error:
        raise _refused(
            f"the parameters of `{where}` have no schema that evidence can hold: {error}"
        ) from error
    if not isinstance(found, dict):
        raise _refused("`parameters` is no JSON schema of an object")
    return found


def _place_of_number(schema: object, place: str = "parameters") -> str | None:
    """Return where `schema` lets a number be that need not be whole."""
    if isinstance(schema, Mapping):
        kind = schema.get("type")
        if kind == "number" or (isinstance(kind, list) and "number" in kind):
            return place
        parts = [(str(name), part) for name, part in schema.items()]
    elif isinstance(schema, list | tuple):
        parts = [(str(n), part) for n, part in enumerate(schema)]
    else:
        return None
    found = (_place_of_number(part, f"{place}.{name}") for name, part in parts)
    return next((one for one in found if one is not None), None)


def _argument(name: str, value: object) -> Json:
    try:
        return _plain(value)
    except (NotCanonical, TypeError, ValueError) as error:
        words = error.message if isinstance(error, NotCanonical) else "it is no value that JSON has"
        raise ArgumentRefused(f"`{name}`: {words}", argument=name) from error


def answer_of(value: object) -> Json:
    """Return what a function returned as evidence holds it.

    Raises:
        ResultRefused: it is nothing that evidence can hold.
    """
    try:
        return _plain(value)
    except (NotCanonical, TypeError, ValueError) as error:
        words = (
            error.message if isinstance(error, NotCanonical) else f"`{type(value).__name__}` is not in JSON"
        )
        raise ResultRefused(f"what it returned is nothing that evidence can hold: {words}") from error


def digest_answer(value: object) -> Json:
    """Return only the digest of what a function returned; raises as `answer_of`."""
    return {"digest": str(digest_of(canonical_bytes(answer_of(value))))}


def _plain(value: object) -> Json:
    """Return a copy of `value`, so that what its owner does with it later changes nothing."""
    return parse_json(canonical_bytes(msgspec.to_builtins(value)), bytes_max=1 << 24)


def _source(function: Callable[..., object]) -> str:
    """Return the digest of the source of `function`; what it calls may change without it."""
    try:
        return f"source {digest_of(inspect.getsource(function).encode())}"
    except (OSError, TypeError):
        return "source not at hand"


def _refused(words: str) -> ArgumentRefused:
    return ArgumentRefused(words, argument="function")
