"""What is shown of many targets: counts, and what went wrong."""

from __future__ import annotations

from rexecop.app.views import RuleView, StepView, ValidationView
from rexecop.cli.pages import STEPS_SHOWN_MAX, TROUBLES_SHOWN_MAX, step_summary, validation_page
from rexecop.cli.render import Page


def ended(name: str, number: int, state: str, message: str | None = None) -> StepView:
    target = f"h{number}"
    return StepView(
        id=f"{name}@{target}", target=target, effect="change", state=state, attempts=1, message=message
    )


def test_many_steps_are_counted_by_name_and_state_and_the_first_troubles_are_named() -> None:
    steps = [ended("look", n, "ok") for n in range(150)]
    steps += [ended("set", n, "failed" if n % 3 else "ok", "no" if n % 3 else None) for n in range(150)]
    page = Page(colour=False, width=None)
    step_summary(page, steps)
    lines = page.text().splitlines()

    assert "    look  150      150 ok" in lines and "    set   150      50 ok, 100 failed" in lines
    assert sum(": no" in line for line in lines) == TROUBLES_SHOWN_MAX
    assert lines[-1].endswith(f"and {100 - TROUBLES_SHOWN_MAX} more; `--json` has all")


def test_of_many_results_those_come_first_that_did_not_pass() -> None:
    rules = [
        RuleView(rule="r", verdict="failed" if n == 170 else "passed", path="a", details={"target": f"h{n}"})
        for n in range(180)
    ]
    page = Page(colour=False, width=None)
    validation_page(
        page, ValidationView(operation_id="op", state="failed", verdict="failed", rules=tuple(rules))
    )
    lines = page.text().splitlines()

    assert "h170" in lines[2] and lines[-1].endswith(f"and {180 - STEPS_SHOWN_MAX} more; `--json` has all")
