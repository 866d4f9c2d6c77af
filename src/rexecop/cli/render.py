"""How answers and errors look. The only place in the command line that writes JSON.

Whatever a target, a profile or a stranger's bundle says is shown with every control
and bidirectional character escaped: evidence cannot move the reader's cursor.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, TextIO

from rexecop.app.plain import plain
from rexecop.proof.errors import RexecopError
from rexecop.proof.plaintext import escape

MESSAGE_LENGTH_MAX: Final = 1000  # A line that a terminal still shows whole; details are in the facts.
LABEL_WIDTH: Final = 11
COLUMN_WIDTH_MIN: Final = 6

_COLOURS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("completed", "ok", "allowed", "passed", "yes", "holds", "undone"), 32),
    **dict.fromkeys(("failed", "blocked", "refused", "denied", "no", "broken"), 31),
    **dict.fromkeys(("waiting_for_approval", "approval_required", "warning", "paused"), 33),
    **dict.fromkeys(("indeterminate", "unknown", "escalated"), 35),
    **dict.fromkeys(("running", "approved", "simulated", "previewed"), 36),
}


def as_json(value: object, *, indent: int | None = 2) -> str:
    """Return `value` as one JSON text in ASCII, which no terminal and no locale can misread."""
    return json.dumps(plain(value), indent=indent, ensure_ascii=True) + "\n"


def as_yaml(value: object) -> str:
    """Return `value` as one YAML document."""
    import yaml

    return str(yaml.safe_dump(plain(value), sort_keys=False, allow_unicode=False, default_flow_style=False))


def minute(value: datetime) -> str:
    """Return a time in UTC, to the minute, where there is little room."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def short(value: datetime) -> str:
    """Return a time in UTC, to the second, for people."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def safe(text: str) -> str:
    """Return `text` on one line, with what a terminal would obey, or a reader not see, escaped."""
    return escape(text)


def emit(text: str, stream: TextIO | None = None) -> bool:
    """Write `text`, and return whether anybody can still read it.

    A reader that went away, a full disk, a stream that was closed beforehand: none is an error of what
    is done meanwhile, and the command still ends with its own exit code.
    """
    target: TextIO | None = stream or sys.stdout
    if target is None:  # It was closed before the program started.
        return False
    try:
        target.write(text)
        target.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), target.fileno())
        return False
    return True


def error_text(error: RexecopError, *, as_object: bool) -> str:
    """Return what stderr shows for `error`: one line and the commands that may help, or one JSON object."""
    message = clipped(safe(" ".join(error.message.split())), MESSAGE_LENGTH_MAX)
    if as_object:
        found = {"code": error.code, "message": message, "facts": error.facts, "next": error.next_steps}
        return as_json(found, indent=None)
    steps = "".join(f"  try: {safe(step)}\n" for step in error.next_steps)
    return f"rexecop: error[{error.code}]: {message}\n{steps}"


def clipped(text: str, width: int) -> str:
    """Return `text` in at most `width` characters; what was cut shows as `…`."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def _filled(text: str, width: int, *, whole_words: bool) -> list[str]:
    import textwrap  # Its patterns take time that an answer which fits need not wait for.

    broken = not whole_words
    return textwrap.wrap(text, width, break_on_hyphens=broken, break_long_words=broken) or [""]


class Page:
    """An answer for people: a title, labelled rows and tables, fitted to the terminal if there is one."""

    def __init__(self, *, colour: bool, width: int | None) -> None:
        self._colour = colour
        self._width = width
        self._lines: list[str] = []

    def text(self) -> str:
        """Return everything drawn."""
        return "".join(f"{line}\n" for line in self._lines)

    def line(self, text: str = "") -> None:
        """Add a line, wrapped."""
        self._lines += self._wrapped(safe(text), self._width or 0) if text else [""]

    def block(self, text: str) -> None:
        """Add text whose lines stay as they are."""
        self._lines += [safe(line) for line in text.rstrip("\n").split("\n")]

    def title(self, text: str, state: str = "") -> None:
        """Add a heading, with a state beside it."""
        self._lines.append(f"{self._styled(safe(text), 1)}  {self.word(state)}".rstrip())

    def verdict(self, text: str, *, good: bool) -> None:
        """Add the line that answers the question."""
        lines = self._wrapped(safe(text), self._width or 0)
        self._lines += [self._styled(line, 32 if good else 31) for line in lines]

    def item(self, text: str) -> None:
        """Add one of several statements."""
        for index, part in enumerate(self._wrapped(safe(text), (self._width or 0) - 4)):
            self._lines.append(f"  {'- ' if index == 0 else '  '}{part}")

    def row(self, label: str, text: str, *, state: str = "", whole: bool = False) -> None:
        """Add `label  text`; further lines of the text stand under its first, `whole` text has none."""
        room = (self._width or 0) - LABEL_WIDTH - 2
        head = f"  {safe(label):<{LABEL_WIDTH - 1}} "
        for index, part in enumerate([safe(text)] if whole else self._wrapped(safe(text), room)):
            lead = head if index == 0 else " " * len(head)
            shown = part.replace(state, self.word(state), 1) if state and index == 0 else part
            self._lines.append(f"{lead}{shown}".rstrip())

    def fits(self, columns: int) -> bool:
        """Return whether so many columns fit."""
        return self._width is None or self._width >= columns

    def table(
        self,
        headers: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        indent: int = 2,
        whole: Sequence[str] = (),
        wrap: bool = False,
    ) -> None:
        """Add a table; the widest columns but those `whole` give way when the terminal is too narrow.

        With `wrap` the last column goes on in further lines instead of being cut.
        """
        cells = [[safe(cell) for cell in row] for row in rows]
        widths = [max([len(head), *(len(row[i]) for row in cells)]) for i, head in enumerate(headers)]
        if self._width is not None:
            room = self._width - indent - 2 * (len(widths) - 1)
            yielding = [i for i, head in enumerate(headers) if head not in whole]
            while sum(widths) > room and yielding:
                widest = max(yielding, key=lambda i: widths[i])
                if widths[widest] <= COLUMN_WIDTH_MIN:
                    break
                widths[widest] -= 1
        margin = " " * indent
        if any(headers):
            self._lines.append(self._styled((margin + self._joined(headers, widths)).rstrip(), 2))
        for row in cells:
            parts = _filled(row[-1], widths[-1], whole_words=False) if wrap else [row[-1]]
            for index, part in enumerate(parts):
                shown = [*row[:-1], part] if index == 0 else [""] * (len(row) - 1) + [part]
                self._lines.append((margin + self._joined(shown, widths, words=True)).rstrip())

    def word(self, state: str) -> str:
        """Return `state` in the colour it has everywhere."""
        colour = _COLOURS.get(state)
        return self._styled(safe(state), colour) if colour else safe(state)

    def _joined(self, cells: Sequence[str], widths: Sequence[int], *, words: bool = False) -> str:
        shown = [clipped(cell, width) for cell, width in zip(cells, widths, strict=True)]
        return "  ".join(
            (self.word(cell) if words else cell) + " " * (width - len(cell))
            for cell, width in zip(shown, widths, strict=True)
        )

    def _styled(self, text: str, style: int) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self._colour and text else text

    def _wrapped(self, text: str, room: int) -> list[str]:
        if self._width is None or len(text) <= room:
            return [text]
        # A digest or a path that is longer than the line stays in one piece, so that it can be copied.
        return _filled(text, max(20, room), whole_words=True)
