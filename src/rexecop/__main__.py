"""`python -m rexecop` is the command `rexecop`."""

from rexecop.cli import main

main()
