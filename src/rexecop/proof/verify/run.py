"""Verification of one bundle: open it, run every step, say what holds."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from rexecop.proof.bundle import BundleContents
from rexecop.proof.chain import Sealed
from rexecop.proof.records import Attempt, Receipt, Trust
from rexecop.proof.trust import enrolments
from rexecop.proof.verify import chains, duties, fit_calls, fit_plan, log, outcomes, signatures, stamps
from rexecop.proof.verify.codes import STEPS
from rexecop.proof.verify.evidence import Evaluate, Evidence, Members, Notes, open_container, open_records
from rexecop.proof.verify.report import Claims, Report, Rung
from rexecop.proof.verify.trusted import TrustedKeys
from rexecop.proof.vocabulary import Role

# Steps 1 and 2 open the bundle; these look at what is in it, in order.
CHECKS: Final = (
    chains.check,
    signatures.check,
    stamps.check,
    log.check_inclusion,
    log.check_consistency,
    fit_plan.check,
    fit_calls.check,
    duties.check,
    outcomes.check,
    outcomes.check_outputs,
    outcomes.check_completeness,
)
# These need no record to be readable.
BARE_CHECKS: Final = (signatures.check_checkpoint, stamps.check, log.check_inclusion, log.check_consistency)


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
    note, held = log.open_checkpoint(contents.checkpoint, notes)
    evidence = Evidence(
        contents=contents,
        records=operation or (),
        instance=instance or (),
        enrolments=enrolments(instance or ()),
        note=note,
        checkpoint=held,
        trust=trust,
        earlier=checkpoint,
        now=now,
        evaluate=evaluate,
        members=members,
    )
    readable = operation is not None and instance is not None
    for check in CHECKS if readable else BARE_CHECKS:
        check(evidence, notes)
    if not readable:
        _not_reached(notes, 3)
    return _report(contents, evidence, notes, trust)


def _not_reached(notes: Notes, first: int) -> None:
    for number, name in STEPS.items():
        if number >= first and (first == 2 or number not in (5, 6)):
            notes.skip(f"step {number}, {name}", "what it looks at cannot be read")


def _report(
    contents: BundleContents | None, evidence: Evidence | None, notes: Notes, trust: TrustedKeys
) -> Report:
    records = evidence.records if evidence else ()
    checkpoint = evidence.checkpoint if evidence else None
    last = records[-1].record if records else None
    attested = {sealed.record.attestation for sealed in records if isinstance(sealed.record, Attempt)}
    return Report(
        operation=contents.operation if contents else "",
        instance=contents.instance if contents else "",
        state=last.state if isinstance(last, Receipt) else None,
        records=len(contents.records) if contents else 0,
        log_size=checkpoint.size if checkpoint else None,
        trusted=bool(trust.of(Role.INSTANCE)),
        signer=notes.signer,
        findings=tuple(sorted(notes.findings, key=lambda finding: finding.step)),
        rungs=_rungs(notes) if records else (),
        claims=Claims(
            approvals=len(notes.counted),
            approvals_own=len(notes.counted & notes.approvals_own),
            duties=notes.duties,
            attestations=tuple(sorted({one or "none" for one in attested})),
            witnesses=notes.witnesses,
            instance_keys=_instance_keys(evidence.instance if evidence else ()),
            signer_path=notes.signer_path,
            stamped=notes.stamped,
        ),
        not_checked=tuple(notes.not_checked),
    )


def _rungs(notes: Notes) -> tuple[Rung, ...]:
    """Return the rungs reached: each needs its own steps without a finding, and all below it."""
    failed = {finding.step for finding in notes.findings}
    holds = (
        not failed - {4, 5, 6},
        4 not in failed and notes.signer is not None and notes.receipts_signed,
        not failed & {5, 6},
        bool(notes.witnesses),
    )
    return tuple(Rung)[: (*holds, False).index(False)]


def _instance_keys(instance: tuple[Sealed, ...]) -> tuple[str, ...]:
    trusts = [sealed.record for sealed in instance if isinstance(sealed.record, Trust)]
    keys = [trust.fingerprint for trust in trusts if trust.role is Role.INSTANCE and not trust.revoked]
    return tuple(dict.fromkeys(keys))
