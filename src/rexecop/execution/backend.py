"""What a handler of a profile is called with: the one name that profile packages import from here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class StepExecutionContext:
    """One internal step. `shared_state` holds what calls and handlers before it said; a handler adds its own.

    `shared_state["connector_results"]` has what each call answered, by step, and
    `shared_state["continued_failures"]` what of them failed.
    """

    operation_id: str
    target: str
    mode: str
    step: Mapping[str, object] = field(default_factory=dict)
    shared_state: dict[str, object] = field(default_factory=dict)
