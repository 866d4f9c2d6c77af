"""`rexecop` from a process that has everything loaded already: what a page shows is typed a hundred times.

A server forks once for each command; a client of a few lines stands in for the command and hands over its
words, folder, variables and streams. The command itself is the same, from `rexecop.cli.main` on.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.house.source import ROOT

LOADED: Final = (
    "rexecop.cli.main",
    "rexecop.app.build",
    "rexecop.app.planner",
    "rexecop.app.cutting",
    "jsonschema",
)
REQUEST_BYTES_MAX: Final = 1 << 20

CLIENT: Final = """#!{python} -ISE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
    server.connect({address!r})
    asked = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode("utf-8", "surrogateescape")
    socket.send_fds(server, [asked], [0, 1, 2])
    sys.exit(int(server.recv(16) or 70))
"""


@contextmanager
def preloaded(folder: Path) -> Iterator[Path]:
    """Yield a folder for PATH whose `rexecop` is answered by a server, which ends with the block."""
    address, commands = folder / "server", folder / "commands"
    commands.mkdir()
    client = commands / "rexecop"
    client.write_text(CLIENT.format(python=sys.executable, address=str(address)), encoding="utf-8")
    client.chmod(0o755)
    argv = [sys.executable, "-m", "tests.docs.preloaded", str(address)]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None and server.stdout.readline() == b"ready\n"
        try:
            yield commands
        finally:
            server.terminate()


def serve(address: str) -> None:
    """Answer commands at the socket `address` until ended."""
    for name in LOADED:
        __import__(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Nobody waits for those who answer.
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as door:
        door.bind(address)
        door.listen()
        print("ready", flush=True)
        while True:
            asking, _ = door.accept()
            with asking:
                if os.fork() == 0:
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    door.close()
                    _answer(asking)
                    os._exit(0)


def _answer(asking: socket.socket) -> None:
    """Run what is asked in a process of its own; one whose client was ended is ended too."""
    data, streams, _, _ = socket.recv_fds(asking, REQUEST_BYTES_MAX, 3)
    words, folder, variables = json.loads(data)
    command = os.fork()
    if command == 0:
        asking.close()
        for place, stream in enumerate(streams):
            os.dup2(stream, place)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(variables)
        _run(words)
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(command)
    ready, _, _ = select.select([ended, asking.fileno()], [], [])
    if ended not in ready:
        os.kill(command, signal.SIGTERM)
    _, status = os.waitpid(command, 0)
    with suppress(OSError):
        asking.send(str(os.waitstatus_to_exitcode(status) & 0xFF).encode())


def _run(words: list[str]) -> None:
    from rexecop.cli.main import run

    # As a new process has them: what is buffered and remembered of the old ones is the server's.
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(place, mode, encoding="utf-8", closefd=False) for place, mode in enumerate("rww")
    )
    code = run(words)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
