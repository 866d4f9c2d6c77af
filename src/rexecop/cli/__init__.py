"""The command line: parse, call `app`, render, exit code.

`rexecop version` is answered here, before anything heavy is imported; everything
else is in `cli.main`.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    words = sys.argv[1:]
    if words in (["version"], ["--version"]):
        from rexecop import __version__

        sys.stdout.write(f"rexecop {__version__}\n")
        return
    from rexecop.cli.main import run

    sys.exit(run(words))
