"""The tools there are: one for each intent, and five that look at what was asked for. None approves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Final, cast

from rexecop.app.planner import PlanInput
from rexecop.app.tooling import Tooling
from rexecop.proof.canonical import Json, parse_json
from rexecop.proof.vocabulary import Effect
from rexecop.service.errors import ToolRefused

SECONDS_MAX: Final = 300  # For longer, ask again: a client that hears nothing gives up.
LISTED_MAX: Final = 50  # A page that a model can read.
TARGETS_NAMED_MAX: Final = 200  # In a schema; more are looked up by their names.
TEXT_LENGTH_MAX: Final = 1_024  # A reason is a line or two.

Schema = Mapping[str, Json]

OWN_NAMES: Final = ("target", "mode", "reason", "idempotency_key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One tool as clients see it; `output` is the schema of its structured result, where that is promised."""

    name: str
    title: str
    description: str
    takes: Schema
    reads: bool
    destroys: bool = False
    repeats: bool = True
    beyond: bool = False
    output: Schema | None = None


def _said() -> Mapping[str, Json]:
    """Return the words and schemas that are the same for every instance."""
    data = files(__package__).joinpath("tools.json").read_bytes()
    found = parse_json(data, bytes_max=len(data))
    assert isinstance(found, dict)
    return found


_SAID: Final = _said()
OUTPUT: Final = cast("Schema", _SAID["output"])
HELPERS: Final = tuple(
    Tool(
        name=str(one["name"]),
        title=str(one["title"]),
        description=str(one["description"]),
        takes=cast("Schema", one["takes"]),
        reads=one["reads"] is True,
        output=OUTPUT if one["answers"] else None,
    )
    for one in cast("list[Mapping[str, Json]]", _SAID["helpers"])
)
HELPER_NAMES: Final = frozenset(tool.name for tool in HELPERS)


def name_of(tooling: Tooling) -> str:
    """Return the name of the tool of an intent; no intent takes the name of a tool that looks."""
    return f"intent_{tooling.name}" if tooling.name in HELPER_NAMES else tooling.name


def own_name(tooling: Tooling, name: str) -> str:
    """Return under which name a tool takes `name`, one of `OWN_NAMES`, beside parameters of its intent."""
    properties = tooling.parameters.get("properties")
    return f"rexecop_{name}" if isinstance(properties, Mapping) and name in properties else name


def tool_of(tooling: Tooling, targets: tuple[str, ...]) -> Tool:
    """Return the tool of an intent, for `targets`.

    Its hints follow from what its steps declare: what cannot be undone counts as destructive.
    """
    properties = tooling.parameters.get("properties")
    required = tooling.parameters.get("required")
    reads = tooling.effect is Effect.READ
    own: dict[str, Json] = {
        "mode": {
            "enum": list(tooling.modes),
            "default": tooling.modes[0],
            "description": f"`{tooling.modes[0]}` does it; `dry_run` renders it and touches nothing.",
        },
        "reason": _SAID["reason"],
        "idempotency_key": _SAID["idempotency_key"],
    }
    needed = [*required] if isinstance(required, list) else []
    if len(targets) > 1:
        named: Json = {"enum": list(targets)} if len(targets) <= TARGETS_NAMED_MAX else {"type": "string"}
        assert isinstance(named, dict)
        own["target"] = {"description": f"On what, {tooling.where}.", **named}
        needed.append(own_name(tooling, "target"))
    given = dict(properties) if isinstance(properties, Mapping) else {}
    said = tooling.summary or tooling.title or tooling.intent
    return Tool(
        name=name_of(tooling),
        title=tooling.title or tooling.intent,
        description=f"{said}\n\n{_explanation(tooling)}",
        takes={
            **tooling.parameters,
            "properties": {**given, **{own_name(tooling, name): value for name, value in own.items()}},
            "required": needed,
        },
        reads=reads,
        destroys=not reads and (tooling.effect is Effect.DESTROY or not tooling.undoable),
        repeats=reads or tooling.idempotent,
        beyond=tooling.beyond,
        output=OUTPUT,
    )


def _explanation(tooling: Tooling) -> str:
    if tooling.effect is Effect.READ:
        return "It only reads. Each call is an operation that policy decides about and that leaves a receipt."
    undone = "can be undone by a person" if tooling.undoable else "cannot be undone by itself"
    return (
        f"It may {tooling.effect} something, which {undone}. Each call is an operation that policy decides"
        " about; where a person has to approve it first, the status is pending_approval."
    )


def filled(
    asked: PlanInput, tooling: Tooling, targets: tuple[str, ...], arguments: Mapping[str, Json]
) -> PlanInput:
    """Return `asked` with what a call with `arguments` says; parameters are checked when it is planned.

    Raises:
        ToolRefused: it names no target that the tool is for, or something of another kind.
    """
    left = dict(arguments)
    own = {name: left.pop(own_name(tooling, name), None) for name in OWN_NAMES}
    target = text("target", own["target"]) or (targets[0] if len(targets) == 1 else None)
    if target not in targets:
        known = ", ".join(targets[:8]) + (" and others" if len(targets) > 8 else "")
        found = "no target is named" if target is None else f"`{target:.60}` is no target of this tool"
        raise ToolRefused(f"{found}; it is for {known}", argument=own_name(tooling, "target"))
    mode = text("mode", own["mode"]) or tooling.modes[0]
    if mode not in tooling.modes:
        allowed = ", ".join(tooling.modes)
        raise ToolRefused(f"`{mode:.60}` is no mode of this tool; it takes {allowed}", argument="mode")
    return replace(
        asked,
        target=target,
        mode=mode,
        parameters=left,
        reason=text("reason", own["reason"]),
        idempotency_key=text("idempotency_key", own["idempotency_key"]),
    )


def text(name: str, value: Json) -> str | None:
    """Return `value`, a text, or None where nothing is said.

    Raises:
        ToolRefused: it is another thing, empty or too long.
    """
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or len(value) > TEXT_LENGTH_MAX or "\0" in value:
        words = f"`{name}` takes a text of 1 to {TEXT_LENGTH_MAX} letters"
        raise ToolRefused(words, argument=name)
    return value


def whole(name: str, value: Json, usual: int, most: int) -> int:
    """Return `value`, a whole number from 1 to `most`; `usual` where nothing is said.

    Raises:
        ToolRefused: it is another thing.
    """
    if value is None:
        return usual
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ToolRefused(f"`{name}` takes a whole number from 1 to {most}", argument=name)
    return value


def only(arguments: Mapping[str, Json], *names: str) -> None:
    """Return only if `arguments` have no other names.

    Raises:
        ToolRefused: they have.
    """
    for name in arguments:
        if name not in names:
            raise ToolRefused(
                f"unknown argument `{name:.60}`; allowed: {', '.join(names)}", argument=name[:60]
            )
