"""Whether the same plan would come of the files that an operation was planned from, until it begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from rexecop.app.catalogs import require_unchanged
from rexecop.app.contents import PinnedContents
from rexecop.app.planner import PLANNED, PlanInput, Planner, Prepared, Source
from rexecop.engines.rereading import differences
from rexecop.operations.environment import Environment
from rexecop.operations.errors import PlanDrifted
from rexecop.operations.fold import Operation
from rexecop.operations.planning_http import keyed
from rexecop.operations.ports import Note, Store
from rexecop.operations.profile_model import Profile
from rexecop.proof.called import Planned
from rexecop.proof.canonical import Json
from rexecop.proof.codec import decode, to_json
from rexecop.proof.errors import RexecopError
from rexecop.proof.records.plan import DeriveStep
from rexecop.proof.records.plan import Step as PlannedStep

FIRST_MAX: Final = 200  # Of a difference so much is said where one line has to do.


def asked_again(op: Operation, source: Source) -> PlanInput:
    """Return what was asked for, of the files at `source`."""
    intent = op.the_intent
    return PlanInput(
        profile=source.profile,
        env=source.env,
        intent=intent.intent,
        target=intent.target,
        mode=intent.mode.value,
        parameters=intent.parameters,
    )


class Drift:
    """Compares files as they were with files as they are; paths of catalogs begin at `base`."""

    def __init__(self, planner: Planner, contents: PinnedContents, store: Store, base: Path) -> None:
        self._planner = planner
        self._contents = contents
        self._store = store
        self._base = base

    def source(self, operation: str) -> Source | None:
        """Return where `operation`, which did not begin yet, was planned from, if that is known."""
        for _, body in self._store.posted(PLANNED, operation):
            return decode(Source, body)
        return None

    def forget(self, operation: str) -> None:
        """Compare `operation` with nothing any more."""
        if self.source(operation) is not None:
            self._store.post(PLANNED, operation, None)

    def require_unchanged(self, op: Operation) -> tuple[Note, ...]:
        """Return what is taken down when `op` begins, if the same plan would come of its files.

        Where nobody knows which files these were, or they are gone, nothing is compared: another machine
        may have them.

        Raises:
            PlanDrifted: another would, with the first of what is another. CatalogDrifted: likewise.
        """
        require_unchanged(op, self._base, self._store.pinned)
        source = self.source(op.id)
        if source is None:
            return ()
        taken_down = (Note(kind=PLANNED, name=op.id, body=None),)
        if not Path(source.env).is_file():
            return taken_down
        for what in self._found(op, source):
            said = what if len(what) <= FIRST_MAX else f"{what[:FIRST_MAX]} ..."
            raise PlanDrifted(
                f"what it was planned from is another now: {said}; it is not started",
                next_steps=(
                    f"rexecop diff {op.id}",
                    f"rexecop cancel {op.id} --reason 'planned again'",
                    f"rexecop start {op.id} --as-planned",
                ),
                found=said,
            )
        return taken_down

    def _found(self, op: Operation, source: Source) -> Iterator[str]:
        plan, planner = op.the_plan, self._planner
        try:
            profile, environment = planner.profile(source.profile), planner.environment(Path(source.env))
            if (profile.digest, environment.digest) == (plan.profile, plan.environment):
                return
            prepared = planner.prepare(asked_again(op, source))
        except RexecopError as error:
            yield f"it cannot be planned from that any more: {error.message}"
            return
        for name, lines in compared_targets(op, prepared):
            yield from (f"target `{name}`: {line}" for line in lines)
        contents = self._contents
        yield from _of_environment(op, contents.environment(plan.environment), environment)
        yield from _of_profile(op, contents.profile(plan.profile), profile)
        policies = [
            (contents.proposed_files(one), contents.narrowing_files(two, one))
            for one, two in ((plan.profile, plan.environment), (profile.digest, environment.digest))
        ]
        if policies[0] != policies[1]:
            yield "profile and environment bring other rules along"


def compared_targets(op: Operation, prepared: Prepared) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each target with what is different about it, or would be done to it differently."""
    draft = prepared.draft
    there = _by_target(op.the_plan, op.the_plan.steps)
    here = _by_target(draft, keyed(draft.steps, op.id))
    for name in sorted(there.keys() | here.keys()):
        yield name, differences(there.get(name), here.get(name))


def _by_target(plan: Planned, steps: tuple[PlannedStep, ...]) -> dict[str, dict[str, Json]]:
    found = {target.id: dict(to_json(target)) for target in plan.targets}
    for one in plan.called:
        for name in one.targets:
            found[name][f"calls {one.prefix}"] = {**to_json(one), "targets": name}
    for step in steps:
        found[step.target][f"step {step.id}"] = to_json(step)
    return found


def _of_environment(op: Operation, before: Environment, now: Environment) -> Iterator[str]:
    """Yield what the environment says otherwise of when `op` may run and how what is seen is judged."""
    if before.safety != now.safety:
        yield "the environment has other windows or limits"
    for target in op.the_plan.targets:
        if before.site(target.id) != now.site(target.id):
            yield f"target `{target.id}`: the environment has other thresholds or expected names"


def _of_profile(op: Operation, before: Profile, now: Profile) -> Iterator[str]:
    """Yield what the profile says otherwise of the intents of `op`, its facts and what counts as success."""
    plan = op.the_plan
    normalizers = {step.normalizer for step in plan.steps if isinstance(step, DeriveStep)}
    intents = {op.the_intent.intent, *(one.intent for one in plan.called)}
    parts: tuple[tuple[str, set[str], Callable[[Profile], Mapping[str, object]]], ...] = (
        ("intent", intents, lambda profile: profile.intents),
        ("validation rules of", intents, lambda profile: profile.rules),
        ("normalizer", normalizers, lambda profile: profile.normalizers),
    )
    for what, names, of in parts:
        for name in sorted(names):
            if of(before).get(name) != of(now).get(name):
                yield f"the profile has another {what} `{name}`"
    if before.redactions != now.redactions or before.handlers != now.handlers:
        yield "the profile has other redactions or handlers"
