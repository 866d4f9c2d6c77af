"""The record kinds. A kind is one file here, one line in `kinds`, one page in docs/formats.

All of them are to be had from here. They are loaded by whoever asks for one: deciding
takes few of them, and making a class takes longer than a decision.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rexecop.proof.records.kinds import *  # noqa: F403
else:

    def __getattr__(name: str) -> object:
        return getattr(import_module(f"{__name__}.kinds"), name)
