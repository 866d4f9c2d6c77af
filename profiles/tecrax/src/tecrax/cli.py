"""The command `tecrax`: what this profile offers, and whether it does that. `rexecop` runs operations."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final, NoReturn

from tecrax import __version__, observing, profile_root

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
COMMANDS: Final = ("status", "path", "fixture-review", *observing.COMMANDS, "version", "help")
WITHOUT_RUNNER: Final = "the runner `rexecop` is not installed beside it"


def main() -> None:
    """Run the command line; without arguments it answers `status`."""
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # Whoever read it has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_OK
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Answer one command and return its exit code."""
    if arguments and arguments[0] in observing.COMMANDS:
        code, said = observing.say(arguments[0], arguments[1:])
        print(said, file=sys.stderr if code else sys.stdout)
        return code
    parser = _parser()
    try:
        asked = parser.parse_args(arguments)
    except SystemExit as error:
        return EXIT_USAGE if error.code else EXIT_OK
    command = "version" if asked.version else asked.command
    try:
        match command:
            case "status":
                return _status(as_json=asked.json)
            case "fixture-review":
                return _fixture_review(asked.service)
            case "path":
                _print({"path": str(profile_root())}, str(profile_root()), as_json=asked.json)
            case "version":
                _print(
                    {"name": "tecrax", "version": __version__}, f"tecrax {__version__}", as_json=asked.json
                )
            case _:
                parser.print_help()
    except ModuleNotFoundError as error:
        print(f"tecrax: {WITHOUT_RUNNER}, and `{command}` needs it: {error}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK


class _Parser(argparse.ArgumentParser):
    """A parser whose refusals are one line."""

    def error(self, message: str) -> NoReturn:
        print(f"tecrax: {' '.join(message.split())[:300]}; try `tecrax --help`", file=sys.stderr)
        raise SystemExit(EXIT_USAGE)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="tecrax", description="The infrastructure profile. Run its intents with `rexecop`.")
    parser.add_argument("command", nargs="?", choices=COMMANDS, default="status", help="what to do (status)")
    parser.add_argument("--json", action="store_true", help="answer as JSON; fixture-review always does")
    parser.add_argument("--service", default="demo-web", metavar="NAME", help="the label of fixture-review")
    parser.add_argument("--version", action="store_true", help="print the version")
    return parser


def _status(*, as_json: bool) -> int:
    """Print name, version, the intents that are installed, and what lint finds in them."""
    names = sorted(file.stem for file in (profile_root() / "intents").glob("*.yaml"))
    from tecrax.reviewing import lint_errors

    problems = lint_errors()
    checked = f"{len(problems)} errors" if problems else "no errors"
    found = {
        "name": "tecrax",
        "version": __version__,
        "path": str(profile_root()),
        "intents": names,
        "lint": checked,
        "problems": list(problems),
    }
    lines = [f"tecrax {__version__}: the infrastructure profile, {len(names)} intents; lint: {checked}", ""]
    lines += [f"  {name}" for name in names]
    lines += ["", *problems] if problems else []
    lines += ["", f"run them with `rexecop plan --profile tecrax --intent {names[0]} ...`"]
    _print(found, "\n".join(lines), as_json=as_json)
    return EXIT_FAILED if problems else EXIT_OK


def _fixture_review(service: str) -> int:
    from tecrax.reviewing import fixture_review

    found = fixture_review(service)
    _print(found.document, "", as_json=True)
    return EXIT_FAILED if found.problems else EXIT_OK


def _print(document: Mapping[str, object], text: str, *, as_json: bool) -> None:
    if as_json:
        from rexecop.cli.render import as_json as in_json

        text = in_json(document).removesuffix("\n")
    print(text)
