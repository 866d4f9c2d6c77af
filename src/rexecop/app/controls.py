"""From a window of evidence to rows of control frameworks: what is shown, partly shown, or not shown.

Each row rests on checks, each check on records it names by digest. A row claims nothing
that the bundle does not prove; what no record can show stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import ClassVar, Final, TypeAlias, TypeVar

import msgspec

from rexecop.execution.strict_yaml import load_yaml
from rexecop.proof.bundle import BundleContents
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed, unseal
from rexecop.proof.quorum import ProvedBy
from rexecop.proof.records import (
    Approval,
    Attempt,
    Decision,
    Intent,
    Outcome,
    Plan,
    Record,
    Ticket,
    Trust,
    Validation,
)
from rexecop.proof.records.plan import CallStep
from rexecop.proof.records.validation import RuleVerdict
from rexecop.proof.verify import Report, Rung
from rexecop.proof.vocabulary import Effect, Established, Isolation, Verdict

R = TypeVar("R", bound=Record)


class Standing(StrEnum):
    """How far something is shown by records."""

    SHOWN = "shown"
    PARTLY = "partly"
    NOT_SHOWN = "not shown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Because:
    """What one check found, and the records it found it in."""

    check: str
    standing: Standing
    words: str
    records: tuple[Digest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlRow:
    """One control: `standing` follows from the checks alone; `beyond` is what no record here can show."""

    framework: str
    edition: str
    control: str
    title: str
    standing: Standing
    because: tuple[Because, ...]
    beyond: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlsPage:
    """The rows of one window. `bundle` is the digest of the bundle they were read from."""

    kind: ClassVar[str] = "controls/1"

    instance: str
    target: str | None
    bundle: Digest
    answer: str
    rows: tuple[ControlRow, ...]


class _Control(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    title: str
    checks: tuple[str, ...]
    beyond: str


class _Framework(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    edition: str
    controls: tuple[_Control, ...]


@cache
def frameworks() -> tuple[_Framework, ...]:
    """Return the frameworks that come with the package."""
    data = (files("rexecop.app") / "data" / "controls.yaml").read_bytes()
    return msgspec.convert(load_yaml(data, source="controls.yaml").value, tuple[_Framework, ...])


def controls_page(contents: BundleContents, bundle: Digest, report: Report) -> ControlsPage:
    """Return what the window in `contents`, which `report` is about, shows of every control."""
    window = _Window(contents, report)
    found = {name: _judge(name, check, window) for name, check in CHECKS.items()}
    rows = [
        ControlRow(
            framework=framework.name,
            edition=framework.edition,
            control=control.id,
            title=control.title,
            standing=_together(found[name].standing for name in control.checks),
            because=tuple(found[name] for name in control.checks),
            beyond=control.beyond,
        )
        for framework in frameworks()
        for control in framework.controls
    ]
    target = contents.window.target if contents.window else None
    return ControlsPage(
        instance=contents.instance, target=target, bundle=bundle, answer=report.answer(), rows=tuple(rows)
    )


def _together(standings: Iterable[Standing]) -> Standing:
    distinct = set(standings)
    return distinct.pop() if len(distinct) == 1 else Standing.PARTLY


class _Window:
    """The records of a window by what they are; each operation in it changed something."""

    def __init__(self, contents: BundleContents, report: Report) -> None:
        self.report = report
        self.contents = contents
        self.records = [unseal(line) for line in contents.records] if not report.findings else []
        self.instance = [unseal(line) for line in contents.instance_records] if not report.findings else []
        self.operations = {sealed.record.operation for sealed in self.records}

    def of(self, kind: type[R]) -> list[tuple[Sealed, R]]:
        return [(sealed, sealed.record) for sealed in self.records if isinstance(sealed.record, kind)]

    def trust(self) -> list[tuple[Sealed, Trust]]:
        return [(sealed, sealed.record) for sealed in self.instance if isinstance(sealed.record, Trust)]

    def changes(self) -> list[tuple[Sealed, Attempt]]:
        return [(sealed, attempt) for sealed, attempt in self.of(Attempt) if attempt.target_n is not None]


Found: TypeAlias = tuple[Standing, str, Iterable[Sealed | Digest]]
Check: TypeAlias = Callable[[_Window], Found]


def _judge(name: str, check: Check, window: _Window) -> Because:
    if window.report.findings:
        words = f"the evidence is {window.report.answer()}"
        return Because(check=name, standing=Standing.NOT_SHOWN, words=words, records=())
    standing, words, records = check(window)
    digests = [one if isinstance(one, str) else one.digest for one in records]
    return Because(check=name, standing=standing, words=words, records=tuple(dict.fromkeys(digests)))


def _share(records: Iterable[Sealed], of: int, what: str) -> Found:
    """Return how far all `of` operations have such a record."""
    kept = list(records)
    having = len({sealed.record.operation for sealed in kept})
    if not of:
        return Standing.NOT_SHOWN, "nothing was changed in the window", ()
    standing = Standing.SHOWN if having == of else Standing.PARTLY if having else Standing.NOT_SHOWN
    return standing, f"{having} of {of} operations {what}", kept


def _complete(window: _Window) -> Found:
    complete, bounds = window.report.claims.complete, window.contents.window
    if complete is None or bounds is None:
        return Standing.NOT_SHOWN, "a bundle of one operation says nothing about others", ()
    words = f"all {complete.changes} changes recorded in the window are in the bundle, none is left out"
    return Standing.SHOWN, words, [digest for digest in (bounds.start, bounds.end) if digest is not None]


def _authorised(window: _Window) -> Found:
    tickets = [sealed for sealed, _ in window.of(Ticket)]
    return _share(tickets, len(window.operations), "ran under a ticket that policy allowed")


def _approved(window: _Window) -> Found:
    yes = [sealed for sealed, approval in window.of(Approval) if approval.statement.approves]
    return _share(
        yes, len(window.operations), "were approved by a person; policy asked for nobody in the rest"
    )


def _separated(window: _Window) -> Found:
    duties, approvals = window.report.claims.duties, [sealed for sealed, _ in window.of(Approval)]
    if duties is None:
        return Standing.NOT_SHOWN, "no change in the window needed an approval", ()
    standing = Standing.SHOWN if duties is ProvedBy.KEYS else Standing.PARTLY
    return standing, f"who asked and who approved are different persons: proved by {duties}", approvals


def _identified(window: _Window) -> Found:
    intents = window.of(Intent)
    by_key = [sealed for sealed, intent in intents if intent.by.established is Established.KEY]
    standing, words, _ = _share(by_key, len(window.operations), "were asked for by somebody's own key")
    if intents and standing is Standing.NOT_SHOWN:
        standing = Standing.PARTLY
    return standing, f"{words}; the instance vouches for the rest", [sealed for sealed, _ in intents]


def _reasoned(window: _Window) -> Found:
    reasons = [sealed for sealed, intent in window.of(Intent) if intent.reason]
    return _share(reasons, len(window.operations), "say why they were asked for")


def _tested(window: _Window) -> Found:
    passed = [sealed for sealed, record in window.of(Validation) if record.verdict is RuleVerdict.PASSED]
    return _share(passed, len(window.operations), "were validated afterwards, and passed")


def _reversible(window: _Window) -> Found:
    with_undo = [
        sealed
        for sealed, plan in window.of(Plan)
        if all(
            step.undo is not None
            for step in plan.steps
            if isinstance(step, CallStep) and step.call.effect is not Effect.READ
        )
    ]
    return _share(with_undo, len(window.operations), "were planned with a way back for every change")


def _settled(window: _Window) -> Found:
    complete = window.report.claims.complete
    outcomes = [sealed for sealed, _ in window.of(Outcome)]
    if complete is None or not complete.changes:
        return Standing.NOT_SHOWN, "nothing was changed in the window", ()
    if complete.unknown:
        return Standing.PARTLY, f"of {len(complete.unknown)} changes the outcome is unknown", complete.unknown
    return Standing.SHOWN, f"the outcome of all {complete.changes} changes is known", outcomes


def _bounded(window: _Window) -> Found:
    changes = {sealed.digest for sealed, _ in window.changes()}
    outcomes = [found for found in window.of(Outcome) if found[1].attempt in changes]
    measured = [
        sealed
        for sealed, outcome in outcomes
        if outcome.measured is not None and outcome.measured.isolation not in (Isolation.NONE, "")
    ]
    if not outcomes:
        return Standing.NOT_SHOWN, "nothing was changed in the window", ()
    standing = Standing.SHOWN if len(measured) == len(outcomes) else Standing.PARTLY
    words = (
        f"each call had a permit of a minute; isolation was measured for {len(measured)} of {len(outcomes)}"
    )
    return standing, words, measured


def _tamper_evident(window: _Window) -> Found:
    if Rung.WITNESSED in window.report.rungs:
        return Standing.SHOWN, "all records are in a log that witnesses have co-signed", ()
    if Rung.LOGGED in window.report.rungs:
        words = "all records are in a signed log; only a witness or a kept checkpoint shows a rewritten one"
        return Standing.PARTLY, words, ()
    return Standing.NOT_SHOWN, "the log is not signed by a key trusted here", ()


def _timed(window: _Window) -> Found:
    if window.report.claims.witnesses:
        return Standing.SHOWN, "witnesses have dated the log", ()
    return Standing.PARTLY, "times are the instance's own clock, in order within each operation", ()


def _keys_managed(window: _Window) -> Found:
    trust = window.trust()
    revoked = sum(record.revoked for _, record in trust)
    words = f"{len(trust) - revoked} enrolments and {revoked} revocations of keys are recorded"
    return (Standing.SHOWN if trust else Standing.NOT_SHOWN), words, [sealed for sealed, _ in trust]


def _overseen(window: _Window) -> Found:
    agents = {sealed.record.operation for sealed, intent in window.of(Intent) if intent.sponsor is not None}
    if not agents:
        return Standing.NOT_SHOWN, "no agent changed anything in the window", ()
    yes = [sealed for sealed, _ in window.of(Approval) if sealed.record.operation in agents]
    return _share(yes, len(agents), "that an agent asked for were approved by a person")


def _policy_proved(window: _Window) -> Found:
    unproved = any(skipped.what == "the decision itself" for skipped in window.report.not_checked)
    allowed = [
        sealed for sealed, decision in window.of(Decision) if decision.terms.verdict is not Verdict.BLOCKED
    ]
    if not allowed:
        return Standing.NOT_SHOWN, "nothing was changed in the window", ()
    words = (
        "not all decisions could be made again"
        if unproved
        else "every decision was made again, with the same answer"
    )
    return (Standing.PARTLY if unproved else Standing.SHOWN), words, allowed


CHECKS: Final[Mapping[str, Check]] = {
    "complete": _complete,
    "authorised": _authorised,
    "approved": _approved,
    "separated": _separated,
    "identified": _identified,
    "reasoned": _reasoned,
    "tested": _tested,
    "reversible": _reversible,
    "settled": _settled,
    "bounded": _bounded,
    "tamper-evident": _tamper_evident,
    "timed": _timed,
    "keys-managed": _keys_managed,
    "overseen": _overseen,
    "policy-proved": _policy_proved,
}
