"""Draft profiles: what was translated runs as written, and what was not stops the workflow where it stands.

A draft claims nothing about what it does: every call is a change until somebody who knows says otherwise.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeAlias

import yaml

Plain: TypeAlias = "str | int | bool | list[Plain] | dict[str, Plain]"

CONNECTOR: Final = "commands"
WORDS: Final = re.compile(r"[A-Za-z0-9_ ./:=@%+,-]+")  # What any shell takes for plain words.
NAME: Final = re.compile(r"[^a-z0-9]+")
DEFAULT_TIMEOUT: Final = "1h"
SCRIPT_BYTES_MAX: Final = 60 * 1024  # A call holds 64 KiB of script and files.


class Untranslatable(Exception):
    """What was read is no workflow of the kind that was promised."""


def name_of(text: str, taken: Container[str] = ()) -> str:
    """Return a name for `text` that is not `taken`, of letters, digits and `_`."""
    found = NAME.sub("_", text.lower()).strip("_")[:48] or "step"
    found = found if found[0].isalpha() else f"x_{found}"
    number, name = 2, found
    while name in taken:
        name, number = f"{found}_{number}", number + 1
    return name


@dataclass(slots=True)
class Draft:
    """One intent as it is put together: its parameters, its steps, and what has to be known about them."""

    profile: Profile
    name: str
    title: str
    summary: str = ""
    parameters: dict[str, Plain] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    steps: list[dict[str, Plain]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Say in the report what was not translated, or has to be looked at."""
        self.notes.append(text)

    def command(self, title: str, words: list[str], timeout: str = DEFAULT_TIMEOUT) -> None:
        """Add a call of one program with exact arguments, which may be placeholders."""
        self._step(title, {"command": words[0], "args": [*words[1:]], "timeout": timeout})

    def script(
        self, title: str, text: str, interpreter: str, args: list[str], timeout: str = DEFAULT_TIMEOUT
    ) -> None:
        """Add a call of a script, pinned by its digest; parameters are its arguments, never its text."""
        if len(text.encode()) > SCRIPT_BYTES_MAX:
            self.missing(title, f"its script is longer than {SCRIPT_BYTES_MAX} bytes")
            return
        path = f"scripts/{self.profile.file_for(f'{self.name}_{name_of(title)}')}.sh"
        self.profile.scripts[path] = text
        digest = f"sha256:{sha256(text.encode()).hexdigest()}"
        shape: dict[str, Plain] = {"interpreter": interpreter, "file": path, "digest": digest}
        self._step(title, {"script": {**shape, **({"args": [*args]} if args else {})}, "timeout": timeout})

    def operation(self, title: str, intent: str, parameters: Mapping[str, str]) -> None:
        """Add a call of another intent of the draft."""
        step: dict[str, Plain] = {"id": self._id(title), "type": "operation", "intent": intent}
        self.steps.append({**step, **({"parameters": {**parameters}} if parameters else {})})

    def missing(self, title: str, why: str) -> None:
        """Add a step that fails, so that nothing behind it runs as if this had been done."""
        step = self._step(f"todo {title}", {"command": "/bin/false", "timeout": "10s"})
        self.note(f"step `{step}` ({title}) fails until somebody writes it: {why}")

    def _id(self, title: str) -> str:
        return name_of(title, {str(step["id"]) for step in self.steps})

    def _step(self, title: str, call: dict[str, Plain]) -> str:
        step, action = self._id(title), name_of(f"{self.name} {title}", self.profile.actions)
        # A death by signal says that nobody knows; in a sandbox it could not be told from an exit.
        self.profile.actions[action] = {"effect": "change", "isolation": "rlimits", **call}
        normalized: dict[str, Plain] = {"connector": CONNECTOR, "action": action, "normalize": "ended"}
        self.steps.append({"id": step, "type": "connector", **normalized})
        return step


@dataclass(slots=True)
class Profile:
    """A draft profile with all its intents."""

    name: str
    source: str
    actions: dict[str, dict[str, Plain]] = field(default_factory=dict)
    scripts: dict[str, str] = field(default_factory=dict)
    drafts: dict[str, Draft] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Say in the report what is about the whole."""
        self.notes.append(text)

    def draft(self, title: str) -> Draft:
        """Return a new intent called after `title`."""
        name = name_of(title, self.drafts)
        made = self.drafts[name] = Draft(self, name, " ".join(title.split())[:120] or name)
        return made

    def file_for(self, name: str) -> str:
        """Return a file name that no script has."""
        taken = {Path(path).stem for path in self.scripts}
        return name_of(name, taken)

    def files(self) -> dict[str, str]:
        """Return the files of the profile, its report among them."""
        self._fill()
        found = {
            "profile.yaml": _text(
                {"profile_contract": {"name": self.name, "version": "0.1", "description": self.source}}
            ),
            f"connectors/{CONNECTOR}.yaml": _text(
                {
                    "connector": {
                        "name": CONNECTOR,
                        "description": f"Drafted of {self.source}.",
                        "backends": ["process", "ssh"],
                        "capabilities": [*self.actions],
                        "actions": {**self.actions},
                    }
                }
            ),
            "normalizers/ended.yaml": _text(
                {"normalizer": {"facts": {"status_code": {"exit_status": True, "type": "integer"}}}}
            ),
            "REPORT.md": self.report(),
            **self.scripts,
        }
        for name, draft in self.drafts.items():
            found |= _files_of(name, draft)
        return found

    def _fill(self) -> None:
        for draft in self.drafts.values():
            if not draft.steps:
                draft.missing("nothing", "there were no steps")

    def report(self) -> str:
        """Return what was translated, and what was not."""
        self._fill()
        lines = [
            f"# {self.name}",
            "",
            f"Drafted of {self.source}. Every call is declared a change, has no undo and no probe:",
            "say what only reads, and how a lost answer is looked for. `rexecop profile lint` says the rest.",
            "",
            *(f"- {note}" for note in self.notes),
        ]
        for draft in self.drafts.values():
            done = [step for step in draft.steps if not str(step["id"]).startswith("todo_")]
            said = f"{draft.title}: {len(done)} of {len(draft.steps)} steps translated."
            lines += ["", f"## {draft.name}", "", said]
            lines += ["", *(f"- {note}" for note in draft.notes)] if draft.notes else []
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> None:
        """Write the profile into `folder`, which must not be there.

        Raises:
            FileExistsError: it is.
        """
        folder.mkdir(parents=True)
        for path, text in self.files().items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")


def _files_of(name: str, draft: Draft) -> dict[str, str]:
    parameters: dict[str, Plain] = {"type": "object", "properties": {**draft.parameters}}
    if draft.required:
        parameters["required"] = [*draft.required]
    intent: dict[str, Plain] = {
        "workflow": f"workflows/{name}.yaml",
        "title": draft.title,
        "summary": " ".join(draft.summary.split())[:500],
        "risk": "medium",
        "modes": ["apply", "dry_run"],
        "enforce_declared_modes": True,
        "runbook": f"docs/{name}.md",
        **({"parameters": parameters} if draft.parameters else {}),
    }
    calls = [str(step["id"]) for step in draft.steps if step["type"] == "connector"]
    # What only calls other intents is held to their rules, and has to have one of its own.
    calls = calls or [_first_call(draft)]
    ends: list[Plain] = [
        {
            "type": "require_equals",
            "path": f"{call}.status_code",
            "value": 0,
            "rule": f"{name}.{call.replace('/', '.')}",
        }
        for call in calls
    ]
    workflow: dict[str, Plain] = {"intent": name, "mode": "apply", "risk": "medium", "steps": [*draft.steps]}
    return {
        f"intents/{name}.yaml": _text({"intent": intent}),
        f"workflows/{name}.yaml": _text({"workflow": workflow}),
        f"validation_rules/{name}.yaml": _text({"validation_rule": {"intent": name, "steps": ends}}),
        f"docs/{name}.md": f"# {draft.title}\n\nWhat to do when it fails, write those who know.\n",
    }


def _first_call(draft: Draft) -> str:
    """Return the first step of `draft` that makes a call, as a rule names it."""
    first = draft.steps[0]
    if first["type"] == "connector":
        return str(first["id"])
    return f"{first['id']}/{_first_call(draft.profile.drafts[str(first['intent'])])}"


def _text(value: Plain) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110)


def plain_words(line: str) -> list[str] | None:
    """Return the words of `line`, None where a shell would make something of it."""
    if not WORDS.fullmatch(line) or "\n" in line:
        return None
    words = shlex.split(line)
    return words if words and "=" not in words[0] and not words[0].startswith("~") else None


def prelude(names: Mapping[str, str], literals: Mapping[str, str] | None = None) -> tuple[str, list[str]]:
    """Return shell text that sets variables, and the arguments it takes them from.

    `names` gives variables their parameters; values of `literals` are written out.
    """
    lines = [f"export {variable}={shlex.quote(text)}" for variable, text in (literals or {}).items()]
    lines += [f"export {variable}=${{{n}}}" for n, variable in enumerate(names, 1)]
    return "".join(f"{line}\n" for line in lines), [f"{{{parameter}}}" for parameter in names.values()]
