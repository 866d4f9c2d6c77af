"""The program that runs handlers of a profile: JSON in, JSON out, in a process that its lane confines.

    python -I -B -m rexecop.execution.worker

It is asked to run handlers one after the other over what calls answered, and says what the
last of them added. Handlers are a function of what they are given: they are run again rather than
remembered. What they print goes to standard error.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Final, TypeAlias, cast

from rexecop.execution.backend import StepExecutionContext
from rexecop.proof.canonical import INTEGER_MAX, Json, canonical_bytes

Handler: TypeAlias = Callable[[StepExecutionContext], object]
DEPTH_MAX: Final = 32  # Of what a handler says; facts people read are flat.
ERROR_LENGTH_MAX: Final = 500  # One line for an outcome.
RESULTS: Final = "connector_results"
FAILURES: Final = "continued_failures"
# What others put there; a handler that wrote it would speak for them.
RESERVED: Final = frozenset({RESULTS, FAILURES, "parameters", "target"})


class Wrong(Exception):
    """Why there are no facts, in words for operators."""


def main() -> int:
    """Answer the one request on standard input."""
    out = sys.stdout.buffer
    with redirect_stdout(sys.stderr):
        said = canonical_bytes(answer(json.loads(sys.stdin.buffer.read())))
    out.write(said)
    out.flush()
    return 0


def answer(request: Mapping[str, Json]) -> dict[str, Json]:
    """Return `actions`, the handlers there are, and `facts` of the last one asked for; or an `error`."""
    try:
        if request.get("path"):  # Where whoever asks found the package, which may be no place of ours.
            sys.path.append(str(request["path"]))
        handlers = _registered(str(request["entry"]))
        said: dict[str, Json] = {"actions": [*sorted(handlers)]}
        steps = cast("list[dict[str, Json]]", request.get("steps") or [])
        return said | {"facts": _run(handlers, request, steps)} if steps else said
    except Wrong as wrong:
        return {"error": str(wrong)}
    except Exception as error:  # noqa: BLE001 - whatever a handler raises is an answer, too
        return {"error": _line(error)}


def _registered(entry: str) -> dict[str, Handler]:
    name, _, attribute = entry.partition(":")
    try:
        module = import_module(name)
    except ImportError as error:
        # The package around the handlers may want what is not installed here; they may not.
        module = _without_package(name, error)
    found: object = module
    for part in attribute.split("."):
        found = getattr(found, part)
    made = found() if callable(found) else found
    if not isinstance(made, Mapping) or not all(map(callable, made.values())):
        raise Wrong(f"`{entry}` gives no mapping of names to handlers")
    return {str(action): handler for action, handler in made.items()}


def _without_package(name: str, error: ImportError) -> ModuleType:
    top = name.partition(".")[0]
    spec = find_spec(top) if top not in sys.modules else sys.modules[top].__spec__
    if top == name or spec is None or spec.submodule_search_locations is None:
        raise error
    bare = ModuleType(top)
    bare.__path__ = list(spec.submodule_search_locations)
    sys.modules[top] = bare
    return import_module(name)


def _run(
    handlers: Mapping[str, Handler], request: Mapping[str, Json], steps: list[dict[str, Json]]
) -> dict[str, Json]:
    """Return the keys of the shared state that the last of `steps` wrote."""
    given = {RESULTS: request.get(RESULTS) or {}, FAILURES: request.get(FAILURES) or {}}
    state: dict[str, object] = cast("dict[str, object]", copy.deepcopy(given))
    before: dict[str, object] = {}
    returned: object = None
    for step in steps:
        action, before = str(step["action"]), copy.deepcopy(state)
        if action not in handlers:
            known = ", ".join(sorted(handlers))
            raise Wrong(f"there is no handler `{action:.60}`; there are: {known:.300}")
        context = StepExecutionContext(
            operation_id=str(request["operation_id"]),
            target=str(request["target"]),
            mode=str(request["mode"]),
            step=step,
            shared_state=state,
        )
        returned = handlers[action](context)
    written = {key: value for key, value in state.items() if key not in before or before[key] != value}
    if not written and isinstance(returned, Mapping):
        written = {str(steps[-1]["id"]): returned}  # It only returned what it found.
    taken = RESERVED.intersection(written)
    if taken:
        raise Wrong(f"a handler wrote `{min(taken)}`, which is not its own")
    return {str(key): _json(value) for key, value in written.items()}


def _json(value: object, depth: int = 0) -> Json:
    """Return `value` as evidence holds it: fractions and what is too large for a number as text."""
    if depth > DEPTH_MAX:
        raise Wrong(f"what a handler said is more than {DEPTH_MAX} levels deep")
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if abs(value) <= INTEGER_MAX else str(value)
        case float() | Decimal():
            return str(value)
        case Mapping():
            return {str(key): _json(item, depth + 1) for key, item in value.items()}
        case list() | tuple():
            return [_json(item, depth + 1) for item in value]
    raise Wrong(f"a handler said a `{type(value).__name__}`, which is no JSON")


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:ERROR_LENGTH_MAX]


if __name__ == "__main__":
    sys.exit(main())
