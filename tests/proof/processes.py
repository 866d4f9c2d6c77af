"""Runs a tool to its end and returns what it printed."""

import subprocess
from typing import Final

TOOL_SECONDS_MAX: Final = 30


def run(*argv: str, given: bytes = b"") -> str:
    """Return the standard output of `argv`; anything but exit 0 fails the test with what it said."""
    ended = subprocess.run(argv, input=given, capture_output=True, timeout=TOOL_SECONDS_MAX, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    return ended.stdout.decode()


def exit_code(*argv: str, given: bytes = b"") -> int:
    """Return how `argv` ended."""
    return subprocess.run(
        argv, input=given, capture_output=True, timeout=TOOL_SECONDS_MAX, check=False
    ).returncode
