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
    ParameterRefused,
    ProfileRefused,
)
from rexecop.operations.handlers import CLASSES as OF_HANDLERS
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
from rexecop.operations.workflow_parts import ITEMS_MAX
from rexecop.proof.call import Call, Limits, ProcessRequest, Slot
from rexecop.proof.called import prefixes
from rexecop.proof.canonical import Json
from rexecop.proof.course import holds
from rexecop.proof.egress import holds_egress
from rexecop.proof.records.plan import CallStep, DeriveStep, Expectation, Guard, Probe, Retry, Step
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
ITEM: Final = "item"  # What one of the steps of a `for_each` is for, as a placeholder.
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
    left_out: dict[str, str] = field(default_factory=dict)  # Steps by workflow id, and why.
    whole: bool = False  # Whether to compile what the parameters would leave out as well.

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
        self._specs: dict[str, StepSpec] = {}  # Likewise.
        self._stands_for: dict[str, tuple[str, ...]] = {}  # Ids a step's successors wait for.
        self._previous: tuple[str, ...] = ()
        self._may_be_skipped: set[str] = set()  # Ids in the plan.

    def id(self, step: str) -> str:
        """Return the id in the plan: unique among all targets."""
        return f"{step}@{self.target.id}" if self.context.several else step

    def add(self, spec: StepSpec) -> None:
        """Compile `spec`; a step that neither calls nor computes passes its needs on.

        Raises:
            As `planning.compile_plan`.
        """
        needs = self._needs(spec)
        calls = spec.type == "connector"
        acts = calls or (spec.type == "internal" and spec.action not in MARKERS)
        stands: tuple[str, ...] = needs
        if acts and not self._is_left_out(spec):
            made = [self._step(one, needs, calls=calls) for one in self._each(spec)]
            stands = tuple(step.id for step in made) or needs
            if made and isinstance(made[0], DeriveStep):
                # What it computes from may end before the step above it does.
                stands = tuple(dict.fromkeys((*stands, *(one for one in needs if one not in made[0].needs))))
        self._stands_for[spec.id] = stands
        if not self._is_check(spec):
            self._previous = stands

    def _needs(self, spec: StepSpec) -> tuple[str, ...]:
        if spec.needs is None:
            return self._previous
        found = (item for name in spec.needs for item in self._stands_for.get(name, ()))
        return tuple(dict.fromkeys(found))

    def _step(self, spec: StepSpec, needs: tuple[str, ...], *, calls: bool) -> Step:
        if spec.id in self.steps:
            raise refused(spec, f"there is another step `{spec.id}`", spec.id)
        step: Step = self._call_step(spec, needs) if calls else self._derive_step(spec)
        self.steps[spec.id], self._specs[spec.id] = step, spec
        guarded = isinstance(step, CallStep) and bool(step.when)
        depends = not (isinstance(step, CallStep) and step.goes_on)
        if guarded or (depends and self._may_be_skipped.intersection(step.needs)):
            self._may_be_skipped.add(step.id)
        return step

    def _is_check(self, spec: StepSpec) -> bool:
        """Return whether `spec` comes after all other work of its wave, so that nothing follows it."""
        waves = self.context.workflow.waves
        return self.context.several and waves is not None and waves.check == spec.id

    def _is_left_out(self, spec: StepSpec) -> bool:
        """Return whether the parameters leave `spec` out of the plan, or what it needs; the plan says so."""
        why, left_out = None, self.context.left_out
        for name in () if spec.goes_on else spec.needs or ():
            why = why or (f"step `{name}` is" if name in left_out else None)
        for guard in () if self.context.whole else spec.when:
            if guard.step:
                above = {guard.step, *prefixes(guard.step)}
                why = why or (f"step `{guard.step}` is" if above & left_out.keys() else None)
            elif not holds(guard, self.context.parameters.get(guard.fact)):
                why = why or f"parameter `{guard.fact}`"
        if why is not None:
            left_out[spec.id] = why
        return why is not None

    def _each(self, spec: StepSpec) -> list[StepSpec]:
        """Return `spec`, or one of it for each value it is for.

        Raises:
            ParameterRefused: the parameter is no list of single values, or of too many.
            ProfileRefused: the intent has a parameter called `item`.
        """
        declared = self.context.intent.parameters
        names = declared.names if declared is not None else ()
        for guard in spec.when:
            if not guard.step and guard.fact not in names:
                raise refused(spec, f"the intent has no parameter `{guard.fact}`", guard.fact)
        if spec.each is None:
            return [spec]
        values: Json = spec.each if isinstance(spec.each, str) else list(spec.each)
        if isinstance(spec.each, str):
            if spec.each not in names:
                raise refused(spec, f"the intent has no parameter `{spec.each}`", spec.each)
            values = self.context.parameters.get(spec.each, [])
        if ITEM in names:
            raise refused(spec, f"`{{{ITEM}}}` is what `for_each` goes over, and a parameter too", ITEM)
        if not isinstance(values, list) or len(values) > ITEMS_MAX:
            raise ParameterRefused(
                f"step `{spec.id}` is for each of `{spec.each!s:.60}`, which is no list of up to {ITEMS_MAX}",
                field=spec.id,
                allowed=f"up to {ITEMS_MAX}",
            )
        items = [item for item in values if isinstance(item, str | int)]
        if len(items) != len(values):
            raise ParameterRefused(f"step `{spec.id}` is for each of a list of single values", field=spec.id)
        return [
            replace(spec, id=f"{spec.id}.{number}", group=spec.id, item=item)
            for number, item in enumerate(items, 1)
        ]

    def _derive_step(self, spec: StepSpec) -> DeriveStep:
        name = spec.normalizer or spec.action
        normalizers = self.context.profile.normalizers
        if name not in normalizers and spec.normalizer is None and self.context.profile.handlers is not None:
            return self._handled_step(spec)
        if name not in normalizers:
            where = f"step `{spec.id}` ({spec.place.file}:{spec.place.line})"
            message = f"{where} names `{name}`, which is no normalizer of the profile"
            raise unknown(InternalActionUnknown, message, name, normalizers)
        sources = normalizers[name].sources()
        for source in sorted(sources):
            if source in self.context.left_out:
                continue
            if source not in self.steps:
                raise refused(spec, f"normalizer `{name}` reads `{source}`, which is no step above", source)
        needs = tuple(self.id(step) for step in self.steps if step in sources)
        return DeriveStep(id=self.id(spec.id), target=self.target.id, normalizer=name, needs=needs)

    def _handled_step(self, spec: StepSpec) -> DeriveStep:
        """Return a step that a handler of the profile's package computes, from everything above it.

        Raises:
            IsolationUnavailable: nothing here holds such code.
        """
        if not any(self.context.isolation.get(item) for item in OF_HANDLERS):
            raise IsolationUnavailable(
                f"step `{spec.id}` runs a handler in Python, and no isolation class that holds one was "
                f"reached here; run `rexecop doctor`",
                allowed=listed(OF_HANDLERS),
            )
        needs = tuple(self.id(step) for step in self.steps)
        return DeriveStep(id=self.id(spec.id), target=self.target.id, normalizer=spec.action, needs=needs)

    def _call_step(self, spec: StepSpec, needs: tuple[str, ...]) -> CallStep:
        bound = self.context.connector(spec.connector)
        action = bound.action(spec.action)
        values = self.values(spec)
        effect, call = self._call(action, bound, values)
        isolation, grade = self._isolation(action, bound.config, call)
        waves = self.context.workflow.waves
        if waves is not None and waves.check == spec.id and effect is not Effect.READ:
            raise refused(spec, f"what checks a wave is a read, not a {effect}", str(effect))
        if spec.continue_on_error and effect is not Effect.READ:
            message = f"`continue_on_error` goes with reads only, not with a {effect}"
            raise refused(spec, message, str(effect))
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
            when=self._when(spec, values),
            # A step that only follows does not depend on it.
            goes_on=bool(self._may_be_skipped.intersection(needs)) and (spec.goes_on or spec.needs is None),
        )

    def _when(self, spec: StepSpec, values: Values) -> tuple[Guard, ...]:
        found: list[Guard] = []
        for guard in spec.when:
            if guard.step:
                self._check_fact(spec, guard.step, guard.fact)
                among = (literal_scalar(value, values, f"step `{spec.id}`") for value in guard.among)
                found.append(replace(guard, step=self.id(guard.step), among=tuple(among)))
        return tuple(found)

    def values(self, spec: StepSpec) -> Values:
        """Return what placeholders may name in the call of `spec`."""
        intent = self.context.intent
        item = {} if spec.item is None else {ITEM: spec.item}
        return Values(
            known=(*(intent.parameters.names if intent.parameters is not None else ()), *item),
            parameters={**self.context.parameters, **item},
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
        if effect is Effect.READ and "validation_failed" in classes:
            classes.add("not_yet")  # Looking again is how a read waits; a change is not made again to look.
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
            raise refused(spec, f"the profile has no normalizer `{name}`", name)
        other = normalizer.sources() - {THIS, spec.id, spec.group}
        if other:
            raise refused(spec, f"normalizer `{name}` reads `{min(other)}`, not only this step", name)
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
            raise refused(spec, f"`{step}` is no step above it that yields facts", step)
        self._check_yields(spec, above.normalizer, fact)

    def _check_yields(self, spec: StepSpec, normalizer: str, fact: str) -> None:
        known = self.context.profile.normalizers.get(normalizer)
        if known is None:
            raise refused(spec, f"only rules may look at facts of the handler `{normalizer}`", normalizer)
        facts = known.yields()
        if fact not in facts:
            raise refused(spec, f"normalizer `{normalizer}` yields no `{fact}`{close_to(fact, facts)}", fact)

    def _expectation(
        self, spec: StepSpec, expected: Expectation | None, values: Values
    ) -> Expectation | None:
        if expected is None:
            return None
        own = expected.step in ("", spec.id, spec.group)
        if not own:
            self._check_fact(spec, expected.step, expected.fact)
        elif spec.normalizer is not None:
            self._check_yields(spec, spec.normalizer, expected.fact)
        equals = literal_scalar(expected.equals, values, f"step `{spec.id}`")
        return Expectation(step=self.id(spec.id if own else expected.step), fact=expected.fact, equals=equals)

    def _probe(self, spec: StepSpec, action: ActionSpec, bound: Bound, values: Values) -> Probe | None:
        probe = action.probe
        if probe is None:
            return None
        effect, call = self._call(bound.action(probe.action), bound, values)
        if effect is not Effect.READ:
            raise refused(spec, f"probe `{probe.action}` is a {effect}, not a read", probe.action)
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
            name: (self._specs[name], step)
            for name, step in reversed(self.steps.items())
            if name in self._specs and isinstance(step, CallStep) and step.call.effect is not Effect.READ
        }
        for spec in self.context.workflow.rollback:
            if spec.type != "connector":
                continue
            bound = self.context.connector(spec.connector)
            action = bound.action(spec.action)
            if effect_of(action, bound, self.context.profile) is Effect.READ:
                continue
            undone = spec.undoes or next(iter(waiting), "")
            if spec.undoes in self.context.left_out:
                continue
            if not spec.undoes and undone in waiting:
                undone = waiting[undone][0].group or undone
            named = [name for name, (change, _) in waiting.items() if undone in (name, change.group)]
            if not named and not self._is_of_nothing(undone):
                raise refused(spec, f"it undoes `{undone}`, which is no change left to undo", undone)
            for name in named:
                change, step = waiting.pop(name)
                if step.undo is not None:
                    raise refused(spec, f"`{undone}` already has an `undo` of its own", undone)
                undo = self._call(action, bound, self.values(change))[1]
                self.steps[name] = replace(step, undo=undo)

    def _is_of_nothing(self, name: str) -> bool:
        """Return whether `name` is a step for each of a list that is empty."""
        found = next((spec for spec in self.context.workflow.steps if spec.id == name), None)
        return found is not None and found.each is not None and f"{name}.1" not in self.steps


def refused(spec: StepSpec, message: str, found: str) -> ProfileRefused:
    place = spec.place
    return ProfileRefused(
        f"{place.file}:{place.line}: step `{spec.id}`: {message}",
        file=place.file,
        line=place.line,
        field=spec.id,
        found=found,
    )
