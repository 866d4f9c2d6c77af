"""A function fits on a screen, a file is one noun, and the whole stays readable."""

import ast
from typing import Final

from tests.house.source import CORE, code_lines, product, python_files

FUNCTION_LINES_MAX: Final = 70  # one screen; past it nobody checks a function against its docstring
FILE_LINES_MAX: Final = 600  # the wall; 400 is the aim
CORE_LINES_MAX: Final = 63_600  # of code (docs/decisions/0070), most of it known by layer
LANES_LINES_MAX: Final = 9_600  # likewise
PROOF_LINES_MAX: Final = 8_500  # what an auditor reads who trusts nothing else


def test_every_function_fits_on_a_screen() -> None:
    long = [
        f"{source.path}:{node.lineno} {node.name} has {length} lines"
        for source in product()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]

    assert long == []


def test_every_file_stays_below_the_wall() -> None:
    lengths = {source.path: source.text.count("\n") for source in product()}

    assert {path: lines for path, lines in lengths.items() if lines > FILE_LINES_MAX} == {}


def test_the_core_stays_small_enough_to_know() -> None:
    total = sum(code_lines(source.text, source.tree) for source in python_files(CORE))

    assert total < CORE_LINES_MAX


def test_the_lanes_stay_within_their_budget() -> None:
    total = sum(code_lines(source.text, source.tree) for source in python_files(CORE / "lanes"))

    assert total < LANES_LINES_MAX


def test_the_proof_stays_small_enough_to_audit() -> None:
    total = sum(code_lines(source.text, source.tree) for source in python_files(CORE / "proof"))

    assert total < PROOF_LINES_MAX
