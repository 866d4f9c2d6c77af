"""`python -m tecrax.validators active-profile | secret-topology`: checks for a repository's own CI.

What is wrong goes to stderr, one line each, and the exit code is 1.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tecrax.topology import leaks_below, unexcused

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1


def main(arguments: Sequence[str]) -> int:
    """Run one validator and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tecrax.validators", description=__doc__)
    which = parser.add_subparsers(dest="which", required=True)
    which.add_parser("active-profile", help="lint, golden cases, and what intents say of themselves")
    topology = which.add_parser("secret-topology", help="keys, tokens and addresses in tracked files")
    topology.add_argument("root", nargs="?", type=Path, default=Path(), help="the folder to look into (here)")
    topology.add_argument("--excused", type=Path, help="a file of lines `PATH KIND`: what is made up")
    asked = parser.parse_args(arguments)
    problems = _topology(asked.root, asked.excused) if asked.which == "secret-topology" else _profile()
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    if not problems:
        sys.stdout.write(f"{asked.which.replace('-', '_')}_ok\n")
    return EXIT_FAILED if problems else EXIT_OK


def _profile() -> Sequence[str]:
    from tecrax.reviewing import active_profile

    return active_profile()


def _topology(root: Path, excused: Path | None) -> Sequence[str]:
    try:
        lines = [] if excused is None else excused.read_text(encoding="utf-8").splitlines()
        return list(unexcused(leaks_below(root.resolve(strict=True)), lines))
    except (OSError, UnicodeDecodeError) as error:
        return [f"cannot be looked into: {error}"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
