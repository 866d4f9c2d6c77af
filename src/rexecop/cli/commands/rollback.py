"""`rexecop rollback`: undo what an operation changed."""

from rexecop.cli.driving import moving

command = moving(
    "rollback",
    "Undo the steps that took effect, last first, with the undo steps of the plan.",
    lambda instance, op, reason: instance.rollback(op, reason),
    ends_by_state=True,
)
