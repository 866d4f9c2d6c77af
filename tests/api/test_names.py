"""What `from rexecop import …` gives: few names, each documented, none loaded before it is used."""

from __future__ import annotations

import hashlib
import inspect
import subprocess
import sys
from typing import Final

import pytest

import rexecop

NAMES_MAX: Final = 60
LOADED: Final = "import sys; {}; print(*sys.modules)"


def loaded(statement: str) -> set[str]:
    """Return the modules that a fresh process has after `statement`."""
    ran = subprocess.run(
        [sys.executable, "-c", LOADED.format(statement)], capture_output=True, text=True, check=True
    )
    return set(ran.stdout.split())


def test_the_public_names_are_few_and_sorted_by_nobody_twice() -> None:
    assert len(rexecop.__all__) < NAMES_MAX
    assert len(set(rexecop.__all__)) == len(rexecop.__all__)
    assert dir(rexecop) == sorted(rexecop.__all__)


@pytest.mark.parametrize("name", [name for name in rexecop.__all__ if name[0] != "_"])
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    found = getattr(rexecop, name)

    assert inspect.getdoc(found) or name == "Priority"  # A few words, and no class.


def test_a_name_that_is_not_public_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute `nothing`"):
        rexecop.nothing  # type: ignore[attr-defined]  # noqa: B018 - asking is the test


def test_importing_the_package_loads_nothing_and_a_name_loads_what_it_needs() -> None:
    assert {name for name in loaded("import rexecop") if name.startswith("rexecop")} == {"rexecop"}
    assert "rexecop.app.build" not in loaded("from rexecop import verify_bundle, RexecopError, Report")
    assert "starlette" not in loaded("from rexecop import *")


def test_a_receipt_of_the_contract_is_checked_without_the_service() -> None:
    receipt = hashlib.sha256(b'an-id:{"sum": 3}').hexdigest()

    assert rexecop.verify_receipt("an-id", '{"sum": 3}', receipt)
    assert not rexecop.verify_receipt("an-id", '{"sum": 4}', receipt)
    assert "starlette" not in loaded("from rexecop import verify_receipt")
