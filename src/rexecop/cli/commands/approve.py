"""`rexecop approve`: a yes, signed with one's own key; below it what helps to get one."""

from rexecop.cli.drilling import drill
from rexecop.cli.parsing import VerbWithMore
from rexecop.cli.reminding import reminders
from rexecop.cli.signing import signing

command = VerbWithMore(
    signing(
        "approve",
        "Sign a yes over the plan, its terms and its preview, with your own key.\n\n"
        "The plan is shown first. Whoever asked for the operation cannot approve it.\n\n"
        "`approve drill GROUP` asks whether approvers are there; `approve reminders` what waits for whom.",
        approves=True,
    ),
    [drill, reminders],
)
