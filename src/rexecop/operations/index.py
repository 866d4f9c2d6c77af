"""The index row of an operation: a cache of the fold, written with the records it caches."""

from __future__ import annotations

from rexecop.operations.fold import Operation
from rexecop.operations.ports import READ_AGAIN, REVIEW_BY, Row
from rexecop.proof.records.intent import RECHECK
from rexecop.proof.times import format_time
from rexecop.proof.vocabulary import State


def row_of(op: Operation) -> Row:
    """Return the row for `op`, which holds an intent at least."""
    intent, head = op.the_intent, op.head
    if head is None or op.created is None:
        raise LookupError("an operation without records has no row")
    return Row(
        operation=op.id,
        state=str(op.state),
        intent=intent.intent,
        profile=intent.profile.name,
        environment=intent.environment.id,
        target=intent.target,
        mode=str(intent.mode),
        requester=intent.by.person,
        created=op.created,
        updated=head.record.at,
        records=op.count,
        head=head.digest,
        waiting=waiting_for(op) or (READ_AGAIN if intent.origin.channel == RECHECK else ""),
    )


def waiting_for(op: Operation) -> str:
    """Return whose word the operation waits for, or until when a review is due, in words, or nothing."""
    if op.review_by is not None:
        return f"{REVIEW_BY}{format_time(op.review_by)}"
    if op.state is State.PAUSED and (step := op.awaited) is not None:
        missing = ", ".join(f"{rule.count} of {rule.group}" for rule in op.missing_for(step))
        return f"step {step.id}: {missing}" if missing else ""
    if op.state is not State.WAITING_FOR_APPROVAL:
        return ""
    missing = ", ".join(f"{rule.count} of {rule.group}" for rule in op.missing_approvals())
    return f"what is left: {missing}" if op.leaves else missing
