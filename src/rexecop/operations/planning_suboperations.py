"""Operations within operations: the steps of an intent that a step calls become steps of the plan.

They keep everything that they have by themselves; their ids begin with that of the step that
calls. What is approved is therefore the whole, and nothing is planned while it runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from rexecop.operations.environment import CRITICALITIES
from rexecop.operations.errors import ParameterRefused, PlanTooLarge
from rexecop.operations.inline_secrets import refuse_secret_values
from rexecop.operations.placeholders import is_left_open, literal, message_value
from rexecop.operations.planning_steps import Compiler, Context, refused
from rexecop.operations.profile_model import CallSpec, IntentSpec, StepSpec
from rexecop.operations.reading import close_to
from rexecop.operations.targets import ResolvedTarget, resolve_targets
from rexecop.proof.called import WITHIN
from rexecop.proof.canonical import Json, canonical_bytes
from rexecop.proof.records.plan import CalledIntent, CallStep, DeriveStep, Guard, Step
from rexecop.proof.vocabulary import strongest

DEPTH_MAX: Final = 4  # Calls within calls; what is deeper nobody follows in a preview.
CALLS_MAX: Final = 128  # Of one target; each has a step at least, and a plan holds so many for a few targets.
WORD: Final = "lint"  # Stands for every parameter where a workflow is only looked at.


class Nesting(Compiler):
    """Compiles a workflow whose steps may call other intents of the profile.

    `called` and `others` are what the whole plan calls so far for this target, and the other
    targets that takes; `chain` names the intents that are being compiled, outermost first.
    """

    def __init__(self, context: Context, target: ResolvedTarget, caller: Nesting | None = None) -> None:
        super().__init__(context, target)
        self.prefix = ""
        self.chain: tuple[str, ...] = (*(caller.chain if caller is not None else ()), context.intent.id)
        self.called: list[CalledIntent] = [] if caller is None else caller.called
        self.others: dict[str, ResolvedTarget] = {} if caller is None else caller.others
        self._inner: set[str] = set()  # Last steps of a call that it may leave out by itself.
        self._guards: dict[str, tuple[Guard, ...]] = {}  # What all has to hold for a step, by its id.

    def id(self, step: str) -> str:
        """Return the id in the plan: with the steps that called, unique among all targets."""
        return super().id(f"{self.prefix}{step}")

    def add(self, spec: StepSpec) -> None:
        """Compile `spec`, and what it calls.

        Raises:
            As `planning.compile_plan`.
        """
        if spec.calls is None:
            super().add(spec)
            return
        stands = needs = self._needs(spec)
        if not self._is_left_out(spec):
            last = (name for one in self._each(spec) for name in self._call_intent(one, spec.calls, needs))
            stands = tuple(dict.fromkeys(last)) or needs
        self._stands_for[spec.id] = self._previous = stands

    def _step(self, spec: StepSpec, needs: tuple[str, ...], *, calls: bool) -> Step:
        step = super()._step(spec, needs, calls=calls)
        own, goes_on = (step.when, step.goes_on) if isinstance(step, CallStep) else ((), False)
        self._guards[step.id] = own if goes_on else _each_once((*own, *self._guards_of(step.needs)))
        return step

    def _call_step(self, spec: StepSpec, needs: tuple[str, ...]) -> CallStep:
        step = super()._call_step(spec, needs)
        goes_on, guards = self._rests_on(spec, needs)
        return replace(step, goes_on=goes_on, when=_each_once((*step.when, *guards))) if goes_on else step

    def _rests_on(self, spec: StepSpec, needs: tuple[str, ...]) -> tuple[bool, tuple[Guard, ...]]:
        """Return whether `spec` goes on where what it needs was left out, and which guards it shares.

        A call that was made is no reason to leave anything out, even where it left out its last
        step. What needs it goes on then, by the guards that the call as a whole is made by.
        """
        free = spec.goes_on or spec.needs is None
        skippable = self._may_be_skipped.intersection(needs)
        goes_on = bool(skippable) and (free or bool(self._inner.intersection(needs)))
        return goes_on, () if free else self._guards_of(needs)

    def _guards_of(self, needs: Iterable[str]) -> tuple[Guard, ...]:
        return _each_once(guard for name in needs for guard in self._guards.get(name, ()))

    # --- calls ---

    def _call_intent(self, spec: StepSpec, call: CallSpec, needs: tuple[str, ...]) -> tuple[str, ...]:
        """Take the steps of what `spec` calls into the plan; return those that nothing in it comes after."""
        callee = self._callee(spec, call)
        workflow = self.context.profile.workflows[callee.workflow]
        context = replace(
            self.context,
            intent=callee,
            workflow=replace(workflow, waves=None),  # Those of who calls go over the targets.
            parameters=self._parameters(spec, call, callee),
            left_out={},
        )
        within = Nesting(context, self._target(spec, call), self)
        within.prefix = f"{self.prefix}{spec.id}{WITHIN}"
        place = len(self.called)
        for step in workflow.steps:
            within.add(step)
        within.attach_rollback()
        self.context.left_out |= {f"{spec.id}{WITHIN}{name}": why for name, why in context.left_out.items()}
        effects = [step.call.effect for step in within.steps.values() if isinstance(step, CallStep)]
        nested = self.called[place:]
        one = CalledIntent(
            prefix=f"{self.prefix}{spec.id}",
            intent=callee.id,
            targets=(within.target.id,) if within.steps else (),
            effect=strongest(effects),
            risk=gravest([callee.risk or workflow.risk or "unknown", *(inner.risk for inner in nested)]),
            parameters=dict(context.parameters) or None,
        )
        self.called.insert(place, one)
        if len(self.called) > CALLS_MAX:
            raise PlanTooLarge(
                f"step `{spec.id}` is one of more than {CALLS_MAX} that call an intent", limit=CALLS_MAX
            )
        return self._taken_in(spec, within, needs) if within.steps else needs

    def _taken_in(self, spec: StepSpec, within: Nesting, needs: tuple[str, ...]) -> tuple[str, ...]:
        goes_on, shared = self._rests_on(spec, needs)
        outer = _each_once((*self._when(spec, self.values(spec)), *shared))
        for name, step in within.steps.items():
            self.steps[f"{spec.id}{WITHIN}{name}"] = _after(step, needs, outer, goes_on=goes_on)
        needed = {name for step in within.steps.values() for name in step.needs}
        last = tuple(step.id for step in within.steps.values() if step.id not in needed)
        self._inner |= within._may_be_skipped.intersection(last)
        self._may_be_skipped |= set(last) if outer else within._may_be_skipped.intersection(last)
        self._guards |= dict.fromkeys(last, outer)
        return last

    def _callee(self, spec: StepSpec, call: CallSpec) -> IntentSpec:
        intents = self.context.profile.intents
        callee, chain = intents.get(call.intent), (*self.chain, call.intent)
        if callee is None:
            hint = close_to(call.intent, intents)
            raise refused(
                spec, f"it calls `{call.intent}`, which is no intent of the profile{hint}", call.intent
            )
        if call.intent in self.chain:
            raise refused(spec, f"it would call itself: {_chain(chain)}", call.intent)
        if len(self.chain) > DEPTH_MAX:
            words = f"calls go {DEPTH_MAX} deep at the most: {_chain(chain)}"
            raise refused(spec, words, call.intent)
        if callee.observe is not None:
            words = (
                f"intent `{callee.id}` rests on what `{callee.observe}` observes before it, which only an "
                "operation of its own can; read it in a step, and say what must hold in a `precondition`"
            )
            raise refused(spec, words, callee.id)
        return callee

    def _target(self, spec: StepSpec, call: CallSpec) -> ResolvedTarget:
        if not call.target:
            return self.target
        name = literal(call.target, self.values(spec), f"`target` of step `{spec.id}`")
        if self.context.whole:
            return self.target
        found = resolve_targets(self.context.environment, name)
        if len(found) != 1:
            raise refused(spec, f"it works on one target, and `{name:.60}` stands for {len(found)}", name)
        if found[0].id == self.target.id:
            return self.target
        if self.context.several:
            words = (
                f"it works on `{name:.60}`, and an operation on several targets goes over those only; "
                "ask for one target at a time"
            )
            raise refused(spec, words, name)
        return self.others.setdefault(found[0].id, found[0])

    def _parameters(self, spec: StepSpec, call: CallSpec, callee: IntentSpec) -> dict[str, Json]:
        """Return the values that `callee` is called with; a parameter that was not given is not passed on."""
        values, where = self.values(spec), f"step `{spec.id}`"
        given = {
            name: message_value(value, values, where)
            for name, value in call.parameters.items()
            if self.context.whole or not is_left_open(value, values)
        }
        refuse_secret_values(given)
        declared = callee.parameters
        names = declared.names if declared is not None else ()
        odd = next((name for name in given if name not in names), None)
        if odd is not None:
            hint = close_to(odd, names)
            raise refused(spec, f"intent `{callee.id}` takes no parameter `{odd:.60}`{hint}", odd)
        if declared is None:
            return {}
        try:
            if not self.context.whole:
                return declared.check(given)
            required = declared.schema.get("required")
            for name in required if isinstance(required, list) else ():
                if name not in given:
                    raise refused(spec, f"intent `{callee.id}` needs the parameter `{name}`", str(name))
            fixed = {name: given[name] for name, value in call.parameters.items() if _is_fixed(value)}
            replace(declared, schema={**declared.schema, "required": []}, defaults={}).check(fixed)
        except ParameterRefused as error:
            raise ParameterRefused(
                f"{where}, which calls `{callee.id}`: {error.message}", field=spec.id
            ) from error
        return stand_ins(callee)


def _after(step: Step, needs: tuple[str, ...], outer: tuple[Guard, ...], *, goes_on: bool) -> Step:
    """Return a step of what is called as it stands after the steps above, under the guards of the call."""
    first = not step.needs
    if isinstance(step, DeriveStep) or not (first or step.goes_on):
        return step  # Left out with the steps that it needs.
    when = _each_once((*outer, *step.when))
    return replace(step, when=when, needs=needs, goes_on=goes_on) if first else replace(step, when=when)


def stand_ins(intent: IntentSpec) -> dict[str, Json]:
    """Return a value for every parameter: a word, or a list of one."""
    if intent.parameters is None:
        return {}
    properties = intent.parameters.schema.get("properties", {})
    lists = {
        name
        for name, spec in (properties.items() if isinstance(properties, Mapping) else ())
        if isinstance(spec, Mapping) and spec.get("type") == "array"
    }
    return {name: [WORD] if name in lists else WORD for name in intent.parameters.names}


def gravest(risks: Iterable[str]) -> str:
    """Return the risk that is highest of the usual words; what is none of them says less than any."""
    return max(risks, key=lambda word: CRITICALITIES.index(word) if word in CRITICALITIES else -1)


def on_their_targets(called: Iterable[CalledIntent]) -> tuple[CalledIntent, ...]:
    """Return `called` with each that differs in its targets only said once, without those left out whole."""
    found: dict[tuple[object, ...], CalledIntent] = {}
    for one in (one for one in called if one.targets):
        parameters = canonical_bytes(dict(one.parameters or {}))
        key = (one.prefix, one.intent, one.effect, one.risk, parameters)
        same = found.get(key)
        found[key] = one if same is None else replace(same, targets=(*same.targets, *one.targets))
    return tuple(found.values())


def _is_fixed(value: Json) -> bool:
    return b"{" not in canonical_bytes(value)


def _chain(intents: Iterable[str]) -> str:
    return " → ".join(f"`{name}`" for name in intents)


def _each_once(guards: Iterable[Guard]) -> tuple[Guard, ...]:
    return tuple(dict.fromkeys(guards))
