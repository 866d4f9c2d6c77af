"""The layers of the house, as the import contracts in `pyproject.toml` draw them."""

import re
import sys
from typing import Final

import pytest
from importlinter import cli as linter

from tests.house.source import CORE, ROOT, Source, python_files

PROOF_MAY_IMPORT: Final = frozenset(sys.stdlib_module_names) | {"rexecop", "cryptography"}
SKIPS: Final = (
    "pytest.skip",
    "pytest.importorskip",
    "pytest.mark.skip",
    "pytest.mark.skipif",
    "pytest.mark.xfail",
)
NAMED: Final = re.compile("skip|xfail")  # What uses one of them spells it.
ONE_HELPER: Final = "tests/needs.py"


def test_every_import_contract_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)

    assert linter.lint_imports(no_cache=True) == linter.EXIT_STATUS_SUCCESS


@pytest.mark.parametrize("source", python_files(CORE / "proof"), ids=lambda source: source.path)
def test_what_an_auditor_runs_needs_the_standard_library_only(source: Source) -> None:
    imported = {use.what.split(".")[0] for use in source.uses()} - {"builtins"}

    assert imported - PROOF_MAY_IMPORT == set()


def test_a_test_is_skipped_through_the_one_helper_only() -> None:
    skipping = [
        f"{source.path}:{use.line} {use.what}"
        for source in python_files(ROOT / "tests", ROOT / "profiles")
        if source.path != ONE_HELPER and NAMED.search(source.text)
        for use in source.uses()
        if use.what in SKIPS
    ]

    assert skipping == []
