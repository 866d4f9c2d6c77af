"""What a lint finds, printed the same for profiles and environments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rexecop.cli.exits import Exit
from rexecop.cli.render import Page
from rexecop.cli.session import Session


class Found(Protocol):
    """One problem of a file: an `error` will be refused, a `warning` will not."""

    @property
    def severity(self) -> str: ...
    @property
    def code(self) -> str: ...
    @property
    def file(self) -> str: ...
    @property
    def line(self) -> int: ...
    @property
    def message(self) -> str: ...


def answer_findings(session: Session, what: str, findings: Sequence[Found]) -> int:
    """Print findings, with the file and line an editor jumps to; end with 1 if one is an error."""
    errors = sum(1 for finding in findings if finding.severity == "error")
    warnings = len(findings) - errors

    def draw(page: Page) -> None:
        for finding in findings:
            page.line(f"{finding.file}:{finding.line}: {finding.severity} {finding.code}: {finding.message}")
        said = f"{what}: {errors} errors, {warnings} warnings" if findings else f"{what}: nothing to say"
        page.verdict(said, good=errors == 0)

    found = {"source": what, "errors": errors, "warnings": warnings, "findings": findings}
    session.answer(found, draw, quiet="\n".join(f"{f.file}:{f.line}" for f in findings))
    return Exit.FAILED if errors else Exit.DONE
