"""What a diagnosis observed, and what should follow from it, as JSON."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

if TYPE_CHECKING:
    from rexecop.app.reacting import Reacting

COMMANDS: Final = ("reaction-observation", "escalation-proposal")
DIAGNOSIS: Final = "diagnose_monitoring_host"
EXIT_OK: Final = 0
EXIT_USAGE: Final = 2


class _Words(argparse.ArgumentParser):
    """Options that say what is wrong with them in one line."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def say(command: str, words: Sequence[str]) -> tuple[int, str]:
    """Return an exit code, and an observation or a proposal about one; or what is wrong, in one line.

    Both read the ledger, and change nothing.
    """
    parser = _Words(prog=f"tecrax {command}", add_help=False, allow_abbrev=False)
    parser.add_argument("--operation", required=True)
    options = ("--target", "--root") + (
        ("--input",) if command == "reaction-observation" else ("--outcome", "--intent")
    )
    for name in options:
        parser.add_argument(name)
    try:
        asked = parser.parse_args(words)
        from rexecop.proof.errors import RexecopError
    except ValueError as error:
        return _refuse(f"{error}; try `tecrax --help`")
    except ImportError:
        return _refuse("this needs the runner `rexecop`, from the same release")
    try:
        said = _observation(asked) if command == "reaction-observation" else _proposal(asked)
    except RexecopError as error:
        return _refuse(f"error[{error.code}]: {error.message}")
    return EXIT_OK, said


def _observation(asked: argparse.Namespace) -> str:
    from rexecop.app.files import read_file
    from rexecop.app.reacting import BYTES_MAX, as_text, envelope

    if asked.input is not None:
        data = read_file(Path(asked.input), bytes_max=BYTES_MAX)
        return as_text(envelope("tecrax", data, asked.operation, DIAGNOSIS, asked.target or ""))
    with _reacting(asked.root) as reacting:
        return as_text(reacting.observation(asked.operation, asked.target))


def _proposal(asked: argparse.Namespace) -> str:
    from rexecop.app.reacting import as_text

    with _reacting(asked.root) as reacting:
        seen = reacting.observation(asked.operation, asked.target)
        return as_text(reacting.proposal(seen, asked.outcome, asked.intent))


@contextmanager
def _reacting(root: str | None) -> Iterator[Reacting]:
    """Open the ledger of `root`, or of the root that `rexecop` would use here."""
    from rexecop.app.build import open_instance
    from rexecop.app.reacting import Reacting
    from rexecop.app.settings import load_settings

    flags = {} if root is None else {"root": root}
    settings = load_settings(flags, os.environ, Path.cwd(), Path(os.path.expanduser("~")))
    with open_instance(settings) as instance:
        yield Reacting(instance)


def _refuse(message: str) -> tuple[int, str]:
    return EXIT_USAGE, f"tecrax: {message}"
