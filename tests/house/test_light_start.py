"""`rexecop version` answers before anything heavy is loaded."""

import subprocess
import sys
from typing import Final

VERSION: Final = """
import runpy, sys
sys.argv = ["rexecop", "version"]
try:
    runpy.run_module("rexecop", run_name="__main__")
except SystemExit:
    pass
print(*sorted(sys.modules), sep="\\n", file=sys.stderr)
"""
HEAVY: Final = frozenset(
    {
        "apsw",
        "asyncio",
        "cedarpy",
        "cryptography",
        "jinja2",
        "jsonschema",
        "msgspec",
        "psycopg",
        "rich",
        "starlette",
        "yaml",
    }
    | {
        f"rexecop.{layer}"
        for layer in ("app", "engines", "store", "keys", "operations", "governance", "lanes")
    }
)


def test_the_version_command_loads_nothing_heavy() -> None:
    ran = subprocess.run([sys.executable, "-c", VERSION], capture_output=True, text=True, check=True)

    assert HEAVY & set(ran.stderr.split()) == set()
