"""Lines of a governed session: each is one command, and no shell reads it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from rexecop.app.errors import LineRefused

LINE_LENGTH_MAX: Final = 16 * 1024  # A longer line is a script, and belongs into a profile.
MARKS: Final = {"!!": "destroy", "!": "change"}  # What a line is declared to be; a look bears no mark.
SHELL_SIGNS: Final = frozenset("|&;<>()$`*?")  # What a shell acts on, and nobody here does.


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One command: its words, and what whoever typed it declares it to be (an intent of `adhoc`)."""

    intent: str
    argv: tuple[str, ...]


def read_line(text: str) -> Line | None:
    """Return the command that `text` is, or None where it is empty or a remark (`# ...`).

    Words are separated by spaces and joined by quotes and backslashes, as POSIX shells do;
    nothing is replaced.

    Raises:
        LineRefused: a quote is left open, or it asks for what only a shell does.
    """
    if len(text) > LINE_LENGTH_MAX:
        raise LineRefused(f"a line has at most {LINE_LENGTH_MAX} characters")
    rest = text.strip()
    mark = next((mark for mark in MARKS if rest.startswith(mark)), "")
    rest = rest[len(mark) :]
    if rest.lstrip().startswith("#"):
        return None
    sign = next((char for char in _bare(rest) if char in SHELL_SIGNS), None)
    if sign is not None:
        what = f"no shell reads this line, and `{sign}` stands for nothing; put it in quotes to pass it on"
        raise LineRefused(what, found=sign)
    try:
        words = tuple(shlex.split(rest))
    except ValueError as error:
        raise LineRefused(f"the line cannot be read: {str(error).lower()}") from error
    return Line(intent=MARKS.get(mark, "look"), argv=words) if words else None


def _bare(text: str) -> Iterator[str]:
    """Yield the characters of `text` that no quote and no backslash protects."""
    quote, protected = "", False
    for char in text:
        if protected:
            protected = False
        elif char == "\\" and quote != "'":
            protected = True
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        else:
            yield char
