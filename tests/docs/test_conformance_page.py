"""Every case of the conformance page has one row, which names tests that exist or says why there is none."""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import Final

import pytest

from tests.docs.pages import page
from tests.house.source import ROOT

CASES: Final = 126  # Assertions of the seed's suites.
NODE: Final = re.compile(r"`(tests/[\w/]+\.py(?:::\w+)+)`")
ROWS: Final = re.findall(
    r"^\| (\d+) \| (.+?) \| (.+) \|$", page("docs/lanes/conformance.md").text, re.MULTILINE
)


@cache
def named_in(path: str) -> frozenset[str]:
    """The names of the tests in a file, those of classes as `Class::test`."""
    body = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    pairs = [(f"{node.name}::", node.body) for node in body if isinstance(node, ast.ClassDef)]
    return frozenset(
        prefix + node.name
        for prefix, nodes in [("", body), *pairs]
        for node in nodes
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


def test_every_case_has_exactly_one_row_in_its_order() -> None:
    assert [int(number) for number, _, _ in ROWS] == list(range(1, CASES + 1))


@pytest.mark.parametrize(("number", "asserts", "shown"), ROWS, ids=[number for number, _, _ in ROWS])
def test_every_row_names_tests_that_exist_or_says_why_there_is_none(
    number: str, asserts: str, shown: str
) -> None:
    named = [node.partition("::")[::2] for node in NODE.findall(shown)]
    without = NODE.sub("", shown).replace(";", "").strip()

    assert [f"{path}::{name}" for path, name in named if name not in named_in(path)] == []
    assert len(asserts) > 10
    if not without.startswith("not here: "):
        assert named and without == "", number
    else:
        assert bool(named) is without.startswith("not here: in another form, "), number
        assert len(without) > 30
