"""The infrastructure profile for RExecOp."""

from pathlib import Path
from typing import Final

__version__: Final = "0.1.0"


def profile_root() -> Path:
    """The folder that holds `profile.yaml`; the runner finds it by the entry point `rexecop.profiles`."""
    return Path(__file__).parent / "profile"
