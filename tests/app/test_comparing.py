"""What changed since a plan: files, targets, policy and facts, each named, and no target touched unasked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from rexecop.app.comparing import DiffView
from rexecop.app.views import OperationView
from rexecop.operations.errors import PlanDrifted
from tests.app.support import asked, change, made, opened, scratch
from tests.cli.conftest import Rexecop, alone, rexecop

__all__ = ["alone", "rexecop"]

FREEZE = """
    freezes: [{name: holidays, timezone: UTC, from: 2030-01-01, until: 2030-01-02}]
"""


@pytest.fixture(scope="module")
def planned() -> Iterator[tuple[Path, str]]:
    async def plan(folder: Path) -> str:
        await made(folder)
        with opened(folder) as instance:
            return (await instance.plan(change(folder))).operation_id

    with scratch() as folder:
        yield folder, asyncio.run(plan(folder))


def compared(planned: tuple[Path, str], *, observe: bool = False, env: bool = True) -> DiffView:
    folder, operation = planned
    file = str(folder / "root" / "hello.environment.yaml") if env else None
    with opened(folder) as instance:
        return asyncio.run(instance.diff(operation, None, file, observe=observe))


def verdicts(view: DiffView) -> dict[str, str]:
    return {line.what.split(",")[0]: line.verdict for line in view.compared}


def test_nothing_changed_is_said_without_a_look_at_the_target(planned: tuple[Path, str]) -> None:
    folder, _ = planned
    scene = folder / "rexecop-hello"
    away = scene.rename(folder / "away")
    try:
        view = compared(planned)
    finally:
        away.rename(scene)

    same = {"profile": "same", "environment": "same", "target localhost": "same", "policy": "same"}
    assert verdicts(view) == {**same, "facts": "not compared"} and not view.changed
    assert view.makes == (
        "step `write_greeting` on `localhost`: `content` becomes `good evening\n`, was `hello\n`",
    )
    assert verdicts(compared(planned, env=False)) == verdicts(view)


def test_a_target_or_an_environment_that_changed_is_named_with_both_sides(planned: tuple[Path, str]) -> None:
    file = planned[0] / "root" / "hello.environment.yaml"
    text = file.read_text()
    try:
        file.write_text(text.replace("criticality: low", "criticality: high"))
        view = compared(planned)
        file.write_text(text.replace("localhost", "elsewhere"))
        gone = compared(planned)
    finally:
        file.write_text(text)

    assert view.changed and verdicts(view)["environment"] == "changed"
    lines = next(line.lines for line in view.compared if line.what == "target localhost")
    assert lines == ('`criticality` is "high", was "low"',)
    assert "cannot be planned from them any more" in gone.compared[0].lines[0]


def test_another_pack_is_named_with_what_it_would_answer(planned: tuple[Path, str]) -> None:
    rules = planned[0] / "root" / "policy" / "starter" / "rules.cedar"
    text = rules.read_text()
    try:
        rules.write_text(text + '@id("no")\nforbid (principal, action == Action::"change", resource);\n')
        view = compared(planned)
    finally:
        rules.write_text(text)

    lines = next(line.lines for line in view.compared if line.what == "policy")
    assert lines[0] == "pack `starter` is another" and "becomes `blocked`" in lines[1]


def test_facts_are_looked_at_again_when_that_is_asked_for(
    planned: tuple[Path, str], rexecop: Rexecop
) -> None:
    folder, operation = planned
    file = folder / "rexecop-hello" / "greeting.txt"
    file.write_text("somebody was here\n")
    try:
        view = compared(planned, observe=True)
    finally:
        file.write_text("hello\n")

    facts = view.compared[-1]
    assert facts.verdict == "changed" and any("somebody was here" in line for line in facts.lines)
    assert "was `somebody was here\n`" in view.makes[0]
    words = (
        "diff",
        operation,
        "--root",
        str(folder / "root"),
        "--env",
        str(folder / "root" / "hello.environment.yaml"),
    )
    assert rexecop(*words, "--quiet").out == "changed\n"  # The newest look counts, whoever made it.
    assert "somebody was here" in rexecop(*words).out


def started(folder: Path, operation: str, **how: bool) -> OperationView:
    with opened(folder) as instance:
        return asyncio.run(instance.start(operation, **how))  # type: ignore[arg-type]


def planned_in(folder: Path) -> str:
    async def plan() -> str:
        await made(folder)
        with opened(folder) as instance:
            return (await instance.plan(asked(folder, "host_facts", "read_only"))).operation_id

    return asyncio.run(plan())


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("criticality: low", "criticality: high", '`criticality` is "high", was "low"'),
        ("localhost", "elsewhere", "cannot be planned from that any more"),
        ("id: here", "id: [", "cannot be planned from that any more"),
        ("", FREEZE, "other windows or limits"),
        ("", "\n  thresholds: {disk_pct: 5}\n", "other thresholds or expected names"),
    ],
    ids=["a target", "no target", "no YAML", "a freeze", "a threshold"],
)
def test_what_would_be_another_plan_now_is_not_started_until_somebody_says_so(
    old: str, new: str, says: str
) -> None:
    with scratch() as folder:
        operation = planned_in(folder)
        file = folder / "root" / "hello.environment.yaml"
        text = file.read_text()
        file.write_text(text.replace(old, new) if old else f"{text}{new}")

        with pytest.raises(PlanDrifted) as refused:
            started(folder, operation)
        assert says in refused.value.message
        assert f"rexecop start {operation} --as-planned" in refused.value.next_steps
        with opened(folder) as instance:
            assert instance.status(operation).state == "approved"
            assert asyncio.run(instance.diff(operation, None, None)).changed
        assert started(folder, operation, as_planned=True).state == "completed"


def test_what_changed_and_makes_no_other_plan_keeps_nothing_from_starting() -> None:
    with scratch() as folder:
        first, second = planned_in(folder), planned_again(folder)
        file = folder / "root" / "hello.environment.yaml"
        file.write_text(file.read_text() + "\n# Nothing of this is about it.\n")
        assert started(folder, first).state == "completed"
        with opened(folder) as instance:
            assert verdicts(asyncio.run(instance.diff(first, None, None)))["files"] == "not compared"
        file.unlink()
        assert started(folder, second).state == "completed", "files that are gone say nothing"
        with opened(folder) as instance:
            assert instance.parts.world.store.posted("planned") == []


def planned_again(folder: Path) -> str:
    with opened(folder) as instance:
        return asyncio.run(instance.plan(asked(folder, "host_facts", "read_only"))).operation_id
