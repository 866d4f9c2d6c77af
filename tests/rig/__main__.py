"""`make rig`: the rig in the foreground, with what a shell beside it needs."""

from __future__ import annotations

import shlex
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import Final

from tecrax import profile_root
from tests.rig.rig import Rig, rig

# A program of a call is looked for in the usual places only; the rig's own come first here.
_REXECOP: Final = """#!{python}
import sys
from rexecop.cli import main
from rexecop.lanes import sandbox
sandbox.BASE_ENVIRONMENT["PATH"] = "{programs}:" + sandbox.SAFE_PATH
sys.exit(main())
"""

_TOLD: Final = """A site on loopback. In another shell:

    . {activate}
    rexecop init --approver bob --other me
    rexecop run diagnose_monitoring_host --yes
    rexecop run collect_network_device_inventory_readonly switch-01 --yes

The site is as one line says, which names folders of {scenarios}:

    echo ntp-down zabbix-500 > {scenario}
    rexecop run diagnose_monitoring_host --yes

A change waits for its yes:

    rexecop keys new {folder}/me.key --person me --role requester
    export REXECOP_IDENTITY={folder}/me.key
    rexecop plan --intent restart_service --mode apply -p unit=nginx.service
    rexecop approve @ --key $REXECOP_ROOT/keys/approver
    rexecop start @
    rexecop rollback @

What its host was asked is in {asked}. Ctrl-C ends it and takes everything away.
"""


def activate(running: Rig) -> Path:
    """Write what a shell reads to use the rig, and return its path."""
    tools = running.folder / "tools"
    tools.mkdir()
    program = tools / "rexecop"
    program.write_text(_REXECOP.format(python=sys.executable, programs=running.programs))
    program.chmod(0o755)
    variables = {
        "REXECOP_ROOT": str(running.folder / "root"),
        "REXECOP_PROFILE": str(profile_root()),
        "REXECOP_ENV": str(running.environment),
        "REXECOP_MODE": "read_only",
        "REXECOP_TARGET": "monitoring-01",
        **running.secrets,
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    lines.append(f"export PATH={shlex.quote(str(tools))}:$PATH")
    path = running.folder / "activate"
    path.write_text("\n".join(lines) + "\n")
    return path


def main() -> None:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with tempfile.TemporaryDirectory(prefix="rexecop-rig-") as folder, rig(Path(folder) / "site") as running:
        told = _TOLD.format(
            activate=activate(running),
            scenarios=running.folder / "scenarios",
            scenario=running.folder / "scenario",
            asked=running.folder / "asked",
            folder=running.folder,
        )
        print(told, flush=True)
        stop.wait()


if __name__ == "__main__":
    main()
