"""The command line: parse, call `app`, render, exit code.

`rexecop version` is answered here, before anything heavy is imported; everything
else is in `cli.main`.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    fill_standard_streams()
    words = sys.argv[1:]
    if words in (["version"], ["--version"]):
        from rexecop import __version__

        sys.stdout.write(f"rexecop {__version__}\n")
        return
    from rexecop.cli.main import run

    sys.exit(run(words))


def fill_standard_streams() -> None:
    """Let a stream that the caller closed lead nowhere: else the next file opened, as the ledger, is it."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # It gets the lowest number that is free, which is this one.
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
