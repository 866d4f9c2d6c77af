"""The reference pages are the code's, and the light commands stay light."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from scripts import connectors

import rexecop
from rexecop.cli.reference import PAGES, error_codes
from rexecop.cli.table import ALIASES, BY_NAME, ENTRIES, GROUPS, MORE
from rexecop.lanes.failures import Failure
from rexecop.operations.environment import BACKENDS
from rexecop.proof.errors import RexecopError

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference"
HEAVY = ("rich", "apsw", "cedarpy", "msgspec", "click", "yaml", "cryptography", "asyncio", "rexecop.app")


def test_the_page_of_connectors_is_what_the_code_says() -> None:
    kept = (FOLDER / connectors.FILE).read_text(encoding="utf-8")

    assert kept == connectors.page(), "run `make docs`"
    assert all(f"`{name}`" in kept for name in (*BACKENDS, *Failure))


@pytest.mark.parametrize("name", PAGES)
def test_a_reference_page_is_what_the_code_says(name: str) -> None:
    kept = (FOLDER / name).read_text(encoding="utf-8")

    assert kept == PAGES[name](), "run `make docs`"


def test_the_version_loads_nothing_heavy() -> None:
    asked = (
        "import sys; sys.argv = ['rexecop', 'version']; from rexecop.cli import main; main();"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)

    assert ended.stdout == f"rexecop {rexecop.__version__}\n[]\n"


def test_help_and_a_mistyped_command_load_no_command() -> None:
    asked = (
        "import sys; from rexecop.cli.main import run; run(['--help']); run(['plna']);"
        "print([name for name in sys.modules if 'rexecop.cli.commands.' in name], 'apsw' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)

    assert ended.stdout.endswith("[] False\n")


def test_a_stranger_verifies_without_the_machinery_of_stores_and_services() -> None:
    case = (
        Path(__file__).parents[2] / "conformance" / "released" / "0.1.0" / "logged_change-approved-and-undone"
    )
    words = ["verify", str(case / "bundle.rxb"), "--trust", str(case / "trust"), "--quiet"]
    heavy = ("asyncio", "apsw", "rich", "jinja2", "ssl", "rexecop.lanes", "rexecop.engines", "rexecop.store")
    asked = (
        f"import sys; from rexecop.cli.main import run; run({words});"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)

    assert ended.stdout == "verified: logged\n[]\n"


def test_the_module_is_the_command() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "rexecop", "version", "--json"], capture_output=True, text=True, check=True
    )

    assert f'"version": "{rexecop.__version__}"' in ended.stdout


def test_every_entry_is_in_a_group_and_every_other_name_means_one() -> None:
    assert {entry.group for entry in ENTRIES} == {*GROUPS, MORE}
    assert set(ALIASES.values()) <= set(BY_NAME) and not set(ALIASES) & set(BY_NAME)


def test_every_command_has_a_file_of_its_own_and_stays_below_ninety_lines() -> None:
    folder = Path(str(rexecop.__file__)).parent / "cli" / "commands"
    files = {file.stem for file in folder.glob("*.py") if file.stem != "__init__"}
    packages = {file.parent.name for file in folder.glob("*/__init__.py")}

    assert files | packages == {entry.replace("-", "_") for entry in BY_NAME} and not files & packages
    assert {f.name: n for f in folder.rglob("*.py") if (n := f.read_text().count("\n")) > 90} == {}


def test_error_trees_are_where_the_reference_looks() -> None:
    package = Path(str(rexecop.__file__)).parent
    elsewhere = [
        file.relative_to(package).as_posix()
        for file in package.rglob("*.py")
        if not file.stem.endswith(("errors", "failures"))
        and re.search(r'^    code = "[a-z-]+"$', file.read_text(encoding="utf-8"), re.MULTILINE)
    ]

    assert elsewhere == []


def test_every_code_is_one_error_with_a_meaning() -> None:
    for row in error_codes():
        assert row.code == row.code.lower() and " " not in row.code
        assert row.meaning and "|" not in row.meaning, row.code
    assert import_module("rexecop.proof.errors").RexecopError is RexecopError


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_that_asks_this_program(shell: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "rexecop", "completion", shell], capture_output=True, text=True, check=True
    )

    assert "_REXECOP_COMPLETE" in ended.stdout and ended.stdout.startswith("# put this into")


def test_completion_completes_commands_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    def complete(words: str, at: int) -> str:
        monkeypatch.setenv("_REXECOP_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(at))
        asked = [sys.executable, "-m", "rexecop"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout

    assert "plain,status" in complete("rexecop stat", 1)
    assert "plain,--exit-code" in complete("rexecop status --ex", 2)
