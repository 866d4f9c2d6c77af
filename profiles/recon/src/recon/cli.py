"""The command `recon`: proposals checked, a scope put in force, a probe ready to plan. `rexecop` runs it."""

from __future__ import annotations

import argparse
import shlex
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, cast

from recon import __version__, profile_root
from recon.action import ACTION_BYTES_MAX, parse_action
from recon.compiler import compile_action
from recon.errors import ReconRefused
from recon.gateway import Verdict, evaluate
from recon.pack import environment, policy_pack
from recon.scope import SCOPE_BYTES_MAX, parse_scope

if TYPE_CHECKING:
    from rexecop.proof.canonical import Json

EXIT_OK: Final = 0
EXIT_USAGE: Final = 2
EXIT_DENIED: Final = 3

ENVIRONMENT: Final = "recon.environment.yaml"


def main() -> NoReturn:
    """Run the command line; without arguments it answers `status`."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Answer one command and return its exit code."""
    try:
        asked = _parser().parse_args(arguments or ["status"])
    except SystemExit as ended:
        return int(ended.code or 0)
    as_json = bool(getattr(asked, "json", False))
    try:
        return _answer(asked)
    except ReconRefused as error:
        _complain(error.code, error.message, as_json)
    except OSError as error:
        _complain("file-unreadable", f"`{error.filename}`: {error.strerror}", as_json)
    except ModuleNotFoundError:
        _complain("runner-missing", "the runner `rexecop` is not installed beside this profile", False)
    return EXIT_USAGE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="recon", description=__doc__, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"recon {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    verbs.add_parser("status", help="name, version and intents")
    verbs.add_parser("path", help="the folder of the profile")
    compiled = verbs.add_parser("compile", help="check ACTION.json and show what it comes to")
    scope = verbs.add_parser("scope", help="put SCOPE.toml in force in a root of yours")
    plan = verbs.add_parser(
        "plan", help="check ACTION.json against a scope and print the command that plans it"
    )
    for verb in (compiled, plan):
        verb.add_argument("action", type=Path, metavar="ACTION.json")
        verb.add_argument("--json", action="store_true", help="answer as JSON")
    scope.add_argument("scope", type=Path, metavar="SCOPE.toml")
    plan.add_argument("--scope", type=Path, required=True, metavar="SCOPE.toml")
    plan.add_argument("--address", metavar="IP", help="reach it there instead of looking its name up")
    for verb in (scope, plan):
        verb.add_argument("--root", type=Path, default=Path(".rexecop"), help="the runner's root (.rexecop)")
    return parser


def _answer(asked: argparse.Namespace) -> int:
    match asked.verb:
        case "path":
            print(profile_root())
        case "compile":
            return _compile(asked)
        case "scope":
            return _put_in_force(asked.scope, asked.root)
        case "plan":
            return _plan(asked)
        case _:
            print(_status())
    return EXIT_OK


def _status() -> str:
    names = sorted(file.stem for file in (profile_root() / "intents").glob("*.yaml"))
    lines = [f"recon {__version__}: authorised security checks, {len(names)} intent", ""]
    lines += [f"  {name}" for name in names]
    return "\n".join(
        [*lines, "", "begin with `recon scope SCOPE.toml`, then `recon plan ACTION.json --scope SCOPE.toml`"]
    )


def _compile(asked: argparse.Namespace) -> int:
    compiled = compile_action(parse_action(_read(asked.action, ACTION_BYTES_MAX)))
    at = compiled.endpoint
    found = {
        "probe": f"{at.scheme}://{at.host}:{at.port}{at.path}",
        "intent": f"recon/{compiled.recipe.intent}",
        "tool": compiled.recipe.tool,
        "loss": compiled.loss.value,
        "response": compiled.response.value,
    }
    if asked.json:
        print(_as_json({**found, "lost": list(compiled.lost)}))
    else:
        print("\n".join((*(f"{name:10} {value}" for name, value in found.items()), *compiled.lost)))
    return EXIT_OK


def _put_in_force(file: Path, root: Path) -> int:
    folder = root / "policy"
    if not folder.is_dir():
        print(
            f"recon: error[root-missing]: `{root}` is no root; make one with `rexecop init`", file=sys.stderr
        )
        return EXIT_USAGE
    scope = parse_scope(_read(file, SCOPE_BYTES_MAX))
    files = policy_pack(scope)
    pack = folder / f"recon-{scope.id}"
    pack.mkdir(mode=0o700, exist_ok=True)
    for name, data in files.items():
        _write(pack / name, data)
    _write(root / ENVIRONMENT, environment(scope))
    print(f"in force   {pack}, until {scope.not_after:%Y-%m-%dT%H:%M:%SZ}")
    print(f"written    {root / ENVIRONMENT}")
    return EXIT_OK


def _plan(asked: argparse.Namespace) -> int:
    from rexecop.app.clock import SystemClock

    action = parse_action(_read(asked.action, ACTION_BYTES_MAX))
    scope = parse_scope(_read(asked.scope, SCOPE_BYTES_MAX))
    given = (asked.address,) if asked.address else None
    found = evaluate(action, scope, resolve=lambda host: given or _addresses(host), at=SystemClock().now())
    if found.code is not None:
        _complain(found.code, found.reason, asked.json)
        return EXIT_DENIED
    command = _command(found, asked.root)
    print(_as_json({"reason": found.reason, "next": [command]}) if asked.json else command)
    return EXIT_OK


def _command(found: Verdict, root: Path) -> str:
    assert found.compiled is not None and found.address is not None
    words = ["rexecop", "plan", "--profile", "recon", "--env", str(root / ENVIRONMENT)]
    words += ["--intent", found.compiled.recipe.intent, "--target", "engagement"]
    for name, value in found.compiled.parameters(found.address).items():
        words += ["--param", f"{name}:={value}" if isinstance(value, int) else f"{name}={value}"]
    return shlex.join(words)


def _complain(code: str, message: str, as_json: bool) -> None:
    said = f"recon: error[{code}]: {message}"
    if as_json:
        said = _as_json({"code": code, "message": message, "facts": {}, "next": []})
    print(said, file=sys.stderr)


def _as_json(value: Mapping[str, object]) -> str:
    from rexecop.proof.canonical import canonical_bytes

    return canonical_bytes(cast("Json", value)).decode()


def _addresses(host: str) -> Sequence[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def _read(file: Path, most: int) -> bytes:
    with file.open("rb") as opened:
        return opened.read(most + 1)


def _write(file: Path, data: bytes) -> None:
    """Write `data` whole or not at all, for nobody else to change."""
    new = file.with_name(f".{file.name}.new")
    new.touch(mode=0o600)
    new.write_bytes(data)
    new.replace(file)
