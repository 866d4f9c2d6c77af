"""One request below `/v1`: who asks, what for, and how it is answered without holding up the others."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from threading import Lock
from typing import Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rexecop.app.door import Act, Caller, Door, Matter
from rexecop.app.errors import Forbidden
from rexecop.app.instance import Instance
from rexecop.app.offers import Offers
from rexecop.app.paging import Glance, glance
from rexecop.app.plain import plain
from rexecop.app.requests import note
from rexecop.app.serving import Serving
from rexecop.proof.canonical import Digest, digest_of
from rexecop.proof.errors import NotCanonical, RexecopError
from rexecop.proof.payload import parse_payload
from rexecop.service.body import BODY_BYTES_MAX, BodyRefused, read_body
from rexecop.service.errors import BodyUnfit, PathUnknown, QueryRefused
from rexecop.service.problems import HEADERS

T = TypeVar("T")
Q = TypeVar("Q", bound=msgspec.Struct)

READERS: Final = 8  # As many connections as the ledger keeps open for readers.
KEPT_BYTES_MAX: Final = 8 * 1024 * 1024  # Some thousand answers.
ANSWER_BYTES_MAX: Final = 64 * 1024  # Of some fifty steps; a few that are larger would leave no room.
OPERATION: Final = re.compile(r"op_[0-9a-f]{32}")  # Neither a short number nor `@`: both say what others did.
MATCHES: Final = "if-none-match"


class Nothing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a route takes that takes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An answer: one with that `same` is as good; a `lasting` one holds until there is a record more."""

    data: bytes
    same: bytes
    lasting: bool = True


class Kept:
    """Answers about operations that are over, by their newest record: with that one they change no more.

    A record that is damaged on the disk meanwhile is seen when the answer was forgotten, or by `doctor`.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, ...], tuple[Digest, Made]] = {}
        self._bytes = 0
        self._lock = Lock()

    def get(self, what: tuple[str, ...], seen: Glance, make: Callable[[], Made]) -> Made:
        """Return the answer to `what` was asked of an operation, made only where it is not kept."""
        kept = self._kept.get(what)
        if seen.over and kept is not None and kept[0] == seen.head:
            return kept[1]
        made = make()
        size = len(made.data) + len(made.same)
        if seen.over and made.lasting and size <= ANSWER_BYTES_MAX:
            with self._lock:
                if self._bytes + size > KEPT_BYTES_MAX:
                    self._kept.clear()
                    self._bytes = 0
                self._kept[what] = (seen.head, made)
                self._bytes += size
        return made


class Desk:
    """What all requests share: the opened root, and threads for what waits for a disk."""

    def __init__(self, serving: Serving) -> None:
        self.serving: Final = serving
        self.offers: Final = Offers(serving.instance)
        self.kept: Final = Kept()
        self._readers = ThreadPoolExecutor(READERS, "v1-read")

    @property
    def door(self) -> Door:
        """Who says what callers may."""
        return self.serving.door

    async def read(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, done in a thread."""
        context = copy_context()  # In which it is noted what a request is about.
        return await asyncio.get_running_loop().run_in_executor(self._readers, context.run, work)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A request of a `caller` who was let in, for an `act` that they may do somewhere; `data` is its body."""

    desk: Desk
    request: Request
    caller: Caller
    act: Act
    data: bytes = b""

    @property
    def instance(self) -> Instance:
        """The instance, with the caller asking."""
        return self.desk.serving.instance.acting_as(self.caller.identity)

    @property
    def root(self) -> str:
        """Where the API begins: below another path where several instances are served."""
        return str(self.request.scope.get("root_path", ""))

    def may(self, found: Matter, act: Act | None = None) -> bool:
        """Return whether what is about `found` is the caller's business."""
        try:
            self.desk.door.require(self.caller, act or self.act, found)
        except Forbidden:
            return False
        return True

    def require(self, found: Matter, words: str) -> None:
        """Return only if the caller may do what they ask, about `found`.

        Raises:
            PathUnknown: in `words`, where it is none of their business. Forbidden: they may see it only.
        """
        try:
            self.desk.door.require(self.caller, self.act, found)
        except Forbidden as error:
            if error.facts.get("hidden"):
                raise PathUnknown(words) from error
            raise

    def operation(self) -> str:
        """Return the id of the operation that the path names; as `glance`."""
        return self.glance()[0]

    def glance(self) -> tuple[str, Glance]:
        """Return the operation that the path names, once the caller may do that to it; it reads.

        Raises:
            PathUnknown: there is none, or none that is their business. Forbidden: they may see it only.
        """
        name = str(self.request.path_params["id"])
        words = f"there is no operation `{name:.60}`"
        if OPERATION.fullmatch(name) is None:
            raise PathUnknown(words)
        try:
            found = glance(self.desk.serving.instance, name)
        except RexecopError as error:
            if error.code == "operation-unknown":
                raise PathUnknown(words) from error
            raise
        self.require(found.matter, words)
        note(operation=name)
        return name, found

    async def look(self, work: Callable[[str], T]) -> T:
        """Return what `work` reads of the operation that the path names; raises as `operation`."""
        return await self.desk.read(lambda: work(self.operation()))

    def answer(self, value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        """Return `value` as JSON."""
        return raw(msgspec.json.encode(plain(value)), status, headers)

    async def kept(self, make: Callable[[str], Made], *what: str) -> Made:
        """Return what `make` makes of the operation that the path names, or what was made; as `operation`."""

        def read() -> Made:
            name, seen = self.glance()
            return self.desk.kept.get((name, *what), seen, lambda: make(name))

        return await self.desk.read(read)

    def tagged(self, data: bytes, same: bytes, media: str = "application/json") -> Response:
        """Return `data`, or that it is what the caller has: as good as another with the same `same`."""
        tag = f'W/"{digest_of(same)[7:39]}"'
        had = [one.strip() for one in self.request.headers.get(MATCHES, "").split(",")]
        named = {"etag": tag, "cache-control": "private, no-cache"}
        if tag in had or tag.removeprefix("W/") in had or had == ["*"]:
            return Response(b"", 304, {**HEADERS, **named})
        return raw(data, 200, {**named, "content-type": media})


def raw(data: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer that `data` is: JSON, where `headers` do not say otherwise."""
    return Response(data, status, {**HEADERS, "content-type": "application/json", **(headers or {})})


def read_query(kind: type[Q], request: Request) -> Q:
    """Return the query of `request`.

    Raises:
        QueryRefused: a parameter that is not taken, or is given twice, or a value that is none.
    """
    given: dict[str, str] = {}
    allowed = ", ".join(f"`{name}`" for name in kind.__struct_fields__) or "none"
    for name, value in request.query_params.multi_items():
        if name in given or name not in kind.__struct_fields__:
            words = "is given twice" if name in given else f"is not taken here; allowed: {allowed}"
            raise QueryRefused(f"parameter `{name[:40]!a}` {words}", allowed=allowed)
        given[name] = value
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise QueryRefused(f"the query: {_reason(error)}", allowed=allowed) from error


async def read_json(request: Request) -> bytes:
    """Return the body of `request`; where there is none, that of an empty object.

    Raises:
        BodyUnfit: it is too long, late, cut short, or no JSON by its type.
    """
    headers = request.headers
    if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        return b"{}"
    try:
        return await read_body(request)
    except BodyRefused as error:
        unfit = BodyUnfit(str(error.detail))
        unfit.status = error.status
        raise unfit from error


def read_fields(kind: type[Q], data: bytes) -> Q:
    """Return what a body asks for.

    Raises:
        BodyUnfit: it is not strict JSON, or not what the route takes, and which fields that are.
    """
    try:
        return msgspec.convert(parse_payload(data, bytes_max=BODY_BYTES_MAX), kind)
    except NotCanonical as error:
        raise BodyUnfit(error.message) from error
    except msgspec.ValidationError as error:
        allowed = ", ".join(f"`{name}`" for name in kind.__struct_fields__) or "none"
        raise BodyUnfit(f"the body: {_reason(error)}; fields: {allowed}", allowed=allowed) from error


def _reason(error: msgspec.ValidationError) -> str:
    words = str(error)
    return ascii(words)[1:-1][:200].replace("\\'", "'")
