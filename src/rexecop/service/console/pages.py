"""Templates, and what makes text safe in them: everything is escaped, and nothing hides or turns a line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from html import escape
from importlib.resources import files
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rexecop.app.clock import SystemIds
from rexecop.app.offline import packaged
from rexecop.app.report.markup import Html
from rexecop.app.report.words import lasted, plain, when
from rexecop.proof import plaintext
from rexecop.proof.canonical import digest_of

TEXT_MAX: Final = 500  # Characters of one value in a page; records have the whole.
VERBATIM_MAX: Final = 24_000  # Bytes of a text with lines, so that a page stays below 100 kB.
PAGE_BYTES_MAX: Final = 100_000  # What a page may take on a telephone's line.
HERE: Final = files("rexecop.service.console")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page: its template and what stands in it."""

    template: str
    values: Mapping[str, object] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Goto:
    """Another page is next: `path` begins where the console does."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A file for whoever asked."""

    name: str
    media: str
    data: bytes


Answer = Page | Goto | Download


def shown(value: object) -> object:
    """Return `value` as a page shows it: text is cut, and what could hide or steer is written out."""
    if isinstance(value, Html):
        return Markup(value.source)
    if isinstance(value, datetime):
        return when(value)
    if value is None:
        return ""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    text = plaintext.escape(value[:TEXT_MAX])[:TEXT_MAX]
    return f"{text}… ({len(value):,} characters)" if len(value) > TEXT_MAX else text


def verbatim(text: str, most: int = VERBATIM_MAX) -> Markup:
    """Return `text` with its lines, at most `most` bytes of it."""
    lines, left = [], most
    for number, line in enumerate(text.split("\n")):
        safe = escape(plaintext.escape(line.expandtabs()[:most]))
        left -= len(safe.encode()) + 1
        if left < 0:
            lines.append(f"… (cut here, at line {number + 1}: the whole is in the file)")
            break
        lines.append(safe)
    return Markup("\n".join(lines))


def as_typed(value: str) -> Markup:
    """Return `value` for a field: escaped, and else just as it was typed, since it is sent back."""
    return Markup(escape(value))


def since(moment: datetime, now: datetime) -> str:
    """Return how long ago `moment` was, roughly."""
    seconds = max(0, int((now - moment).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(str(HERE / "templates")),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {"plain": plain, "lasted": lasted, "verbatim": verbatim, "as_typed": as_typed}
    return made


def render(page: Page, home: str, token: Callable[[str], str], person: str | None, now: datetime) -> bytes:
    """Return `page` as bytes, of the console at `home`; its forms are sent with their path's `token`."""

    def ago(moment: datetime) -> str:
        return since(moment, now)

    values = {
        "home": home, "token": token, "person": person, "now": now.astimezone(UTC), "ago": ago,
        "style": style()[1], "live": False, "fresh": SystemIds().nonce, **page.values,
    }  # fmt: skip
    return _environment().get_template(page.template).render(values).encode()


@cache
def style() -> tuple[bytes, str]:
    """Return the style sheet, that of reports and the console's own, and what its address ends with."""
    sheet = packaged("report.css") + (HERE / "console.css").read_text(encoding="utf-8")
    return sheet.encode(), digest_of(sheet.encode())[-12:]
