"""A guest: the agent that runs programs for who holds a grant, and the file of those grants."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from rexecop.app.clock import SystemClock, SystemIds
from rexecop.app.errors import FileMissing, GrantRefused, RootUnwritable
from rexecop.app.files import locked, read_file, reason_of, replace_file, require_secret
from rexecop.lanes.bridge.agent import CAPABILITIES, Admit, Session
from rexecop.lanes.bridge.frames import Channel
from rexecop.lanes.bridge.grants import GRANTS_BYTES_MAX, Grant, GrantBook, Grants
from rexecop.lanes.bridge.listening import Listening
from rexecop.lanes.probe import grades_of, measure_isolation
from rexecop.lanes.process import ProcessLane
from rexecop.lanes.secrets import NO_SECRETS
from rexecop.proof.canonical import digest_of
from rexecop.proof.codec import decode, encode
from rexecop.proof.errors import ProofError

HOURS_MAX: Final = 24 * 366  # A year: who still needs it then is asked again.
GRANTS_MAX: Final = 500
NAME_LENGTH_MAX: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantView:
    """A grant as people see it; `token` is there once, when it is made."""

    name: str
    expires: datetime
    capabilities: tuple[str, ...]
    state: str
    token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestAddress:
    """Where a guest listens: at `socket`, or at `host` and `port` behind TLS."""

    socket: Path | None = None
    host: str = ""
    port: int = 0
    certificate: Path | None = None
    key: Path | None = None


class GrantFile:
    """The grants of one guest. The file holds digests of tokens, never a token."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self._clock = SystemClock()

    def view(self) -> tuple[GrantView, ...]:
        """Return every grant that was made.

        Raises:
            FileMissing, FileRefused, RootUnsafe, GrantRefused: the file is not there, or not usable.
        """
        return tuple(map(self._shown, self._book().grants))

    def issue(self, name: str, hours: int, capabilities: tuple[str, ...]) -> GrantView:
        """Make a grant that lasts `hours` and return it with its token.

        Raises:
            GrantRefused: the name is taken or cannot be one, or there are too many.
            As `view`; RootUnwritable: the file cannot be written.
        """
        if not (0 < len(name) <= NAME_LENGTH_MAX and name.isprintable() and name == name.strip()):
            raise GrantRefused(f"`{name[:60]!a}` cannot be a grant's name", name=name[:60])
        token = SystemIds().key().hex()
        grant = Grant(
            name=name,
            token=digest_of(token.encode()),
            expires=self._clock.now() + timedelta(hours=hours),
            capabilities=tuple(sorted(set(capabilities))) or tuple(sorted(CAPABILITIES)),
        )
        with locked(self.path.with_name(f"{self.path.name}.lock")):
            book = self._book() if self.path.exists() else GrantBook(grants=())
            if any(name == one.name and not one.revoked for one in book.grants):
                raise GrantRefused(f"there is a grant `{name}`; revoke it first", name=name)
            if len(book.grants) >= GRANTS_MAX:
                raise GrantRefused(f"there are {GRANTS_MAX} grants, and no more are kept", limit=GRANTS_MAX)
            self._write(GrantBook(grants=(*book.grants, grant)))
        return replace(self._shown(grant), token=token)

    def revoke(self, name: str) -> GrantView:
        """Revoke the grant `name`: sessions that rest on it end, with what they run.

        Raises:
            GrantRefused: there is none that stands. As `view`; RootUnwritable.
        """
        with locked(self.path.with_name(f"{self.path.name}.lock")):
            book = self._book()
            found = next((one for one in book.grants if one.name == name and not one.revoked), None)
            if found is None:
                raise GrantRefused(f"no standing grant `{name[:60]}`", name=name[:60])
            gone = replace(found, revoked=True)
            self._write(GrantBook(grants=tuple(gone if one is found else one for one in book.grants)))
        return self._shown(gone)

    def admit(self) -> Admit:
        """Return what admits sessions by the grants as the file says at each moment."""
        return Grants(lambda: read_file(self.path, bytes_max=GRANTS_BYTES_MAX), self._clock.now).admit

    def _book(self) -> GrantBook:
        if not self.path.exists():
            next_steps = (f"rexecop guest grant NAME --grants {self.path}",)
            raise FileMissing(f"no grants at `{self.path}`", path=str(self.path), next_steps=next_steps)
        require_secret(self.path)
        try:
            return decode(GrantBook, read_file(self.path), bytes_max=GRANTS_BYTES_MAX)
        except ProofError as error:
            raise GrantRefused(f"`{self.path}` holds no grants: {error.message}") from error

    def _write(self, book: GrantBook) -> None:
        try:
            replace_file(self.path, encode(book), mode=0o600)
        except OSError as error:
            message = f"`{self.path}` cannot be written: {reason_of(error)}"
            raise RootUnwritable(message, path=str(self.path)) from error

    def _shown(self, grant: Grant) -> GrantView:
        ended = (
            "revoked" if grant.revoked else "expired" if grant.expires <= self._clock.now() else "standing"
        )
        return GrantView(name=grant.name, expires=grant.expires, capabilities=grant.capabilities, state=ended)


def serve_guest(address: GuestAddress, grants: GrantFile, report: Callable[[str], None]) -> None:
    """Run programs for who holds a grant, until SIGINT or SIGTERM; what runs then ends.

    `report` is told where it listens once it does.

    Raises:
        FileMissing, FileRefused, RootUnsafe, GrantRefused: there are no usable grants.
        AddressRefused: it cannot listen there.
    """
    grants.view()
    asyncio.run(_serve(address, grants, report))


async def _serve(address: GuestAddress, grants: GrantFile, report: Callable[[str], None]) -> None:
    lane = local_programs(grants.path, address.key)
    admit = grants.admit()

    async def session(channel: Channel) -> None:
        await Session(channel, lane, admit).serve()

    listening = Listening(session)
    try:
        if address.socket is not None:
            await listening.on_socket(address.socket)
            where = str(address.socket)
        else:
            assert address.certificate is not None and address.key is not None
            port = await listening.on_address(address.host, address.port, address.certificate, address.key)
            where = f"{address.host}:{port}"
        report(f"rexecop: guest listening on {where}")
        await stopped()
    finally:
        await listening.close()
        lane.close()


def local_programs(*own: Path | None) -> ProcessLane:
    """Return the lane that runs the programs of a guest or node; whoever asks sends secrets along.

    Paths of the agent's `own` are hidden from them, or the facts say that they were not.
    """
    hidden = [str(path.resolve()) for path in own if path is not None]
    return ProcessLane(isolation=grades_of(measure_isolation()), secrets=NO_SECRETS, hidden=hidden)


async def stopped() -> None:
    """Return when somebody says stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
