"""The error of reading YAML.

RexecopError
└── YamlRefused     a YAML text that breaks the strict rules
"""

from __future__ import annotations

from rexecop.proof.errors import RexecopError


class YamlRefused(RexecopError):
    """A YAML text breaks the strict rules at `source`, `line`, `column` (both from 1)."""

    code = "yaml-refused"

    def __init__(self, what: str, *, source: str, line: int, column: int) -> None:
        super().__init__(f"{source}:{line}:{column}: {what}", source=source, line=line, column=column)
