"""Patterns of profiles: regular expressions that cannot take long on what a target sends."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

PATTERN_LENGTH_MAX: Final = 512  # Longer patterns are parsers, and cannot be reviewed.
OPEN_QUANTIFIERS_MAX: Final = 6  # Each `.*` multiplies the ways a hostile line can be split.

_OPEN: Final = re.compile(r"[*+]|\{[0-9]*,\}")


def pattern_problem(pattern: str, *, group: str | None = None) -> str | None:
    """Return why `pattern` is refused, or None: too long, not valid, or able to take exponential time."""
    if len(pattern) > PATTERN_LENGTH_MAX:
        return f"longer than {PATTERN_LENGTH_MAX} characters"
    try:
        found = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return f"not a pattern: {error}"
    if group is not None and group not in found.groupindex:
        return f"no named group `(?P<{group}>...)`"
    return _nesting_problem(pattern)


@lru_cache(maxsize=1024)  # All patterns of some profiles at once.
def compiled(pattern: str) -> re.Pattern[str]:
    """Return the compiled pattern."""
    return re.compile(pattern)


def _nesting_problem(pattern: str) -> str | None:
    """Find a repeated group that itself repeats or branches, and back references."""
    open_groups: list[bool] = []  # For each open group: whether it repeats or branches inside.
    total, at = 0, 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            if pattern[at + 1 : at + 2] in set("123456789"):
                return "back references are not allowed"
            at += 2
            continue
        if char == "[":
            at = _class_end(pattern, at)
            continue
        if char == "(":
            if pattern.startswith("(?P=", at):
                return "back references are not allowed"
            open_groups.append(False)
        elif char == ")" and open_groups:
            risky = open_groups.pop()
            quantified = _OPEN.match(pattern, at + 1)
            if risky and quantified:
                return "a repeated group that itself repeats or branches"
            if open_groups:
                open_groups[-1] = open_groups[-1] or risky or quantified is not None
        elif char == "|" and open_groups:
            open_groups[-1] = True
        quantifier = _OPEN.match(pattern, at)
        if quantifier is not None:
            total += 1
            if open_groups:
                open_groups[-1] = True
            at = quantifier.end()
            continue
        at += 1
    if total > OPEN_QUANTIFIERS_MAX:
        return f"{total} open repetitions, at most {OPEN_QUANTIFIERS_MAX}"
    return None


def _class_end(pattern: str, start: int) -> int:
    """Return the place after the `]` of the class that opens at `start`."""
    at = start + 1
    if pattern[at : at + 1] == "^":
        at += 1
    if pattern[at : at + 1] == "]":
        at += 1
    while at < len(pattern) and pattern[at] != "]":
        at += 2 if pattern[at] == "\\" else 1
    return at + 1
