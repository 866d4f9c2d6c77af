"""Lint: every problem of a profile or environment at once, so that what passes also plans.

An intent is compiled for an environment that has everything it may ask for: what fails here
fails in every environment, so what passes is refused later only for what the environment or
the request says.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Final

from rexecop.governance.windows import Schedule
from rexecop.operations.binding import check_backend, no_lane
from rexecop.operations.environment import (
    BACKENDS,
    Backend,
    ConnectorConfig,
    Environment,
    Safety,
    read_environment,
)
from rexecop.operations.errors import EnvironmentRefused, ProfileRefused
from rexecop.operations.inline_secrets import may_hold_a_value, refuse_inline_secrets
from rexecop.operations.placeholders import expand, names_in
from rexecop.operations.planning import (
    NoConfiguration,
    check_called,
    check_effect,
    check_profile_of,
    effect_of_steps,
)
from rexecop.operations.planning_steps import MARKERS, Context
from rexecop.operations.planning_suboperations import WORD, Nesting, on_their_targets, stand_ins
from rexecop.operations.profile import read_profile
from rexecop.operations.profile_model import (
    ActionSpec,
    CommandShape,
    ConnectorSpec,
    IntentSpec,
    Profile,
    StepSpec,
    WorkflowSpec,
)
from rexecop.operations.reading import Finding, Place, Problems, close_to, listed
from rexecop.operations.scripted import ScriptedAction
from rexecop.operations.targets import ResolvedTarget, resolve_targets
from rexecop.operations.workflow_parts import OPERATION
from rexecop.proof.call import ScriptedReply
from rexecop.proof.canonical import Digest, Json
from rexecop.proof.errors import RexecopError
from rexecop.proof.records.plan import CallStep
from rexecop.proof.vocabulary import Effect, Ended, Isolation, Mode

NOWHERE: Final = Digest("sha256:" + "0" * 64)
FOLDER: Final = "/srv/lint"  # Stands for every value of an environment; as a path it may be written to.


def lint_profile(files: Mapping[str, bytes], handlers: Collection[str] | None = None) -> tuple[Finding, ...]:
    """Return every finding of the profile in `files`, errors first, each with file, line and field.

    `handlers` are those its package has, None where nobody looked.
    """
    problems = Problems(ProfileRefused.code)
    try:
        profile = read_profile(files, problems)
    except RexecopError as error:
        _keep(problems, error, Place("profile.yaml"))
        return _sorted(problems)
    for path, data in sorted(files.items()):
        # Reading is what linting costs: nothing is read twice, nor a case without anything like a secret.
        root = problems.parsed.get(path)
        if (
            root is None
            and path.endswith((".yaml", ".yml"))
            and may_hold_a_value(data.decode(errors="replace"))
        ):
            root = Problems(ProfileRefused.code).parse(data, path)
        if root is not None:
            refuse_inline_secrets(replace(root, problems=problems), values_only=True)
    place = _place(profile)
    for intent in profile.intents.values():
        _lint_intent(intent, profile, place, files, problems)
    for connector in profile.connectors.values():
        if connector.backends and not BACKENDS.keys() & set(connector.backends):
            words = f"nothing here makes calls by {listed(connector.backends)}, so it is only scripted"
            _warn(problems, connector.place, f"connector `{connector.name}`: {words}")
        for action in connector.actions.values():
            if action.effect is Effect.CHANGE and action.probe is None:
                message = f"change `{action.name}` has no `probe`: a lost answer needs a person"
                _warn(problems, action.place, message)
            if not (action.command or action.http or action.transfer) and connector.backends:
                _warn(problems, action.place, f"`{action.name}` leaves its command to the environment")
    _lint_handlers(profile, handlers, problems)
    used = {intent.workflow for intent in profile.intents.values()}
    for path, workflow in profile.workflows.items():
        if path not in used:
            _warn(problems, workflow.place, f"no intent uses `{path}`")
    for name in profile.rules:
        if name not in profile.intents:
            _warn(problems, Place(f"validation_rules/{name}.yaml"), f"rules for `{name}`, which is no intent")
    return _sorted(problems)


def _lint_handlers(profile: Profile, handlers: Collection[str] | None, problems: Problems) -> None:
    for workflow in profile.workflows.values():
        for step in workflow.steps if handlers is not None else ():
            computed = step.type == "internal" and step.action not in MARKERS and step.normalizer is None
            if computed and step.action not in (*profile.normalizers, *(handlers or ())):
                message = f"step `{step.id}` names `{step.action}`, which is neither normalizer nor handler"
                problems.add(
                    message, step.place, field="action", found=step.action, allowed=listed(handlers or ())
                )


def lint_environment(files: Mapping[str, bytes], profile: Profile | None) -> tuple[Finding, ...]:
    """Return every finding of the environment in `files`; with a `profile`, whether they fit."""
    problems = Problems(EnvironmentRefused.code)
    environment = read_environment(files, problems)
    if environment is None:
        return _sorted(problems)
    top = Place(next(iter(files)))
    for name in environment.targets:
        try:
            resolve_targets(environment, name)
        except RexecopError as error:
            _keep(problems, error, top)
    for config in environment.connectors.values():
        if config.backend is Backend.OTHER:
            _warn(problems, config.place, no_lane(config).message)
    if profile is not None:
        _lint_fit(environment, profile, top, problems)
    return _sorted(problems)


def _sorted(problems: Problems) -> tuple[Finding, ...]:
    found = dict.fromkeys(problems.findings)  # Intents may share a workflow.
    return tuple(sorted(found, key=lambda item: (item.severity, item.file, item.line)))


def _lint_intent(
    intent: IntentSpec,
    profile: Profile,
    place: tuple[Environment, ResolvedTarget],
    files: Mapping[str, bytes],
    problems: Problems,
) -> None:
    if not profile.rules.get(intent.id):
        allowed = f"validation_rules/{intent.id}.yaml"
        message = f"intent `{intent.id}` has no rule that gives a verdict"
        problems.add(message, intent.place, field="intent", allowed=allowed)
    if intent.runbook and intent.runbook not in files:
        _warn(problems, intent.place, f"runbook `{intent.runbook}` is not a file of the profile")
    if intent.validation_ref and intent.validation_ref not in files:
        ref = intent.validation_ref
        message = f"`validation_ref` names `{ref}`, which is not a file of the profile"
        problems.add(message, intent.place, field="intent.catalog.validation_ref", found=ref)
    if intent.observe is not None and intent.observe not in profile.intents:
        hint = close_to(intent.observe, profile.intents)
        problems.add(
            f"`observe` names `{intent.observe}`, which is no intent{hint}",
            intent.place,
            field="intent.observe",
            found=intent.observe,
            allowed=listed(profile.intents),
        )
    if Mode.RECOVERY in intent.modes and not intent.restores:
        _warn(problems, intent.place, "mode `recovery` is declared, but not `restores: true`")
    workflow = profile.workflows.get(intent.workflow)
    if workflow is None:
        return
    if workflow.intent and workflow.intent != intent.id:
        _warn(problems, workflow.place, f"workflow says it is for `{workflow.intent}`")
    if not any(step.type in ("connector", OPERATION) for step in workflow.steps):
        problems.add(f"workflow of `{intent.id}` calls nothing", workflow.place, found=workflow.id)
    _lint_plan(_compiler(intent, profile, *place), problems)


def _lint_plan(compiler: Nesting, problems: Problems) -> None:
    """Keep what every plan would be refused for, one problem per step."""
    context = compiler.context
    intent, workflow, failed = context.intent, context.workflow, set[str]()
    for step in workflow.steps:
        try:
            compiler.add(step)
            if step.type == "connector":  # No plan replaces what stands in a scripted call.
                values = replace(
                    compiler.values(step), secrets=context.environment.connectors[step.connector].secrets
                )
                for text in _texts_of(context.profile.connectors[step.connector].actions[step.action]):
                    expand(text, values, f"`{step.action}`")
        except RexecopError as error:
            told = any(
                (item.file, item.line) == (step.place.file, step.place.line) for item in problems.errors()
            )
            if not told and error.facts.get("found") not in failed:  # Else it rests on a step that failed.
                _keep(problems, error, step.place)
            failed.add(step.id)
    if problems.errors():
        return
    try:
        compiler.attach_rollback()
    except RexecopError as error:
        _keep(problems, error, workflow.place)
    undoing = workflow.waves is not None and workflow.waves.undo
    for made in compiler.steps.values() if undoing else ():
        if isinstance(made, CallStep) and made.call.effect is not Effect.READ and made.undo is None:
            _warn(problems, workflow.place, f"`on_stop: undo` leaves `{made.id}` as it is: it has no undo")
    effect = effect_of_steps(compiler.steps.values())
    for mode in intent.modes:
        try:
            check_effect(intent, effect, mode)
            for one in on_their_targets(compiler.called):
                check_called(context.profile, one, mode)
        except RexecopError as error:
            if mode is not Mode.RECOVERY:
                _keep(problems, error, intent.place)
    for step in workflow.steps:
        _lint_call(step, workflow, context.profile, problems)


def _lint_call(step: StepSpec, workflow: WorkflowSpec, profile: Profile, problems: Problems) -> None:
    """Say what of an intent that is called gives way to who calls it."""
    if step.calls is None:
        return
    callee = profile.workflows[profile.intents[step.calls.intent].workflow]
    if callee.waves is not None:
        words = f"step `{step.id}`: the `waves` of `{step.calls.intent}` give way to those of who calls it"
        _warn(problems, step.place, words)
    if workflow.waves is not None and step.calls.target:
        words = f"step `{step.id}` works on another target, so this is refused on several targets at one time"
        _warn(problems, step.place, words)


def _lint_fit(environment: Environment, profile: Profile, top: Place, problems: Problems) -> None:
    try:
        check_profile_of(environment, profile)
    except RexecopError as error:
        _keep(problems, error, top)
    for name, config in environment.connectors.items():
        spec = profile.connectors.get(name)
        if spec is None:
            _warn(problems, config.place, f"profile `{profile.name}` has no connector `{name}`")
            continue
        try:
            check_backend(spec, config)
        except RexecopError as error:
            _keep(problems, error, config.place)
        if config.fixture is not None and config.fixture not in profile.fixtures:
            message = f"connector `{name}` names no fixture of the profile"
            problems.add(message, config.place, found=config.fixture)
    for name in profile.connectors:
        if name not in environment.connectors:
            _warn(problems, top, f"connector `{name}` is not configured")
    _lint_sites(environment, profile, top, problems)


def _lint_sites(environment: Environment, profile: Profile, top: Place, problems: Problems) -> None:
    """Find limits and expected names that nothing looks at: somebody relies on what does not hold."""
    normalizers = profile.normalizers.values()
    limits = frozenset().union(*(one.limits() for one in normalizers))
    named = tuple(f"{limit}_" for one in normalizers for limit in one.limits_by_name())
    lists = frozenset().union(*(one.expects() for one in normalizers))
    sites = {"": environment.everywhere, **{name: item.site for name, item in environment.targets.items()}}
    for target, site in sites.items():
        where = f" of target `{target}`" if target else ""
        for key, given, known in (
            ("thresholds", site.thresholds, limits),
            ("expected", site.expected, lists),
        ):
            for name in given:
                if name not in known and not (key == "thresholds" and name.startswith(named)):
                    message = f"`{key}.{name}`{where} is looked at by no normalizer{close_to(name, known)}"
                    problems.add(message, top, field=key, found=name, allowed=listed(sorted(known)))


def _keep(problems: Problems, error: RexecopError, place: Place) -> None:
    """Keep `error` at the place it names, else at `place`."""
    facts = {key: str(value) for key, value in error.facts.items()}
    if "file" in facts:
        place = Place(facts["file"], int(facts.get("line", "1")))
    message = error.message.removeprefix(f"{place.file}:{place.line}: ")
    found, allowed = facts.get("found"), facts.get("allowed")
    field = facts.get("field", found or "")
    problems.add(message, place, field=field, found=found, allowed=allowed, code=error.code)


def _warn(problems: Problems, place: Place, message: str) -> None:
    problems.add(message, place, severity="warning")


def _place(profile: Profile) -> tuple[Environment, ResolvedTarget]:
    """Return a place that has everything the profile may ask for."""
    secrets = {name: name for name in _names(profile, "secret")}
    attributes = dict.fromkeys(_names(profile, "target"), WORD)
    target = ResolvedTarget(
        id=WORD, type="host", criticality="low", groups=(), attributes=attributes, connection={}
    )
    environment = Environment(
        id=WORD,
        profile=profile.name,
        digest=NOWHERE,
        targets={},
        connectors={name: _connector(spec, secrets) for name, spec in profile.connectors.items()},
        values=dict.fromkeys(_names(profile, "env"), FOLDER)
        | dict.fromkeys(_names(profile, "env", _hosts_of), WORD),
        safety=Safety(concurrent_max=None, default_mode=Mode.DRY_RUN, schedule=Schedule(source="")),
    )
    return environment, target


def _compiler(
    intent: IntentSpec, profile: Profile, environment: Environment, target: ResolvedTarget
) -> Nesting:
    context = Context(
        mode=Mode.DRY_RUN,
        profile=profile,
        environment=environment,
        intent=intent,
        workflow=profile.workflows[intent.workflow],
        parameters=stand_ins(intent),
        isolation=dict.fromkeys(Isolation, True),
        several=False,
        observed=lambda path: NOWHERE,
        configuration=NoConfiguration(),
        whole=True,
    )
    return Nesting(context, target)


def _connector(spec: ConnectorSpec, secrets: Mapping[str, str]) -> ConnectorConfig:
    """Return the connector as real where it may run commands or ask a service, else as a script."""
    runs = (Backend.PROCESS, Backend.SSH)
    processes = [name for name in spec.backends if BACKENDS.get(name) in runs]
    declared = "process" if "process" in processes else next(iter(processes), "")
    if not spec.backends and any(action.command is not None for action in spec.actions.values()):
        declared = "process"
    reply = ScriptedAction(mutating=None, replies=(ScriptedReply(ended=Ended.OK),), targets={})
    if not declared and any(action.http is not None for action in spec.actions.values()):
        declared = next(
            (name for name in spec.backends or ("http",) if BACKENDS.get(name) is Backend.HTTP), ""
        )
    backend = BACKENDS[declared] if declared else Backend.SCRIPTED
    if backend is Backend.SSH:
        backend = Backend.PROCESS  # The same commands, without a way that only an environment knows.
    bare = CommandShape(command=WORD, args=())
    return ConnectorConfig(
        name=spec.name,
        place=spec.place,
        backend=backend,
        declared=declared or "mock",
        enabled=True,
        allowlist={name: (action.command or bare,) for name, action in spec.actions.items()},
        scripted=dict.fromkeys(spec.actions, reply),
        mutating={},
        secrets=secrets,
        connection={"base_url": "https://host.invalid"} if declared.startswith("http") else {},
    )


def _names(
    profile: Profile, space: str, texts: Callable[[ActionSpec], tuple[str, ...]] | None = None
) -> set[str]:
    """Return every name of `space` that a placeholder of the profile asks for in `texts`, else anywhere."""
    return {
        name
        for connector in profile.connectors.values()
        for action in connector.actions.values()
        for text in (texts or _texts_of)(action)
        for found, name in names_in(text)
        if found == space and name is not None
    }


def _hosts_of(action: ActionSpec) -> tuple[str, ...]:
    return action.process.egress or ()


def _texts_of(action: ActionSpec) -> tuple[str, ...]:
    """Return every text of an action that may hold placeholders."""
    expected = (action.precondition, action.postcondition, action.probe)
    equals = (item.equals for item in expected if item is not None)
    sent = (action.http, action.transfer, *(action.talks or {}).values())
    return (
        *(action.command.args if action.command is not None else ()),
        *([action.stdin] if action.stdin is not None else ()),
        *action.writable,
        *(action.env or {}).values(),
        *_hosts_of(action),
        *(action.process.script.files.values() if action.process.script is not None else ()),
        *(value for value in equals if isinstance(value, str)),
        *(text for part in sent if part for text in _texts_in(dict(part))),
    )


def _texts_in(value: Json) -> Iterator[str]:
    """Yield every text in what an action says as a structure."""
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from _texts_in(item)
