"""How far an operation got, how fast it goes and when it may be done: a function of its fold and a time.

Targets are counted by wave, however many there are; nothing here grows with their square.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from rexecop.app.views import OperationView, ProgressView, WaveView
from rexecop.operations.course import Progress
from rexecop.operations.fold import Operation
from rexecop.operations.machine import TERMINAL
from rexecop.operations.next import RUNNING
from rexecop.proof.vocabulary import GOOD_ENDS, Ended, State

HOUR: Final = 3600


@dataclass(slots=True)
class _Part:
    """What was seen of the steps of one wave: when the first began, and when the last ended."""

    targets: set[str] = field(default_factory=set)
    begun: set[str] = field(default_factory=set)
    began: datetime | None = None
    last: datetime | None = None

    def see(self, target: str, progress: Progress) -> None:
        """Take in one step."""
        self.targets.add(target)
        if progress.began is not None:
            self.begun.add(target)
            self.began = min(self.began or progress.began, progress.began)
        if progress.outcome is not None:
            ended = progress.outcome.record.at
            self.last = max(self.last or ended, ended)


def is_over(view: OperationView) -> bool:
    """Return whether nothing more comes unless a person says so."""
    return view.state in TERMINAL or view.state == State.INDETERMINATE


def progress(op: Operation, now: datetime) -> ProgressView | None:
    """Return how far `op` got by `now`; None before it is planned."""
    if op.plan is None:
        return None
    course, parts = op.course, [_Part() for _ in range(max(op.course.waves.values(), default=0) + 1)]
    for (target, _), item in op.steps.items():
        parts[course.wave(target)].see(target, item)
    left_open = course.open_targets()
    undone = {target for (target, _), item in op.undo.items() if item.good}
    # Time counts while it is worked on; what is paused or ended went as fast as it went till then.
    until = now if op.state in RUNNING else None
    whole = _Part(
        began=min((part.began for part in parts if part.began), default=None),
        last=max((part.last for part in parts if part.last), default=None),
    )
    ends = [item.ended for item in op.steps.values() if item.ended is not None]
    steps, goes_on = _pace(whole, len(ends), until), op.state not in TERMINAL and not course.over
    settled = sum(len(part.targets - left_open) for part in parts)
    each = _pace(whole, settled, until)
    waves = tuple(
        _wave(number, part, left_open, frozenset(course.failed), undone, (until, each, goes_on))
        for number, part in enumerate(parts, 1)
    )
    return ProgressView(
        steps=len(op.steps),
        ended=len(ends),
        failed=sum(end not in GOOD_ENDS and end is not Ended.SKIPPED for end in ends),
        per_hour=None if steps is None else round(HOUR / steps),
        left_seconds=None if steps is None or not goes_on else round((len(op.steps) - len(ends)) * steps),
        wave=next((one.wave for one in waves if one.done + one.failed < one.targets), len(waves)),
        waves=waves,
        failed_targets=tuple(course.failed),
    )


def _pace(part: _Part, count: int, until: datetime | None) -> float | None:
    """Return how many seconds each of `count` took; None before any, or where no time passed."""
    end = until or part.last
    if not count or part.began is None or end is None or end <= part.began:
        return None
    return (end - part.began) / timedelta(seconds=1) / count


def _wave(
    number: int,
    part: _Part,
    left_open: set[str],
    given_up: frozenset[str],
    undone: set[str],
    pace: tuple[datetime | None, float | None, bool],
) -> WaveView:
    until, usual, goes_on = pace
    failed = len(part.targets & given_up)
    waiting = part.targets & left_open
    done = len(part.targets) - len(waiting) - failed
    # A wave that is over went as fast as it went; one that has not ended any target goes as the others.
    own = _pace(part, done + failed, until if waiting else None)
    each = own or usual
    return WaveView(
        wave=number,
        targets=len(part.targets),
        done=done,
        failed=failed,
        undone=len(part.targets & undone),
        under_way=len(waiting & part.begun),
        per_hour=None if own is None else round(HOUR / own),
        left_seconds=round(len(waiting) * each) if each and waiting and goes_on else None,
    )


def in_words(found: ProgressView) -> str:
    """Return like `3 of 9 steps, 1 failed, 12/min, about 30 s left`, or so by wave and target."""
    words, bad = [f"{found.ended} of {found.steps} steps"], found.failed
    if (targets := targets_of(found)) > 1:
        done, bad = sum(one.done for one in found.waves), len(found.failed_targets)
        words = [f"{done} of {targets} targets"]
    if len(found.waves) > 1:
        words = [f"wave {found.wave} of {len(found.waves)}", *words]
    words += [f"{bad} failed"] if bad else []
    if found.per_hour and found.left_seconds:
        words.append(pace_in_words(found.per_hour))
    words += [f"about {span_in_words(found.left_seconds)} left"] if found.left_seconds else []
    return ", ".join(words)


def targets_of(found: ProgressView) -> int:
    """Return over how many targets it goes."""
    return sum(one.targets for one in found.waves)


def pace_in_words(per_hour: int | None) -> str:
    """Return like `12/min`, or `40/h` where it is slow."""
    if per_hour is None:
        return ""
    return f"{round(per_hour / 60)}/min" if per_hour >= 120 else f"{per_hour}/h"


def span_in_words(seconds: int | None) -> str:
    """Return like `90 s`, `5 min` or `3 h`."""
    if seconds is None:
        return ""
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 2 * HOUR else f"{seconds // HOUR} h"
