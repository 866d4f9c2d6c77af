"""What changed since a plan: files, targets, policy and facts, each named, and no target touched unasked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from rexecop.app.comparing import DiffView
from tests.app.support import change, made, opened, scratch
from tests.cli.conftest import Rexecop, alone, rexecop

__all__ = ["alone", "rexecop"]


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
    assert verdicts(compared(planned, env=False))["files"] == "not compared"


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
