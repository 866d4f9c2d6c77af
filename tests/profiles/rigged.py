"""A root beside the rig: how tests ask, approve, start, undo and verify there."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from rexecop.app.instance import Instance
from rexecop.app.planner import PlanInput
from rexecop.lanes import sandbox
from rexecop.proof.canonical import Json
from rexecop.proof.records.outcome import Outcome
from tecrax import profile_root
from tests.app.support import bob, made, opened, records, verified
from tests.rig.rig import Rig, rig

HOST: Final = "monitoring-01"


@dataclass(frozen=True)
class Ran:
    """How an operation ended; `facts` are those that the last of its derivations came to."""

    state: str
    facts: Mapping[str, Json]

    @property
    def findings(self) -> set[str]:
        found = self.facts["findings"]
        assert isinstance(found, list)
        return {str(one["reason"]) for one in found if isinstance(one, dict)}


@dataclass(frozen=True)
class Site:
    """The rig, and a root beside it; `profile` is tecrax with milliseconds where it waits for seconds."""

    folder: Path
    profile: str
    rig: Rig
    instance: Instance
    runner: asyncio.Runner

    def asks(
        self,
        intent: str,
        target: str = HOST,
        mode: str = "read_only",
        profile: str = "",
        **parameters: Json,
    ) -> PlanInput:
        return PlanInput(
            profile=profile or self.profile,
            env=str(self.rig.environment),
            intent=intent,
            target=target,
            mode=mode,
            parameters=parameters,
        )

    def run(self, intent: str, target: str = HOST, mode: str = "read_only") -> Ran:
        """Plan, start and verify."""
        planned = self.runner.run(self.instance.plan(self.asks(intent, target, mode)))
        self.runner.run(self.instance.start(planned.operation_id))
        return self.seen(planned.operation_id)

    def seen(self, operation: str) -> Ran:
        """Verify what is recorded of `operation`, and return how it ended."""
        kept = [sealed.record for sealed in records(self.instance, operation)]
        facts = [one.facts for one in kept if isinstance(one, Outcome) and "findings" in (one.facts or {})]
        report = verified(self.instance, operation)
        assert report.rungs and not report.findings
        return Ran(self.instance.status(operation).state, (facts[-1] or {}) if facts else {})


def quick(folder: Path) -> str:
    """Return a copy of the profile with as many tries, milliseconds apart, that lets no unit settle."""
    shutil.copytree(profile_root(), folder)
    for path in (folder / "workflows").iterdir():
        path.write_text(re.sub(r"delay: (\d+)[sm]\b", r"delay: \1ms", path.read_text()))
    control = folder / "connectors/service_control.yaml"
    before = control.read_text()
    control.write_text(before.replace('command: sleep, args: ["5"]', 'command: sleep, args: ["0"]'))
    assert control.read_text() != before
    return str(folder)


@contextmanager
def standing(folder: Path) -> Iterator[Site]:
    """The rig and a root in `folder`, gone afterwards."""
    asyncio.run(made(folder))
    with ExitStack() as stack:
        running = stack.enter_context(rig(folder / "site"))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in running.secrets.items():
            patch.setenv(name, value)
        patch.setitem(sandbox.BASE_ENVIRONMENT, "PATH", f"{running.programs}:{sandbox.SAFE_PATH}")
        runner = stack.enter_context(asyncio.Runner())
        instance = stack.enter_context(opened(folder))
        yield Site(folder, quick(folder / "profile"), running, instance, runner)


@dataclass(frozen=True)
class Changed:
    """A change that was asked for, approved by bob and started."""

    operation: str
    state: str
    steps: Mapping[str, str]


def change(site: Site, intent: str, target: str = HOST, profile: str = "", /, **parameters: Json) -> Changed:
    """Plan a change, see that it waits for its yes and asks nobody before, and make it."""
    asked = site.asks(intent, target, "apply", profile, **parameters)
    planned = site.runner.run(site.instance.plan(asked))
    assert planned.state == "waiting_for_approval", planned
    site.runner.run(site.instance.approve(planned.operation_id, key=bob(site.folder)))
    ran = site.runner.run(site.instance.start(planned.operation_id))
    site.seen(planned.operation_id)
    steps = {step.id: f"{step.state} {step.error_class or ''} {step.message or ''}" for step in ran.steps}
    return Changed(planned.operation_id, ran.state, steps)


def undone(site: Site, changed: Changed) -> bool:
    state = site.runner.run(site.instance.rollback(changed.operation)).state
    site.seen(changed.operation)
    return state == "undone"
