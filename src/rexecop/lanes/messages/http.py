"""`http/1`: one HTTP call with everything that decides where it goes and what counts as its answer.

Texts are as they are meant, never percent-encoded; the lane encodes each for its place (RFC 3986).
Pointers are JSON pointers (RFC 6901).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from rexecop.lanes.failures import Failure
from rexecop.proof.canonical import Json

PROTOCOL: Final = "http/1"
READ_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
METHODS: Final = (*sorted(READ_METHODS), "POST", "PUT", "PATCH", "DELETE")
PORTS: Final = {"http": 80, "https": 443}
PAGES_MAX: Final = 1_000  # Of one call, which has one timeout; more is an export.
REDIRECTS_MAX: Final = 10  # Beyond that it is a loop.
HEADERS_MAX: Final = 64
TEXT_MAX: Final = 8 * 1024  # Of one header or path; what servers take.
PAGINATION: Final = ("link", "next", "cursor", "page")
ANSWERS: Final = ("any", "json")

# Written by the lane alone: where the message goes, how it is framed and who sends it.
_FRAMING: Final = re.compile(
    "host|connection|keep-alive|te|trailer|transfer-encoding|upgrade|content-length|expect|accept-encoding|proxy-.*"
)
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_ORIGIN: Final = re.compile(r"(https?)://(\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9.-]{1,253})(?::([0-9]{1,5}))?")
_NAME: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,62})(?:\.[a-z0-9](?:[a-z0-9-]{0,62}))*")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_SLASHES: Final = re.compile(r"/|\\|%2f|%5c", re.IGNORECASE)
_DOTS: Final = re.compile("%2e", re.IGNORECASE)
_FAILURES: Final = frozenset(failure.value for failure in Failure)
_FINGERPRINT: Final = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Scheme, host and port (RFC 6454); the host in lower case, an IPv6 address without brackets."""

    scheme: str
    host: str
    port: int

    @property
    def peer(self) -> str:
        """Return `host:port`, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def text(self) -> str:
        """Return `https://host:port`."""
        return f"{self.scheme}://{self.peer}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """Who calls: `scheme` is `bearer`, `basic` (`name` is the user) or `header` (`name` is the header)."""

    scheme: str
    value: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Whom to trust: `ca` (PEM) instead of the system's, or the one certificate with `fingerprint`, or both.

    `identity` is our own certificate with its key (PEM). Without `verify` anybody is trusted.
    """

    ca: str | None = None
    fingerprint: str | None = None
    identity: str | None = None
    server_name: str | None = None
    verify: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where names may lead: with `private` also to addresses that are not public; where `only` is
    given, to nothing else."""

    private: bool = False
    only: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirects:
    """Follow up to `most`, within the origin of the call or to one of `origins`."""

    most: int
    origins: tuple[Origin, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages:
    """Read up to `most` pages and join what stands at `items`.

    `by` says where the next one is: `link` (RFC 8288), `next` (a URL at `field`), `cursor` (the value at
    `field`, sent as `parameter`), or `page` (`parameter` counted from `first` until a page is empty).
    """

    by: str
    items: str
    most: int
    field: str = ""
    parameter: str = ""
    first: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyKey:
    """A header whose value is the same in every try of one step of one operation."""

    header: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpMessage:
    """One call. `path` are segments, with `slash` one at the end; at most one of `json`, `text` and `form`
    is its body.

    `expect` are the statuses that mean success, by default 200 to 299; `errors` says the error class of
    others. `unwrap` is a pointer to what is kept of the answer, or the name of the one member kept.
    A JSON answer with anything at `error_at` failed. `answer_bytes` bounds the body of one answer.
    `connect_ms` and `first_byte_ms` bound parts of the call's time; 0 leaves only its whole timeout.
    """

    method: str
    origin: Origin
    path: tuple[str, ...]
    slash: bool = False
    query: Mapping[str, tuple[str, ...]] | None = None
    headers: Mapping[str, str] | None = None
    json: Json = None
    text: str | None = None
    form: Mapping[str, str] | None = None
    auth: Auth | None = None
    key: IdempotencyKey | None = None
    tls: Tls | None = None
    addresses: Addresses | None = None
    redirects: Redirects | None = None
    pages: Pages | None = None
    expect: tuple[int, ...] = ()
    errors: Mapping[str, str] | None = None
    answer: str = "any"
    unwrap: str = ""
    error_at: str = ""
    answer_bytes: int = 0
    connect_ms: int = 0
    first_byte_ms: int = 0

    @property
    def wants_json(self) -> bool:
        """Whether the answer has to be JSON."""
        return self.answer == "json" or bool(self.unwrap or self.error_at or self.pages)


def read_origin(text: str) -> Origin | None:
    """Return the origin `text` is, as `https://host` or `https://host:port`; None if it is none."""
    found = _ORIGIN.fullmatch(text)
    if found is None:
        return None
    port = int(found[3]) if found[3] else PORTS[found[1]]
    origin = Origin(scheme=found[1], host=found[2].lower().strip("[]"), port=port)
    return None if problem_of_origin(origin) else origin


def problem_of_origin(origin: Origin) -> str | None:
    """Return why `origin` is none, or None."""
    if origin.scheme not in PORTS or not 0 < origin.port < 65_536:
        return "the scheme is http or https, the port 1 to 65535"
    # What the system would read as an address is written as one: `127.1` and `0x7f.1` are traps.
    numeric = ":" in origin.host or _NUMBER.fullmatch(origin.host.rpartition(".")[2]) is not None
    if numeric:
        try:
            written = str(ip_address(origin.host))
        except ValueError:
            written = ""
        return None if written == origin.host else "the host is no address in its usual form"
    return None if _NAME.fullmatch(origin.host) else "the host is no name in lower case"


def problem_of_path(segments: tuple[str, ...]) -> str | None:
    """Return why a path of `segments` could be read as another path, or None."""
    for segment in segments:
        if segment == "":
            return "the path has an empty segment"
        if any(ord(char) < 32 or ord(char) == 127 or "\ud800" <= char <= "\udfff" for char in segment):
            return "the path holds a control character"
        # Servers decode before they split, some of them twice.
        if any(part in (".", "..") for part in _SLASHES.split(_DOTS.sub(".", segment))):
            return "the path holds `.` or `..`"
    return None if sum(map(len, segments)) <= TEXT_MAX else "the path is too long"


def problems(message: HttpMessage) -> Iterator[str]:
    """Yield what is wrong with `message`, without showing any of its values."""
    if message.method not in METHODS:
        yield f"the method is one of {', '.join(METHODS)}"
    for origin in (message.origin, *(message.redirects.origins if message.redirects else ())):
        if (found := problem_of_origin(origin)) is not None:
            yield found
    if (found := problem_of_path(message.path)) is not None:
        yield found
    yield from _problems_of_headers(message)
    if sum(body is not None for body in (message.json, message.text, message.form)) > 1:
        yield "there is more than one body"
    if message.method in READ_METHODS and (message.json, message.text, message.form) != (None, None, None):
        yield f"`{message.method}` carries no body"
    yield from _problems_of_trust(message)
    yield from _problems_of_answer(message)


def _problems_of_headers(message: HttpMessage) -> Iterator[str]:
    headers = dict(message.headers or {})
    if message.key is not None:
        headers[message.key.header] = message.key.value
    for name, value in headers.items():
        if (
            _TOKEN.fullmatch(name) is None
            or _FRAMING.fullmatch(name.lower())
            or name.lower() == "authorization"
        ):
            yield f"`{name:.60}` cannot be set as a header"
        elif not sendable(value):
            yield f"the value of header `{name}` holds what no header may"
    if len({name.lower() for name in headers}) < len(headers) or len(headers) > HEADERS_MAX:
        yield f"a header stands twice, or there are more than {HEADERS_MAX}"
    auth = message.auth
    if auth is None:
        return
    if auth.scheme not in ("bearer", "basic", "header"):
        yield "`auth` is `bearer`, `basic` or `header`"
    elif auth.scheme == "header" and (
        _TOKEN.fullmatch(auth.name) is None or _FRAMING.fullmatch(auth.name.lower()) is not None
    ):
        yield f"`{auth.name:.60}` cannot be the header of credentials"
    elif not sendable(auth.value) or (
        auth.scheme == "basic" and (":" in auth.name or not sendable(auth.name))
    ):
        yield "the credentials hold what no header may"


def sendable(text: str) -> bool:
    """Return whether `text` can be the value of a header: printable ASCII, no space around it."""
    return len(text) <= TEXT_MAX and text == text.strip() and all(" " <= char <= "~" for char in text)


def _problems_of_trust(message: HttpMessage) -> Iterator[str]:
    tls = message.tls
    if tls is not None:
        if message.origin.scheme != "https":
            yield "`tls` goes with https only"
        if tls.fingerprint is not None and _FINGERPRINT.fullmatch(tls.fingerprint) is None:
            yield "the fingerprint is not like `sha256:` and 64 hex digits"
        if not tls.verify and (tls.ca or tls.fingerprint):
            yield "`verify: false` contradicts a CA or a fingerprint"
    for address in message.addresses.only if message.addresses else ():
        try:
            ip_address(address)
        except ValueError:
            yield f"`{address:.60}` is no address"
    if message.redirects is not None and not 0 < message.redirects.most <= REDIRECTS_MAX:
        yield f"redirects are 1 to {REDIRECTS_MAX}"


def _problems_of_answer(message: HttpMessage) -> Iterator[str]:
    for status, failure in (message.errors or {}).items():
        if not (status.isdecimal() and len(status) == 3) or failure not in _FAILURES:
            yield f"`errors` maps statuses to error classes, not `{status:.20}` to `{failure:.60}`"
    if not all(100 <= status <= 599 for status in message.expect):
        yield "`expect` lists statuses from 100 to 599"
    if message.answer not in ANSWERS:
        yield f"`answer` is one of {', '.join(ANSWERS)}"
    if min(message.answer_bytes, message.connect_ms, message.first_byte_ms) < 0:
        yield "a bound is below 0"
    pages = message.pages
    pointers = [message.error_at, *((pages.items, pages.field) if pages else ())]
    if any(pointer and not pointer.startswith("/") for pointer in pointers):
        yield "a JSON pointer is empty or starts with `/`"
    if pages is None:
        return
    if pages.by not in PAGINATION or not 0 < pages.most <= PAGES_MAX:
        yield f"pages are found by one of {', '.join(PAGINATION)}, 1 to {PAGES_MAX} of them"
    if (pages.by in ("next", "cursor") and not pages.field) or (
        pages.by in ("cursor", "page") and not pages.parameter
    ):
        yield f"pages by `{pages.by:.20}` need to be told where the next one is"
    if message.unwrap:
        yield "`unwrap` does not go with pages"
