"""Steps of many targets, told once where they are alike: what a preview says of a large plan.

A group is told by the steps of its first target. On every other target they are the same but
for its own name, and but for the lines that are listed, each with the targets it is for. So what
is told yields the lines of every step again, whole and in order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final, TypeAlias

from rexecop.proof.canonical import canonical_bytes, digest_of
from rexecop.proof.plaintext import quote
from rexecop.proof.records.plan import CallStep, Plan, PlannedTarget, Step
from rexecop.proof.vocabulary import Effect

STEPS_MAX: Final = 512  # Told one by one. A plan once had no more, so what was signed stays as it was.
NAMES_A_LINE: Final = 8

_LABEL_WIDTH: Final = 16
_OWN: Final = "\0"  # Stands for the target's own name; no line has a control character.
_WORD: Final = re.compile(r"[\w.-]+", re.ASCII)

Block: TypeAlias = tuple[tuple[str, ...], ...]
"""The lines of the steps of one target, the name of each step first, with `_OWN` for the target's."""


def targets_told(targets: Sequence[PlannedTarget], words_of: Callable[[PlannedTarget], str]) -> Iterator[str]:
    """Yield lines for `targets`, in order; such as differ in their names only share one."""
    for words, same in groupby(targets, words_of):
        names = [one.id for one in same]
        yield f"{'targets':<{_LABEL_WIDTH}}{len(names)} of {words}"
        yield from _names(names, " " * _LABEL_WIDTH)
    connections = [one.connection for one in targets]
    if any(connections):
        yield f"{'connections':<{_LABEL_WIDTH}}{digest_of(canonical_bytes(connections))}"


def without_undo(steps: Iterable[Step]) -> Iterator[str]:
    """Yield one line for all changes of `steps` that have one name, but for the target's, and no undo."""
    count: dict[str, int] = {}
    for step in steps:
        if isinstance(step, CallStep) and step.call.effect is not Effect.READ and step.undo is None:
            name = _own(quote(step.id), step.target).replace(_OWN, "*")
            count[name] = count.get(name, 0) + 1
    for name, times in count.items():
        yield f"{'mark':<{_LABEL_WIDTH}}no undo for {name}, {times} times"


def steps_told(plan: Plan, lines_of: Callable[[Step], Iterable[str]]) -> Iterator[str]:
    """Yield what `lines_of` says of all steps of `plan`, those of targets that are alike together."""
    groups: dict[tuple[object, ...], list[tuple[str, int, Block]]] = {}
    at = 0
    for target, mine in groupby(plan.steps, lambda step: step.target):
        block = tuple(
            tuple(_own(line, target) for line in (quote(step.id), *lines_of(step))) for step in mine
        )
        # Alike are steps of the same names whose lines say the same kinds of things.
        kind = tuple((lines[0], *(line[:_LABEL_WIDTH] for line in lines[1:])) for lines in block)
        groups.setdefault(kind, []).append((target, at, block))
        at += len(block)
    every = [target.id for target in plan.targets]
    for group in groups.values():
        names, length = [target for target, _, _ in group], len(group[0][2])
        where = "all" if names == every else str(len(names))
        yield from ("", f"{length} steps on {where} targets, alike but for the target's own name:")
        if names != every:
            yield from _names(names, "  ")
        yield from _group(group, len(plan.steps))


def _group(group: Sequence[tuple[str, int, Block]], total: int) -> Iterator[str]:
    first, at, block = group[0]
    for number, lines in enumerate(block):
        yield ""
        yield f"step {at + number + 1} of {total}: {_named(lines[0], first)}"
        for place, line in enumerate(lines[1:], 1):
            yield _named(line, first)
            others: dict[str, list[str]] = {}
            for target, _, other in group:
                if other[number][place] != line:
                    others.setdefault(other[number][place], []).append(target)
            for text, targets in others.items():
                yield from _names(targets, "      but on ")
                yield f"      {_named(text, targets[0]).lstrip()}"


def _names(names: Sequence[str], lead: str) -> Iterator[str]:
    for begin in range(0, len(names), NAMES_A_LINE):
        shown = " ".join(map(quote, names[begin : begin + NAMES_A_LINE]))
        yield f"{lead if begin == 0 else ' ' * len(lead)}{shown}"


def _own(line: str, target: str) -> str:
    """Return `line` with `_OWN` for each word that is the name of its target."""
    return _WORD.sub(lambda word: _OWN if word[0] == target else word[0], line) if target in line else line


def _named(line: str, target: str) -> str:
    return line.replace(_OWN, target)
