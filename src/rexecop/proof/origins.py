"""What a request brought along to be allowed, and how its bytes are named where they are kept."""

from __future__ import annotations

from typing import Final

EXECUTE: Final = "execute"  # The channel of the `/execute` contract.
ARTIFACT_ROLE: Final = "approval-artifact"  # Of the pinned input that is the event of such an intent.
