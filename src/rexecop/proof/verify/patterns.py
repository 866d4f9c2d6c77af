"""Patterns in a bundle are a stranger's: none is tried that could keep the verifier busy.

Matching backtracks, so its cost is bounded by the ways the repetitions can share the
text. Groups can nest repetitions and are not bounded here; what cannot be bounded is
said to be unchecked.
"""

from __future__ import annotations

import re
from typing import Final

PATTERN_LENGTH_MAX: Final = 512  # Longer patterns are parsers, and profiles may not have them.
WAYS_MAX: Final = 1_000_000  # Tried in well under a second.

# An atom (a class, an escape, a plain character) and what repeats it.
_ATOM: Final = re.compile(
    r"(?:\[\^?\]?(?:\\.|[^\]\\\[&|~])*\]|\\[^1-9]|[^\\\[\](){}|*+?])"
    r"(?:(?P<open>[*+])|(?P<maybe>\?)|\{(?P<least>[0-9]{0,4})(?P<comma>,?)(?P<most>[0-9]{0,4})\})?"
)


def affordable(pattern: str, length: int) -> bool:
    """Return whether matching `pattern` with a text of `length` characters is surely quick."""
    if len(pattern) > PATTERN_LENGTH_MAX:
        return False
    ways, at = 1, 0
    while at < len(pattern):
        found = _ATOM.match(pattern, at)
        if found is None:
            return False
        ways *= _choices(found, length)
        at = found.end()
        if pattern[at : at + 1] in ("?", "+", "*", "{"):
            return False
    return ways * (length + 1) <= WAYS_MAX


def _choices(found: re.Match[str], length: int) -> int:
    """Return how many lengths the repetition may take."""
    if found["open"]:
        return length + 1
    if found["maybe"]:
        return 2
    if found["comma"]:
        least, most = int(found["least"] or 0), found["most"]
        span = (int(most) if most else length) - least + 1
        return max(1, min(span, length + 1))
    return 1
