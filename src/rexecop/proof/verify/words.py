"""A verdict put into words: the object that `--json` prints, and rows for people.

The command and the single-file verifier both say what stands here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TypeAlias, cast

from rexecop.proof.canonical import Json
from rexecop.proof.library import checked_with
from rexecop.proof.times import format_time
from rexecop.proof.verify.report import RUNGS, Claims, Completeness, Report, Rung

Row: TypeAlias = tuple[str, str, str]
"""A label, empty when the row goes on with the one above; a text; the word in it that may have a colour."""


def report_object(report: Report, required: Rung) -> dict[str, Json]:
    """Return `report` as plain JSON; `crypto` names what checked signatures on this machine."""
    return {
        "operation_id": report.operation,
        "state": report.state,
        "operations": _plain(report.operations),
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
        "claims": _plain(report.claims),
        "not_checked": _plain(report.not_checked),
        "crypto": checked_with(),
    }


def report_rows(report: Report, required: Rung) -> Iterator[Row]:
    """Say what the answer rests on; the answer itself stands above."""
    if not report.instance:
        yield ("reached", f"nothing; `{required}` is required", "")
        yield ("unchecked", "everything else: this is not a bundle as `rexecop export` writes them", "")
        return
    if report.operation:
        state = "no receipt yet" if report.state is None else report.state.value
        yield ("operation", f"{report.operation}, {state}", "")
    elif report.operations:
        yield ("window", f"changes made by {len(report.operations)} operations", "")
    of_log = "" if report.log_size is None else f" of a log of {report.log_size}"
    yield ("instance", f"{report.instance}, {report.records} records{of_log}", "")
    for rung in RUNGS:
        reached = "yes" if rung in report.rungs else "no"
        need = "  (required)" if rung is required else ""
        yield ("ladder" if rung is RUNGS[0] else "", f"{reached:<4}{rung}{need}", reached)
    for index, finding in enumerate(report.findings):
        where = f" (record {finding.record})" if finding.record else ""
        yield ("wrong" if index == 0 else "", f"{finding.code}  {finding.message}{where}", "")
    yield from _claims(report.claims, report)
    reasons: dict[str, list[str]] = {}
    for item in report.not_checked:
        reasons.setdefault(item.why, []).append(item.what)
    for index, (why, what) in enumerate(reasons.items()):
        yield ("unchecked" if index == 0 else "", f"{'; '.join(what)}: {why}", "")


def _claims(claims: Claims, report: Report) -> Iterator[Row]:
    if claims.approvals:
        own = f"{claims.approvals_own} of {claims.approvals}"
        yield ("approvals", f"signed by keys you trust: {own}", "")
    if claims.approvals_sponsor:
        yield ("", f"approved by the agent's sponsor: {claims.approvals_sponsor} of {claims.approvals}", "")
    if claims.approvals_unsigned:
        yield ("", f"unsigned, said by session: {claims.approvals_unsigned} of {claims.approvals}", "")
    if claims.approvals_for:
        yield ("", f"voted for another person: {', '.join(claims.approvals_for)}", "")
    if claims.duties is not None:
        yield ("duties", f"requester and approver are two persons: proved by {claims.duties}", "")
    if claims.attestations:
        yield ("targets", "attested: " + ", ".join(claims.attestations), "")
    if claims.complete is not None:
        yield ("complete", _complete(claims.complete), "")
    if claims.witnesses:
        yield ("witnesses", ", ".join(claims.witnesses), "")
    for index, stamp in enumerate(claims.stamped):
        said = f"the log had {report.log_size} records at {format_time(stamp.at)}, says {stamp.authority}"
        yield ("stamped" if index == 0 else "", said, "")
    if report.signer is not None:
        yield ("signed by", report.signer, "")
        for index, key in enumerate(claims.signer_path[:-1]):
            yield ("trusted by" if index == 0 else "", f"{key}, whose holder named the next", "")
    elif claims.instance_keys:
        yield ("names key", ", ".join(claims.instance_keys), "")
        hint = "compare it with the owner, put the public key into a folder, name that with `--trust`"
        yield ("", hint, "")


def _complete(shown: Completeness) -> str:
    of = "every target" if shown.target is None else f"`{shown.target}`"
    start = "the beginning" if shown.start is None else format_time(shown.start)
    ended = ", ".join(f"{count} {word}" for word, count in shown.ended.items()) or "none"
    unknown = f"; not known to have happened: {', '.join(shown.unknown)}" if shown.unknown else ""
    return (
        f"all {shown.changes} changes of {of} that were recorded "
        f"from {start} to {format_time(shown.end)}: {ended}{unknown}"
    )


def _plain(value: object) -> Json:
    """Return `value`, as reports hold it, in what JSON has."""
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return format_time(value) if isinstance(value, datetime) else cast("Json", value)
