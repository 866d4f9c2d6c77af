"""Lint: every problem of a profile or environment at once, so that what passes also plans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rexecop.operations.environment import Backend, Environment, read_environment
from rexecop.operations.errors import EnvironmentRefused, ProfileRefused
from rexecop.operations.inline_secrets import refuse_inline_secrets
from rexecop.operations.lint_plan import plan_problems, texts_of
from rexecop.operations.normalizer_spec import THIS, Normalizer
from rexecop.operations.placeholders import names_in
from rexecop.operations.planning_steps import MARKERS
from rexecop.operations.profile import read_profile
from rexecop.operations.profile_model import ActionSpec, IntentSpec, Place, Profile, StepSpec, WorkflowSpec
from rexecop.operations.reading import Finding, Problems, close_to, listed
from rexecop.operations.targets import resolve_targets
from rexecop.proof.errors import RexecopError
from rexecop.proof.vocabulary import Effect, Mode


def lint_profile(files: Mapping[str, bytes]) -> tuple[Finding, ...]:
    """Return every finding of the profile in `files`, errors first, each with file, line and field."""
    problems = Problems(ProfileRefused.code)
    try:
        profile = read_profile(files, problems)
    except RexecopError as error:
        file = str(error.facts.get("file", "profile.yaml"))
        problems.add(error.message, file=file, code=error.code)
        return _sorted(problems)
    for path, data in sorted(files.items()):
        if path.endswith((".yaml", ".yml")):
            root = Problems(ProfileRefused.code).parse(data, path)
            if root is not None:
                root.problems = problems
                refuse_inline_secrets(root, values_only=True)
    for intent in profile.intents.values():
        _lint_intent(intent, profile, files, problems)
    _lint_unused(profile, problems)
    return _sorted(problems)


def lint_environment(files: Mapping[str, bytes], profile: Profile | None) -> tuple[Finding, ...]:
    """Return every finding of the environment in `files`; with a `profile`, whether they fit."""
    problems = Problems(EnvironmentRefused.code)
    environment = read_environment(files, problems)
    if environment is None:
        return _sorted(problems)
    file = next(iter(files))
    for name in environment.targets:
        try:
            resolve_targets(environment, name)
        except RexecopError as error:
            problems.add(error.message, file=file, field=f"environment.targets.{name}", code=error.code)
    if profile is not None:
        _lint_fit(environment, profile, file, problems)
    return _sorted(problems)


def _sorted(problems: Problems) -> tuple[Finding, ...]:
    return tuple(sorted(problems.findings, key=lambda item: (item.severity, item.file, item.line)))


def _lint_intent(
    intent: IntentSpec, profile: Profile, files: Mapping[str, bytes], problems: Problems
) -> None:
    if not profile.rules.get(intent.id):
        problems.add(
            f"intent `{intent.id}` has no rule that gives a verdict",
            file=intent.place.file,
            line=intent.place.line,
            field="intent",
            allowed=f"validation_rules/{intent.id}.yaml",
        )
    if intent.runbook and intent.runbook not in files:
        _warn(
            problems, intent.place, f"runbook `{intent.runbook}` is not a file of the profile", intent.runbook
        )
    if intent.observe is not None and intent.observe not in profile.intents:
        problems.add(
            f"`observe` names `{intent.observe}`, which is no intent"
            f"{close_to(intent.observe, profile.intents)}",
            file=intent.place.file,
            line=intent.place.line,
            field="intent.observe",
            found=intent.observe,
            allowed=listed(profile.intents),
        )
    workflow = profile.workflows.get(intent.workflow)
    if workflow is None:
        return
    if workflow.intent and workflow.intent != intent.id:
        _warn(problems, workflow.place, f"workflow says it is for `{workflow.intent}`", workflow.intent)
    found = list(_workflow_problems(intent, workflow, profile))
    if not any(item.severity == "error" for item in (*problems.findings, *found)):
        # Once everything can be read: what a plan would be refused for.
        found += plan_problems(intent, workflow, profile)
    problems.findings.extend(found)
    if Mode.RECOVERY in intent.modes and not intent.restores:
        _warn(problems, intent.place, "mode `recovery` is declared, but not `restores: true`", "recovery")


def _workflow_problems(intent: IntentSpec, workflow: WorkflowSpec, profile: Profile) -> Iterator[Finding]:
    names = frozenset(intent.parameters.names) if intent.parameters is not None else frozenset()
    above: dict[str, StepSpec] = {}
    for step in (*workflow.steps, *workflow.rollback):
        if step.type == "internal" and step.action not in MARKERS:
            yield from _internal_problems(step, above, profile)
        elif step.type == "connector":
            yield from _call_problems(step, names, profile)
        for name, slot in (step.slots or {}).items():
            if slot.step not in above:
                yield _error(
                    step.place, f"slot `{name}` names `{slot.step}`, which is no step above", slot.step
                )
        above[step.id] = step
    if not any(step.type == "connector" for step in workflow.steps):
        yield _error(workflow.place, f"workflow of `{intent.id}` calls nothing", workflow.id)


def _internal_problems(step: StepSpec, above: Mapping[str, StepSpec], profile: Profile) -> Iterator[Finding]:
    name = step.normalizer or step.action
    normalizer: Normalizer | None = profile.normalizers.get(name)
    if normalizer is None:
        yield _error(
            step.place,
            f"internal step `{step.id}` names `{name}`, which is no normalizer of the profile"
            f"{close_to(name, profile.normalizers)}",
            name,
            code="internal-action-unknown",
        )
        return
    for source in sorted(normalizer.sources()):
        if source == THIS or source not in above:
            yield _error(step.place, f"normalizer `{name}` reads `{source}`, which is no call above", source)


def _call_problems(step: StepSpec, names: frozenset[str], profile: Profile) -> Iterator[Finding]:
    connector = profile.connectors.get(step.connector)
    if connector is None:
        yield _error(
            step.place,
            f"step `{step.id}` names connector `{step.connector}`, which the profile does not have"
            f"{close_to(step.connector, profile.connectors)}",
            step.connector,
        )
        return
    action = connector.actions.get(step.action)
    if action is None:
        yield _error(
            step.place,
            f"step `{step.id}` names action `{step.action}` of `{connector.name}`"
            f"{close_to(step.action, connector.actions)}",
            step.action,
        )
        return
    others = [action.undo, action.probe.action if action.probe is not None else None]
    for other in others:
        if other is not None and other not in connector.actions:
            yield _error(action.place, f"`{other}` is no action of `{connector.name}`", other)
    if action.probe is not None and action.probe.normalizer not in profile.normalizers:
        yield _error(action.place, f"`{action.probe.normalizer}` is no normalizer", action.probe.normalizer)
    yield from _placeholder_problems(action, names, step)
    if action.effect is None and "process" in connector.backends:
        yield _error(
            action.place, f"`{connector.name}.{action.name}` does not declare its `effect`", action.name
        )
    if action.effect is Effect.CHANGE and action.probe is None:
        yield _warning(action.place, f"change `{action.name}` has no `probe`: a lost answer needs a person")
    if action.command is None and action.http is None and connector.backends:
        yield _warning(action.place, f"`{action.name}` leaves its command to the environment")


def _placeholder_problems(action: ActionSpec, names: frozenset[str], step: StepSpec) -> Iterator[Finding]:
    slots = frozenset(step.slots or ())
    for text in texts_of(action):
        for space, name in names_in(text):
            known = {"slot": slots}.get(space) if name is not None else names | {"target"}
            if name is not None and space in ("target", "env"):
                continue  # Only the environment knows these.
            if known is None or (name or space) not in known:
                shown = f"{{{space}.{name}}}" if name is not None else f"{{{space}}}"
                yield _error(
                    action.place,
                    f"placeholder `{shown}` of `{action.name}` names nothing in step `{step.id}`",
                    shown,
                )


def _lint_unused(profile: Profile, problems: Problems) -> None:
    used = {intent.workflow for intent in profile.intents.values()}
    for path, workflow in profile.workflows.items():
        if path not in used:
            _warn(problems, workflow.place, f"no intent uses `{path}`", path)
    for name in profile.rules:
        if name not in profile.intents:
            place = Place(file=f"validation_rules/{name}.yaml", line=1)
            _warn(problems, place, f"rules for `{name}`, which is no intent", name)


def _lint_fit(environment: Environment, profile: Profile, file: str, problems: Problems) -> None:
    if environment.profile is not None and environment.profile != profile.name:
        problems.add(
            f"environment is for profile `{environment.profile}`, not `{profile.name}`",
            file=file,
            field="environment.profile",
            found=environment.profile,
            allowed=profile.name,
        )
    for name, config in environment.connectors.items():
        place = Place(file=file, line=config.line)
        spec = profile.connectors.get(name)
        if spec is None:
            _warn(problems, place, f"profile `{profile.name}` has no connector `{name}`", name)
            continue
        if spec.backends and config.backend is not Backend.SCRIPTED and config.declared not in spec.backends:
            problems.findings.append(
                _error(
                    place,
                    f"connector `{name}` is `{config.declared}`; allowed: {listed(spec.backends)}",
                    name,
                )
            )
        if config.fixture is not None and config.fixture not in profile.fixtures:
            problems.findings.append(
                _error(place, f"connector `{name}` names no fixture of the profile", config.fixture)
            )
    for name in profile.connectors:
        if name not in environment.connectors:
            _warn(problems, Place(file=file, line=1), f"connector `{name}` is not configured", name)


def _error(place: Place, message: str, found: str, code: str = ProfileRefused.code) -> Finding:
    return Finding(
        severity="error",
        code=code,
        file=place.file,
        line=place.line,
        field=found,
        message=message,
        found=found,
    )


def _warning(place: Place, message: str) -> Finding:
    return Finding(
        severity="warning",
        code=ProfileRefused.code,
        file=place.file,
        line=place.line,
        field="",
        message=message,
    )


def _warn(problems: Problems, place: Place, message: str, found: str) -> None:
    problems.add(message, file=place.file, line=place.line, found=found, severity="warning")
