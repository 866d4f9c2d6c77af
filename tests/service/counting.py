"""A service whose `echo` leaves a trace: `main` with ROOT, TRACE and perhaps `hold` or `brief`.

Each run adds a line to TRACE. With `hold` (or `brief`) it says so in TRACE and waits first,
so that a test can end the process between the claim and the effect.
"""

import time
from dataclasses import replace
from pathlib import Path

from rexecop.app.settings import load_settings
from rexecop.lanes import registry
from rexecop.proof.payload import Value
from rexecop.service.server import serve

HELD = "held\n"
RAN = "ran\n"
SECONDS = {"hold": 9.0, "brief": 0.5}  # Of the ten a handler may take; held ones are ended meanwhile.


def main(root: str, trace: str, wait: str | None = None) -> None:
    def echo(payload: Value) -> Value:
        with Path(trace).open("a", encoding="ascii") as file:
            if wait is not None:
                file.write(HELD)
                file.flush()
                time.sleep(SECONDS[wait])
            file.write(RAN)
        return {"echo": payload}

    handlers = registry.HANDLERS
    assert isinstance(handlers, dict)
    handlers["echo"] = replace(handlers["echo"], run=echo, bounded=False)
    here = Path(root).parent
    serve(load_settings({"root": root}, {}, here, here), host="127.0.0.1", port=0)
