"""The command `tecrax`: what this profile offers. Operations are run by `rexecop`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from tecrax import __version__, profile_root

if TYPE_CHECKING:
    from rexecop.app.reacting import Reacting

USAGE: Final = (
    "usage: tecrax [status | path | --version | reaction-observation --operation ID [--target ID] "
    "[--input FILE] | escalation-proposal --operation ID [--target ID] [--outcome WORD --intent ID]]"
)
EXIT_OK: Final = 0
EXIT_USAGE: Final = 2
DIAGNOSIS: Final = "diagnose_monitoring_host"


def main() -> None:
    """Run the command line; without arguments it answers `status`."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Answer one command and return its exit code."""
    match arguments or ["status"]:
        case ["status"]:
            print(status())
        case ["path"]:
            print(profile_root())
        case ["--version" | "version"]:
            print(f"tecrax {__version__}")
        case ["--help" | "-h" | "help"]:
            print(USAGE)
        case [("reaction-observation" | "escalation-proposal") as command, *rest]:
            return _say(command, rest)
        case [first, *_]:
            return _refuse(f"unknown command `{first:.60}`; {USAGE}")
        case _:
            return EXIT_USAGE
    return EXIT_OK


def status() -> str:
    """Return name, version and the intents that are installed."""
    names = sorted(file.stem for file in (profile_root() / "intents").glob("*.yaml"))
    lines = [f"tecrax {__version__}: the infrastructure profile, {len(names)} intents", ""]
    lines += [f"  {name}" for name in names]
    return "\n".join([*lines, "", f"run them with `rexecop plan --profile tecrax --intent {names[0]} ...`"])


class _Words(argparse.ArgumentParser):
    """Options that say what is wrong with them in one line."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _say(command: str, words: list[str]) -> int:
    """Print an observation, or a proposal about one, as JSON. Both read the ledger, and change nothing."""
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
        return _refuse(f"{error}; {USAGE}")
    except ImportError:
        return _refuse("this needs the runner `rexecop`, from the same release")
    try:
        print(_observation(asked) if command == "reaction-observation" else _proposal(asked))
    except RexecopError as error:
        return _refuse(f"error[{error.code}]: {error.message}")
    return EXIT_OK


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


def _refuse(message: str) -> int:
    print(f"tecrax: {message}", file=sys.stderr)
    return EXIT_USAGE
