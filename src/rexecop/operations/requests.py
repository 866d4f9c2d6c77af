"""Requests for plans that nobody types: from scripts, schedules and events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from rexecop.proof.canonical import Json
from rexecop.proof.vocabulary import Mode


class AutoReact(StrEnum):
    """What is made by itself of what an operation observed: the plan of the reaction, never its start."""

    PLAN_ONLY = "plan_only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A plan that is asked for; with `start` it is run when it may. `source` only says where it is from.

    With `auto_react` what follows from what it observed is planned as soon as it ended.
    """

    profile: str
    env: str
    intent: str
    target: str
    mode: str = Mode.DRY_RUN.value
    parameters: Mapping[str, Json] | None = None
    reason: str | None = None
    idempotency_key: str | None = None
    start: bool = False
    source: str | None = None
    auto_react: AutoReact | None = None
