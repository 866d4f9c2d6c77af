"""Whatever a file was made for, it ends in a verdict, within bounds that the system keeps."""

from __future__ import annotations

import resource
import subprocess
import sys
from typing import Final

import pytest

from conformance.traps import SLOW, TRAPS
from tests.house.source import ROOT

CPU_SECONDS: Final = 120  # Building included; what costs the square of its size does not end in it.
MEMORY_BYTES: Final = 2 << 30  # A file of 256 MiB, what is parsed of it, and Python.


def _bounded() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _verified(name: str) -> str:
    ended = subprocess.run(
        [sys.executable, str(ROOT / "conformance" / "traps.py"), name],
        preexec_fn=_bounded,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, f"{ended.returncode}: {ended.stderr[-2000:]}"
    return ended.stdout


@pytest.mark.parametrize("name", TRAPS)
def test_a_file_made_as_a_trap_ends_in_a_verdict(name: str) -> None:
    said = _verified(name)

    assert ("refused: E" in said) == (name != "revocations_of_thousands"), said


@pytest.mark.soak
@pytest.mark.parametrize("name", SLOW)
def test_a_large_history_made_as_a_trap_ends_in_a_verdict(name: str) -> None:
    assert _verified(name).startswith(f"{name}: ")
