"""`rexecop deny`: a no, signed with one's own key."""

from rexecop.cli.signing import signing

command = signing(
    "deny",
    "Sign a no over the plan, with your own key; it stands until you withdraw it.\n\n"
    "Whoever asked for the operation gives it up with `cancel` instead.",
    approves=False,
)
