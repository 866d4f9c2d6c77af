"""`POST /execute` over HTTP: governed, claimed before the effect, receipt signed, all durable.

Server and client share the machine, as they do for whoever tries this. The floors are
measured in the same run: `GET /health`, which does nothing, and bare flushed commits,
two for each request.
"""

import asyncio
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import apsw

SECONDS = 4.0
WARM_UP = 200
CONNECTIONS = (1, 16)
COMMITS = 2
BYTES_PER_COMMIT = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one run came to; times in milliseconds."""

    rate: float
    p50: float
    p99: float
    worst: float
    refused: int


def request(number: int, run: str) -> bytes:
    """Return one request with a nonce of its own."""
    body = b'{"action":"echo","payload":{"message":"hello","n":%d},"nonce":"%s-%d"}' % (
        number,
        run.encode(),
        number,
    )
    head = b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
    return head + str(len(body)).encode() + b"\r\n\r\n" + body


def health(number: int, run: str) -> bytes:
    """Return the request that asks for nothing."""
    return b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def answer(reader: asyncio.StreamReader) -> int:
    """Return the status of the next answer, read whole."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.partition(b":")[2]))
    return int(head[9:12])


async def measure(port: int, connections: int, make: object, run: str, seconds: float = SECONDS) -> Figures:
    """Return the figures of `connections` clients that each ask again as soon as they are answered."""
    assert callable(make)
    times: list[float] = []
    refused = 0
    numbers = iter(range(10**9))
    until = time.perf_counter() + seconds

    async def client() -> None:
        nonlocal refused
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (began := time.perf_counter()) < until:
            writer.write(make(next(numbers), run))
            refused += await answer(reader) != 200
            times.append(time.perf_counter() - began)
        writer.close()
        await writer.wait_closed()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(connections)))
    taken = time.perf_counter() - began
    cuts = statistics.quantiles(times, n=100)
    return Figures(
        rate=len(times) / taken,
        p50=statistics.median(times) * 1000,
        p99=cuts[98] * 1000,
        worst=max(times) * 1000,
        refused=refused,
    )


def commits(folder: Path) -> float:
    """Return how many requests a second bare flushed commits would allow."""
    connection = apsw.Connection(str(folder / "floor.sqlite"))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.execute("CREATE TABLE t(x BLOB)")
    row, count = os.urandom(BYTES_PER_COMMIT), 2000
    began = time.perf_counter()
    for _ in range(count):
        connection.execute("INSERT INTO t VALUES(?)", (row,))
    rate = count / (time.perf_counter() - began)
    connection.close()
    return rate / COMMITS


def cpu_ms(pid: int) -> float:
    """Return how long all threads of a process were on a processor, in milliseconds."""
    taken = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # It may have ended meanwhile.
            taken += int((thread / "schedstat").read_text().split()[0])
    return taken / 1e6


async def measured(
    pid: int, port: int, connections: int, make: object, run: str, seconds: float = SECONDS
) -> tuple[Figures, float]:
    """Return the figures of `measure`, and how many milliseconds of processor a request took in `pid`."""
    before, began = cpu_ms(pid), time.perf_counter()
    found = await measure(port, connections, make, run, seconds)
    return found, (cpu_ms(pid) - before) / (found.rate * (time.perf_counter() - began))


def show(name: str, found: tuple[Figures, float], floor: float) -> None:
    """Print one line."""
    figures, cpu = found
    print(
        f"  {name:<26}{figures.rate:8.0f} /s  {figures.rate / floor:5.2f} of /health  cpu {cpu:5.2f} ms"
        f"   p50 {figures.p50:6.2f}  p99 {figures.p99:6.2f}  worst {figures.worst:6.1f} ms"
        f"   not 200: {figures.refused}"
    )


async def compare(pid: int, port: int, folder: Path) -> None:
    """Print all lines."""
    await measure(port, 4, request, "warm", seconds=1.0)
    print("POST /execute: decided, claimed, run, validated, receipt signed; synchronous=FULL")
    bare = commits(folder)
    print(f"  floor: {COMMITS} bare commits each {bare:8.0f} /s")
    for connections in CONNECTIONS:
        floor = await measured(pid, port, connections, health, "", seconds=1.0)
        show(f"GET /health, {connections}", floor, floor[0].rate)
        found = await measured(pid, port, connections, request, f"c{connections}")
        show(f"POST /execute, {connections}", found, floor[0].rate)
        print(f"  {'':<26}{found[0].rate / bare:8.2f} of the bare commits")


def main() -> None:
    """Start a service on a fresh root and print its figures."""
    rexecop = [sys.executable, "-m", "rexecop"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([*rexecop, "init"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        began = time.perf_counter()
        server = subprocess.Popen(
            [*rexecop, "serve", "--port", "0"], cwd=folder, stderr=subprocess.PIPE, text=True
        )
        try:
            assert server.stderr is not None
            line = server.stderr.readline()
            print(f"start of serve, until it says where: {time.perf_counter() - began:.2f} s")
            asyncio.run(
                compare(server.pid, int(line.split("http://")[1].split(" ")[0].rpartition(":")[2]), folder)
            )
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()


if __name__ == "__main__":
    main()
