"""How far an operation got, how fast it goes and when it may be done: a function of its view and a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from rexecop.app.views import OperationView, StepView
from rexecop.operations.machine import TERMINAL
from rexecop.proof.vocabulary import GOOD_ENDS, State

ALL: Final = "all steps"


@dataclass(frozen=True, slots=True)
class ProgressView:
    """How far a part of an operation got: `done` of `total` steps ended, `failed` of them badly.

    `per_minute` is how many of all steps ended in a minute so far, and `left_seconds` how long the
    rest of this part takes at that pace; both None before anything ended.
    """

    part: str
    done: int
    failed: int
    total: int
    per_minute: int | None
    left_seconds: int | None


def is_over(view: OperationView) -> bool:
    """Return whether nothing more comes unless a person says so."""
    return view.state in TERMINAL or view.state == State.INDETERMINATE


def progress(view: OperationView, began: datetime | None, now: datetime) -> tuple[ProgressView, ...]:
    """Return the progress of `view`: of all of it, and of each target where it has several.

    `began` is when its first attempt was written down.
    """
    parts: dict[str, Sequence[StepView]] = {ALL: view.steps}
    targets = dict.fromkeys(step.target for step in view.steps)
    if len(targets) > 1:
        parts |= {target: [step for step in view.steps if step.target == target] for target in targets}
    ended = sum(step.ended is not None for step in view.steps)
    taken = (now - began) / timedelta(seconds=1) if began is not None else 0.0
    seconds_each = taken / ended if ended and taken > 0 else None
    return tuple(_part(name, steps, seconds_each) for name, steps in parts.items())


def _part(name: str, steps: Sequence[StepView], seconds_each: float | None) -> ProgressView:
    ended = [step.ended for step in steps if step.ended is not None]
    failed = sum(end not in GOOD_ENDS for end in ended)
    if seconds_each is None:
        return ProgressView(name, len(ended), failed, len(steps), None, None)
    left, pace = round((len(steps) - len(ended)) * seconds_each), round(60 / seconds_each)
    return ProgressView(name, len(ended), failed, len(steps), pace, left)


def in_words(part: ProgressView) -> str:
    """Return like `3 of 9 steps, 1 failed, 12 a minute, about 30 s left`."""
    words = [f"{part.done} of {part.total} steps"]
    words += [f"{part.failed} failed"] if part.failed else []
    if part.per_minute is not None and part.done < part.total:
        words += [f"{part.per_minute} a minute", f"about {part.left_seconds} s left"]
    return ", ".join(words)
