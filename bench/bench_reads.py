"""Reading over `/v1`: operations, pages and records; and a thousand who follow at once.

Server and client share the machine. The floor is measured in the same run: a bare route of the same
framework under the same server, which does nothing. Callers are let in by a door with fixed tokens, which
costs next to nothing; a real one is measured by itself.
"""

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import uvicorn
from bench_service import Figures, measured
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rexecop.app.build import open_instance
from rexecop.app.door import Act, Caller, Matter, ServiceRole, ServiceScope
from rexecop.app.errors import CallerUnknown
from rexecop.app.identity import Identity
from rexecop.app.serving import Serving
from rexecop.app.settings import load_settings
from rexecop.proof.principal import Principal
from rexecop.proof.vocabulary import Established
from rexecop.service.server import LOCAL_NAMES, listen, run, shown_address

CALLERS = 10  # Each may ask a thousand times a second, and follow a hundred operations.
CONNECTIONS = 8
SECONDS = 3.0
OPERATIONS = 200
FOLLOWERS = 1000
FOLLOWED = 10
OPEN_FILES = 4096


class Door:
    """Lets `caller0` to `caller9` in, for everything."""

    def __init__(self) -> None:
        self._callers = {
            f"caller{n}": Caller(
                identity=Identity(
                    principal=Principal(
                        person=f"caller{n}", established=Established.TOKEN, credential=f"token:{n}"
                    )
                ),
                roles=frozenset(ServiceRole),
                scope=ServiceScope(),
            )
            for n in range(CALLERS)
        }

    def caller(self, headers: Mapping[str, str], peer: str | None) -> Caller:
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self._callers:
            raise CallerUnknown("no token that counts")
        return self._callers[token]

    def require(self, caller: Caller, act: Act, matter: Matter | None = None) -> None:
        return


async def nothing(request: Request) -> Response:
    return Response(b"{}", media_type="application/json")


def serve(root: str) -> None:
    """Serve `root`, or the bare route where it is `bare`."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    listening = listen("127.0.0.1", 0)
    print(f"http://{shown_address(listening)}", file=sys.stderr, flush=True)
    if root == "bare":
        app = Starlette(routes=[Route("/bare", nothing)])
        config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off")
        uvicorn.Server(config).run(sockets=[listening])
        return
    folder = Path(root).parent
    settings = load_settings(
        {"root": root, "profile": "hello", "env": str(Path(root) / "hello.environment.yaml")},
        {}, folder, folder,
    )  # fmt: skip
    with Serving(open_instance(settings), door=Door()) as serving:
        run(serving, listening, hosts={*LOCAL_NAMES})


def started(root: str) -> tuple[subprocess.Popen[str], int]:
    """Return a server and its port."""
    server = subprocess.Popen([sys.executable, __file__, root], stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    return server, int(server.stderr.readline().rpartition(":")[2])


def stopped(server: subprocess.Popen[str]) -> None:
    server.send_signal(signal.SIGTERM)
    server.wait()


def asked(path: str, method: str = "GET", caller: int = 0, body: bytes = b"", more: str = "") -> bytes:
    """Return one request."""
    media = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    who = f"Host: localhost\r\nAuthorization: Bearer caller{caller}\r\n"
    return f"{method} {path} HTTP/1.1\r\n{who}{more}{media}\r\n".encode() + body


async def told(port: int, request: bytes) -> dict[str, object]:
    """Return the answer to one request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    size = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    found = json.loads(await reader.readexactly(size))
    writer.close()
    assert isinstance(found, dict)
    return found


def show(name: str, measured: tuple[Figures, float], floor: Figures) -> None:
    found, cpu = measured
    print(
        f"  {name:<34}{found.rate:8.0f} /s  {found.rate / floor.rate:5.2f} of the bare route"
        f"  cpu {cpu:5.3f} ms   p50 {found.p50:6.2f}  p99 {found.p99:6.2f} ms   other status: {found.refused}"
    )


async def reads(server: tuple[int, int], bare: tuple[int, int]) -> None:
    """Print how fast is read."""
    plan = b'{"intent":"host_facts","target":"localhost","mode":"read_only"}'
    name, (pid, port) = "", server
    for n in range(OPERATIONS):
        name = str((await told(port, asked("/v1/operations", "POST", n % CALLERS, plan)))["operation_id"])
    ended = await told(
        port, asked(f"/v1/operations/{name}/start", "POST", more="Prefer: wait=10\r\nContent-Length: 0\r\n")
    )
    print(
        f"{CONNECTIONS} connections, {CALLERS} callers, {OPERATIONS} operations;"
        f" the one read is {ended['state']}"
    )
    for _ in range(2):
        floor = await measured(*bare, CONNECTIONS, lambda n, run: asked("/bare"), "", seconds=1.0)
    show("bare route", floor, floor[0])
    for what in ("/ID", "/ID/preview", "/ID/records", "/ID/why", "?limit=20", "?limit=200"):
        path = f"/v1/operations{what.replace('ID', name)}"

        def made(n: int, run: str, path: str = path) -> bytes:
            return asked(path, caller=n % CALLERS)

        found = await measured(pid, port, CONNECTIONS, made, "", seconds=SECONDS)
        show(f"GET /v1/operations{what}", found, floor[0])


def resident(pid: int) -> float:
    """Return the memory of a process in MB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


async def followers(port: int, pid: int) -> None:
    """Print what a thousand followers take, and how long until all of them heard."""
    body = b'{"intent":"set_greeting","target":"localhost","mode":"dry_run","parameters":{"greeting":"hi"}}'
    names = [
        str((await told(port, asked("/v1/operations", "POST", 0, body)))["operation_id"])
        for _ in range(FOLLOWED)
    ]
    before, ended = resident(pid), 0

    async def follow(n: int, ready: asyncio.Semaphore) -> None:
        nonlocal ended
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            asked(f"/v1/operations/{names[n % FOLLOWED]}/events", caller=n // (FOLLOWERS // CALLERS))
        )
        await reader.readuntil(b"event: record")
        ready.release()
        await reader.readuntil(b"event: end")
        ended += 1
        writer.close()

    ready = asyncio.Semaphore(0)
    began = time.perf_counter()
    tasks = [asyncio.create_task(follow(n, ready)) for n in range(FOLLOWERS)]
    for _ in tasks:
        await ready.acquire()
    opened = time.perf_counter() - began
    await asyncio.sleep(2)
    after = resident(pid)
    began = time.perf_counter()
    for name in names:
        await told(port, asked(f"/v1/operations/{name}/cancel", "POST", more="Content-Length: 0\r\n"))
    await asyncio.gather(*tasks)
    print(
        f"  {FOLLOWERS} followers of {FOLLOWED} operations: {before:.0f} MB before, {after:.0f} MB with them,"
        f" {(after - before) * 1024 / FOLLOWERS:.0f} KiB each; opened in {opened:.1f} s,"
        f" all {ended} heard the end {time.perf_counter() - began:.1f} s after it was ordered"
    )


def main() -> None:
    """Print all figures."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    rexecop = [sys.executable, "-m", "rexecop"]
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        subprocess.run(
            [*rexecop, "init", *(f"--other=caller{n}" for n in range(CALLERS))],
            cwd=name,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        bare, floor = started("bare")
        server, port = started(str(Path(name) / ".rexecop"))
        try:
            asyncio.run(reads((server.pid, port), (bare.pid, floor)))
            asyncio.run(followers(port, server.pid))
            print(f"  load {os.getloadavg()[0]:.1f} at the end")
        finally:
            stopped(server)
            stopped(bare)


if __name__ == "__main__":
    serve(sys.argv[1]) if len(sys.argv) > 1 else main()
