"""Verification of one bundle: open it, run every step, say what holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final

from rexecop.proof.bundle import BundleContents
from rexecop.proof.chain import Sealed
from rexecop.proof.quorum import ProvedBy
from rexecop.proof.receipts import closing
from rexecop.proof.records import Attempt, Receipt, Trust
from rexecop.proof.trust import enrolments
from rexecop.proof.verify import (
    chains,
    completeness,
    course,
    duties,
    epochs,
    fit_calls,
    fit_plan,
    log,
    nodes,
    outcomes,
    publishers,
    reactions,
    signatures,
    stamps,
    stretches,
)
from rexecop.proof.verify.codes import STEPS
from rexecop.proof.verify.evidence import (
    Beside,
    Evaluate,
    Evidence,
    Members,
    Notes,
    Opened,
    check_beside,
    open_container,
    open_instance,
    open_operations,
    open_records,
)
from rexecop.proof.verify.report import Claims, OperationVerdict, Report, Rung
from rexecop.proof.verify.trusted import TrustedKeys
from rexecop.proof.vocabulary import Role

# Steps 1 and 2 open the bundle; these look at what is in it. Each operation by itself:
OPERATION_CHECKS: Final = (
    chains.check,
    signatures.check,
    fit_plan.check,
    reactions.check,
    publishers.check,
    fit_calls.check,
    course.check,
    duties.check,
    outcomes.check,
    nodes.check,
    stretches.check,
    completeness.check,
)
# What belongs to the bundle as a whole:
BUNDLE_CHECKS: Final = (
    chains.check_bundle,
    signatures.check_bundle,
    stamps.check,
    log.check_inclusion,
    epochs.check,
    log.check_consistency,
    fit_plan.check_bundle,
    duties.check_bundle,
    outcomes.check_outputs,
    stretches.check_outputs,
    completeness.check_bundle,
)
# These need no record to be readable.
BARE_CHECKS: Final = (signatures.check_checkpoint, stamps.check, log.check_inclusion, log.check_consistency)


def verify(
    data: bytes,
    trust: TrustedKeys,
    *,
    checkpoint: bytes | None = None,
    growth: bytes | None = None,
    now: datetime | None = None,
    evaluate: Evaluate | None = None,
    members: Members | None = None,
    beside: Beside | None = None,
    opened: Mapping[bytes, Sealed] = MappingProxyType({}),
) -> Report:
    """Return what can be said about the bundle `data` by someone who trusts just `trust`.

    `checkpoint` is a note of the same log held from earlier, `growth` a proof that the log
    held continues the bundle's, `now` the verifier's own clock, `evaluate` a policy
    evaluator, `members` a reader of the packs' groups, `beside` the files that came with the
    bundle, `opened` what `unseal` returned for records that are likely in it. Nothing is raised,
    whatever `data` is.
    """
    notes = Notes()
    contents = open_container(data, notes)
    if beside is not None:
        check_beside(beside, notes)
    if contents is None:
        _not_reached(notes, 2)
        return _report(None, None, notes, None, trust)
    records = open_records(contents.records, "operation", notes, opened)
    operations = None if records is None else open_operations(records, contents, notes)
    instance = open_instance(contents.instance_records, notes)
    note, held = log.open_checkpoint(contents.checkpoint, notes)
    bundle = Opened(
        contents=contents,
        operations=operations or {},
        instance=instance or (),
        enrolments=enrolments(instance or ()),
        note=note,
        checkpoint=held,
        trust=trust,
        earlier=checkpoint,
        growth=growth,
        now=now,
        evaluate=evaluate,
        members=members,
    )
    if operations is None or instance is None:
        for check in BARE_CHECKS:
            check(bundle, notes)
        _not_reached(notes, 3)
        return _report(contents, bundle, notes, None, trust)
    of_operations = [_check_operation(bundle, name, records, notes) for name, records in operations.items()]
    for check in BUNDLE_CHECKS:
        check(bundle, notes)
    return _report(contents, bundle, notes, of_operations, trust)


def _check_operation(opened: Opened, operation: str, records: tuple[Sealed, ...], notes: Notes) -> Notes:
    """Run the steps over one operation; what they find is in `notes`, what they add up is returned."""
    alone = opened.contents.operation is not None
    found = Notes(notes.findings, notes.not_checked, None if alone else operation)
    evidence = Evidence(bundle=opened, operation=operation, records=records)
    for check in OPERATION_CHECKS:
        check(evidence, found)
    return found


def _not_reached(notes: Notes, first: int) -> None:
    for number, name in STEPS.items():
        if number >= first and (first == 2 or number not in (5, 6)):
            notes.skip(f"step {number}, {name}", "what it looks at cannot be read")


def _report(
    contents: BundleContents | None,
    opened: Opened | None,
    notes: Notes,
    of_operations: Sequence[Notes] | None,
    trust: TrustedKeys,
) -> Report:
    """Return the report; `of_operations` is None when no record could be looked at."""
    counted = of_operations or ()
    checkpoint = opened.checkpoint if opened else None
    records = tuple(opened.records) if opened else ()
    attested = {sealed.record.attestation for sealed in records if isinstance(sealed.record, Attempt)}
    receipts = {sealed.digest for sealed in records if isinstance(sealed.record, Receipt)}
    return Report(
        operations=_verdicts(contents, opened),
        instance=contents.instance if contents else "",
        records=len(contents.records) if contents else 0,
        log_size=checkpoint.size if checkpoint else None,
        trusted=bool(trust.of(Role.INSTANCE)),
        signer=notes.signer,
        findings=tuple(sorted(notes.findings, key=lambda finding: finding.step)),
        rungs=_rungs(notes, receipts_signed=receipts <= notes.signed) if of_operations is not None else (),
        claims=Claims(
            approvals=sum(len(one.counted) for one in counted),
            approvals_own=sum(len(one.counted & one.approvals_own) for one in counted),
            approvals_sponsor=sum(len(one.counted & one.approvals_sponsor) for one in counted),
            approvals_unsigned=sum(len(one.counted & one.approvals_unsigned) for one in counted),
            approvals_for=tuple(sorted({words for one in counted for words in one.approvals_for})),
            duties=_weakest([one.duties for one in counted]),
            attestations=tuple(sorted({one or "none" for one in attested})),
            witnesses=notes.witnesses,
            instance_keys=_instance_keys(opened.instance if opened else ()),
            complete=notes.complete,
            signer_path=notes.signer_path,
            stamped=notes.stamped,
        ),
        not_checked=tuple(notes.not_checked),
    )


def _verdicts(contents: BundleContents | None, opened: Opened | None) -> tuple[OperationVerdict, ...]:
    operations = dict(opened.operations) if opened else {}
    if contents is not None and contents.operation is not None:
        operations.setdefault(contents.operation, ())
    return tuple(
        OperationVerdict(
            operation=name,
            state=ended.state if (ended := closing(records)) else None,
            records=len(records),
        )
        for name, records in operations.items()
    )


def _weakest(proved: Sequence[ProvedBy | None]) -> ProvedBy | None:
    """Return what separates asking from approving in all operations that needed it."""
    order = tuple(ProvedBy)
    return max((one for one in proved if one is not None), key=order.index, default=None)


def _rungs(notes: Notes, *, receipts_signed: bool) -> tuple[Rung, ...]:
    """Return the rungs reached: each needs its own steps without a finding, and all below it."""
    failed = {finding.step for finding in notes.findings}
    holds = (
        not failed - {4, 5, 6},
        4 not in failed and notes.signer is not None and receipts_signed,
        not failed & {5, 6},
        bool(notes.witnesses),
    )
    return tuple(Rung)[: (*holds, False).index(False)]


def _instance_keys(instance: tuple[Sealed, ...]) -> tuple[str, ...]:
    trusts = [sealed.record for sealed in instance if isinstance(sealed.record, Trust)]
    keys = [trust.fingerprint for trust in trusts if trust.role is Role.INSTANCE and not trust.revoked]
    return tuple(dict.fromkeys(keys))
