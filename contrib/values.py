"""Parts of other people's YAML, whatever stands there."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from rexecop.execution.strict_yaml import Yaml


def text(value: Yaml) -> str:
    """Return a scalar as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | Decimal) else ""


def table(value: Yaml) -> Mapping[str, Yaml]:
    """Return a mapping, empty where there is none."""
    return value if isinstance(value, dict) else {}
