"""Pages of the console over a ledger of 100,000 operations: to the first byte, and whole.

Server and client share the machine. The floor is measured in the same run: `GET /health`, which does
nothing, over the same connection. `python bench/bench_console.py OPERATIONS` measures another size.
"""

from __future__ import annotations

import os
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.bench_large import make

from rexecop.app.reading import open_reading
from tests.service.consoles import Visitor, console, signed_in

OPERATIONS: Final = 100_000
TRIES: Final = 60
PAGES: Final = (
    ("overview", "/console"),
    ("operations", "/console/operations"),
    ("one operation", "/console/operations/{}"),
    ("a search that finds nothing", "/console/operations?q=no-such-thing"),
    ("approvals", "/console/approvals"),
    ("queue", "/console/queue"),
    ("trends", "/console/trends"),
)


def once(connection: socket.socket, visitor: Visitor, path: str) -> tuple[float, float, int]:
    """Return the milliseconds to the first byte and to the last, and how many there were."""
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{visitor.at.port}\r\nCookie: {visitor.cookie}\r\n\r\n"
    begun = time.perf_counter()
    connection.sendall(head.encode())
    data = connection.recv(1 << 20)
    first = time.perf_counter()
    while b"\r\n\r\n" not in data:
        data += connection.recv(1 << 20)
    answered, _, body = data.partition(b"\r\n\r\n")
    if b" 200 " not in answered[:16]:
        raise SystemExit(f"{path}: {answered[:60]!r}")
    length = int(answered.lower().partition(b"content-length:")[2].split()[0])
    size = len(body)
    while size < length:
        size += len(connection.recv(1 << 20))
    return (first - begun) * 1000, (time.perf_counter() - begun) * 1000, size


def measured(visitor: Visitor, path: str) -> tuple[list[float], list[float], int]:
    """Return the times of `TRIES` requests over one connection, after three that do not count."""
    with socket.create_connection(("127.0.0.1", visitor.at.port)) as connection:
        found = [once(connection, visitor, path) for _ in range(TRIES + 3)][3:]
    return [one[0] for one in found], [one[1] for one in found], found[-1][2]


def main(count: int = OPERATIONS) -> None:
    """Print one line for each page."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("REXECOP_BENCH_DIR")) as name:
        settings = make(Path(name), count)
        with open_reading(settings) as reading:
            newest = reading.resolve("@")
        with console(settings.root) as (at, _):
            visitor = signed_in(at, "adam-token")
            floor = statistics.median(measured(visitor, "/health")[0])
            print(f"{count:,} operations; milliseconds over {TRIES} requests, one at a time")
            print(f"  floor: GET /health             first byte p50 {floor:6.1f}")
            for what, path in PAGES:
                first, whole, size = measured(visitor, path.format(newest))
                p50, last = statistics.median(first), statistics.quantiles(first, n=20)[-1]
                line = f"  {what:<30} first byte p50 {p50:6.1f}  p95 {last:6.1f}"
                line += f"  whole p50 {statistics.median(whole):6.1f}  {size / 1000:5.1f} kB"
                print(f"{line}  {p50 / floor:5.0f}x", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
