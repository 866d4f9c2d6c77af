"""`rexecop resume`: go on with a paused operation."""

from rexecop.cli.driving import moving

command = moving(
    "resume",
    "Go on with an operation that was paused or whose runner died.",
    lambda instance, op, reason: instance.resume(op, reason),
    ends_by_state=True,
)
