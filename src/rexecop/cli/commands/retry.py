"""`rexecop retry`: try a failed operation again."""

from rexecop.cli.driving import moving

command = moving(
    "retry",
    "Try the failed steps again, under the same plan and the same approvals.",
    lambda instance, op, reason: instance.retry(op, reason),
    ends_by_state=True,
)
