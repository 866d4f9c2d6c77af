"""Who is signed in at the console: a table in memory of bounded size, and the one link for who started it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from rexecop.app.clock import SystemIds
from rexecop.app.door import Caller, Door, ServiceRole, ServiceScope
from rexecop.app.errors import NEEDED, CallerUnknown
from rexecop.app.identity import Identity, os_user
from rexecop.app.requests import note
from rexecop.proof.canonical import digest_of, same, sha256
from rexecop.service.console.pages import Answer

SESSION_HOURS: Final = 8  # A working day; then who it is has to be shown again.
SESSIONS_MAX: Final = 512  # A few hundred bytes each; more people are not at one console.
EACH_MAX: Final = 8  # Browsers of one person; their oldest one is signed out first.
SENT_MAX: Final = 64  # Forms of one session whose answers are kept; who sends one twice does so at once.
LINK_MINUTES: Final = 10  # To go from the terminal to the browser.
# Whoever starts the service owns the root: what is refused to them here they can do on the command line.
LOCAL_ROLES: Final = frozenset(
    {ServiceRole.OPERATOR, ServiceRole.APPROVER, ServiceRole.AUDITOR, ServiceRole.ADMIN}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One browser that is signed in until `ends`.

    Its token is shown to the door at every request, in `headers`: what the door takes back counts at
    once. Who came by the link is `local`, and has none. For whom a proxy speaks it does so at every
    request again: there are no `headers`.
    """

    person: str
    headers: Mapping[str, str] | None
    local: Caller | None
    secret: bytes
    ends: datetime
    sent: dict[str, asyncio.Task[Answer]] = field(default_factory=dict)

    def caller(self, door: Door, came: Mapping[str, str], peer: str | None) -> Caller:
        """Return who this is now; `came` are headers that came with the request, without a token.

        Raises:
            CallerUnknown: nobody any more, or somebody else.
        """
        found = self.local or door.caller(came if self.headers is None else self.headers, peer)
        if found.name != self.person:
            raise CallerUnknown(NEEDED)
        note(caller=found.name)
        return found

    async def once(self, form: str, work: Callable[[], Coroutine[None, None, Answer]]) -> Answer:
        """Return what `work` answers, or answered when this very `form` was sent before.

        What was refused may be sent again.
        """
        if form not in self.sent:
            if len(self.sent) >= SENT_MAX:
                del self.sent[next(iter(self.sent))]
            self.sent[form] = asyncio.ensure_future(work())
        begun = self.sent[form]
        try:
            return await asyncio.shield(begun)  # Who goes away meanwhile does not end it.
        finally:
            if begun.done() and (begun.cancelled() or begun.exception() is not None):
                self.sent.pop(form, None)

    def token(self, path: str) -> str:
        """Return what a form that is sent to `path` carries: it is good for that path and session alone."""
        return sha256(self.secret + sha256(path.encode())).hex()

    def is_token(self, path: str, token: str) -> bool:
        """Return whether `token` is that of a form that is sent to `path`."""
        return token.isascii() and same(self.token(path), token)


class Sessions:
    """Everybody who is signed in; keys are known by their digests only."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._ids = SystemIds()
        self._open: dict[str, Session] = {}

    def open(self, caller: Caller, headers: Mapping[str, str] | None, *, local: bool = False) -> str:
        """Sign `caller` in and return the key of the session; the oldest one goes where there is no room."""
        self._tidy()
        own = [key for key, one in self._open.items() if one.person == caller.name]
        for key in own[: max(0, len(own) - EACH_MAX + 1)]:
            del self._open[key]
        if len(self._open) >= SESSIONS_MAX:
            del self._open[next(iter(self._open))]
        key = self._ids.key().hex()
        self._open[digest_of(key.encode())] = Session(
            person=caller.name,
            headers=headers,
            local=caller if local else None,
            secret=self._ids.key(),
            ends=self._now() + timedelta(hours=SESSION_HOURS),
        )
        return key

    def find(self, key: str) -> Session | None:
        """Return the session of `key`, None where it is none or over."""
        found = self._open.get(digest_of(key.encode()))
        return found if found is not None and self._now() < found.ends else None

    def close(self, key: str) -> None:
        """Sign the browser with `key` out."""
        self._open.pop(digest_of(key.encode()), None)

    def _tidy(self) -> None:
        now = self._now()
        self._open = {key: one for key, one in self._open.items() if now < one.ends}


class SignInLink:
    """The key in a link for who started the service: good once, and for a few minutes."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._digest = ""
        self._ends = now()

    def make(self) -> str:
        """Return a new key; the one before is no longer good."""
        key = SystemIds().key().hex()
        self._digest, self._ends = digest_of(key.encode()), self._now() + timedelta(minutes=LINK_MINUTES)
        return key

    def use(self, key: str) -> Caller:
        """Return who comes with `key`: the user of the system that the service runs as.

        Raises:
            CallerUnknown: it is none, was used, or is too old.
        """
        if not self._digest or not same(self._digest, digest_of(key.encode())) or self._now() >= self._ends:
            raise CallerUnknown("that link is used up, too old, or none; start the service again for another")
        self._digest = ""
        return Caller(identity=Identity(principal=os_user()), roles=LOCAL_ROLES, scope=ServiceScope())
