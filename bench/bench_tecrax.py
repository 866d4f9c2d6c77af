"""The tecrax profile: one inventory over SSH beside its commands over one connection, and its lint.

The host is the rig's, so a command costs a shell or two on both sides. The floor is the same library with the
same seven commands, one after the other over one connection; an operation also asks policy, writes a ledger,
and has four commands under way at one time.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

ROUNDS = 12
INTENT = "collect_basic_host_inventory"
COMMANDS = (
    "cat /etc/os-release",
    "uname -srm",
    "hostname",
    "cat /proc/uptime",
    "cat /proc/loadavg",
    "df -P /",
    "cat /proc/meminfo",
)


def main() -> None:
    """Print medians beside the floor, and how long linting the whole profile takes."""
    import asyncssh

    from rexecop.app.planner import PlanInput
    from rexecop.operations.lint import lint_profile
    from tecrax import profile_root
    from tests.app.support import made, opened
    from tests.operations.folders import TECRAX, folder
    from tests.rig.rig import Rig, rig

    async def run(root: Path, site: Rig) -> tuple[list[float], list[float]]:
        await made(root)
        operations, floor = [], []
        asked = PlanInput(
            profile=str(profile_root()),
            env=str(site.environment),
            intent=INTENT,
            target="monitoring-01",
            mode="read_only",
        )
        host = site.host
        connection = asyncssh.connect(
            "127.0.0.1", host.port, username=host.user, client_keys=[str(host.key)], known_hosts=None
        )
        with opened(root) as instance:
            async with connection as direct:
                for _ in range(ROUNDS + 1):
                    planned = await instance.plan(asked)
                    start = time.perf_counter()
                    assert (await instance.start(planned.operation_id)).state == "completed"
                    between = time.perf_counter()
                    for command in COMMANDS:
                        await direct.run(command, check=True)
                    operations.append(between - start)
                    floor.append(time.perf_counter() - between)
        return operations[1:], floor[1:]

    with tempfile.TemporaryDirectory(prefix="rexecop-bench-") as kept, rig(Path(kept) / "site") as site:
        os.environ.update(site.secrets)
        operations, floor = map(statistics.median, asyncio.run(run(Path(kept), site)))
    files = folder(TECRAX)
    start = time.process_time()
    lint_profile(files)
    lint = time.process_time() - start
    print(f"inventory over SSH, start to receipt   {operations * 1000:6.0f} ms   {operations / floor:.2f}x")
    print(f"floor: its commands over one connection{floor * 1000:6.0f} ms")
    print(f"lint of the whole profile              {lint * 1000:6.0f} ms of CPU, {len(files)} files")


if __name__ == "__main__":
    main()
