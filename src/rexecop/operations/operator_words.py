"""What a profile tells operators (`operator_metadata.yaml`): words that decide nothing.

    profile: {label: Monitoring, description: What watches the site.}
    intents:
      check_root:
        label: Root file system
        owners: [storage]
        runbook_hint: docs/check_root.md
        safe_next_options: [rexecop why]
        failure_mapping:
          connector: {operator_summary: The host did not answer.}

What is odd in it is passed over, since nothing rests on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from rexecop.execution.strict_yaml import Yaml
from rexecop.operations.reading import Node

FILE: Final = "operator_metadata.yaml"
POLICY, CONNECTOR, RUNTIME = "policy", "connector", "runtime"
_LENGTH_MAX: Final = 500  # One line that people read in a hurry.
_LINES_MAX: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentWords:
    """What is said of one intent, each in one line, empty where nothing is; `failures` by their class."""

    label: str = ""
    summary: str = ""
    owners: tuple[str, ...] = ()
    runbook: str = ""
    options: tuple[str, ...] = ()
    failures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorWords:
    """What is said of a profile and of its intents."""

    label: str = ""
    description: str = ""
    intents: Mapping[str, IntentWords] = field(default_factory=dict)

    def of(self, intent: str) -> IntentWords:
        """Return what is said of `intent`."""
        return self.intents.get(intent, _NOTHING)


_NOTHING: Final = IntentWords()


def read_words(root: Node) -> OperatorWords:
    """Return what the file says."""
    profile = _part(root.value, "profile")
    return OperatorWords(
        label=_line(profile, "label"),
        description=_line(profile, "description"),
        intents={intent: _of_intent(said) for intent, said in _part(root.value, "intents").items()},
    )


def _of_intent(said: Yaml) -> IntentWords:
    mapping = said if isinstance(said, dict) else {}
    failures = {
        kind: text
        for kind, words in _part(said, "failure_mapping").items()
        if isinstance(words, dict) and (text := _line(words, "operator_summary"))
    }
    return IntentWords(
        label=_line(mapping, "label"),
        summary=_line(mapping, "summary"),
        owners=_lines(mapping, "owners"),
        runbook=_line(mapping, "runbook_hint"),
        options=_lines(mapping, "safe_next_options"),
        failures=failures,
    )


def _part(value: Yaml, name: str) -> Mapping[str, Yaml]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _line(said: Mapping[str, Yaml], name: str) -> str:
    """Return the text at `name` as one line, empty where it is none."""
    found = said.get(name)
    return " ".join(found.split())[:_LENGTH_MAX] if isinstance(found, str) else ""


def _lines(said: Mapping[str, Yaml], name: str) -> tuple[str, ...]:
    found = said.get(name)
    listed = found[:_LINES_MAX] if isinstance(found, list) else []
    return tuple(line for item in listed if (line := _line({name: item}, name)))
