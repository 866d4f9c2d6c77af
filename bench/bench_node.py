"""The node lane beside its floor: the same program through the process lane here, in the same run.

What is more is the bridge over the service: permits and statements signed and checked, a claim
flushed to disk before the program acts, and two processes that hand frames on.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from bench_guest import PROGRAM, measure_bridge, show

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.lanes.bridges import Permitting, node_call, served


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as house, house.node_running():
        show("node that dialled in", measure_bridge(Permitting(house.lane()), node_call(house.node, PROGRAM)))


if __name__ == "__main__":
    main()
