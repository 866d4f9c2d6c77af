"""What changed since a plan was made: profile, environment, policy, targets, and the facts it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from rexecop.app.catalogs import again, base_of, drift
from rexecop.app.drifting import asked_again, compared_targets
from rexecop.app.planner import PlanInput, Prepared, Source
from rexecop.engines.asking import ask
from rexecop.engines.closing import facts_of
from rexecop.engines.rereading import differences
from rexecop.governance.replay import change
from rexecop.governance.windows import is_held
from rexecop.operations.catalogs import binding_of
from rexecop.operations.fold import Operation
from rexecop.operations.pinned_files import files_of_snapshot
from rexecop.proof.canonical import Digest, Json
from rexecop.proof.course import fact_in
from rexecop.proof.errors import RexecopError
from rexecop.proof.records.plan import CallStep

if TYPE_CHECKING:
    from rexecop.app.instance import Instance

SAME: Final = "same"
CHANGED: Final = "changed"
UNKNOWN: Final = "not compared"
LONG: Final = timedelta(days=3650)  # However old: it is shown with what it says, and decides nothing.


@dataclass(frozen=True, slots=True)
class DiffLine:
    """How one thing stands beside the plan: `verdict` is `same`, `changed` or `not compared`."""

    what: str
    verdict: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffView:
    """Everything a plan was made from, beside what is there now; `makes` is what each change will make so."""

    operation_id: str
    number: int
    state: str
    changed: bool
    compared: tuple[DiffLine, ...]
    makes: tuple[str, ...]


async def compare(
    instance: Instance, operation: str, profile: str | None, env: str | None, *, observe: bool
) -> DiffView:
    """Return what changed since `operation` was planned; no target is touched unless `observe`.

    `profile` and `env` are where the files are now; without an environment they are not compared.

    Raises:
        OperationUnknown, JournalDamaged: there is no plan to compare with.
    """
    view, op = instance.status(operation), instance.operation(operation)
    asked = _asked_again(instance, op, profile, env)
    lines = [DiffLine("files", UNKNOWN, ("name the environment it was planned from with `--env`",))]
    prepared = None
    try:
        prepared = None if asked is None else instance.parts.planner.prepare(asked)
    except RexecopError as error:
        lines = [DiffLine("files", CHANGED, (f"it cannot be planned from them any more: {error.message}",))]
    if prepared is not None:
        targets = (_line(f"target {name}", found) for name, found in compared_targets(op, prepared))
        lines = [*_files(instance, op, prepared), *targets]
    if binding_of(op.the_plan) is not None:
        drifted = drift(op, base_of(instance.settings.root), instance.parts.world.store.pinned)
        lines.insert(0, _line("catalog", tuple(drifted)))
    lines.append(_policy(instance, op))
    before, facts = await _facts(instance, op, asked if prepared is not None else None, observe=observe)
    lines.append(facts)
    return DiffView(
        operation_id=op.id,
        number=view.number,
        state=view.state,
        changed=any(line.verdict == CHANGED for line in lines),
        compared=tuple(lines),
        makes=tuple(_makes(op, before)),
    )


def _asked_again(instance: Instance, op: Operation, profile: str | None, env: str | None) -> PlanInput | None:
    """Return what was asked for, of the files named, of those it was planned from, or of the settings."""
    if env is None:
        try:
            now = again(op, base_of(instance.settings.root))
        except RexecopError:
            return None  # That a catalog is gone, or broken, is a line of what is compared.
        source = instance.parts.drift.source(op.id)
        known = now or ((source.profile, source.env) if source is not None else None)
        profile, env = (profile or known[0], known[1]) if known else (profile, instance.settings.env)
    if env is None:
        return None
    return asked_again(op, Source(profile=profile or op.the_intent.profile.name, env=env))


def _line(what: str, lines: tuple[str, ...]) -> DiffLine:
    return DiffLine(what, CHANGED if lines else SAME, lines)


def _files(instance: Instance, op: Operation, prepared: Prepared) -> Iterator[DiffLine]:
    """Yield how profile and environment stand, by their files."""
    words = {(True, False): "is gone", (False, True): "is new", (True, True): "has other content"}
    pinned: tuple[Digest, ...] = (op.the_plan.profile, op.the_plan.environment)
    for digest, now in zip(pinned, prepared.inputs, strict=False):  # Then a signature, which is in no file.
        kind = f"{now.role}-snapshot/1"
        old = files_of_snapshot(instance.parts.world.store.pinned(digest), kind)
        new = files_of_snapshot(now.data, kind)
        changed = [path for path in sorted(old.keys() | new.keys()) if old.get(path) != new.get(path)]
        yield _line(now.role, tuple(f"`{path}` {words[path in old, path in new]}" for path in changed))


def _policy(instance: Instance, op: Operation) -> DiffLine:
    """Return which packs are others now, and what they would answer."""
    world, decision, plan = instance.parts.world, op.the_decision, op.the_plan
    policy, request = world.authority.policy(plan.profile, plan.environment), decision.request
    old, new = {p.id: p for p in decision.packs}, {p.id: p for p in policy.packs}
    lines = [
        f"pack `{name}` is {'gone' if name not in new else 'new' if name not in old else 'another'}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    schedule = world.contents.schedule(plan.environment) if is_held(request) else None
    answer = ask(policy, replace(request, now=world.clock.now()), plan, schedule)
    if (differs := change(decision.terms, answer)) is not None:
        lines.append(f"it would be {differs.kind}: {differs.words}")
    return _line("policy", tuple(lines))


async def _facts(
    instance: Instance, op: Operation, asked: PlanInput | None, *, observe: bool
) -> tuple[Operation | None, DiffLine]:
    """Return the newest observation of what the plan rests on, and how it stands beside the pinned one."""
    pinned, parts = op.the_plan.pinned, instance.parts
    if pinned is None:
        return None, DiffLine("facts", UNKNOWN, ("nothing is pinned",))
    before = after = instance.operation(pinned.operation)
    look = None if asked is None else parts.planner.observation(asked)
    if look is not None and observe:
        after = (await instance.observe(look[0])).op
    elif look is not None:
        newest = parts.observing.newest(parts.planner.prepare(look[0]).draft, LONG)
        after = before if newest is None else instance.operation(newest.operation)
    if after.id == before.id:
        return before, DiffLine("facts", UNKNOWN, ("nobody looked since; `--observe` does",))
    profile = parts.world.contents.profile(op.the_plan.profile)
    found = differences(facts_of(before, profile), facts_of(after, profile))
    return after, _line(f"facts, as operation {after.id} saw them", found)


def _makes(op: Operation, observed: Operation | None) -> Iterator[str]:
    """Yield what each change will make so, beside what was observed of it."""
    seen: Mapping[str, Json] = {} if observed is None else observed.facts
    for step in op.the_plan.steps:
        if isinstance(step, CallStep) and step.probe is not None:
            fact, found = step.probe.fact, None
            for facts in seen.values():
                found = fact_in(facts, fact) if isinstance(facts, Mapping) and found is None else found
            was = "not observed" if found is None else f"`{found}`"
            yield f"step `{step.id}` on `{step.target}`: `{fact}` becomes `{step.probe.equals}`, was {was}"
