"""`rexecop rollback`: undo what an operation changed."""

from rexecop.cli.driving import ordering

command = ordering(
    "rollback",
    "Undo the steps that took effect, last first, with the undo steps of the plan.",
    lambda instance, op, reason, waits: instance.rollback(op, reason, waits),
)
