"""`rexecop retry`: try a failed operation again."""

from rexecop.cli.driving import ordering

command = ordering(
    "retry",
    "Try the failed steps again, under the same plan and the same approvals.",
    lambda instance, op, reason, waits: instance.retry(op, reason, waits),
)
