"""What a profile tells operators about failures (`operator_metadata.yaml`): words that decide nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rexecop.execution.strict_yaml import Yaml
from rexecop.operations.reading import Node

FILE: Final = "operator_metadata.yaml"
POLICY, CONNECTOR, RUNTIME = "policy", "connector", "runtime"
_LENGTH_MAX: Final = 500  # One line that people read in a hurry.


def read_words(root: Node) -> dict[str, dict[str, str]]:
    """Return what to say by intent and class of failure; nothing rests on the rest of the file."""
    return {
        intent: {
            kind: text
            for kind, words in _part(said, "failure_mapping").items()
            if isinstance(words, dict) and isinstance(text := words.get("operator_summary"), str)
        }
        for intent, said in _part(root.value, "intents").items()
    }


def said_of(failures: Mapping[str, str], kind: str) -> str | None:
    """Return one line about a failure of class `kind`, None where nothing is said."""
    return " ".join(failures.get(kind, "").split())[:_LENGTH_MAX] or None


def _part(value: Yaml, name: str) -> Mapping[str, Yaml]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}
