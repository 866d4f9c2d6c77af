"""HTML that cannot hold text by mistake: every string is escaped, and only this module makes markup.

What evidence says may be anything: markup, marks that turn a line around, characters
that show nothing. All of it is shown, as text, and none of it is obeyed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, TypeAlias

from rexecop.proof import plaintext
from rexecop.proof.base64text import encode_base64
from rexecop.proof.canonical import sha256

TEXT_LENGTH_MAX: Final = 2000  # Of one value: what is longer is read in the bundle, not on a page.

_VOID: Final = frozenset({"br", "meta"})


@dataclass(frozen=True, slots=True)
class Html:
    """Markup. Nothing outside this module makes one."""

    source: str


Content: TypeAlias = "Html | str | int | Iterable[Content] | None"
Pair: TypeAlias = tuple[str, Content]


def tag(name: str, /, *content: Content, **attributes: str | int | bool | None) -> Html:
    """Return the element `name`; texts in it, and values of attributes, are escaped.

    In the name of an attribute `_` stands for `-`, and one at its end for nothing
    (`class_`). True is an attribute without a value; None and False are left out.
    """
    opening = [name]
    for key, value in attributes.items():
        attribute = key.rstrip("_").replace("_", "-")
        if value is True:
            opening.append(attribute)
        elif value is not None and value is not False:
            opening.append(f'{attribute}="{escape(plaintext.escape(str(value)))}"')
    ending = "" if name in _VOID else f"</{name}>"
    return Html(f"<{' '.join(opening)}>{''.join(_sources(content))}{ending}")


def _sources(content: Iterable[Content]) -> Iterator[str]:
    for item in content:
        if isinstance(item, Html):
            yield item.source
        elif isinstance(item, str | int):
            yield escape(_shown(str(item), TEXT_LENGTH_MAX))
        elif item is not None:
            yield from _sources(item)


def _shown(text: str, most: int) -> str:
    rest = len(text) - most
    return plaintext.escape(text[:most]) + (f"… ({rest:,} more characters)" if rest > 0 else "")


def verbatim(text: str, *, most: int) -> Html:
    """Return `text` with its line breaks, at most `most` characters of it."""
    lines = text[:most].expandtabs().split("\n")
    rest = [f"… ({len(text) - most:,} more characters)"] if len(text) > most else []
    shown = "\n".join([*map(plaintext.escape, lines), *rest])
    # A line break right after the tag is dropped, so that one of the text is not.
    return Html(f'<pre tabindex="0">\n{escape(shown)}</pre>')


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[Content]], **attributes: str) -> Html:
    """Return a table whose first column names its rows; one without rows is left out."""
    body = [tag("tr", tag("th", row[0], scope="row"), *(tag("td", cell) for cell in row[1:])) for row in rows]
    if not body:
        return tag("p", f"{caption}: none.", class_="none")
    head = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in heads)))
    found = tag("table", tag("caption", caption), head, tag("tbody", *body), **attributes)
    # A narrow screen scrolls it, and so must a keyboard.
    return tag("div", found, class_="wide", tabindex=0, role="region", aria_label=caption)


def terms(*pairs: Pair) -> Html:
    """Return names with what they stand for; a pair that stands for nothing is left out."""
    kept = [(name, value) for name, value in pairs if value not in (None, "", [])]
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in kept))


def card(title: str, *pairs: Pair, class_: str | None = None) -> Html:
    """Return one thing that is told at length."""
    return tag("article", tag("h4", title), terms(*pairs), class_=class_)


def style_allowed(style: str) -> str:
    """Return the words of a content security policy that allow `style` and no other."""
    return f"style-src 'sha256-{encode_base64(sha256(style.encode()))}'"


def document(title: str, style: str, policy: str, *body: Html) -> bytes:
    """Return the whole page, with `style` as its one sheet and `policy` in force before anything else."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="referrer", content="no-referrer"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        Html(f"<style>{style}</style>"),
    )
    return f"<!doctype html>\n{tag('html', head, tag('body', *body), lang='en').source}\n".encode()
