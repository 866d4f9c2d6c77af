"""The review: our verifier's findings over the records, under the names that readers of roles know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rexecop.app.sclite.artifacts import ROLES, Artifact, Artifacts, common
from rexecop.app.sclite.story import Story
from rexecop.proof.chain import unseal
from rexecop.proof.codec import to_json
from rexecop.proof.errors import ProofError
from rexecop.proof.plaintext import escape
from rexecop.proof.receipts import closing
from rexecop.proof.trust import enrolments
from rexecop.proof.verify import NO_KEYS, Report, TrustedKeys, trust_of, verify

SCOPE: Final = "scope_fidelity"
# Which steps of the verifier each check stands for. Every step is in one of them.
CHECKS: Final[Mapping[str, tuple[int, ...]]] = {
    "schema_validation": (1, 2),
    "chain_integrity": (3, 5, 6),
    "signatures": (4,),
    "lifecycle_binding": (7,),
    SCOPE: (),
    "ticket_use_profile": (8,),
    "receipt_bounds": (9,),
    "outputs": (10,),
    "changes_in_order": (11,),
}
# Findings of step 7 about where and what was called, and not about what rests on what.
SCOPE_CODES: Final = frozenset({"E07g", "E07k", "E07l", "E07m", "E07n", "E07r"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One named check: `pass`, `review` (a person should look) or `fail`, and what it met."""

    name: str
    status: str
    detail: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What the verifier said about a bundle, check by check; the last says which roles there are."""

    report: Report
    checks: tuple[Check, ...]

    @property
    def verdict(self) -> str:
        """The worst status of all checks."""
        found = {check.status for check in self.checks}
        return next(status for status in ("fail", "review", "pass") if status in found)

    def record(self, story: Story) -> Artifact:
        """Return the review record."""
        scope = next(check.status for check in self.checks if check.name == SCOPE)
        targets: Artifact = {"targets": sorted({step.target for step in story.calls})}
        report = self.report
        return {
            **common("review_record", "v0.1", story.records[-1]),
            "verdict": self.verdict,
            "checks": [to_json(check) for check in self.checks],
            "summary": {"state": report.state, "rungs": list(report.rungs), "records": report.records},
            "scope_fidelity_report": {"status": scope, "target_host": story.intent.target, **targets},
            "not_checked": [to_json(one) for one in report.not_checked],
            "public_identity": "not_claimed",
            "runtime_enforcement": "not_claimed",
        }

    def page(self, carrier: str) -> str:
        """Return the review for people: Markdown in which no text from elsewhere has a meaning."""
        state = "has not ended" if self.report.state is None else f"ended {self.report.state}"
        lines = [
            f"# Review: {self.verdict}",
            "",
            f"Operation {_plain(self.report.operation)} {state}. Made from the bundle beside this file, and",
            "worth nothing without it:",
            "",
            f"    rexecop verify {escape(carrier)} --trust DIR",
            "",
            "The checks took the keys that the bundle names itself. Whether they are the right ones is not",
            "claimed: compare their fingerprints with the owner, and verify by your own.",
            "",
            "| Check | Status | Detail |",
            "|---|---|---|",
            *(f"| {check.name} | {check.status} | {_plain(check.detail)} |" for check in self.checks),
            "",
            "Not checked:",
            "",
            *(f"- {_plain(one.what)}: {_plain(one.why)}" for one in self.report.not_checked),
        ]
        return "\n".join(lines) + "\n"


def make_review(story: Story, artifacts: Artifacts, bundle: bytes) -> Review:
    """Return the verdict on `bundle` by the keys it names itself: what follows from it, and no more.

    Whether those keys are the right ones only a reader can say, who brings their own.
    """
    report = verify(bundle, _named_keys(story))
    met: dict[str, list[str]] = {name: [] for name in CHECKS}
    for finding in report.findings:
        name = next(name for name, steps in CHECKS.items() if finding.step in steps)
        met[SCOPE if finding.code in SCOPE_CODES else name].append(f"{finding.code} {finding.message}")
    absent = [f"no {role}: {story.absent(role)}" for role in ROLES if role not in artifacts]
    if "execution_receipt" in artifacts and closing(story.records) is None:
        absent.append("no receipt of the end: records follow the newest")
    checks = [_check(name, texts, "fail") for name, texts in met.items()]
    return Review(report=report, checks=(*checks, _check("roles_present", absent, "review")))


def _named_keys(story: Story) -> TrustedKeys:
    try:
        return trust_of(enrolments([unseal(body) for body in story.contents.instance_records]))
    except ProofError:
        return NO_KEYS  # The report then says what could not be read.


def _check(name: str, texts: list[str], otherwise: str) -> Check:
    detail = "; ".join(texts) or "nothing found wrong"
    return Check(name=name, status=otherwise if texts else "pass", detail=detail, count=len(texts))


def _plain(text: str) -> str:
    return "".join(f"\\{char}" if char in "\\`*_{}[]<>()#!|&~" else char for char in escape(text))
