"""`rexecop pause`: stop before the next step."""

from rexecop.cli.driving import moving

command = moving(
    "pause",
    "Stop before the next step; a step that runs is finished first.",
    lambda instance, op, reason: instance.pause(op, reason),
)
