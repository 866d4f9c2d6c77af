"""`rexecop resume`: go on with a paused operation."""

from rexecop.cli.driving import ordering

command = ordering(
    "resume",
    "Go on with an operation that was paused or whose runner died.",
    lambda instance, op, reason, waits: instance.resume(op, reason, waits),
)
