"""`rexecop serve`: the application on a socket, until somebody says stop."""

from __future__ import annotations

import asyncio
import errno
import gc
import ipaddress
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType, MappingProxyType
from typing import Final

import uvicorn

from rexecop.app.contract import DEMO, contract_of
from rexecop.app.nodes import MESSAGE_BYTES_MAX
from rexecop.app.serving import Serving, open_serving
from rexecop.app.settings import Settings
from rexecop.service.application import create_app, nobodys_app
from rexecop.service.connections import CONNECTIONS_MAX, Connection
from rexecop.service.console.guard import SIGN_IN
from rexecop.service.console.sessions import SignInLink
from rexecop.service.errors import AddressUnavailable, DemoExposed, PeerRefused, TlsRefused
from rexecop.service.supervised import Supervisor, handed_over
from rexecop.service.tenants import BELOW, Tenants, named, opened
from rexecop.service.tls import Tls
from rexecop.service.traffic import Run

BACKLOG: Final = 512
FILES_MIN: Final = 2 * CONNECTIONS_MAX  # Open at one time: connections, those that are refused, the ledger.
GRACE_SECONDS: Final = 15  # Longer than a handler may take, so a request in flight ends by itself.
COLLECT_EVERY: Final = (20_000, 20, 20)  # A request makes some thousand objects, none of them in a ring.
LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facing:
    """How the service faces callers: `tls` or none, by which other names, and whose word on callers counts.

    A `proxy` is an address, or a network, whose X-Forwarded headers are believed. For `drain_seconds` after
    it was told to stop the service says that it is not ready and still answers.
    """

    tls: Tls | None = None
    names: tuple[str, ...] = ()
    proxy: str | None = None
    drain_seconds: float = 0


PLAIN: Final = Facing()


def serve(
    settings: Settings,
    *,
    host: str,
    port: int,
    allow_remote_demo: bool = False,
    facing: Facing = PLAIN,
    tenants: Iterable[str] = (),
    sign_in_link: bool = False,
    report: Callable[[str], None] | None = None,
) -> None:
    """Serve the root of `settings` on `host` and `port` (0: any free one) until SIGINT or SIGTERM.

    `tenants` are NAME=ROOT, each served whole below `/t/NAME`. Where this process was started with a
    socket to listen on, that one is listened on. Requests in flight are finished and the ledger is closed
    before this returns. `report` is told the address once it is listened on, and with `sign_in_link`, on
    an address of this machine alone, a link by which whoever reads it signs in at the console once. Where
    `settings.work` says so, what is queued in these roots is carried out here, too.

    Raises:
        ModeUnsupported: the environment asks for a mode or limit that is not served here.
        DemoExposed: others could reach `host`, or a proxy or a name is for them, and `allow_remote_demo`
            does not say that they may.
        AddressUnavailable: the address cannot be listened on. TenantRefused: see `tenants.named`.
        PeerRefused: `facing` names a proxy by what is no address.
        RootMissing, RootUnsafe, StoreError: as `open_serving`.
    """
    contract = contract_of(os.environ)
    _require_network(facing.proxy)
    supervisor, given = Supervisor(os.environ), handed_over(os.environ)
    host = host if given is None else str(given.getsockname()[0])
    local = is_loopback(host)
    reached = bool(not local or facing.names or facing.proxy)
    if reached and not allow_remote_demo and contract.mode == DEMO:
        raise DemoExposed(
            f"demo mode asks nobody who they are, so it does not listen on `{host:.80}` for others",
            next_steps=("rexecop serve --host 127.0.0.1",),
            host=host[:80],
        )
    listening = listen(host, port) if given is None else given
    try:
        beside = named(tenants, settings)
        with open_serving(settings, contract) as serving, opened(serving, beside, contract) as others:
            address = f"{'http' if facing.tls is None else 'https'}://{shown_address(listening)}"
            (report or _say)(f"rexecop: serving {settings.root} on {address} in {contract.mode} mode")
            for problem in contract.problems:
                (report or _say)(f"rexecop: every request is refused: {problem}")
            for name, other in others.items():
                (report or _say)(f"rexecop: serving {other.settings.root} below {BELOW}{name}")
            link = SignInLink(serving.now)
            if sign_in_link and not reached:
                (report or _say)(f"rexecop: sign in once: {address}{SIGN_IN}?link={link.make()}")
            names = {name.lower() for name in (*LOCAL_NAMES, host, *facing.names)}
            run(
                serving,
                listening,
                hosts=names if local or facing.names else None,
                facing=facing,
                supervisor=supervisor,
                others=others,
                link=link,
            )
    finally:
        listening.close()


def run(
    serving: Serving,
    listening: socket.socket,
    *,
    hosts: set[str] | None,
    facing: Facing = PLAIN,
    supervisor: Supervisor | None = None,
    others: Mapping[str, Serving] = MappingProxyType({}),
    link: SignInLink | None = None,
) -> None:
    """Answer on `listening` until a signal says stop; requests in flight are finished."""
    runs = {name: Run() for name in ("", *others)}
    below = {name: (other, create_app(other, hosts, run=runs[name])) for name, other in others.items()}
    own, nobody = create_app(serving, hosts, link=link, run=runs[""]), serving.nobody()

    class Ours(Connection):
        run = runs[""]

    config = uvicorn.Config(
        Tenants(own, below, (nobody, nobodys_app(nobody, hosts))) if below else own,
        http=Ours,
        loop="auto",
        ws="websockets-sansio",
        ws_max_size=MESSAGE_BYTES_MAX,
        ws_per_message_deflate=False,
        lifespan="off",
        interface="asgi3",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=facing.proxy is not None,
        forwarded_allow_ips=facing.proxy,
        ssl_context_factory=None if (tls := facing.tls) is None else lambda _, __: tls.context,
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    # What was built until here lives as long as the service; looking through it again costs pauses.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_EVERY)
    _raise_files()
    server = _Server(
        config, tuple(runs.values()), (serving, *others.values()), facing, supervisor or Supervisor({})
    )
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_serve(server, listening))


async def _serve(server: _Server, listening: socket.socket) -> None:
    first = server.servings[0]

    async def is_well() -> bool:
        return await first.ledger_problem() is None

    watched = asyncio.create_task(server.supervisor.reassure(is_well))
    for one in server.servings:
        if one.settings.work:
            one.works.carry_out()
    try:
        await server.serve(sockets=[listening])
    finally:
        watched.cancel()
        for one in server.servings:
            await asyncio.to_thread(one.works.close)  # Before the nodes it may be calling.
        await first.nodes.close()


class _Server(uvicorn.Server):
    """A server for which being told to stop is how it ends well, not a death by signal."""

    def __init__(
        self,
        config: uvicorn.Config,
        runs: Sequence[Run],
        servings: Sequence[Serving],
        facing: Facing,
        supervisor: Supervisor,
    ) -> None:
        super().__init__(config)
        self.servings = servings
        self.supervisor = supervisor
        self._runs = runs
        self._facing = facing
        self._ends: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so to whoever started this."""
        await super().startup(sockets=sockets)
        self.supervisor.tell("READY=1")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let answers without end come to one, then wait for all that are under way."""
        for serving in self.servings:
            serving.leave()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Say that no more requests are wanted; told once more, or after a while, take none."""
        if self._ends is not None or not self._facing.drain_seconds:
            super().handle_exit(sig, frame)
        for run in self._runs:
            run.draining = True
        self._ends = time.monotonic() + self._facing.drain_seconds
        self.supervisor.tell("STOPPING=1")

    def renew(self, sig: int, frame: FrameType | None) -> None:
        """Show the certificate that the files hold now; what cannot be shown is told, and changes nothing."""
        if self._facing.tls is not None:
            try:
                self._facing.tls.renew()
            except TlsRefused as error:
                _say(f"rexecop: error[{error.code}]: {error.message}; the old one is still shown")

    async def on_tick(self, counter: int) -> bool:
        """Return whether it is time to end."""
        if self._ends is not None and time.monotonic() >= self._ends:
            self.should_exit = True
        return await super().on_tick(counter)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop gracefully on SIGINT and SIGTERM; what handled them before is put back."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = {signal.SIGINT: self.handle_exit, signal.SIGTERM: self.handle_exit}
        if self._facing.tls is not None:
            handlers[signal.SIGHUP] = self.renew
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on `host` and `port`.

    Raises:
        AddressUnavailable: it cannot.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise AddressUnavailable(f"`{host:.80}` is no address of this machine", host=host[:80]) from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise AddressUnavailable(
            f"cannot listen on `{host:.80}` port {port}: {_words(error)}",
            next_steps=("rexecop serve --port 0",) if error.errno == errno.EADDRINUSE else (),
            host=host[:80],
            port=port,
        ) from error
    return listening


def _require_network(proxy: str | None) -> None:
    try:
        if proxy is not None:
            ipaddress.ip_network(proxy)
    except ValueError:
        raise PeerRefused(f"`{proxy:.60}` is no address, and no network, whose word could count") from None


def _raise_files() -> None:
    """Let as many files be open as connections need, where that may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES_MIN:
        with suppress(OSError, ValueError):
            wanted = FILES_MIN if hard == resource.RLIM_INFINITY else min(FILES_MIN, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach `host`; a name other than `localhost` may lead anywhere."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def shown_address(listening: socket.socket) -> str:
    """Return the address of `listening` as a URL names it."""
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _words(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
