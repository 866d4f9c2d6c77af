"""From the steps of a workflow to the steps of a plan, for one target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from rexecop.operations.binding import Bound, Making, bind, connection_of
from rexecop.operations.environment import ATTEST, PROGRAMS, Backend, ConnectorConfig, Environment
from rexecop.operations.errors import (
    ConnectorRefused,
    InternalActionUnknown,
    IsolationUnavailable,
    ProfileRefused,
)
from rexecop.operations.normalizer_spec import THIS, Normalizer
from rexecop.operations.placeholders import Values, literal_scalar
from rexecop.operations.planning_calls import build_call, effect_of, grade_of_exchange, runs_program
from rexecop.operations.ports import Configuration
from rexecop.operations.process_spec import Observed
from rexecop.operations.profile_model import (
    ActionSpec,
    IntentSpec,
    Profile,
    RetrySpec,
    StepSpec,
    WorkflowSpec,
)
from rexecop.operations.reading import close_to, listed, unknown
from rexecop.operations.targets import ResolvedTarget
from rexecop.proof.call import Call, Limits, ProcessRequest, Slot
from rexecop.proof.canonical import Json
from rexecop.proof.egress import holds_egress
from rexecop.proof.records.plan import CallStep, DeriveStep, Expectation, Probe, Retry, Step
from rexecop.proof.vocabulary import CONFINING, Effect, Grade, Isolation, Mode

TIMEOUT_MS: Final = 10_000  # What the seed's backends give a call; in an emergency no read gets more.
OUTPUT_BYTES: Final = 64 * 1024  # Likewise.
RETRIED: Final = (
    "name_unresolved",
    "timeout",
    "transient_connector_error",
)  # What "every class" means: those that may pass.
NOT_FOR_CHANGES: Final = frozenset({"timeout", "unknown_outcome"})  # Such a call may have happened.
GRACE_MS_MAX: Final = 10_000  # What a verifier takes for the end of a call, and not for more of it.
MARKERS: Final = frozenset({"record_execution_checkpoint", "record_rollback_marker"})
# What `best` may come to. A control group confines no more than bubblewrap does, and gVisor is another
# kernel, so both are for whoever asks for them by name.
STRENGTH: Final = (Isolation.BUBBLEWRAP, Isolation.LANDLOCK_SECCOMP, Isolation.RLIMITS, Isolation.NONE)


@dataclass(slots=True, kw_only=True)
class Context:
    """Everything the compilation of one request shares; `isolation` says which classes were reached here."""

    mode: Mode
    profile: Profile
    environment: Environment
    intent: IntentSpec
    workflow: WorkflowSpec
    parameters: Mapping[str, Json]
    isolation: Mapping[Isolation, bool]
    several: bool
    observed: Observed
    configuration: Configuration
    bound: dict[str, Bound] = field(default_factory=dict)
    from_environment: dict[str, None] = field(default_factory=dict)

    def connector(self, name: str) -> Bound:
        """Return connector `name`, bound once for the whole plan."""
        found = self.bound.get(name)
        if found is None:
            found = self.bound[name] = bind(self.profile, self.environment, name)
        return found

    def reach(self, wanted: Isolation | None, where: str) -> Isolation:
        """Return the isolation class for a call: the one asked for, else the strongest reached of `STRENGTH`.

        Raises:
            IsolationUnavailable: it was not reached on this machine.
        """
        reached = [item for item in Isolation if self.isolation.get(item)]
        best = next((item for item in STRENGTH if item in reached), None)
        if wanted is None and best is None:
            raise IsolationUnavailable(
                f"`{where}`: no isolation class was reached here; run `rexecop doctor`"
            )
        if wanted is not None and wanted not in reached:
            raise IsolationUnavailable(
                f"`{where}` asks for isolation `{wanted}`, which was not reached here; "
                f"reached: {listed(reached) or 'none'}",
                found=str(wanted),
                allowed=listed(reached),
            )
        return wanted or best or Isolation.NONE


class Compiler:
    """Compiles the workflow of a context for one target, step by step in its order."""

    def __init__(self, context: Context, target: ResolvedTarget) -> None:
        self.context = context
        self.target = target
        self.steps: dict[str, Step] = {}  # By workflow id.
        self._stands_for: dict[str, tuple[str, ...]] = {}  # Ids a step's successors wait for.
        self._previous: tuple[str, ...] = ()

    def id(self, step: str) -> str:
        """Return the id in the plan: unique among all targets."""
        return f"{step}@{self.target.id}" if self.context.several else step

    def add(self, spec: StepSpec) -> None:
        """Compile `spec`; a step that neither calls nor computes passes its needs on.

        Raises:
            As `planning.compile_plan`.
        """
        needs = self._previous
        if spec.needs is not None:
            found = (item for name in spec.needs for item in self._stands_for.get(name, ()))
            needs = tuple(dict.fromkeys(found))
        calls = spec.type == "connector"
        acts = calls or (spec.type == "internal" and spec.action not in MARKERS)
        self._stands_for[spec.id] = self._previous = (self.id(spec.id),) if acts else needs
        if acts:
            self.steps[spec.id] = self._call_step(spec, needs) if calls else self._derive_step(spec)

    def _derive_step(self, spec: StepSpec) -> DeriveStep:
        name = spec.normalizer or spec.action
        normalizers = self.context.profile.normalizers
        if name not in normalizers:
            where = f"step `{spec.id}` ({spec.place.file}:{spec.place.line})"
            message = f"{where} names `{name}`, which is no normalizer of the profile"
            raise unknown(InternalActionUnknown, message, name, normalizers)
        sources = normalizers[name].sources()
        for source in sorted(sources):
            if not isinstance(self.steps.get(source), CallStep):
                raise _refused(spec, f"normalizer `{name}` reads `{source}`, which is no call above", source)
        needs = tuple(self.id(step) for step in self.steps if step in sources)
        return DeriveStep(id=self.id(spec.id), target=self.target.id, normalizer=name, needs=needs)

    def _call_step(self, spec: StepSpec, needs: tuple[str, ...]) -> CallStep:
        bound = self.context.connector(spec.connector)
        action = bound.action(spec.action)
        values = self.values(spec)
        effect, call = self._call(action, bound, values)
        isolation, grade = self._isolation(action, bound.config, call)
        if spec.continue_on_error and effect is not Effect.READ:
            message = f"`continue_on_error` goes with reads only, not with a {effect}"
            raise _refused(spec, message, str(effect))
        normalizer = spec.normalizer or action.normalizer
        if normalizer is not None:
            self._own_normalizer(spec, normalizer)
        return CallStep(
            id=self.id(spec.id),
            target=self.target.id,
            call=call,
            limits=self._limits(spec, action, bound.config),
            isolation=isolation,
            idempotent=effect is Effect.READ if action.idempotent is None else action.idempotent,
            grade=grade,
            needs=needs,
            slots=self._slots(spec),
            retry=self._retry(self._retry_spec(spec, action, bound.config), action, effect),
            normalizer=normalizer,
            precondition=self._expectation(spec, spec.precondition or action.precondition, values),
            postcondition=self._expectation(spec, spec.postcondition or action.postcondition, values),
            probe=self._probe(spec, action, bound, values),
            undo=None if action.undo is None else self._call(bound.action(action.undo), bound, values)[1],
            pause_safe=spec.pause_safe,
            continue_on_error=spec.continue_on_error,
            attest=self._attest(action, bound),
            asks=() if self.context.mode is Mode.DRY_RUN else spec.approvals,
        )

    def values(self, spec: StepSpec) -> Values:
        """Return what placeholders may name in the call of `spec`."""
        intent = self.context.intent
        return Values(
            known=intent.parameters.names if intent.parameters is not None else (),
            parameters=self.context.parameters,
            target=self.target.id,
            attributes=self.target.attributes,
            environment=self.context.environment.values,
            slots=tuple(spec.slots or ()),
        )

    def _call(self, action: ActionSpec, bound: Bound, values: Values) -> tuple[Effect, Call]:
        effect = effect_of(action, bound, self.context.profile)
        shaped = action.command or action.transfer
        unpinned = {**dict.fromkeys((*PROGRAMS, Backend.SSH), shaped), Backend.HTTP: action.http}
        if unpinned.get(bound.config.backend, action) is None:
            self.context.from_environment[f"{bound.spec.name}.{action.name}"] = None
        values = replace(values, secrets=bound.config.secrets)
        connection = connection_of(bound.config, self.target.connection)
        connection.pop(ATTEST, None)  # Of the step, not of how a lane connects.
        making = Making(
            action=action,
            bound=bound,
            profile=self.context.profile,
            effect=effect,
            values=values,
            connection=connection,
            observed=self.context.observed,
            configuration=self.context.configuration,
        )
        return effect, build_call(making)

    def _attest(self, action: ActionSpec, bound: Bound) -> tuple[str, ...]:
        """Return the classes of attestation that the action and the target's connection both take.

        Raises:
            ConnectorRefused: they name none in common, or what names none.
        """
        named = connection_of(bound.config, self.target.connection).get(ATTEST, [])
        where = f"`{ATTEST}` of target `{self.target.id}` by connector `{bound.spec.name}`"
        if not isinstance(named, list) or not all(isinstance(name, str) and name for name in named):
            raise ConnectorRefused(f"{where} is not a list of classes", field=ATTEST)
        own = tuple(name for name in named if isinstance(name, str))
        both = tuple(name for name in action.attest if name in own) if own and action.attest else ()
        if own and action.attest and not both:
            raise ConnectorRefused(
                f"{where} names none of the classes that action `{action.name}` takes",
                field=ATTEST,
                found=listed(own),
                allowed=listed(action.attest),
            )
        return both or own or action.attest

    def _isolation(
        self, action: ActionSpec, config: ConnectorConfig, call: Call
    ) -> tuple[Isolation, Grade | None]:
        isolation = Isolation.NOT_APPLICABLE  # Nothing runs here that anything could hold.
        if runs_program(call.request):
            isolation = self.context.reach(
                action.isolation or config.isolation, f"{config.name}.{action.name}"
            )
        egress = call.request.egress if isinstance(call.request, ProcessRequest) else None
        if egress is not None and not holds_egress(isolation, egress):
            raise IsolationUnavailable(
                f"`{config.name}.{action.name}` reaches {listed(egress) or 'no host'} only, and isolation "
                f"`{isolation}` cannot hold a program to that",
                found=str(isolation),
                allowed=listed(item for item in Isolation if holds_egress(item, egress)),
            )
        if call.effect is not Effect.READ:
            return isolation, None
        contained = isolation in CONFINING and not egress
        return isolation, Grade.CONTAINED if contained else grade_of_exchange(call.request)

    def _limits(self, spec: StepSpec, action: ActionSpec, config: ConnectorConfig) -> Limits:
        configured = config.timeouts.get(action.name) or config.timeout_ms
        timeout = spec.timeout_ms or action.timeout_ms or configured or TIMEOUT_MS
        output = action.output_bytes or config.output_bytes or OUTPUT_BYTES
        if self.context.mode is Mode.EMERGENCY_READONLY:
            timeout, output = min(timeout, TIMEOUT_MS), min(output, OUTPUT_BYTES)
        plain = Limits(timeout_ms=timeout, output_bytes=output)
        return replace(
            plain,
            grace_ms=plain.grace_ms if action.grace_ms is None else min(action.grace_ms, GRACE_MS_MAX),
            processes=action.processes or plain.processes,
            memory_bytes=action.memory_bytes,
            raw_output_bytes=None
            if action.raw_output_bytes is None
            else max(action.raw_output_bytes, output),
        )

    def _retry_spec(self, spec: StepSpec, action: ActionSpec, config: ConnectorConfig) -> RetrySpec | None:
        configured = config.retries.get(action.name) or config.retries.get("")
        return spec.retry or self.context.workflow.retry or configured

    def _retry(self, spec: RetrySpec | None, action: ActionSpec, effect: Effect) -> Retry | None:
        if spec is None or not spec.retries or self.context.mode is Mode.EMERGENCY_READONLY:
            return None
        safe = effect is Effect.READ or action.idempotent is True
        if spec.on is None and not safe:
            # "Every class" was never meant for a change that may not happen twice.
            return None
        classes = set(spec.on if spec.on is not None else RETRIED) - set(spec.never)
        if not safe:
            classes -= NOT_FOR_CHANGES
        if not classes:
            return None
        return Retry(
            attempts=1 + spec.retries,
            on=tuple(sorted(classes)),
            delay_ms=spec.delay_ms,
            delay_max_ms=spec.delay_max_ms,
        )

    def _own_normalizer(self, spec: StepSpec, name: str) -> Normalizer:
        """Return a normalizer that reads nothing but the output of the call it is for."""
        normalizer = self.context.profile.normalizers.get(name)
        if normalizer is None:
            raise _refused(spec, f"the profile has no normalizer `{name}`", name)
        other = normalizer.sources() - {THIS, spec.id}
        if other:
            raise _refused(spec, f"normalizer `{name}` reads `{min(other)}`, not only this step", name)
        return normalizer

    def _slots(self, spec: StepSpec) -> dict[str, Slot] | None:
        for slot in (spec.slots or {}).values():
            self._check_fact(spec, slot.step, slot.fact)
        return {
            name: replace(slot, step=self.id(slot.step)) for name, slot in (spec.slots or {}).items()
        } or None

    def _check_fact(self, spec: StepSpec, step: str, fact: str) -> None:
        """Return only if the step above named `step` yields `fact`."""
        above = self.steps.get(step)
        if above is None or above.normalizer is None:
            raise _refused(spec, f"`{step}` is no step above it that yields facts", step)
        self._check_yields(spec, above.normalizer, fact)

    def _check_yields(self, spec: StepSpec, normalizer: str, fact: str) -> None:
        facts = self.context.profile.normalizers[normalizer].yields()
        if fact not in facts:
            raise _refused(spec, f"normalizer `{normalizer}` yields no `{fact}`{close_to(fact, facts)}", fact)

    def _expectation(
        self, spec: StepSpec, expected: Expectation | None, values: Values
    ) -> Expectation | None:
        if expected is None:
            return None
        if expected.step and expected.step != spec.id:
            self._check_fact(spec, expected.step, expected.fact)
        elif spec.normalizer is not None:
            self._check_yields(spec, spec.normalizer, expected.fact)
        equals = literal_scalar(expected.equals, values, f"step `{spec.id}`")
        return Expectation(step=self.id(expected.step or spec.id), fact=expected.fact, equals=equals)

    def _probe(self, spec: StepSpec, action: ActionSpec, bound: Bound, values: Values) -> Probe | None:
        probe = action.probe
        if probe is None:
            return None
        effect, call = self._call(bound.action(probe.action), bound, values)
        if effect is not Effect.READ:
            raise _refused(spec, f"probe `{probe.action}` is a {effect}, not a read", probe.action)
        self._own_normalizer(spec, probe.normalizer)
        self._check_yields(spec, probe.normalizer, probe.fact)
        equals = literal_scalar(probe.equals, values, f"probe of step `{spec.id}`")
        return Probe(call=call, normalizer=probe.normalizer, fact=probe.fact, equals=equals)

    def attach_rollback(self) -> None:
        """Give each change its compensation from `rollback.steps`.

        A rollback step says which step it `undoes`; without that the rollback steps, in
        their order, undo the changes from the last to the first. Reads among them are left
        out: undoing is judged by its outcome.

        Raises:
            As `planning.compile_plan`.
        """
        waiting = {
            spec.id: (spec, step)
            for spec in reversed(self.context.workflow.steps)
            if isinstance(step := self.steps.get(spec.id), CallStep) and step.call.effect is not Effect.READ
        }
        for spec in self.context.workflow.rollback:
            if spec.type != "connector":
                continue
            bound = self.context.connector(spec.connector)
            action = bound.action(spec.action)
            if effect_of(action, bound, self.context.profile) is Effect.READ:
                continue
            undone = spec.undoes or next(iter(waiting), "")
            if undone not in waiting:
                raise _refused(spec, f"it undoes `{undone}`, which is no change left to undo", undone)
            change, step = waiting.pop(undone)
            if step.undo is not None:
                raise _refused(spec, f"`{undone}` already has an `undo` of its own", undone)
            undo = self._call(action, bound, self.values(change))[1]
            self.steps[undone] = replace(step, undo=undo)


def _refused(spec: StepSpec, message: str, found: str) -> ProfileRefused:
    place = spec.place
    return ProfileRefused(
        f"{place.file}:{place.line}: step `{spec.id}`: {message}",
        file=place.file,
        line=place.line,
        field=spec.id,
        found=found,
    )
