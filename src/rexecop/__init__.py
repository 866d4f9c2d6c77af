"""Runs operations on real systems under governance, and proves what happened."""

from typing import Final

__version__: Final = "0.1.0"
