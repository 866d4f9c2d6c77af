"""The fault campaign, for a moment: a round of each ledger, with a seed that is known."""

import subprocess
import sys

import pytest

from tests.soak.round import ENGINES

SECONDS_MAX = 600  # The machine decides when faults strike, and how long what they left takes.


@pytest.mark.parametrize(("seed", "engine"), list(zip((3, 1), ENGINES, strict=False)))
def test_whatever_strikes_real_processes_everything_still_holds(seed: int, engine: str) -> None:
    told = ["--seed", str(seed), "--rounds", "1", "--seconds", "1.5", "--engine", engine]
    ran = subprocess.run(
        [sys.executable, "-m", "tests.soak", *told],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "0 found something" in ran.stdout
