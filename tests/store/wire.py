"""A wire to a PostgreSQL server that breaks when it is told to, just before or just after a commit."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict


class Wire:
    """Passes on what client and server say, on a socket in `folder`.

    `breaking` is None, or what happens to the next commit: it gets lost `before` the server sees
    it, or its answer does, `after`. From then on nobody gets through while `down` is set.
    """

    def __init__(self, url: str, folder: Path) -> None:
        named = conninfo_to_dict(url)
        self._host, self._port = str(named["host"]), int(named.get("port") or 5432)
        self.breaking: str | None = None
        self.stays_down = False
        self.down = False
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _upstream(self) -> socket.socket:
        if not self._host.startswith("/"):
            return socket.create_connection((self._host, self._port))
        found = socket.socket(socket.AF_UNIX)
        found.connect(f"{self._host}/.s.PGSQL.{self._port}")
        return found

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.down:
                    client.close()
                    continue
                _Line(self, client, self._upstream())

    def close(self) -> None:
        self._listener.close()


class _Line:
    def __init__(self, wire: Wire, client: socket.socket, server: socket.socket) -> None:
        self._wire, self._client, self._server = wire, client, server
        self._silent = False
        for source, target in ((client, server), (server, client)):
            threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if source is self._client and b"COMMIT" in data and self._wire.breaking is not None:
                    self._silent, when = True, self._wire.breaking
                    self._wire.breaking, self._wire.down = None, self._wire.stays_down
                    if when == "before":
                        break
                elif source is self._server and self._silent:
                    break
                target.sendall(data)
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def wire(url: str, folder: Path) -> Iterator[Wire]:
    """Lend a wire to the server at `url`."""
    made = Wire(url, folder)
    try:
        yield made
    finally:
        made.close()
