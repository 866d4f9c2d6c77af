"""The command `tecrax`: what this profile offers. Operations are run by `rexecop`."""

import sys
from typing import Final

from tecrax import __version__, profile_root

USAGE: Final = "usage: tecrax [status | path | --version]"
EXIT_OK: Final = 0
EXIT_USAGE: Final = 2


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
        case [first, *_]:
            print(f"tecrax: unknown command `{first:.60}`; {USAGE}", file=sys.stderr)
            return EXIT_USAGE
        case _:
            return EXIT_USAGE
    return EXIT_OK


def status() -> str:
    """Return name, version and the intents that are installed."""
    names = sorted(file.stem for file in (profile_root() / "intents").glob("*.yaml"))
    lines = [f"tecrax {__version__}: the infrastructure profile, {len(names)} intents", ""]
    lines += [f"  {name}" for name in names]
    return "\n".join([*lines, "", f"run them with `rexecop plan --profile tecrax --intent {names[0]} ...`"])
