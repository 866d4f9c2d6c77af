"""`rexecop delegate`: give somebody your vote until a date, see who has whose, take it back."""

from rexecop.cli.delegating import give, list_delegations, revoke
from rexecop.cli.parsing import VerbWithMore

command = VerbWithMore(give, [list_delegations, revoke])
