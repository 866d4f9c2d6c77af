"""Where the requests of one call over HTTP go: its address first, then redirects and pages it may follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aiohttp import ClientResponse
from yarl import URL

from rexecop.lanes.failures import Failure
from rexecop.lanes.http import target_of
from rexecop.lanes.http_answer import AnswerRefused, cursor_of
from rexecop.lanes.messages.http import PORTS, READ_METHODS, HttpMessage, Origin, problem_of_origin
from rexecop.proof.vocabulary import Effect

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_SAME_METHOD: Final = frozenset({307, 308})


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """What one request goes to; `trusted` says that credentials, headers and body of the call go there."""

    origin: Origin
    url: URL
    trusted: bool


def address_of(message: HttpMessage) -> Where:
    """Return where the call itself goes."""
    url = URL(message.origin.text + target_of(message), encoded=True)
    return Where(origin=message.origin, url=url, trusted=True)


def redirected(message: HttpMessage, effect: Effect, response: ClientResponse, where: Where) -> Where | None:
    """Return where `response` points to, if the call may go there; it keeps its method in any case."""
    if response.status not in _REDIRECTS or message.redirects is None:
        return None
    plain = effect is Effect.READ and message.method in READ_METHODS
    if not plain and response.status not in _SAME_METHOD:
        return None
    try:
        url, origin = _read_url(response.headers.get("Location", ""), where.url)
    except ValueError:
        return None
    if origin == where.origin:
        return Where(origin=origin, url=url, trusted=where.trusted)
    if not plain or origin not in message.redirects.origins:
        return None
    return Where(origin=origin, url=url, trusted=False)


def next_page(
    message: HttpMessage, response: ClientResponse, value: object, where: Where, *, empty: bool, count: int
) -> Where | None:
    """Return where the next page is; None after the last.

    Raises:
        AnswerRefused: it is at another origin.
    """
    pages = message.pages
    assert pages is not None
    if pages.by in ("link", "next"):
        link = response.links.get("next")
        text = cursor_of(value, pages) if pages.by == "next" else str(link["url"]) if link else None
        if text is None:
            return None
        try:
            url, origin = _read_url(text, where.url)
        except ValueError:
            raise AnswerRefused(Failure.PROTOCOL_ERROR, f"page {count} names no next page") from None
        if origin != where.origin:
            what = f"page {count} leads to `{origin.text}`, another origin"
            raise AnswerRefused(Failure.PROTOCOL_ERROR, what)
        return Where(origin=origin, url=url, trusted=where.trusted)
    asked = cursor_of(value, pages) if pages.by == "cursor" else str(pages.first + count)
    if asked is None or (pages.by == "page" and empty):
        return None
    target = target_of(message, {pages.parameter: (asked,)})
    url = URL(where.origin.text + target, encoded=True)
    return Where(origin=where.origin, url=url, trusted=where.trusted)


def _read_url(text: str, base: URL) -> tuple[URL, Origin]:
    """Return the URL `text` is, seen from `base`, and its origin.

    Raises:
        ValueError: it is none, or names a user.
    """
    if not text or not text.isascii() or not text.isprintable() or "\\" in text:
        raise ValueError("no URL")
    url = base.join(URL(text, encoded=True)).with_fragment(None)
    port = url.port or PORTS.get(url.scheme, 0)
    origin = Origin(scheme=url.scheme, host=(url.raw_host or "").lower(), port=port)
    if url.raw_user is not None or url.raw_password is not None or problem_of_origin(origin) is not None:
        raise ValueError("no URL of an origin")
    return url, origin
