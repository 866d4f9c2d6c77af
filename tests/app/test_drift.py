"""What a plan pinned is observed once more before its first change; drift stops it and is shown."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

import rexecop.app.observing as observing
from rexecop.app.instance import Instance
from rexecop.app.planner import PlanInput
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.intent import Intent
from rexecop.proof.records.plan import Plan
from tests.app.support import bob, change, greeting, made, opened, records, scratch, verified

EVENING = "good evening\n"


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    with scratch() as folder:
        asyncio.run(made(folder))
        yield folder


@pytest.fixture
def folder(template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of all tests here, where nothing read before counts as just read."""
    monkeypatch.setattr(observing, "FRESH", timedelta(0))
    return template


async def approved(instance: Instance, folder: Path, asks: PlanInput | None = None) -> str:
    operation = (await instance.plan(asks or change(folder))).operation_id
    assert (await instance.approve(operation, key=bob(folder))).state == "approved"
    return operation


def changed(instance: Instance, operation: str) -> Attempt:
    attempts = [item.record for item in records(instance, operation) if isinstance(item.record, Attempt)]
    return next(item for item in attempts if item.target_n is not None)


def test_drift_stops_the_change_and_says_what_changed_until_it_is_as_it_was(folder: Path) -> None:
    async def story() -> None:
        with opened(folder) as instance:
            operation = await approved(instance, folder)
            file = folder / "rexecop-hello" / "greeting.txt"
            was = file.read_text()
            file.write_text("somebody was here\n")

            stopped = await instance.start(operation)

            assert (stopped.state, stopped.steps[1].error_class) == ("failed", "drifted")
            said = str(stopped.reason)
            assert "changed since the plan" in said and "somebody was here" in said and was.strip() in said
            assert any("somebody was here" in line for line in instance.why(operation).lines)
            assert greeting(folder) == "somebody was here\n"
            assert not verified(instance, operation).findings

            file.write_text(was)
            assert (await instance.retry(operation)).state == "completed"
            assert greeting(folder) == EVENING
            seen, plan = changed(instance, operation).observed, records(instance, operation)[1].record
            assert seen is not None and isinstance(plan, Plan) and plan.pinned is not None
            assert seen.facts == plan.pinned.facts and seen.operation != plan.pinned.operation
            again = records(instance, seen.operation)[0].record
            assert isinstance(again, Intent) and again.origin.event == records(instance, operation)[1].digest
            assert not verified(instance, operation).findings
            assert not verified(instance, seen.operation).findings
            assert instance.resolve("@") == operation
            # Its own change is no drift: undoing and doing it again needs no new observation.
            assert (await instance.rollback(operation)).state == "undone"

    asyncio.run(story())


def test_a_read_that_policy_forbids_by_now_stops_the_change_that_rests_on_it(folder: Path) -> None:
    async def story() -> None:
        with opened(folder) as instance:
            operation = await approved(instance, folder)
            rules = folder / "root" / "policy" / "starter" / "rules.cedar"
            text = rules.read_text()
            rules.write_text(
                text + '@id("no-reads")\nforbid (principal, action == Action::"read", resource);\n'
            )
            before = greeting(folder)
            try:
                stopped = await instance.start(operation)
            finally:
                rules.write_text(text)
            assert (stopped.state, greeting(folder)) == ("failed", before)
            assert "could not be read again: operation" in str(stopped.reason)

    asyncio.run(story())


def test_without_observing_a_change_pins_only_what_is_young_enough(folder: Path, tmp_path: Path) -> None:
    profile = tmp_path / "hello"
    shutil.copytree(Path(observing.__file__).parent / "data" / "hello", profile)
    intent = profile / "intents" / "set_greeting.yaml"
    text = intent.read_text()
    assert "observe: show_greeting\n" in text

    async def pins(instance: Instance, age: str) -> bool:
        intent.write_text(text.replace("observe: show_greeting\n", f"observe: show_greeting\n{age}"))
        asks = replace(change(folder), profile=str(profile), observe=False)
        plan = records(instance, (await instance.plan(asks)).operation_id)[1].record
        assert isinstance(plan, Plan)
        return plan.pinned is not None

    async def story() -> None:
        with opened(folder) as instance:
            await instance.plan(replace(change(folder), profile=str(profile)))
            assert await pins(instance, "  observe_max_age: 1h\n")
            assert not await pins(instance, "  observe_max_age: 1ms\n")
            assert not await pins(instance, "")

    asyncio.run(story())
