"""`rexecop escalate`: hand an operation to people."""

from rexecop.cli.driving import moving

command = moving(
    "escalate",
    "Hand an operation to people: it ends here, with its evidence.",
    lambda instance, op, reason: instance.escalate(op, reason),
)
