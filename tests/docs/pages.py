"""The project's pages as data: links, code spans, and shell blocks with what stands before them.

A comment in front of a block says how it is to be taken: `<!-- not run: REASON -->` leaves it out,
`<!-- before: COMMAND -->` runs a command first that readers need not see, and `<!-- file: NAME -->` keeps
Python in a file that the commands below may run.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from tests.house.source import ROOT

SHELL: Final = ("console", "sh")
PYTHON: Final = "python"
FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMENT: Final = re.compile(r"<!-- (not run|before|file): (.*?) -->\n")
LINK: Final = re.compile(r"(?<!!)\[[^]]+\]\(([^)\s]+)\)")
SPAN: Final = re.compile(r"`([^`\n]+)`")
SERVE: Final = re.compile(r"^(rexecop serve\b.*)$", re.MULTILINE)
PROMPT: Final = re.compile(r"^\$ ((?:.*\\\n)*.*)$", re.MULTILINE)
EXPECTED: Final = re.compile(r"\s+# exits with (\d+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command of a block, the code it ends with, and the lines the page shows for it."""

    text: str
    code: int
    shown: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block of shell, or of Python that is kept in `file`.

    `reason` says why it is not run, `before` what is run first.
    """

    language: str
    text: str
    reason: str | None
    before: tuple[str, ...]
    file: str | None = None

    def commands(self) -> Iterator[Command]:
        """The commands in order; a `sh` block is one, or more where it starts the service in between."""
        if self.file is not None:
            kept = f"cat > {self.file} <<'END OF THE FILE'\n{self.text}END OF THE FILE"
            yield Command(text=kept, code=0, shown=())
            return
        if self.language == "sh":
            texts = (text for text in SERVE.split(self.text) if text.strip())
            yield from (Command(text=text, code=0, shown=()) for text in texts)
            return
        parts = PROMPT.split(self.text)
        for text, shown in zip(parts[1::2], parts[2::2], strict=True):
            wanted = EXPECTED.search(text)
            lines = tuple(line for line in shown.strip("\n").split("\n") if line)
            yield Command(
                text=EXPECTED.sub("", text), code=int(wanted.group(1)) if wanted else 0, shown=lines
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page; `prose` is its text without fenced blocks."""

    name: str
    text: str

    @property
    def folder(self) -> Path:
        return (ROOT / self.name).parent

    @property
    def prose(self) -> str:
        return FENCE.sub("", self.text)

    def blocks(self) -> Iterator[Block]:
        """The fenced blocks that are run or kept, each with the comments right before it."""
        for found in FENCE.finditer(self.text):
            notes = _comments(self.text[: found.start()])
            files = [text for word, text in notes if word == "file"]
            if found.group(1) in SHELL or (found.group(1) == PYTHON and files):
                reasons = [text for word, text in notes if word == "not run"]
                yield Block(
                    language=found.group(1),
                    text=found.group(2),
                    reason=reasons[0] if reasons else None,
                    before=tuple(text for word, text in notes if word == "before"),
                    file=files[0] if files else None,
                )

    def fenced(self, language: str) -> list[str]:
        """The text of every fenced block in `language`."""
        return [found.group(2) for found in FENCE.finditer(self.text) if found.group(1) == language]

    def links(self) -> list[str]:
        """Targets of links into the project."""
        return [found for found in LINK.findall(self.prose) if "://" not in found]

    def spans(self) -> list[str]:
        """The text of every inline code span."""
        return SPAN.findall(self.prose)


def _comments(before: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for match in reversed(list(COMMENT.finditer(before))):
        if before[match.end() :].strip():
            break
        found.insert(0, (match.group(1), match.group(2)))
        before = before[: match.start()]
    return found


@cache
def pages() -> tuple[Page, ...]:
    """README and every page below `docs/`."""
    files = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    return tuple(
        Page(name=file.relative_to(ROOT).as_posix(), text=file.read_text(encoding="utf-8")) for file in files
    )


def page(name: str) -> Page:
    """The page of that name."""
    return next(found for found in pages() if found.name == name)
