"""A command that kills its own process at one of the places where it touches a file.

With place 0 nothing is killed, and the number of places is printed.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Final

TOUCHING: Final = frozenset(
    {"open", "os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.link", "os.truncate", "tempfile.mkdtemp"}
)


def main(place: int, words: tuple[str, ...]) -> int:
    from rexecop.cli.main import run

    met = 0

    def hook(event: str, args: tuple[object, ...]) -> None:
        nonlocal met
        # Modules are loaded from files too; they are none of the command's.
        if event in TOUCHING and not str(args[0]).endswith((".py", ".pyc", ".so")):
            met += 1
            if met == place:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    code = run(words)
    print(met, file=sys.stderr)
    return code
