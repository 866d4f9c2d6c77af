"""Planning: from a request to steps that leave nothing to choose. No target is touched.

Step ids are those of the workflow; a plan for several targets adds `@` and the target, so
that every id in a plan is unique. Steps that compute nothing and call nothing (markers,
evidence) leave no trace. Without `needs` a step follows the one above it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rexecop.operations.environment import TARGETS_MAX, Environment
from rexecop.operations.errors import (
    ConnectorRefused,
    EnvironmentRefused,
    IntentUnknown,
    ModeRefused,
    ParameterRefused,
    PlanTooLarge,
    ProfileRefused,
)
from rexecop.operations.inline_secrets import refuse_secret_values
from rexecop.operations.planning_steps import Context
from rexecop.operations.planning_suboperations import Nesting, gravest, on_their_targets
from rexecop.operations.ports import Configuration
from rexecop.operations.process_spec import Observed
from rexecop.operations.profile_model import IntentSpec, Profile, WorkflowSpec
from rexecop.operations.reading import listed, unknown
from rexecop.operations.targets import ResolvedTarget, resolve_targets
from rexecop.operations.workflow_parts import PARALLEL_MAX
from rexecop.proof.canonical import CONTAINERS_MAX, Json, canonical_bytes, digest_of
from rexecop.proof.codec import PLAN_RECORD_BYTES_MAX, encode
from rexecop.proof.records.intent import EnvironmentRef, ProfileRef
from rexecop.proof.records.plan import CalledIntent, CallStep, PlannedTarget, Rollout, SignedProfile, Step
from rexecop.proof.vocabulary import READ_MODES, Effect, Isolation, Mode, strongest

PLAN_STEPS_MAX: Final = 4 * TARGETS_MAX  # Each makes two records; undone too, all fit into one bundle.
PLAN_BYTES_MAX: Final = PLAN_RECORD_BYTES_MAX - 4 * 1024 * 1024  # Of steps; targets and notes have the rest.
PLAN_CONTAINERS_MAX: Final = CONTAINERS_MAX - 10 * TARGETS_MAX  # Likewise, of arrays and objects.
PARALLEL: Final = 4  # What most hosts answer at one time.
ADHOC: Final = "adhoc"  # The built-in profile whose one connector, `command`, runs what its asker writes.


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What somebody asks for."""

    intent: str
    target: str
    mode: Mode
    parameters: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDraft:
    """The fields of the intent and plan records that follow from the request alone."""

    profile: ProfileRef
    environment: EnvironmentRef
    intent: str
    target: str
    mode: Mode
    parameters: Mapping[str, Json] | None
    effect: Effect
    risk: str
    targets: tuple[PlannedTarget, ...]
    steps: tuple[Step, ...]
    notes: Mapping[str, Json] | None
    parallel: int = 1
    rollout: Rollout | None = None
    called: tuple[CalledIntent, ...] = ()
    signed: SignedProfile | None = None


class NoConfiguration:
    """Where nothing outside the files counts: what they refer to is refused."""

    def reference(self, name: str) -> str:
        """Refuse the reference."""
        raise ConnectorRefused(f"reference `{name:.60}` is read where an operation is planned, not here")

    def file(self, path: str) -> str:
        """Refuse the file."""
        raise ConnectorRefused(f"file `{path:.60}` is read where an operation is planned, not here")


def compile_plan(
    request: PlanRequest,
    profile: Profile,
    environment: Environment,
    isolation: Mapping[Isolation, bool],
    configuration: Configuration | None = None,
    observed: Observed = lambda path: None,
) -> PlanDraft:
    """Return what would run for `request`; `isolation` says which classes were reached here.

    What files refer to is read from `configuration`, and nothing is where there is none. `observed`
    gives the digests of interpreters; by default there are none, and no script runs.

    Raises:
        IntentUnknown, TargetUnknown, ModeRefused, ParameterRefused, ConnectorRefused,
        CommandGuarded, LaneUnavailable, IsolationUnavailable, InternalActionUnknown,
        PlanTooLarge, ProfileRefused, EnvironmentRefused, SecretInline: see there.
    """
    intent = profile.intents.get(request.intent)
    if intent is None:
        message = f"profile `{profile.name}` has no intent `{request.intent:.60}`"
        raise unknown(IntentUnknown, message, request.intent, profile.intents)
    check_profile_of(environment, profile)
    _check_declared_mode(intent, request.mode)
    _check_rules(profile, intent)
    parameters = _parameters(intent, request)
    targets = resolve_targets(environment, request.target)
    context = Context(
        mode=request.mode,
        profile=profile,
        environment=environment,
        intent=intent,
        workflow=profile.workflows[intent.workflow],
        parameters=parameters,
        isolation=isolation,
        several=len(targets) > 1,
        configuration=configuration or NoConfiguration(),
        observed=observed,
    )
    steps, calls, others = _compiled(context, targets)
    effect, called = effect_of_steps(steps), on_their_targets(calls)
    check_effect(intent, effect, request.mode)
    for one in called:
        check_called(profile, one, request.mode)
    shapes: list[Json] = list(context.from_environment)
    left_out: dict[str, Json] = {name: f"{why} leaves it out" for name, why in context.left_out.items()}
    notes: dict[str, Json] = {"shape_from_environment": shapes, "left_out": left_out}
    always = context.workflow.waves is not None and context.workflow.waves.always
    return PlanDraft(
        profile=ProfileRef(name=profile.name, version=profile.version, digest=profile.digest),
        environment=EnvironmentRef(id=environment.id, digest=environment.digest),
        intent=intent.id,
        target=request.target,
        mode=request.mode,
        parameters=parameters or None,
        effect=effect,
        risk=gravest([intent.risk or context.workflow.risk or "unknown", *(one.risk for one in called)]),
        targets=tuple(_planned(target, context) for target in (*targets, *others.values())),
        steps=tuple(steps),
        notes={name: note for name, note in notes.items() if note} or None,
        parallel=parallel_of(context.workflow, *(workflow_of(profile, one) for one in called)),
        rollout=_rollout(context, len(targets)) if context.several or (always and not called) else None,
        called=called,
    )


def _require_fits(steps: Sequence[Step], targets: int) -> None:
    size = containers = 0
    for step in steps:
        text = encode(step)
        size, containers = size + len(text), containers + text.count(b"{") + text.count(b"[")
    for found, most, unit in (
        (size, PLAN_BYTES_MAX, "bytes"),
        (containers, PLAN_CONTAINERS_MAX, "arrays and objects"),
    ):
        if found > most:
            what = f"{len(steps)} steps on {targets} targets take {found} {unit}"
            raise PlanTooLarge(f"{what}, and one plan holds {most}", limit=most)


def parallel_of(workflow: WorkflowSpec, *called: WorkflowSpec) -> int:
    """Return how many steps of one target run side by side: as said, else a few where needs are written.

    What is called may bear fewer. Where it says nothing its steps come one after the other by themselves.
    """
    return min([_parallel(workflow) or 1, *(_parallel(one) or PARALLEL_MAX for one in called)])


def _parallel(workflow: WorkflowSpec) -> int | None:
    written = any(step.needs is not None for step in workflow.steps)
    return workflow.parallel or (PARALLEL if written else None)


def _rollout(context: Context, count: int) -> Rollout:
    """Return how the work goes over `count` targets: where nothing is said one by one, until one fails."""
    waves = context.workflow.waves
    if waves is None:
        return Rollout(waves=(count,), targets_max=1, stop_after=1)
    first = waves.canary.of(count) if waves.canary is not None else 0
    size = waves.size.of(count) if waves.size is not None else waves.max_parallel
    sizes = [first] if first else []
    sizes += [min(size, count - begun) for begun in range(first, count, size)]
    return Rollout(
        waves=tuple(sizes),
        targets_max=waves.max_parallel,
        stop_after=waves.stop_after.of(count),
        canary=bool(first),
        check=(waves.check or None) if context.several else None,
        undo=waves.undo,
    )


def _compiled(
    context: Context, targets: Sequence[ResolvedTarget]
) -> tuple[list[Step], list[CalledIntent], dict[str, ResolvedTarget]]:
    """Return the steps for all `targets`, the intents that they call, and the other targets that takes."""
    steps: list[Step] = []
    calls: list[CalledIntent] = []
    others: dict[str, ResolvedTarget] = {}
    for number, target in enumerate(targets, 1):
        compiled = _compile(context, target)
        steps += compiled.steps.values()
        calls += compiled.called
        others |= compiled.others
        if len(steps) > PLAN_STEPS_MAX:
            what = f"the steps of {number} of {len(targets)} targets are {len(steps)}"
            raise PlanTooLarge(f"{what}, and one plan holds {PLAN_STEPS_MAX}", limit=PLAN_STEPS_MAX)
    _require_fits(steps, len(targets))
    return steps, calls, others


def _compile(context: Context, target: ResolvedTarget) -> Nesting:
    compiler = Nesting(context, target)
    for step in context.workflow.steps:
        compiler.add(step)
    compiler.attach_rollback()
    return compiler


def workflow_of(profile: Profile, one: CalledIntent) -> WorkflowSpec:
    """Return how the intent that is called is carried out."""
    return profile.workflows[profile.intents[one.intent].workflow]


def check_called(profile: Profile, one: CalledIntent, mode: Mode) -> None:
    """Return only if the intent that is called could be asked for in `mode` by itself.

    Raises:
        ModeRefused, ProfileRefused: as `compile_plan`.
    """
    callee = profile.intents[one.intent]
    _check_declared_mode(callee, mode)
    _check_rules(profile, callee)
    check_effect(callee, one.effect, mode)


def effect_of_steps(steps: Iterable[Step]) -> Effect:
    """Return the most far-reaching effect of the calls among `steps`."""
    return strongest([step.call.effect for step in steps if isinstance(step, CallStep)])


def check_profile_of(environment: Environment, profile: Profile) -> None:
    """Return only if the environment is for this profile, or for any.

    Raises:
        EnvironmentRefused: it is for another.
    """
    # An environment that configures the connector of ad-hoc commands is for those as well.
    if environment.profile is not None and profile.name not in (environment.profile, ADHOC):
        raise EnvironmentRefused(
            f"environment `{environment.id}` is for profile `{environment.profile}`, not `{profile.name}`",
            field="environment.profile",
            found=environment.profile,
            allowed=profile.name,
        )


def _check_declared_mode(intent: IntentSpec, mode: Mode) -> None:
    """Hold the request to the declared modes, where the intent says that they bind.

    `read_only` and `observe` are the same reads, and `emergency_readonly` the same under
    tighter limits, so one of them declared allows all three.
    """
    if not intent.enforce_modes:
        return
    allowed = set(intent.modes)
    if allowed & {Mode.READ_ONLY, Mode.OBSERVE}:
        allowed |= {Mode.READ_ONLY, Mode.OBSERVE, Mode.EMERGENCY_READONLY}
    if mode is Mode.RECOVERY and intent.restores:
        return
    if mode not in allowed:
        names = listed(str(item) for item in Mode if item in allowed)
        raise ModeRefused(
            f"intent `{intent.id}` does not run in mode `{mode}`; allowed: {names or 'none'}",
            found=str(mode),
            allowed=names,
        )


def check_effect(intent: IntentSpec, effect: Effect, mode: Mode) -> None:
    """Return only if the mode goes that far; a dry run may show a change, because nothing leaves.

    Raises:
        ModeRefused: a change in a mode that reads, or recovery by what restores nothing.
    """
    if effect is not Effect.READ and mode in READ_MODES and mode is not Mode.DRY_RUN:
        raise ModeRefused(
            f"intent `{intent.id}` is a {effect}, and mode `{mode}` only reads; allowed: dry_run, apply",
            found=str(mode),
            allowed="dry_run, apply",
        )
    if mode is Mode.RECOVERY and not intent.restores:
        raise ModeRefused(
            f"intent `{intent.id}` does not restore anything, so it does not run in mode `{mode}`",
            found=str(mode),
            allowed="dry_run, apply",
        )


def _check_rules(profile: Profile, intent: IntentSpec) -> None:
    if not profile.rules.get(intent.id):
        path = f"validation_rules/{intent.id}.yaml"
        raise ProfileRefused(
            f"intent `{intent.id}` has no rules in `{path}`, and without rules nothing passes", file=path
        )


def _parameters(intent: IntentSpec, request: PlanRequest) -> dict[str, Json]:
    refuse_secret_values(request.parameters)
    if intent.parameters is not None:
        return intent.parameters.check(request.parameters)
    if request.parameters:
        field = next(iter(request.parameters))
        raise ParameterRefused(f"intent `{intent.id}` takes no parameters", field=field)
    return {}


def _planned(target: ResolvedTarget, context: Context) -> PlannedTarget:
    bound = sorted(context.bound.items())
    connection: dict[str, Json] = {
        "connectors": {name: dict(item.config.connection) for name, item in bound if item.config.connection},
        "target": dict(target.connection),
    }
    return PlannedTarget(
        id=target.id,
        type=target.type,
        criticality=target.criticality,
        groups=target.groups,
        connection=digest_of(canonical_bytes(connection)) if any(connection.values()) else None,
    )
