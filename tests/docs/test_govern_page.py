"""Every row of the page about governance for programs names something that exists, or why it does not."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Final

import pytest

import rexecop.govern
from rexecop.cli.reference import error_codes
from rexecop.cli.table import BY_NAME
from rexecop.proof.records import KINDS
from tests.house.source import ROOT

PAGE: Final = (ROOT / "docs" / "govern.md").read_text(encoding="utf-8")
ROWS: Final = [
    tuple(cell.strip() for cell in line.strip("|").split("|"))
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| GovEngine")
]


def exists(name: str) -> bool:
    """Whether `name` is a command, a record kind, a file, a module, or a name in one."""
    if name.startswith("rexecop "):
        return name.removeprefix("rexecop ") in BY_NAME
    if "/" in name:
        return name in KINDS or (ROOT / name).exists()
    module, _, attribute = name.removeprefix("rexecop.").partition(".")
    found = importlib.import_module(f"rexecop.{module}")
    if not attribute or hasattr(found, attribute):
        return True
    try:
        importlib.import_module(f"rexecop.{module}.{attribute}")
    except ModuleNotFoundError:
        return False
    return True


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_row_names_what_exists_or_says_why_not(row: tuple[str, ...]) -> None:
    _, here, how = row
    names = re.findall(r"`([^`]+)`", here)

    assert (here == "not here") is not bool(names)
    assert [name for name in names if not exists(name)] == []
    assert len(how) > 20


def test_everything_public_stands_in_the_table_or_belongs_to_what_does() -> None:
    named = set(re.findall(r"`govern\.(\w+)`", PAGE))
    types = {name for name in rexecop.govern.__all__ if isinstance(getattr(rexecop.govern, name), type)}
    about_records = {"seal", "unseal", "trust_of", "of_tally"}

    assert set(rexecop.govern.__all__) - named - types - about_records == set()
    assert named <= set(rexecop.govern.__all__)


@pytest.mark.parametrize("name", rexecop.govern.__all__)
def test_everything_public_says_what_it_is(name: str) -> None:
    found = getattr(rexecop.govern, name)

    assert not callable(found) or inspect.getdoc(found)


def test_refusals_are_fewer_than_a_hundred_and_in_the_one_table() -> None:
    listed = {row.code: row.layer for row in error_codes()}
    refusals = rexecop.govern.refusals()

    assert len(refusals) < 100
    assert set(refusals) == {code for code, layer in listed.items() if layer in ("governance", "operations")}
    assert all(refusals.values())
