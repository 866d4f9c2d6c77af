"""Following operations: records as they come, as server-sent events, to any number of followers.

Whoever follows keeps a number and nothing else. What came lately is read once for all who follow the same
operation; who is further behind reads on from the ledger, a page at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import msgspec
from starlette.responses import Response, StreamingResponse

from rexecop.app.door import Act
from rexecop.app.plain import plain
from rexecop.app.views import RecordView
from rexecop.app.waiting import LOOK_SECONDS
from rexecop.app.watching import is_over
from rexecop.proof.errors import RexecopError
from rexecop.service.errors import FollowersFull, QueryRefused
from rexecop.service.problems import HEADERS
from rexecop.service.v1.asking import Asking, Desk, Nothing
from rexecop.service.v1.operations import ONE
from rexecop.service.v1.routes import STREAM, Call, Says, get

BEAT_SECONDS: Final = 15.0  # Below the minute after which proxies take a silent connection for a dead one.
SHARE: Final = 10  # Looking takes at most a tenth of the time, however many operations are followed.
FRAMES_BYTES_MAX: Final = 256 * 1024  # Of one operation kept for all its followers, and of one page.
FOLLOWERS_MAX: Final = 1_000  # Below the connections that the service takes.
OF_ONE_CALLER: Final = 100  # A page for each operation under way, and room for others.
LAST: Final = "last-event-id"
RETRY: Final = b"retry: 1000\n\n"
BEAT: Final = b": still there\n\n"


@dataclass(slots=True)
class _Feed:
    """What is known of one followed operation: `count` records, the last of them as `frames`."""

    count: int
    over: str | None = None
    frames: list[tuple[int, bytes]] = field(default_factory=list)
    followers: int = 0
    looked: float | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def since(self, seen: int) -> bytes | None:
        """Return the frames behind the first `seen` records; None where they are not kept any more."""
        if seen >= self.count:
            return b""
        if not self.frames or self.frames[0][0] > seen:
            return None
        return b"".join(data for n, data in self.frames if n >= seen)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one look at an operation found: what came, and the state if it is over."""

    frames: Sequence[tuple[int, bytes]]
    count: int
    over: str | None


class Following:
    """Everybody who follows something at one service."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._feeds: dict[str, _Feed] = {}
        self._callers: Counter[str] = Counter()
        self._watcher: asyncio.Task[None] | None = None
        self._leaving = False

    def leave(self) -> None:
        """Let every follower go now; each knows from where to go on."""
        self._leaving = True
        for feed in self._feeds.values():
            feed.news.set()

    async def events(self, asking: Asking, query: Nothing) -> Response:
        """Send the records of an operation as events, all or those behind `Last-Event-ID`, until it is over.

        Each is a `record` whose `id` is its number; the last event is `end` with the state.
        """
        if asking.request.method == "HEAD":
            return Response(b"", 200, HEADERS, media_type=STREAM)
        seen = _behind(asking.request.headers.get(LAST))
        name = await asking.desk.read(asking.operation)
        found, total = await asking.desk.read(lambda: (self._look(name, seen), self._count(name)))
        if seen and found.over is not None and seen >= found.count:
            return Response(b"", 204, HEADERS)  # Nothing more comes: who asks again by itself is to stop.
        who = asking.caller.name
        if self._callers.total() >= FOLLOWERS_MAX or self._callers[who] >= OF_ONE_CALLER:
            raise FollowersFull("as many operations are followed as can be; close others, or ask later")
        feed = self._feeds.get(name)
        if feed is None or (feed.over is not None and found.over is None):
            feed = self._feeds[name] = _Feed(count=total)
        sent = self._stream(asking, name, feed, seen)
        return StreamingResponse(sent, 200, HEADERS, media_type=STREAM)

    async def _stream(self, asking: Asking, name: str, feed: _Feed, seen: int) -> AsyncIterator[bytes]:
        self._callers[asking.caller.name] += 1
        feed.followers += 1
        if self._watcher is None:
            self._watcher = asyncio.ensure_future(self._watch())
        try:
            yield RETRY
            while not self._leaving:
                news = feed.news
                if (data := feed.since(seen)) is None:
                    page = await self._desk.read(partial(self._look, name, seen))
                    data, seen = b"".join(one for _, one in page.frames), page.count
                else:
                    seen = max(seen, feed.count)
                if data:
                    yield data
                elif feed.over is not None:
                    yield _end(name, feed.over)
                    return
                elif not await self._heard(news):
                    yield BEAT
                    if not self._still_may(asking):
                        return
        finally:
            self._callers[asking.caller.name] -= 1
            self._callers += Counter()  # Names without a follower are not kept.
            feed.followers -= 1
            if not feed.followers and self._feeds.get(name) is feed:
                del self._feeds[name]

    async def _heard(self, news: asyncio.Event) -> bool:
        """Return whether there is news before a heartbeat is due."""
        try:
            async with asyncio.timeout(BEAT_SECONDS):
                await news.wait()
        except TimeoutError:
            return False
        return True

    def _still_may(self, asking: Asking) -> bool:
        """Return whether the caller would still be let in: a token may have been taken back."""
        peer = None if asking.request.client is None else asking.request.client.host
        try:
            caller = self._desk.door.caller(asking.request.headers, peer)
            self._desk.door.require(caller, asking.act)
        except RexecopError:
            return False
        return True

    async def _watch(self) -> None:
        """Look at everything that is followed, again and again, until nothing is."""
        try:
            while self._feeds and not self._leaving:
                began = time.monotonic()
                found = await self._desk.read(partial(self._look_at, self._wanted(began)))
                for name, seen in found.items():
                    if (feed := self._feeds.get(name)) is not None:
                        _take(feed, seen)
                await asyncio.sleep(max(LOOK_SECONDS, SHARE * (time.monotonic() - began)))
        finally:
            self._watcher = None

    def _wanted(self, now: float) -> dict[str, tuple[int, bool]]:
        """Return what to look at: how many records are known, and whether to look even where none came.

        A runner that dies leaves no record; so that is looked for, too, now and then.
        """
        wanted: dict[str, tuple[int, bool]] = {}
        for name, feed in self._feeds.items():
            if feed.over is None:
                due = feed.looked is None or now - feed.looked >= BEAT_SECONDS
                feed.looked = now if due else feed.looked
                wanted[name] = (feed.count, due)
        return wanted

    def _look_at(self, wanted: Mapping[str, tuple[int, bool]]) -> dict[str, _Seen]:
        found: dict[str, _Seen] = {}
        for name, (count, due) in wanted.items():
            with suppress(RexecopError):  # The ledger is in the way: the next look may find more.
                if due or self._count(name) > count:
                    seen = self._look(name, count)
                    if seen.frames or seen.over is not None:
                        found[name] = seen
        return found

    def _count(self, name: str) -> int:
        return self._desk.serving.instance.parts.world.store.records_of(name)

    def _look(self, name: str, seen: int) -> _Seen:
        """Return a page of what came behind the first `seen` records of an operation."""
        instance = self._desk.serving.instance
        frames, size = [], 0
        records = instance.history(name, seen)
        for one in records:
            frames.append((one.n, frame(one)))
            size += len(frames[-1][1])
            if size > FRAMES_BYTES_MAX:
                break
        # An operation ends with a record, or because its runner died: the one look says both.
        view = instance.status(name)
        whole = len(frames) == len(records)
        over = view.state if whole and is_over(view) and view.records <= seen + len(frames) else None
        return _Seen(frames=frames, count=seen + len(frames), over=over)


def _take(feed: _Feed, seen: _Seen) -> None:
    """Put what was seen into `feed`, forget what is too much, and tell its followers."""
    feed.frames.extend(one for one in seen.frames if one[0] >= feed.count)
    feed.count, feed.over = max(feed.count, seen.count), seen.over
    size = sum(len(data) for _, data in feed.frames)
    while len(feed.frames) > 1 and size > FRAMES_BYTES_MAX:
        size -= len(feed.frames.pop(0)[1])
    feed.news.set()
    feed.news = asyncio.Event()


def frame(record: RecordView) -> bytes:
    """Return a record as one event."""
    return b"id: %d\nevent: record\ndata: %s\n\n" % (record.n, msgspec.json.encode(plain(record)))


def _end(name: str, state: str) -> bytes:
    return b"event: end\ndata: %s\n\n" % msgspec.json.encode({"operation_id": name, "state": state})


def _behind(last: str | None) -> int:
    """Return how many records somebody has who saw the event `last`.

    Raises:
        QueryRefused: it is no number.
    """
    if last is None or last == "":
        return 0
    if not (last.isascii() and last.isdigit() and len(last) <= 15):
        raise QueryRefused("`Last-Event-ID` is the number of a record")
    return int(last) + 1


def table(following: Following) -> tuple[Call, ...]:
    """Return the route that operations are followed at."""
    says = {200: Says(media=STREAM), 204: Says(media="")}
    named = {LAST: "The `id` of the last event that came"}
    return (get(f"{ONE}/events", Act.VIEW, following.events, Nothing, says, named),)
