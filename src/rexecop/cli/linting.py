"""What a lint or a test finds, printed the same for profiles and environments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from rexecop.cli.exits import Exit
from rexecop.cli.render import Page
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.views import SignatureView


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


class Tested(Protocol):
    """A case, and where it came out otherwise."""

    @property
    def name(self) -> str: ...
    @property
    def differences(self) -> Sequence[str]: ...


def answer_cases(session: Session, what: str, cases: Sequence[Tested]) -> int:
    """Print cases; end with 1 if one failed, or if there is none: nothing was tested."""
    failed = sum(1 for case in cases if case.differences)
    good = bool(cases) and not failed

    def draw(page: Page) -> None:
        for case in cases:
            page.row("failed" if case.differences else "passed", case.name)
            for difference in case.differences:
                page.row("", difference)
        page.verdict(f"{what}: {len(cases)} cases, {failed} failed", good=good)

    session.answer({"profile": what, "cases": cases, "failed": failed}, draw)
    return Exit.DONE if good else Exit.FAILED


def answer_findings(
    session: Session, what: str, findings: Sequence[Found], signed: SignatureView | None = None
) -> int:
    """Print findings, with the file and line an editor jumps to; end with 1 if one is an error.

    Of a profile that could be read it is said how it is `signed`.
    """
    errors = sum(1 for finding in findings if finding.severity == "error")
    warnings = len(findings) - errors

    def draw(page: Page) -> None:
        for finding in findings:
            page.line(f"{finding.file}:{finding.line}: {finding.severity} {finding.code}: {finding.message}")
        said = f"{what}: {errors} errors, {warnings} warnings" if findings else f"{what}: nothing to say"
        page.verdict(said, good=errors == 0)
        if signed is not None:
            page.row("signed", signed.says)

    found = {"source": what, "errors": errors, "warnings": warnings, "findings": findings}
    found |= {} if signed is None else {"signature": signed}
    session.answer(found, draw, quiet="\n".join(f"{f.file}:{f.line}" for f in findings))
    return Exit.FAILED if errors else Exit.DONE
