"""Reading parsed YAML into types, gathering every problem with its file, line and field.

A reader never stops at the first problem and never invents a value that is used: where
something is wrong a placeholder is returned and a finding kept, and whoever asked for
the result raises if there is any finding.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, TypeVar

from rexecop.execution.errors import YamlRefused
from rexecop.execution.strict_yaml import Document, Path, Yaml, load_yaml
from rexecop.operations.errors import InputRefused, OperationsError, one_line
from rexecop.proof.canonical import Json
from rexecop.proof.message import Scalar

TEXT_MAX: Final = 4096  # One field is a name, a line or a command argument, not a document.
NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")
STEP: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@/-]{0,255}")  # Of a plan: with its target.
ABOVE: Final = re.compile(rf"{NAME.pattern}(?:/{NAME.pattern})*")  # A step above, or one of what it calls.
WORD: Final = re.compile(r"[a-z_][a-z0-9_]{0,63}")
FOUND_MAX: Final = 60  # What was found is shown to recognise it, not to reproduce it.
KNOWN_MAX: Final = 32  # Names a message lists before it gets harder to read than the file.
DURATION_MAX_MS: Final = 24 * 3600 * 1000  # A call that takes longer than a day is a service, not a call.
_DURATION: Final = re.compile(r"([0-9]{1,9})(ms|s|m|h)?")
_UNITS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, None: 1000}

T = TypeVar("T")
W = TypeVar("W", bound=str)
E = TypeVar("E", bound=OperationsError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One problem of a file: `severity` is `error` (it will be refused) or `warning`."""

    severity: str
    code: str
    file: str
    line: int
    field: str
    message: str
    found: str | None = None
    allowed: str | None = None

    def text(self) -> str:
        """Return one line for people."""
        return f"{self.file}:{self.line}: {self.message}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was read, for messages about it."""

    file: str
    line: int = 1


@dataclass(slots=True)
class Problems:
    """Findings in the order they were met; `code` is the one of ordinary format errors.

    `parsed` has the root of every document that could be read, by its file.
    """

    code: str
    findings: list[Finding] = field(default_factory=list)
    parsed: dict[str, Node] = field(default_factory=dict)

    def add(
        self,
        message: str,
        place: Place,
        *,
        field: str = "",
        found: str | None = None,
        allowed: str | None = None,
        severity: str = "error",
        code: str | None = None,
    ) -> None:
        """Keep a finding."""
        self.findings.append(
            Finding(
                severity=severity,
                code=code or self.code,
                file=place.file,
                line=place.line,
                field=one_line(field),
                message=one_line(message),
                found=None if found is None else one_line(found),
                allowed=None if allowed is None else one_line(allowed),
            )
        )

    def errors(self) -> list[Finding]:
        return [found for found in self.findings if found.severity == "error"]

    def parse(self, data: bytes | str, file: str) -> Node | None:
        """Return the root of the document in `data`, or None after a finding."""
        try:
            document = load_yaml(data, source=file)
        except YamlRefused as error:
            message = error.message.split(": ", 1)[-1]
            self.add(message, Place(file, int(error.facts["line"])), code=error.code)
            return None
        return self.parsed.setdefault(file, Node(document, document.value, (), self))

    def raise_first(self, *kinds: type[InputRefused]) -> None:
        """Raise the first error, as the kind whose code it has or the first of `kinds`."""
        errors = self.errors()
        if not errors:
            return
        first = errors[0]
        kind = next((kind for kind in kinds if kind.code == first.code), kinds[0])
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise kind(
            first.text() + more,
            file=first.file,
            line=first.line,
            field=first.field or None,
            found=first.found,
            allowed=first.allowed,
        )


@dataclass(frozen=True, slots=True)
class Node:
    """A value of a document and its place."""

    document: Document
    value: Yaml
    path: Path
    problems: Problems

    @property
    def place(self) -> Place:
        return Place(self.document.source, self.document.line(self.path))

    @property
    def name(self) -> str:
        """Return `a.b[0].c`."""
        text = ""
        for part in self.path:
            text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else part)
        return text

    def refuse(
        self,
        message: str,
        *,
        found: str | None = None,
        allowed: str | None = None,
        severity: str = "error",
        code: str | None = None,
    ) -> None:
        """Keep a finding at this place."""
        found = None if found is None else found[:FOUND_MAX]
        self.problems.add(
            message, self.place, field=self.name, found=found, allowed=allowed, severity=severity, code=code
        )

    def child(self, key: str | int, value: Yaml) -> Node:
        return Node(self.document, value, (*self.path, key), self.problems)

    def section(self, key: str) -> Node:
        """Return the part at `key`, where there may be no other; an empty one after a finding."""
        return self.fields(key, key).part(key)

    def fields(self, allowed: str, required: str = "") -> Fields:
        """Return the named parts; a key not among the words of `allowed` or a missing one is an error."""
        if not isinstance(self.value, dict):
            self._wrong("a mapping")
            return Fields(self, {})
        known = allowed.split()
        for key in self.value:
            if key not in known:
                self.child(key, None).refuse(
                    f"unknown key `{key:.60}`{close_to(key, known)}; allowed: {listed(known)}",
                    found=key,
                    allowed=listed(known),
                )
        for key in required.split():
            if self.value.get(key) is None:
                within = f" in `{self.name}`" if self.path else ""
                self.refuse(f"key `{key}` is missing{within}", allowed=key)
        return Fields(self, self.value)

    def entries(self, names: re.Pattern[str] = NAME) -> Iterator[tuple[str, Node]]:
        """Yield the parts of a mapping whose keys are free names."""
        if not isinstance(self.value, dict):
            self._wrong("a mapping")
            return
        for key, value in self.value.items():
            node = self.child(key, value)
            if names.fullmatch(key):
                yield key, node
            else:
                node.refuse(f"`{key:.60}` is not a name", found=key, allowed=names.pattern)

    def items(self, most: int = 1024) -> list[Node]:
        """Return the entries of a list, `most` at the most."""
        if not isinstance(self.value, list):
            self._wrong("a list")
            return []
        if len(self.value) > most:
            self.refuse(f"{len(self.value)} entries, at most {most} are read", allowed=str(most))
            return []
        return [self.child(index, value) for index, value in enumerate(self.value)]

    def tokens(self, most: int = 1024) -> tuple[str, ...]:
        return tuple(node.token() for node in self.items(most))

    def text(self, most: int = TEXT_MAX) -> str:
        """Return a text; a number stands for its digits."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
            self._wrong("text")
            return ""
        if len(str(value)) > most:
            self.refuse(f"`{self.name}` is longer than {most} characters", allowed=str(most))
            return ""
        return str(value)

    def token(self, names: re.Pattern[str] = NAME) -> str:
        """Return a name."""
        text = self.text()
        if (text or isinstance(self.value, str)) and not names.fullmatch(text):
            self._wrong("a name", allowed=names.pattern)
            return ""
        return text

    def one_of(self, words: Iterable[W]) -> W:
        """Return one of a closed set of words."""
        known = tuple(words)
        found = next((word for word in known if word == self.value), None)
        if found is None:
            self._wrong(f"one of {listed(known)}", allowed=listed(known))
            return known[0]
        return found

    def boolean(self) -> bool:
        if not isinstance(self.value, bool):
            self._wrong("`true` or `false`", allowed="true, false")
            return False
        return self.value

    def integer(self, least: int, most: int) -> int:
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self._wrong(f"an integer from {least} to {most}", allowed=f"{least}..{most}")
            return least
        return value

    def scalar(self) -> Scalar:
        """Return a text, integer or boolean; a decimal becomes its digits."""
        value = self.value
        if isinstance(value, Decimal):
            return str(value)
        if isinstance(value, str | int | bool):
            return value
        self._wrong("a single value")
        return ""

    def duration(self) -> int:
        """Return milliseconds of `10s`, `2m`, `500ms`, `1h` or a number of seconds."""
        found = milliseconds(self.text(20))
        if not found:
            self._wrong("a duration", allowed="like 500ms, 10s, 2m, 1h; at most 24h")
        return found or 1000

    def json(self) -> Json:
        """Return the value as evidence may hold it: decimals as their digits."""
        return _as_json(self.value)

    def mapping(self) -> dict[str, Json]:
        """Return a mapping with ASCII keys as evidence may hold it."""
        if not isinstance(self.value, dict):
            self._wrong("a mapping")
            return {}
        if not all(key.isascii() for key in self.value):
            self.refuse(f"keys of `{self.name}` are ASCII")
            return {}
        return {key: _as_json(value) for key, value in self.value.items()}

    def _wrong(self, expected: str, allowed: str | None = None) -> None:
        found = _shown(self.value)
        message = f"`{self.name or 'the document'}` is {found}, not {expected}"
        self.refuse(message, found=found, allowed=allowed or expected)


@dataclass(frozen=True, slots=True)
class Fields:
    """The known parts of a mapping, read by name with a default for those that may be absent."""

    node: Node
    values: dict[str, Yaml]

    def get(self, name: str) -> Node | None:
        value = self.values.get(name)
        return None if value is None else self.node.child(name, value)

    def part(self, name: str) -> Node:
        """Return the part `name`, an empty mapping where it is absent."""
        return self.get(name) or self.node.child(name, {})

    def maybe(self, name: str, read: Callable[[Node], T]) -> T | None:
        """Return what `read` makes of the part `name`, or None where it is absent."""
        node = self.get(name)
        return None if node is None else read(node)

    def stem(self, key: str, stem: str) -> str:
        """Return the name at `key`, which is that of the file; a finding if it is another."""
        name = self.token(key, stem)
        if name != stem:
            self.node.refuse(f"`{name}` stands in the file of `{stem}`", found=name, allowed=stem)
        return stem

    def text(self, name: str, default: str = "", most: int = TEXT_MAX) -> str:
        node = self.get(name)
        return default if node is None else node.text(most)

    def token(self, name: str, default: str = "") -> str:
        node = self.get(name)
        return default if node is None else node.token()

    def one_of(self, name: str, words: Iterable[W], default: W) -> W:
        node = self.get(name)
        return default if node is None else node.one_of(words)

    def boolean(self, name: str, default: bool = False) -> bool:
        node = self.get(name)
        return default if node is None else node.boolean()

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        node = self.get(name)
        return default if node is None else node.integer(least, most)

    def items(self, name: str, most: int = 1024) -> list[Node]:
        node = self.get(name)
        return [] if node is None else node.items(most)

    def texts(self, name: str, most: int = 1024) -> tuple[str, ...]:
        return tuple(node.text() for node in self.items(name, most))

    def tokens(self, name: str, most: int = 1024) -> tuple[str, ...]:
        return tuple(node.token() for node in self.items(name, most))

    def entries(self, name: str, names: re.Pattern[str] = NAME) -> Iterator[tuple[str, Node]]:
        node = self.get(name)
        return iter(()) if node is None else node.entries(names)

    def mapping(self, name: str) -> dict[str, Json]:
        node = self.get(name)
        return {} if node is None else node.mapping()


def _as_json(value: Yaml) -> Json:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, list) else value


def _shown(value: Yaml) -> str:
    """Return a short word for `value`, never a container's content."""
    if value is None:
        return "empty"
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    return f"`{str(value)[:FOUND_MAX]}`"


def milliseconds(text: str) -> int:
    """Return the milliseconds of `10s`, `2m`, `500ms`, `1h` or a number of seconds; 0 if it is none."""
    match = _DURATION.fullmatch(text)
    found = int(match[1]) * _UNITS[match[2]] if match else 0
    return found if found <= DURATION_MAX_MS else 0


def listed(words: Iterable[str]) -> str:
    """Return the words with commas."""
    return ", ".join(words)


def close_to(word: str, words: Iterable[str]) -> str:
    """Return a hint at the nearest of `words`, or nothing."""
    near = difflib.get_close_matches(word[:128], list(words), n=1)
    return f" (did you mean `{near[0]}`?)" if near else ""


def unknown(kind: type[E], message: str, found: str, known: Iterable[str], field: str | None = None) -> E:
    """Return the refusal of a name that is not among `known`: with the nearest one, and what there is."""
    names = list(known)
    shown = listed(names[:KNOWN_MAX])
    hint = close_to(found, names)
    return kind(
        f"{message}{hint}; known: {shown or 'none'}", found=found[:FOUND_MAX], allowed=shown, field=field
    )
