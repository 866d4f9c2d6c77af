"""Run the benchmarks, one after the other: `python bench [NAME ...]`, names without `bench_`.

Each prints how it was measured and a floor from the same run; quote ratios, not
absolutes: another machine, or another load, is another floor.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
from typing import Final

NAMES: Final = (
    "operations",
    "fanout",
    "check",
    "service",
    "reads",
    "console",
    "policy",
    "store",
    "large",
    "log",
    "verify",
    "process",
    "http",
    "ssh",
    "tecrax",
    "guest",
    "node",
    "streams",
    "dbos",
)


def main() -> int:
    """Run the named benchmarks, or all."""
    wanted = sys.argv[1:] or list(NAMES)
    unknown = [name for name in wanted if name not in NAMES]
    if unknown:
        print(f"no benchmark `{unknown[0]}`; there are: {', '.join(NAMES)}", file=sys.stderr)
        return 2
    load = os.getloadavg()[0]
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {load:.1f} before the run")
    for name in wanted:
        print(f"\n== {name}")
        importlib.import_module(f"bench_{name}").main()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
