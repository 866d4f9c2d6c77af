"""What people see, kept as files; `REXECOP_GOLDEN=write` writes them anew; read them before keeping them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rexecop.cli.evidence import report_page
from rexecop.cli.render import Page
from rexecop.proof.canonical import Digest
from rexecop.proof.quorum import ProvedBy
from rexecop.proof.verify.report import Claims, Finding, NotChecked, OperationVerdict, Report, Rung
from rexecop.proof.vocabulary import State
from tests.cli.conftest import Rexecop
from tests.cli.fake import ZERO, FakeInstance, operation_id

GOLDEN = Path(__file__).parent / "golden"

COMMANDS = {
    "help": ("--help",),
    "help-all": ("help", "all"),
    "help-plan": ("plan", "--help"),
    "help-keys": ("help", "keys", "new"),
    "list": ("list",),
    "status": ("status", "2"),
    "show": ("show", "1"),
    "start": ("start", "3"),
    "start-json": ("start", "3", "--json"),
    "history": ("history", "1"),
    "validate": ("validate", "1"),
    "logs": ("logs", "1"),
    "why": ("why", "2"),
    "receipt": ("receipt", "show", "1"),
    "evidence": ("evidence", "show", "1"),
    "evidence-record": ("evidence", "show", "1", "--record", "1"),
    "export-report": ("export", "1", "--format", "report"),
    "keys": ("keys", "list"),
    "doctor": ("doctor",),
    "error-verb": ("stauts",),
    "error-operation": ("status", "../1"),
    "error-json": ("status", "99", "--json"),
    "error-usage": ("verify", "x.rxb", "--require", "everything"),
    "error-confirmation": ("approve", "2", "--key", "bob.key", "--quiet"),
}


def same_as(name: str, text: str) -> None:
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("REXECOP_GOLDEN") == "write":
        file.write_text(text, encoding="utf-8")
    assert file.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_looks_as_it_is_kept(rexecop: Rexecop, fake: FakeInstance, name: str) -> None:
    ended = rexecop(*COMMANDS[name])

    words = " ".join(COMMANDS[name])
    same_as(name, f"$ rexecop {words}\n{ended.out}{ended.err}[{int(ended.code)}]\n")


def test_no_line_of_an_answer_is_wider_than_the_terminal(rexecop: Rexecop, fake: FakeInstance) -> None:
    for words in COMMANDS.values():
        for line in rexecop(*words).out.splitlines():
            assert len(line) <= 80 or ZERO in line, line


def a_report(*, trusted: bool, broken: bool) -> Report:
    finding = Finding(code="E07a", message="attempt 2 makes a call outside the plan", record=Digest(ZERO))
    return Report(
        operations=(OperationVerdict(operation=operation_id(1), state=State.COMPLETED, records=10),),
        instance="01984f2a",
        records=10,
        log_size=57,
        trusted=trusted,
        signer="SHA256:instance" if trusted else None,
        findings=(finding,) if broken else (),
        rungs=(Rung.CONSISTENT, Rung.SIGNED, Rung.LOGGED) if trusted and not broken else (Rung.CONSISTENT,),
        claims=Claims(
            approvals=1,
            approvals_own=1 if trusted else 0,
            duties=next(iter(ProvedBy)),
            attestations=("local",),
            instance_keys=("SHA256:instance",),
        ),
        not_checked=(NotChecked(what="policy decision", why="the bundle carries no policy pack"),),
    )


@pytest.mark.parametrize(
    ("name", "trusted", "broken"),
    [("verified", True, False), ("verify-no-key", False, False), ("verify-broken", True, True)],
)
def test_a_verification_is_a_ladder_with_what_was_not_checked(name: str, trusted: bool, broken: bool) -> None:
    page = Page(colour=False, width=80)
    report_page(page, a_report(trusted=trusted, broken=broken), Rung.LOGGED)

    same_as(name, page.text())


def test_colour_changes_nothing_but_colour() -> None:
    plain, coloured = Page(colour=False, width=80), Page(colour=True, width=80)
    for page in (plain, coloured):
        report_page(page, a_report(trusted=True, broken=True), Rung.LOGGED)
    text = coloured.text()
    for code in (1, 2, 31, 32, 33, 35, 36, 0):
        text = text.replace(f"\x1b[{code}m", "")

    assert text == plain.text()
