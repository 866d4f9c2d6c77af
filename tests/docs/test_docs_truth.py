"""What the pages name exists: commands, options, settings, codes, extras, targets, files, names, figures."""

import importlib
import re
import shlex
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Final

import click
import pytest

from rexecop.app.settings import SETTINGS
from rexecop.cli.exits import Exit
from rexecop.cli.parsing import VerbWithMore, global_options, program
from rexecop.cli.reference import error_codes, settings_page
from rexecop.cli.table import ALIASES, BY_NAME
from rexecop.proof.verify.codes import CODES
from tests.docs.pages import Page, page, pages
from tests.house.source import CORE, ROOT

LAYERS: Final = tuple(
    sorted(item.name for item in CORE.iterdir() if item.is_dir() and item.name[0].isalpha())
)
FILE: Final = re.compile(r"^[\w.-]+(?:/[\w.-]+)*/?(?:[\w-]+\.(?:py|md|toml|yaml|sql|cedar))?$")
MODULE: Final = re.compile(rf"^(?:rexecop\.)?((?:{'|'.join(LAYERS)})(?:\.\w+)+)$")
VARIABLE: Final = re.compile(r"\bREXECOP_[A-Z_]+\b")
EXIT: Final = re.compile(r"\b(?:exit(?:s| code)?|ends?)(?: with)? (\d+)\b")
EXTRAS: Final = re.compile(r"[Ee]xtras? ((?:`\w+`(?:, | and )?)+)")
FAULT: Final = re.compile(r"\bE\d\d[a-z]{1,2}\b")
FIGURE: Final = re.compile(r"(\d[\d,]*) (\w+)\s+\(`((?:\w+\.)+[A-Z_]+)`\)")
UNITS: Final = {
    "s": 1, "hours": 3600, "days": 86_400, "ms": 1,
    "jobs": 1, "calls": 1, "levels": 1, "KiB": 1024, "MiB": 1 << 20,
}  # fmt: skip
# What stands in a root, a bundle, a pack or another checkout, and not in this one.
ELSEWHERE: Final = ("inputs/", "envelopes/", "signatures/", "blobs/", "requirements/", "policy/", "keys/")
OURS: Final = ("src", "docs", "tests", "profiles", "examples", "bench", "scripts", *LAYERS)
# The reference pages are written from the code, which another test holds them to.
WRITTEN: Final = [found for found in pages() if not found.name.startswith("docs/reference/")]

by_page = pytest.mark.parametrize("page", WRITTEN, ids=lambda found: found.name)


@pytest.mark.parametrize("page", pages(), ids=lambda found: found.name)
def test_every_link_into_the_project_leads_somewhere(page: Page) -> None:
    dead = [link for link in page.links() if not _leads(page, link)]

    assert dead == []


@by_page
def test_every_command_and_option_a_page_names_exists(page: Page) -> None:
    wrong = [f"{line}: {why}" for line in _command_lines(page) if (why := _refusal(line)) is not None]
    options = [span for span in page.spans() if re.match(r"^--[a-z-]+$", span) and span not in _all_options()]

    assert wrong + options == []


@by_page
def test_every_path_a_page_names_exists(page: Page) -> None:
    paths = [span for span in page.spans() if span.split("/")[0] in OURS and "/" in span and FILE.match(span)]
    paths = [path for path in paths if not path.startswith(ELSEWHERE)]

    assert [path for path in paths if not (ROOT / path).exists() and not (CORE / path).exists()] == []


@by_page
def test_every_module_and_name_a_page_names_exists(page: Page) -> None:
    dotted = [match.group(1) for span in page.spans() if (match := MODULE.match(span))]

    assert [name for name in dotted if not _has(name)] == []


@by_page
def test_every_variable_exit_code_fault_extra_and_target_a_page_names_exists(page: Page) -> None:
    known = {setting.env for setting in SETTINGS} | set(VARIABLE.findall(settings_page()))
    targets = set(re.findall(r"^([\w.]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [name for found in EXTRAS.findall(page.prose) for name in re.findall(r"`(\w+)`", found)]
    made = [span.split()[1] for span in page.spans() if re.match(r"^make \w+$", span)]

    assert [name for name in VARIABLE.findall(page.text) if name not in known] == []
    assert [code for code in EXIT.findall(page.text) if int(code) not in set(Exit)] == []
    assert [code for code in FAULT.findall(page.text) if code not in CODES] == []
    assert [name for name in named if name not in extras["optional-dependencies"]] == []
    assert [name for name in made if name not in targets] == []


@by_page
def test_every_error_code_a_page_shows_exists(page: Page) -> None:
    codes = {row.code for row in error_codes()} | {"usage", "internal-error"}

    assert [code for code in re.findall(r"error\[([a-z-]+)\]", page.text) if code not in codes] == []


@by_page
def test_every_figure_with_a_name_is_the_one_in_the_code(page: Page) -> None:
    wrong = [
        f"{number} {unit} is not {name}"
        for number, unit, name in FIGURE.findall(page.prose)
        if _value(name) != int(number.replace(",", "")) * UNITS[unit]
    ]

    assert wrong == []


def test_the_pages_of_the_house_name_figures_paths_and_commands() -> None:
    assert sum(len(FIGURE.findall(found.prose)) for found in WRITTEN) >= 5
    assert sum(len(list(_command_lines(found))) for found in WRITTEN) >= 20
    assert (
        _refusal("rexecop plan --nonsense") and _refusal("rexecop nonsense") and _refusal("rexecop keys nix")
    )


def test_every_page_is_named_in_the_index() -> None:
    index = page("docs/README.md")
    named = {(index.folder / link.split("#")[0]).resolve() for link in index.links()}

    assert {found.name for found in pages() if (ROOT / found.name) not in named} <= {
        "README.md",
        "docs/README.md",
    }


# --- what is looked up ---


def _leads(found: Page, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (found.folder / path).resolve() if path else ROOT / found.name
    if not target.exists() or not target.is_relative_to(ROOT):
        return False
    return not anchor or anchor in _anchors(target)


@cache
def _anchors(target: Path) -> frozenset[str]:
    titles = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
    return frozenset(re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles)


def _command_lines(found: Page) -> Iterator[str]:
    """Every command line of ours in code spans and shell blocks."""
    yield from (span for span in found.spans() if span.startswith("rexecop "))
    for block in found.blocks():
        for command in block.commands():
            text = command.text.replace("\\\n", " ")
            yield from (line for line in text.splitlines() if line.startswith("rexecop "))


def _refusal(line: str) -> str | None:
    """Why `line` is no command line of ours, or None."""
    words = shlex.split(line, comments=True)[1:]
    words = words[: words.index("--")] if "--" in words else words  # What follows is another command's.
    verb = next((word for word in words if not word.startswith("-")), None)
    if verb is None:
        return None if set(words) <= {"--help", "--version"} | _all_options() else "unknown option"
    if verb not in BY_NAME and verb not in ALIASES:
        return f"no command `{verb}`"
    command = program.get_command(click.Context(program), ALIASES.get(verb, verb))
    rest = words[words.index(verb) + 1 :]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        below = command.get_command(click.Context(command), rest[0])
        if below is None and isinstance(command, VerbWithMore):
            break  # An operand of the command itself.
        command, rest = below, rest[1:] or rest
    if command is None:
        return f"`{verb}` has no command `{rest[0]}`"
    known = _options(command) | {name for option in global_options(hidden=False) for name in option.opts}
    unknown = [word for word in words if word.startswith("--") and word.split("=")[0] not in known]
    return f"no option {unknown}" if unknown else None


def _options(command: click.Command) -> set[str]:
    own = command.own if isinstance(command, VerbWithMore) else command
    return {name for option in own.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}


@cache
def _all_options() -> frozenset[str]:
    found = {name for option in global_options(hidden=False) for name in option.opts}
    for verb in BY_NAME:
        command = program.get_command(click.Context(program), verb)
        assert command is not None
        found |= _options_below(command)
    return frozenset(found)


def _options_below(command: click.Command) -> set[str]:
    below = command.commands.values() if isinstance(command, click.Group) else ()
    return _options(command).union(*(_options_below(each) for each in below))


def _has(name: str) -> bool:
    try:
        _resolve(name)
    except (ImportError, AttributeError):
        return False
    return True


def _resolve(name: str) -> object:
    """The module, or the name in a module, that `name` means below `rexecop`."""
    module, _, attribute = name.rpartition(".")
    try:
        return importlib.import_module(f"rexecop.{name}")
    except ModuleNotFoundError:
        found: object = getattr(importlib.import_module(f"rexecop.{module}"), attribute)
        return found


def _value(name: str) -> float:
    value = _resolve(name)
    if isinstance(value, timedelta):
        return value.total_seconds()
    assert isinstance(value, int | float)
    return value
