"""Attach grants: who may attach to a guest, for what, until when. Tokens are kept as digests only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final

from rexecop.lanes.bridge.frames import Attach, End, Run, Statement
from rexecop.lanes.errors import RequestRefused
from rexecop.lanes.failures import Failure
from rexecop.proof.canonical import Digest, digest_of, same
from rexecop.proof.codec import decode
from rexecop.proof.errors import ProofError

GRANTS_BYTES_MAX: Final = 256 * 1024  # A thousand grants; more is a directory service's work.


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Who holds the token with the digest `token` may attach until `expires`, unless `revoked`."""

    name: str
    token: Digest
    expires: datetime
    capabilities: tuple[str, ...]
    revoked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantBook:
    """All grants of one guest, as its file holds them (canonical JSON)."""

    kind: ClassVar[str] = "guest-grants/1"

    grants: tuple[Grant, ...]


class Grants:
    """The grants in force; `read` returns the file's bytes as it is now and raises OSError."""

    def __init__(self, read: Callable[[], bytes], now: Callable[[], datetime]) -> None:
        self._read = read
        self._now = now
        self._seen = b""
        self._book = GrantBook(grants=())

    def admit(self, frame: Attach) -> Granted:
        """Return the warrant of the grant whose token `frame` shows.

        Raises:
            RequestRefused: there is none, or it no longer holds.
        """
        shown = digest_of(frame.grant.encode())
        found = [grant for grant in self._grants() if same(grant.token, shown)]
        if not frame.grant or not found:
            raise RequestRefused(Failure.AUTH_FAILED, "no grant has this token")
        granted = Granted(self, found[0])
        granted.check()
        return granted

    def check(self, grant: Grant) -> None:
        """Return only if `grant` stands in the book as it was given, and has not run out.

        Raises:
            RequestRefused: it does not.
        """
        if grant not in self._grants() or grant.revoked:
            raise RequestRefused(Failure.AUTH_FAILED, f"grant `{grant.name:.60}` was revoked")
        if self._now() >= grant.expires:
            raise RequestRefused(Failure.AUTH_FAILED, f"grant `{grant.name:.60}` has expired")

    def _grants(self) -> tuple[Grant, ...]:
        """Return the grants; of a book that cannot be read nothing is in force."""
        try:
            data = self._read()
            if data != self._seen:
                self._book = decode(GrantBook, data, bytes_max=GRANTS_BYTES_MAX)
                self._seen = data
        except (OSError, ProofError):
            return ()
        return self._book.grants


class Granted:
    """The warrant of a session that rests on a grant."""

    proof: Final = ""

    def __init__(self, grants: Grants, grant: Grant) -> None:
        self._grants = grants
        self._grant = grant

    @property
    def capabilities(self) -> frozenset[str]:
        """What the grant gives."""
        return frozenset(self._grant.capabilities)

    def check(self) -> None:
        """As `agent.Warrant.check`."""
        self._grants.check(self._grant)

    def examine(self, run: Run) -> None:
        """As `agent.Warrant.examine`: a grant is for every call."""

    def clear(self, run: Run) -> None:
        """As `agent.Warrant.clear`."""
        self.check()

    def seal(self, run: Run, end: End, outputs: object) -> Statement | None:
        """As `agent.Warrant.seal`: a guest has no key."""
        return None

    def heard(self, number: int) -> None:
        """As `agent.Warrant.heard`: a guest forgets a call with its end."""
