"""Tests that pages name exist, and the pages that promise something of each line name one or a page."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.docs.pages import Page, page, pages
from tests.house.source import ROOT

NAMED: Final = re.compile(r"`((?:tests|profiles)/[\w/]+\.py)::(test_\w+)`")
BULLET: Final = re.compile(r"^- (.+)$", re.MULTILINE)
LINKED: Final = re.compile(r"\]\([^)]+\)\.?$")
SECURITY: Final = Page(name="SECURITY.md", text=(ROOT / "SECURITY.md").read_text(encoding="utf-8"))
EVERYWHERE: Final = [*(found for found in pages() if NAMED.search(found.text)), SECURITY]


@cache
def names_in(file: Path) -> frozenset[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return frozenset(
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def rows(text: str) -> list[list[str]]:
    """The cells of every row of every table that is not its head."""
    found: list[list[str]] = []
    for table in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        found += [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    return found


@pytest.mark.parametrize("page", EVERYWHERE, ids=lambda found: found.name)
def test_every_test_a_page_names_exists(page: Page) -> None:
    named = NAMED.findall(page.text)

    assert [f"{file}::{name}" for file, name in named if not (ROOT / file).is_file()] == []
    assert [f"{file}::{name}" for file, name in named if name not in names_in(ROOT / file)] == []


def test_every_threat_has_what_stands_in_the_way_and_a_test_that_shows_it() -> None:
    _, _, threats = page("docs/threats.md").text.partition("## A program with a shell")
    found = rows(threats)

    assert len(found) >= 40
    assert [
        cells[0] for cells in found if len(cells) != 3 or not cells[1] or not NAMED.search(cells[2])
    ] == []
    # What is not prevented is said so, and is no row without an answer.
    assert any("**nothing here" in cells[1] for cells in found)


def test_every_step_of_the_safety_model_names_its_code_and_a_test() -> None:
    found = rows(page("docs/safety.md").text)

    assert len(found) >= 8
    assert [cells[0] for cells in found if len(cells) != 4 or not NAMED.search(cells[3])] == []
    code = [cell[2].strip("`") for cell in found]
    assert [path for path in code if not (ROOT / "src" / "rexecop" / path).is_file()] == []


def test_every_known_limit_says_where_it_can_be_seen() -> None:
    limits = BULLET.findall(page("docs/limits.md").text)

    assert len(limits) >= 20
    assert [line for line in limits if not NAMED.search(line) and not LINKED.search(line)] == []


def test_every_line_of_the_checklist_has_a_command_that_shows_it() -> None:
    found = rows(page("docs/hardening.md").text)

    assert len(found) >= 20
    unshown = [
        cells[0] for cells in found if len(cells) != 3 or not (cells[1].startswith("`") or not cells[2])
    ]
    assert unshown == [] and sum(not cells[1] for cells in found) <= 1


def test_a_name_that_is_no_test_is_found() -> None:
    wrong = NAMED.findall("`tests/lanes/test_gate.py::test_that_nobody_wrote`")

    assert [name for file, name in wrong if name not in names_in(ROOT / file)] == ["test_that_nobody_wrote"]
