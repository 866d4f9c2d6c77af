"""Verification of one bundle: open it, run every step, say what holds."""

from __future__ import annotations

from datetime import datetime

from rexecop.proof.bundle import BundleContents
from rexecop.proof.chain import Sealed
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.instance import Trust
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.trust import enrolments
from rexecop.proof.verify import signatures
from rexecop.proof.verify.codes import STEPS as STEP_NAMES
from rexecop.proof.verify.evidence import Evaluate, Evidence, Members, Notes
from rexecop.proof.verify.opening import open_checkpoint, open_container, open_records
from rexecop.proof.verify.report import Claims, Report, Rung
from rexecop.proof.verify.steps import STEPS
from rexecop.proof.verify.trusted import TrustedKeys
from rexecop.proof.vocabulary import Role, State


def verify(
    data: bytes,
    trust: TrustedKeys,
    *,
    checkpoint: bytes | None = None,
    now: datetime | None = None,
    evaluate: Evaluate | None = None,
    members: Members | None = None,
) -> Report:
    """Return what can be said about the bundle `data` by someone who trusts just `trust`.

    `checkpoint` is a note of the same log held from earlier, `now` the verifier's own
    clock, `evaluate` a policy evaluator, `members` a reader of the packs' groups.
    Nothing is raised, whatever `data` is.
    """
    notes = Notes()
    contents = open_container(data, notes)
    if contents is None:
        _not_reached(notes, 2)
        return _report(None, None, notes, trust)
    operation = open_records(contents.records, "operation", notes)
    instance = open_records(contents.instance_records, "instance", notes)
    opened = open_checkpoint(contents.checkpoint, notes)
    evidence = Evidence(
        contents=contents,
        records=operation or (),
        instance=instance or (),
        enrolments=enrolments(instance or ()),
        note=opened[0] if opened else None,
        checkpoint=opened[1] if opened else None,
        trust=trust,
        earlier=checkpoint,
        now=now,
        evaluate=evaluate,
        members=members,
    )
    readable = operation is not None and instance is not None
    for step in STEPS:
        if readable or not step.needs_records:
            step.run(evidence, notes)
        elif step.number == signatures.NUMBER:
            signatures.check_checkpoint(evidence, notes)
    if not readable:
        _not_reached(notes, 3)
    return _report(contents, evidence, notes, trust)


def _not_reached(notes: Notes, first: int) -> None:
    for number, name in STEP_NAMES.items():
        if number >= first and (first == 2 or number not in (5, 6)):
            notes.skip(f"step {number}, {name}", "what it looks at cannot be read")


def _report(
    contents: BundleContents | None, evidence: Evidence | None, notes: Notes, trust: TrustedKeys
) -> Report:
    records = evidence.records if evidence else ()
    checkpoint = evidence.checkpoint if evidence else None
    findings = tuple(sorted(notes.findings, key=lambda finding: finding.step))
    return Report(
        operation=contents.operation if contents else "",
        instance=contents.instance if contents else "",
        state=_state(records),
        records=len(contents.records) if contents else 0,
        log_size=checkpoint.size if checkpoint else None,
        trusted=bool(trust.of(Role.INSTANCE)),
        signer=notes.signer,
        findings=findings,
        rungs=_rungs(notes) if evidence and records else (),
        claims=Claims(
            approvals=len(notes.counted),
            approvals_own=len(notes.counted & notes.approvals_own),
            duties=notes.duties,
            attestations=_attestations(records),
            witnesses=notes.witnesses,
            instance_keys=_instance_keys(evidence.instance if evidence else ()),
        ),
        not_checked=tuple(notes.not_checked),
    )


def _rungs(notes: Notes) -> tuple[Rung, ...]:
    """Return the rungs reached: each needs its own steps without a finding, and all below it."""
    failed = {finding.step for finding in notes.findings}
    holds = (
        (Rung.CONSISTENT, not failed - {4, 5, 6}),
        (Rung.SIGNED, 4 not in failed and notes.signer is not None and notes.receipts_signed),
        (Rung.LOGGED, not failed & {5, 6}),
        (Rung.WITNESSED, bool(notes.witnesses)),
    )
    reached: list[Rung] = []
    for rung, held in holds:
        if not held:
            break
        reached.append(rung)
    return tuple(reached)


def _state(records: tuple[Sealed, ...]) -> State | None:
    last = records[-1].record if records else None
    return last.state if isinstance(last, Receipt) else None


def _attestations(records: tuple[Sealed, ...]) -> tuple[str, ...]:
    found = {s.record.attestation or "none" for s in records if isinstance(s.record, Attempt)}
    return tuple(sorted(found))


def _instance_keys(instance: tuple[Sealed, ...]) -> tuple[str, ...]:
    found = [
        sealed.record.fingerprint
        for sealed in instance
        if isinstance(sealed.record, Trust)
        and sealed.record.role is Role.INSTANCE
        and not sealed.record.revoked
    ]
    return tuple(dict.fromkeys(found))
