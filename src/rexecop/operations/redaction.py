"""Redaction rules of a profile, `redactions/NAME.yaml`: what leaves outputs and facts before they are kept.

    redaction:
      - pattern: '\\b[0-9]{16}\\b'
        marker: '[card]'

Patterns see one line at a time, which bounds their time. A line that is too long to be looked at
goes as a whole: what was not looked at is not kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rexecop.operations.patterns import compiled, pattern_problem
from rexecop.operations.reading import Node
from rexecop.proof.canonical import Json

MARKER: Final = "[redacted]"
RULES_MAX: Final = 32  # Each is looked for in every line.
LINE_MAX: Final = 16 * 1024  # A line of JSON is long; a pattern of several repetitions takes long on more.

_MARKER: Final = re.compile(r"[ -~]{1,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedactionRule:
    """What matches `pattern` is replaced by `marker`."""

    pattern: str
    marker: str


def read_redaction(root: Node, _stem: str) -> tuple[RedactionRule, ...]:
    """Return the rules in a file; a finding for a pattern that takes long or a marker that is none."""
    fields = root.fields("redaction description", "redaction")
    fields.text("description")
    return tuple(_rule(node) for node in fields.items("redaction", RULES_MAX))


def _rule(node: Node) -> RedactionRule:
    fields = node.fields("pattern marker", "pattern")
    pattern, marker = fields.text("pattern"), fields.text("marker", MARKER)
    problem = pattern_problem(pattern)
    if problem is None and compiled(pattern).search("") is not None:
        problem = "it matches nothing at all, which is everywhere"
    if problem is not None:
        node.refuse(f"`{node.name}.pattern`: {problem}", found=pattern)
    if not _MARKER.fullmatch(marker):
        node.refuse(f"`{node.name}.marker` is not printable ASCII", allowed=_MARKER.pattern)
    return RedactionRule(pattern=pattern, marker=marker)


class Redacting:
    """Applies `rules`, one after the other; `count` says how many places were replaced."""

    def __init__(self, rules: Sequence[RedactionRule]) -> None:
        self._rules = tuple((compiled(rule.pattern), rule.marker) for rule in rules)
        self.count = 0

    def output(self, data: bytes, *, cut: bool) -> bytes:
        """Return `data` without what matches. Of an output that was `cut` the last, unfinished line goes
        too: what is half there matches nothing.
        """
        text = data.decode("utf-8", "surrogateescape")
        if cut:
            text = text[: text.rfind("\n") + 1]
        return self.text(text).encode("utf-8", "surrogateescape")

    def text(self, text: str) -> str:
        """Return `text` without what matches in a line of it."""
        return "".join(map(self._line, re.split(r"(\n)", text)))

    def _line(self, line: str) -> str:
        if len(line) > LINE_MAX:
            self.count += 1
            return MARKER
        for pattern, marker in self._rules:
            line, count = pattern.subn(marker.replace("\\", "\\\\"), line)
            self.count += count
        return line

    def mapping(self, value: Mapping[str, Json]) -> dict[str, Json]:
        """Return facts with their texts and keys without what matches."""
        return {self.text(key): self._json(item) for key, item in value.items()}

    def _json(self, value: Json) -> Json:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(key): self._json(item) for key, item in value.items()}
        if isinstance(value, Sequence):
            return [self._json(item) for item in value]
        if isinstance(value, bool) or value is None:
            return value
        shown = self.text(str(value))
        return value if shown == str(value) else shown
