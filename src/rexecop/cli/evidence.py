"""What a verification looks like: a ladder, claims beside it, and what was not checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rexecop.cli.render import Page, moment

if TYPE_CHECKING:
    from rexecop.proof.verify.report import Report, Rung


def report_object(report: Report, required: Rung) -> dict[str, object]:
    """Return the report as `--json` prints it."""
    return {
        "operation_id": report.operation,
        "state": report.state,
        "verdict": "verified" if report.holds(required) else "not verified",
        "answer": report.answer(required),
        "required": required,
        "rungs": report.rungs,
        "instance": report.instance,
        "signer": report.signer,
        "records": report.records,
        "log_size": report.log_size,
        "findings": [
            {
                "code": f.code,
                "step": f.step,
                "meaning": f.meaning,
                "message": f.message,
                "record": f.record,
            }
            for f in report.findings
        ],
        "claims": report.claims,
        "not_checked": report.not_checked,
    }


def report_page(page: Page, report: Report, required: Rung) -> None:
    """Draw the answer first, then what it rests on."""
    from rexecop.proof.verify.report import RUNGS

    page.verdict(report.answer(required), good=report.holds(required))
    if not report.instance:
        page.row("reached", f"nothing; `{required}` is required")
        page.row("unchecked", "everything else: this is not a bundle as `rexecop export` writes them")
        return
    if report.operation:
        state = "no receipt yet" if report.state is None else report.state.value
        page.row("operation", f"{report.operation}, {state}")
    of_log = "" if report.log_size is None else f" of a log of {report.log_size}"
    page.row("instance", f"{report.instance}, {report.records} records{of_log}")
    for rung in RUNGS:
        reached = "yes" if rung in report.rungs else "no"
        need = "  (required)" if rung is required else ""
        page.row("ladder" if rung is RUNGS[0] else "", f"{reached:<4}{rung}{need}", state=reached)
    for index, finding in enumerate(report.findings):
        where = f" (record {finding.record})" if finding.record else ""
        page.row("wrong" if index == 0 else "", f"{finding.code}  {finding.message}{where}")
    _claims(page, report)
    reasons = {
        item.why: [i.what for i in report.not_checked if i.why == item.why] for item in report.not_checked
    }
    for index, (why, what) in enumerate(reasons.items()):
        page.row("unchecked" if index == 0 else "", f"{'; '.join(what)}: {why}")


def _claims(page: Page, report: Report) -> None:
    claims = report.claims
    if claims.approvals:
        own = f"{claims.approvals_own} of {claims.approvals}"
        page.row("approvals", f"signed by keys you trust: {own}")
    if claims.duties is not None:
        page.row("duties", f"requester and approver are two persons: proved by {claims.duties}")
    if claims.attestations:
        page.row("targets", "attested: " + ", ".join(claims.attestations))
    if claims.witnesses:
        page.row("witnesses", ", ".join(claims.witnesses))
    for index, stamp in enumerate(claims.stamped):
        said = f"the log had {report.log_size} records at {moment(stamp.at)}, says {stamp.authority}"
        page.row("stamped" if index == 0 else "", said)
    if report.signer is not None:
        page.row("signed by", report.signer)
        for index, key in enumerate(claims.signer_path[:-1]):
            page.row("trusted by" if index == 0 else "", f"{key}, whose holder named the next")
    elif claims.instance_keys:
        page.row("names key", ", ".join(claims.instance_keys))
        page.row("", "compare it with the owner, put the public key into a folder, name that with `--trust`")
