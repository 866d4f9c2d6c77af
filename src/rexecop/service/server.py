"""`rexecop serve`: the application on a socket, until somebody says stop."""

from __future__ import annotations

import asyncio
import errno
import gc
import ipaddress
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final

import uvicorn

from rexecop.app.contract import DEMO, contract_of
from rexecop.app.nodes import MESSAGE_BYTES_MAX
from rexecop.app.serving import Serving, open_serving
from rexecop.app.settings import Settings
from rexecop.service.application import create_app
from rexecop.service.errors import AddressUnavailable, DemoExposed
from rexecop.service.tenants import BELOW, Tenants, named, opened

BACKLOG: Final = 512
CONNECTIONS_MAX: Final = 1_024  # Below the usual limit of open files, with room for the ledger.
GRACE_SECONDS: Final = 15  # Longer than a handler may take, so a request in flight ends by itself.
COLLECT_EVERY: Final = (20_000, 20, 20)  # A request makes some thousand objects, none of them in a ring.
LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "::1")


def serve(
    settings: Settings,
    *,
    host: str,
    port: int,
    allow_remote_demo: bool = False,
    tenants: Iterable[str] = (),
    report: Callable[[str], None] | None = None,
) -> None:
    """Serve the root of `settings` on `host` and `port` (0: any free one) until SIGINT or SIGTERM.

    `tenants` are NAME=ROOT, each served whole below `/t/NAME`.

    Requests in flight are finished and the ledger is closed before this returns. `report` is
    told the address once it is listened on.

    Raises:
        ModeUnsupported: the environment asks for a mode or limit that is not served here.
        DemoExposed: others could reach `host`, and `allow_remote_demo` does not say that they may.
        AddressUnavailable: the address cannot be listened on. TenantRefused: see `tenants.named`.
        RootMissing, RootUnsafe, StoreError: as `open_serving`.
    """
    contract = contract_of(os.environ)
    local = is_loopback(host)
    if not local and not allow_remote_demo and contract.mode == DEMO:
        raise DemoExposed(
            f"demo mode asks nobody who they are, so it does not listen on `{host:.80}`",
            next_steps=("rexecop serve --host 127.0.0.1",),
            host=host[:80],
        )
    listening = listen(host, port)
    try:
        beside = named(tenants, settings)
        with open_serving(settings, contract) as serving, opened(serving, beside, contract) as others:
            name = f"http://{shown_address(listening)}"
            (report or _say)(f"rexecop: serving {settings.root} on {name} in {contract.mode} mode")
            for problem in contract.problems:
                (report or _say)(f"rexecop: every request is refused: {problem}")
            for name, other in others.items():
                (report or _say)(f"rexecop: serving {other.settings.root} below {BELOW}{name}")
            run(serving, listening, hosts={*LOCAL_NAMES, host.lower()} if local else None, others=others)
    finally:
        listening.close()


def run(
    serving: Serving,
    listening: socket.socket,
    *,
    hosts: set[str] | None,
    others: Mapping[str, Serving] = MappingProxyType({}),
) -> None:
    """Answer on `listening` until a signal says stop; requests in flight are finished."""
    below = {name: (other, create_app(other, hosts)) for name, other in others.items()}
    own = create_app(serving, hosts)
    config = uvicorn.Config(
        Tenants(own, below, serving.nobodys_door()) if below else own,
        http="auto",
        loop="auto",
        ws="websockets-sansio",
        ws_max_size=MESSAGE_BYTES_MAX,
        ws_per_message_deflate=False,
        lifespan="off",
        interface="asgi3",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS_MAX,
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    # What was built until here lives as long as the service; looking through it again costs pauses.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_EVERY)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(_serve(_Server(config), serving, listening))


async def _serve(server: _Server, serving: Serving, listening: socket.socket) -> None:
    try:
        await server.serve(sockets=[listening])
    finally:
        await serving.nodes.close()


class _Server(uvicorn.Server):
    """A server for which being told to stop is how it ends well, not a death by signal."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Stop gracefully on SIGINT and SIGTERM; what handled them before is put back."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
        }
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
