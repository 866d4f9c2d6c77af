"""From the steps of a workflow to the steps of a plan, for one target."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from rexecop.operations.environment import Backend, ConnectorConfig
from rexecop.operations.errors import InternalActionUnknown, ProfileRefused
from rexecop.operations.normalizer_spec import THIS, Normalizer
from rexecop.operations.placeholders import Values, literal_scalar
from rexecop.operations.planning_calls import Bound, build_call, effect_of, shape_is_the_environments
from rexecop.operations.planning_context import Context
from rexecop.operations.profile_model import ActionSpec, ExpectationSpec, RetrySpec, StepSpec
from rexecop.operations.reading import close_to, listed
from rexecop.operations.targets import ResolvedTarget
from rexecop.proof.call import Call, Limits, Slot
from rexecop.proof.records.plan import CallStep, DeriveStep, Expectation, Probe, Retry, Step
from rexecop.proof.vocabulary import Effect, Grade, Isolation, Mode

TIMEOUT_MS: Final = 10_000  # What the seed's backends give a call.
OUTPUT_BYTES: Final = 64 * 1024  # Likewise.
EMERGENCY_TIMEOUT_MS: Final = 10_000  # In an emergency no read may make things worse.
EMERGENCY_OUTPUT_BYTES: Final = 64 * 1024  # Likewise.
RETRIED: Final = ("timeout", "transient_connector_error")  # What "every class" means: those that may pass.
NOT_FOR_CHANGES: Final = frozenset({"timeout", "unknown_outcome"})  # Such a call may have happened.
MARKERS: Final = frozenset({"record_execution_checkpoint", "record_rollback_marker"})
CONTAINED: Final = frozenset({Isolation.BUBBLEWRAP, Isolation.LANDLOCK_SECCOMP})


def compile_target(context: Context, target: ResolvedTarget) -> list[Step]:
    """Return the steps of the workflow for `target`, in order.

    Raises:
        As `planning.compile_plan`.
    """
    compiler = _Compiler(context, target)
    for step in context.workflow.steps:
        compiler.add(step)
    compiler.attach_rollback()
    return list(compiler.steps.values())


class _Compiler:
    def __init__(self, context: Context, target: ResolvedTarget) -> None:
        self.context = context
        self.target = target
        self.steps: dict[str, Step] = {}  # By workflow id.
        self.stands_for: dict[str, tuple[str, ...]] = {}  # Ids a step's successors wait for.
        self.previous: tuple[str, ...] = ()

    def id(self, step: str) -> str:
        """Return the id in the plan: unique among all targets."""
        return f"{step}@{self.target.id}" if self.context.several else step

    def add(self, spec: StepSpec) -> None:
        """Compile `spec`; a step that neither calls nor computes passes its needs on."""
        needs = self._needs(spec)
        if spec.type == "connector":
            self.steps[spec.id] = self._call_step(spec, needs)
        elif spec.type == "internal" and spec.action not in MARKERS:
            self.steps[spec.id] = self._derive_step(spec)
        else:
            self.stands_for[spec.id] = self.previous = needs
            return
        self.stands_for[spec.id] = self.previous = (self.id(spec.id),)

    def _needs(self, spec: StepSpec) -> tuple[str, ...]:
        if spec.needs is None:
            return self.previous
        found = (item for name in spec.needs for item in self.stands_for[name])
        return tuple(dict.fromkeys(found))

    def _derive_step(self, spec: StepSpec) -> DeriveStep:
        name = spec.normalizer or spec.action
        normalizer = self.context.profile.normalizers.get(name)
        if normalizer is None:
            raise InternalActionUnknown(
                f"step `{spec.id}` ({spec.place.file}:{spec.place.line}) names `{name}`, "
                f"which is no normalizer of the profile{close_to(name, self.context.profile.normalizers)}",
                found=name,
                allowed=listed(self.context.profile.normalizers),
            )
        sources = normalizer.sources()
        for source in sorted(sources):
            if not isinstance(self.steps.get(source), CallStep):
                raise self._refused(
                    spec, f"normalizer `{name}` reads `{source}`, which is no call above", source
                )
        needs = tuple(self.id(step) for step in self.steps if step in sources)
        return DeriveStep(id=self.id(spec.id), target=self.target.id, normalizer=name, needs=needs)

    def _call_step(self, spec: StepSpec, needs: tuple[str, ...]) -> CallStep:
        bound = self.context.connector(spec.connector)
        action = bound.action(spec.action)
        values = self._values(spec)
        effect, call = self._call(action, bound, values)
        isolation, grade = self._isolation(action, bound.config, effect)
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
            retry=self._retry(spec.retry or self.context.workflow.retry, action, effect),
            normalizer=self._normalizer(spec, action),
            precondition=self._expectation(spec, spec.precondition or action.precondition, values),
            postcondition=self._expectation(spec, spec.postcondition or action.postcondition, values),
            probe=self._probe(spec, action, bound, values),
            undo=None if action.undo is None else self._call(bound.action(action.undo), bound, values)[1],
            pause_safe=spec.pause_safe,
            continue_on_error=self._continues(spec, effect),
        )

    def _values(self, spec: StepSpec) -> Values:
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
        if shape_is_the_environments(action, bound):
            self.context.from_environment[f"{bound.spec.name}.{action.name}"] = None
        return effect, build_call(action, bound, self.context.profile, effect, values)

    def _isolation(
        self, action: ActionSpec, config: ConnectorConfig, effect: Effect
    ) -> tuple[Isolation, Grade | None]:
        if config.backend is Backend.SCRIPTED:
            # Such a call cannot touch anything, so nothing has to hold it.
            return Isolation.NOT_APPLICABLE, Grade.SHAPE if effect is Effect.READ else None
        wanted = action.isolation or config.isolation
        isolation = self.context.reach(wanted, f"{config.name}.{action.name}")
        if effect is not Effect.READ:
            return isolation, None
        return isolation, Grade.CONTAINED if isolation in CONTAINED else Grade.SHAPE

    def _limits(self, spec: StepSpec, action: ActionSpec, config: ConnectorConfig) -> Limits:
        timeout = spec.timeout_ms or action.timeout_ms or config.timeout_ms or TIMEOUT_MS
        output = action.output_bytes or config.output_bytes or OUTPUT_BYTES
        if self.context.request.mode is Mode.EMERGENCY_READONLY:
            timeout, output = min(timeout, EMERGENCY_TIMEOUT_MS), min(output, EMERGENCY_OUTPUT_BYTES)
        return Limits(timeout_ms=timeout, output_bytes=output)

    def _retry(self, spec: RetrySpec | None, action: ActionSpec, effect: Effect) -> Retry | None:
        if spec is None or not spec.retries or self.context.request.mode is Mode.EMERGENCY_READONLY:
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
        return Retry(attempts=1 + spec.retries, on=tuple(sorted(classes)), delay_ms=spec.delay_ms)

    def _continues(self, spec: StepSpec, effect: Effect) -> bool:
        if spec.continue_on_error and effect is not Effect.READ:
            raise self._refused(
                spec, f"`continue_on_error` goes with reads only, not with a {effect}", str(effect)
            )
        return spec.continue_on_error

    def _normalizer(self, spec: StepSpec, action: ActionSpec) -> str | None:
        name = spec.normalizer or action.normalizer
        if name is None:
            return None
        self._own_normalizer(spec, name)
        return name

    def _own_normalizer(self, spec: StepSpec, name: str) -> Normalizer:
        """Return a normalizer that reads nothing but the output of the call it is for."""
        normalizer = self.context.profile.normalizers.get(name)
        if normalizer is None:
            raise self._refused(spec, f"the profile has no normalizer `{name}`", name)
        other = normalizer.sources() - {THIS, spec.id}
        if other:
            raise self._refused(spec, f"normalizer `{name}` reads `{min(other)}`, not only this step", name)
        return normalizer

    def _slots(self, spec: StepSpec) -> dict[str, Slot] | None:
        if spec.slots is None:
            return None
        found: dict[str, Slot] = {}
        for name, slot in spec.slots.items():
            self._check_fact(spec, slot.step, slot.fact)
            found[name] = Slot(
                step=self.id(slot.step),
                fact=slot.fact,
                type=slot.type,
                pattern=slot.pattern,
                length_max=slot.length_max,
            )
        return found

    def _check_fact(self, spec: StepSpec, step: str, fact: str) -> None:
        """Return only if the step above named `step` yields `fact`."""
        above = self.steps.get(step)
        if above is None or above.normalizer is None:
            raise self._refused(spec, f"`{step}` is no step above it that yields facts", step)
        self._check_yields(spec, above.normalizer, fact)

    def _check_yields(self, spec: StepSpec, normalizer: str, fact: str) -> None:
        facts = self.context.profile.normalizers[normalizer].yields()
        if fact not in facts:
            raise self._refused(
                spec, f"normalizer `{normalizer}` yields no `{fact}`{close_to(fact, facts)}", fact
            )

    def _expectation(
        self, spec: StepSpec, expected: ExpectationSpec | None, values: Values
    ) -> Expectation | None:
        if expected is None:
            return None
        where = f"step `{spec.id}`"
        if expected.step is not None and expected.step != spec.id:
            self._check_fact(spec, expected.step, expected.fact)
        elif spec.normalizer is not None:
            self._check_yields(spec, spec.normalizer, expected.fact)
        return Expectation(
            step=self.id(expected.step or spec.id),
            fact=expected.fact,
            equals=literal_scalar(expected.equals, values, where),
        )

    def _probe(self, spec: StepSpec, action: ActionSpec, bound: Bound, values: Values) -> Probe | None:
        probe = action.probe
        if probe is None:
            return None
        effect, call = self._call(bound.action(probe.action), bound, values)
        if effect is not Effect.READ:
            raise self._refused(spec, f"probe `{probe.action}` is a {effect}, not a read", probe.action)
        self._own_normalizer(spec, probe.normalizer)
        self._check_yields(spec, probe.normalizer, probe.fact)
        return Probe(
            call=call,
            normalizer=probe.normalizer,
            fact=probe.fact,
            equals=literal_scalar(probe.equals, values, f"probe of step `{spec.id}`"),
        )

    def attach_rollback(self) -> None:
        """Give each change its compensation from `rollback.steps`.

        A rollback step says which step it `undoes`; without that the rollback steps, in
        their order, undo the changes from the last to the first. Reads among them are left
        out: undoing is judged by its outcome.
        """
        changes = [
            step
            for step in self.context.workflow.steps
            if isinstance(found := self.steps.get(step.id), CallStep) and found.call.effect is not Effect.READ
        ]
        waiting = [step.id for step in reversed(changes)]
        by_id = {step.id: step for step in changes}
        for spec in self.context.workflow.rollback:
            if spec.type != "connector":
                continue
            bound = self.context.connector(spec.connector)
            action = bound.action(spec.action)
            if effect_of(action, bound, self.context.profile) is Effect.READ:
                continue
            undone = spec.undoes or next(iter(waiting), None)
            if undone is None or undone not in waiting:
                raise self._refused(
                    spec, f"it undoes `{undone}`, which is no change left to undo", str(undone)
                )
            waiting.remove(undone)
            self._attach(by_id[undone], action, bound, spec)

    def _attach(self, undone: StepSpec, action: ActionSpec, bound: Bound, spec: StepSpec) -> None:
        step = self.steps[undone.id]
        if not isinstance(step, CallStep):
            return
        if step.undo is not None:
            raise self._refused(spec, f"`{undone.id}` already has an `undo` of its own", undone.id)
        undo = self._call(action, bound, self._values(undone))[1]
        self.steps[undone.id] = replace(step, undo=undo)

    def _refused(self, spec: StepSpec, message: str, found: str) -> ProfileRefused:
        return ProfileRefused(
            f"{spec.place.file}:{spec.place.line}: step `{spec.id}`: {message}",
            file=spec.place.file,
            line=spec.place.line,
            field=spec.id,
            found=found,
        )
