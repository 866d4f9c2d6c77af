"""Intents as tools of a program: what each takes, on what, and what its steps declare they do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rexecop.app.instance import Instance
from rexecop.app.planner import PlanInput
from rexecop.operations.catalogs import effect_of, offers
from rexecop.operations.environment import Backend, Environment
from rexecop.operations.profile_model import ActionSpec, Profile
from rexecop.proof.canonical import Json
from rexecop.proof.errors import RexecopError
from rexecop.proof.vocabulary import Effect, Mode, Verdict

NOTHING: Final[Mapping[str, Json]] = {"type": "object", "properties": {}, "additionalProperties": False}
_READS: Final = (Mode.READ_ONLY, Mode.OBSERVE, Mode.EMERGENCY_READONLY, Mode.DRY_RUN)
_CHANGES: Final = (Mode.APPLY, Mode.RECOVERY, Mode.DRY_RUN)
_HERE: Final = frozenset({Backend.SCRIPTED, Backend.PROCESS})  # They talk to nobody beyond this machine.


@dataclass(frozen=True, slots=True, kw_only=True)
class Tooling:
    """One intent as a tool. `parameters` is its JSON Schema; the first of `modes` does what it says.

    `undoable` and `idempotent` hold where every changing step declares it; `beyond` where a step leaves
    this machine.
    """

    intent: str
    profile: str
    environment: str
    title: str
    summary: str
    effect: Effect
    parameters: Mapping[str, Json]
    modes: tuple[str, ...]
    targets: tuple[str, ...]
    undoable: bool
    idempotent: bool
    beyond: bool


def toolings(instance: Instance, profile: str, env: str) -> tuple[Tooling, ...]:
    """Return every intent of `profile` in the environment at `env` as a tool, by name.

    Raises:
        OperationsError, FileMissing: one of them cannot be read.
    """
    planner = instance.parts.planner
    found, environment = planner.profile(profile), planner.environment(Path(env))
    return tuple(_tooling(found, environment))


def _tooling(profile: Profile, environment: Environment) -> Iterator[Tooling]:
    for offer in offers(profile):
        spec = profile.intents[offer.operation]
        changing = [one for one in _actions(profile, spec.workflow) if one.effect is not Effect.READ]
        effect = effect_of(profile, spec)
        usual = _READS if effect is Effect.READ else _CHANGES
        named = [mode for mode in usual if not spec.modes or mode in spec.modes]
        kinds = frozenset(offer.target_kinds)
        targets = environment.targets.values()
        backends = {
            environment.connectors[name].backend
            for name in offer.required_connectors
            if name in environment.connectors
        }
        yield Tooling(
            intent=spec.id,
            profile=profile.name,
            environment=environment.id,
            title=spec.title,
            summary=spec.summary,
            effect=effect,
            parameters=NOTHING if spec.parameters is None else spec.parameters.schema,
            modes=tuple(map(str, named or usual)),
            targets=tuple(one.name for one in targets if not kinds or one.members or one.type in kinds),
            undoable=all(one.undo is not None for one in changing),
            idempotent=all(one.idempotent is True for one in changing),
            beyond=not backends <= _HERE,
        )


def _actions(profile: Profile, workflow: str) -> Iterator[ActionSpec]:
    """Yield the actions of the connector steps of a workflow, and of the intents that it calls."""
    names = [workflow]
    for name in names:
        for step in profile.workflows[name].steps:
            if step.calls is not None and (called := profile.intents.get(step.calls.intent)) is not None:
                names += [called.workflow] if called.workflow not in names else []
            connector = profile.connectors.get(step.connector)
            if connector is not None and step.action in connector.actions:
                yield connector.actions[step.action]


def would_be_blocked(instance: Instance, asked: PlanInput) -> bool:
    """Return whether policy blocks `asked`, as far as can be said: what is no plan yet is not blocked."""
    try:
        answer, _, _ = instance.parts.planner.foresee(asked, instance.identity())
    except RexecopError:
        return False
    return answer.terms.verdict is Verdict.BLOCKED
