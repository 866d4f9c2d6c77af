"""Lint by planning: an intent is compiled for an environment that has everything it may ask for.

What fails here fails in every environment, so what passes lint is refused later only for
what the environment or the request says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from rexecop.operations.environment import BACKENDS, Backend, ConnectorConfig, Environment, Safety
from rexecop.operations.placeholders import names_in
from rexecop.operations.planning_context import Context, PlanRequest
from rexecop.operations.planning_steps import compile_target
from rexecop.operations.profile_model import (
    ActionSpec,
    CommandShape,
    ConnectorSpec,
    IntentSpec,
    Profile,
    WorkflowSpec,
)
from rexecop.operations.reading import Finding
from rexecop.operations.scripted import ScriptedAction
from rexecop.operations.targets import ResolvedTarget
from rexecop.proof.call import ScriptedReply
from rexecop.proof.canonical import Digest
from rexecop.proof.errors import RexecopError
from rexecop.proof.records.plan import CallStep
from rexecop.proof.vocabulary import READ_MODES, Effect, Ended, Isolation, Mode, strongest

NOWHERE: Final = Digest("sha256:" + "0" * 64)
FOLDER: Final = "/srv/lint"  # Stands for every value of an environment; as a path it may be written to.
WORD: Final = "lint"  # Stands for every parameter and attribute.


def plan_problems(intent: IntentSpec, workflow: WorkflowSpec, profile: Profile) -> Iterator[Finding]:
    """Yield the first reason why `intent` cannot be planned anywhere, and modes it can never run in."""
    names = intent.parameters.names if intent.parameters is not None else ()
    mode = Mode.DRY_RUN
    context = Context(
        request=PlanRequest(intent=intent.id, target=WORD, mode=mode, parameters={}),
        profile=profile,
        environment=_environment(profile),
        intent=intent,
        workflow=workflow,
        parameters=dict.fromkeys(names, WORD),
        isolation=dict.fromkeys(Isolation, True),
        several=False,
    )
    target = ResolvedTarget(
        id=WORD,
        type="host",
        criticality="low",
        groups=(),
        attributes=dict.fromkeys(_names(profile, "target"), WORD),
        connection={},
        thresholds={},
    )
    try:
        steps = compile_target(context, target)
    except RexecopError as error:
        yield _finding(intent, error.message, error.code, error.facts)
        return
    effect = strongest([step.call.effect for step in steps if isinstance(step, CallStep)])
    never = [str(item) for item in intent.modes if item in READ_MODES and item is not Mode.DRY_RUN]
    if effect is not Effect.READ and never:
        message = f"intent `{intent.id}` is a {effect} and declares mode `{never[0]}`, which only reads"
        yield _finding(intent, message, "mode-refused", {"found": never[0]})


def _finding(intent: IntentSpec, message: str, code: str, facts: Mapping[str, str | int]) -> Finding:
    line, found = facts.get("line"), facts.get("found")
    return Finding(
        severity="error",
        code=code,
        file=str(facts.get("file", intent.place.file)),
        line=line if isinstance(line, int) else intent.place.line,
        field=str(facts.get("field", "intent")),
        message=message.removeprefix(f"{facts.get('file')}:{line}: "),
        found=None if found is None else str(found),
    )


def _environment(profile: Profile) -> Environment:
    return Environment(
        id=WORD,
        profile=profile.name,
        description="",
        digest=NOWHERE,
        targets={},
        connectors={name: _connector(spec) for name, spec in profile.connectors.items()},
        values=dict.fromkeys(_names(profile, "env"), FOLDER),
        safety=Safety(default_mode=Mode.DRY_RUN, concurrent_max=1, target_lock=True, windows=(), freezes=()),
        policy=None,
    )


def _connector(spec: ConnectorSpec) -> ConnectorConfig:
    """Return the connector as a real process where it may be one, else as a script."""
    declared = next((name for name in spec.backends if BACKENDS.get(name) is Backend.PROCESS), "")
    if not spec.backends and any(action.command is not None for action in spec.actions.values()):
        declared = "process"
    reply = ScriptedAction(mutating=None, replies=(ScriptedReply(ended=Ended.OK),), targets={})
    return ConnectorConfig(
        name=spec.name,
        file=spec.place.file,
        line=spec.place.line,
        backend=Backend.PROCESS if declared else Backend.SCRIPTED,
        declared=declared or "mock",
        enabled=True,
        allowlist={name: (_shape(action),) for name, action in spec.actions.items()},
        scripted=dict.fromkeys(spec.actions, reply),
        mutating={},
        fixture=None,
        timeout_ms=None,
        output_bytes=None,
        isolation=None,
        connection={},
    )


def _shape(action: ActionSpec) -> CommandShape:
    return action.command or CommandShape(command=WORD, args=())


def _names(profile: Profile, space: str) -> set[str]:
    """Return every name of `space` that a placeholder of the profile asks for."""
    return {
        name
        for connector in profile.connectors.values()
        for action in connector.actions.values()
        for text in texts_of(action)
        for found, name in names_in(text)
        if found == space and name is not None
    }


def texts_of(action: ActionSpec) -> tuple[str, ...]:
    """Return every text of an action that may hold placeholders."""
    expected = (action.precondition, action.postcondition, action.probe)
    equals = (item.equals for item in expected if item is not None)
    return (
        *(action.command.args if action.command is not None else ()),
        *([action.stdin] if action.stdin is not None else ()),
        *action.writable,
        *(action.env or {}).values(),
        *(value for value in equals if isinstance(value, str)),
    )
