"""What may be touched where. One table; it holds over the core and over every profile."""

import re
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatch, translate
from typing import Final

from tests.house.source import ROOT, Source, product

CLOCK: Final = ("src/rexecop/app/clock.py",)
CANONICAL: Final = ("src/rexecop/proof/canonical.py",)
JSON: Final = (
    *CANONICAL,
    "src/rexecop/proof/codec.py",
    "src/rexecop/proof/payload.py",
    "src/rexecop/cli/render.py",
)
LANES: Final = ("src/rexecop/lanes/*",)
PLUGINS: Final = ("src/rexecop/app/*",)
NOWHERE: Final = ()

# name (and everything below it) -> the files that are its home
HOMES: Final[Mapping[str, tuple[str, ...]]] = {
    "datetime.datetime.now": CLOCK,
    "datetime.datetime.utcnow": CLOCK,
    "datetime.datetime.today": CLOCK,
    "datetime.date.today": CLOCK,
    "time.time": CLOCK,
    "time.time_ns": CLOCK,
    "uuid": CLOCK,
    "random": CLOCK,
    "secrets": CLOCK,
    "os.urandom": CLOCK,
    "hashlib": CANONICAL,
    "hmac": CANONICAL,
    "json.dumps": JSON,
    "json.dump": JSON,
    "json.JSONEncoder": JSON,
    "typing.Any": ("src/rexecop/proof/codec.py",),
    "subprocess": LANES,
    "multiprocessing": LANES,
    "pty": LANES,
    "asyncio.create_subprocess_exec": LANES,
    "asyncio.create_subprocess_shell": NOWHERE,
    "asyncio.subprocess": LANES,
    "concurrent.futures.ProcessPoolExecutor": NOWHERE,
    "os.exec*": LANES,
    "os.fork*": LANES,
    "os.posix_spawn*": LANES,
    "os.spawn*": NOWHERE,
    "os.system": NOWHERE,
    "os.popen": NOWHERE,
    "pickle": NOWHERE,
    "marshal": NOWHERE,
    "builtins.eval": NOWHERE,
    "builtins.exec": NOWHERE,
    "yaml.load_all": NOWHERE,
    "yaml.full_load": NOWHERE,
    "yaml.unsafe_load": NOWHERE,
    "importlib.metadata": PLUGINS,
}

PURE: Final = ("proof", "execution", "governance", "operations", "govern")
# The import contracts forbid modules; these are the ways out that need no forbidden module.
PURE_MAY_NOT: Final = (
    "builtins.open",
    "builtins.input",
    "builtins.print",
    "pathlib.Path",
    "pathlib.PosixPath",
)


def below(banned: str) -> re.Pattern[str]:
    """What `banned` and everything below it look like."""
    return re.compile(f"{translate(banned)}|{translate(f'{banned}.*')}")


BELOW: Final = {banned: below(banned) for banned in HOMES}
# Nearly every name is no banned one: asking for all at once tells.
ANY: Final = re.compile("|".join(pattern.pattern for pattern in BELOW.values()))


def breaches(source: Source) -> list[str]:
    uses = [use for use in source.uses() if ANY.match(use.what)]
    return sorted(
        {
            f"{source.path}:{use.line} uses {use.what}"
            for banned, homes in HOMES.items()
            if not any(fnmatch(source.path, home) for home in homes)
            for use in uses
            if BELOW[banned].match(use.what)
        }
    )


def test_the_clock_chance_hashing_json_and_processes_are_used_at_home_only() -> None:
    assert [breach for source in product() for breach in breaches(source)] == []


def test_the_core_opens_and_prints_nothing() -> None:
    found = [
        f"{source.path}:{use.line} uses {use.what}"
        for source in product()
        if source.path.startswith(tuple(f"src/rexecop/{part}/" for part in PURE))
        for use in source.uses()
        if use.what in PURE_MAY_NOT
    ]

    assert found == []


def test_every_ban_of_the_linter_is_in_the_table() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    banned = config["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]

    assert set(banned) - set(HOMES) == set()
