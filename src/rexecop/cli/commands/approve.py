"""`rexecop approve`: a yes, signed with one's own key."""

from rexecop.cli.signing import signing

command = signing(
    "approve",
    "Sign a yes over the plan, its terms and its preview, with your own key.\n\n"
    "The plan is shown first. Whoever asked for the operation cannot approve it.",
    approves=True,
)
