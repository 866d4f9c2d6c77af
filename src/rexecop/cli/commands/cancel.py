"""`rexecop cancel`: give up an operation."""

from rexecop.cli.driving import moving

command = moving(
    "cancel",
    "Give up an operation; what already took effect stays until `rollback`.",
    lambda instance, op, reason: instance.cancel(op, reason),
)
