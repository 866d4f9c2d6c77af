"""The one way a test may depend on a tool that this machine may lack.

`@needs("bwrap")` skips the test with the reason. With `REXECOP_CI_NO_SKIP=1` (set by `.ci/run` where it could
install the tools) `tests/conftest.py` turns every skip into a failure, so nothing is left out unnoticed.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from rexecop.lanes import cgroup
from rexecop.lanes.landlock import landlock_version

NO_SKIP: Final = "REXECOP_CI_NO_SKIP"
PROBE_SECONDS: Final = 60  # a probe runs `true` in a sandbox; one that hangs is a tool that does not work


def _runs(*argv: str) -> str | None:
    """None if `argv` ends with 0 on this machine, else why it does not count."""
    if shutil.which(argv[0]) is None:
        return f"{argv[0]} is not installed"
    try:
        ended = subprocess.run(argv, capture_output=True, timeout=PROBE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{argv[0]} does not run here: {type(error).__name__}"
    return None if ended.returncode == 0 else f"{argv[0]} does not work here: exit {ended.returncode}"


def _there(tool: str) -> str | None:
    """None if `tool` is on the path (or where Debian keeps a daemon), else the reason."""
    found = shutil.which(tool) or shutil.which(tool, path="/usr/sbin:/sbin")
    return None if found else f"{tool} is not installed"


def _root() -> str | None:
    return None if os.geteuid() == 0 else "needs root"


def _landlock() -> str | None:
    return None if landlock_version() > 0 else "this kernel has no Landlock"


def _cgroup2() -> str | None:
    return None if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "no unified cgroup tree"


NO_GROUP: Final = "no control group is delegated to this user"  # Nothing that is installed gives one.


NO_GVISOR: Final = "no gVisor that works is installed"  # Few distributions have it, and old ones few kernels.


def _runsc() -> str | None:
    works = _runs("runsc", "--network=none", "--ignore-cgroups", "do", "true") is None
    return None if works else NO_GVISOR


def _ansible() -> str | None:
    """As of `make .venv`, or the machine's."""
    there = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin"
    return None if shutil.which("ansible-playbook", path=there) else "ansible-playbook is not installed"


def _cgroup() -> str | None:
    return None if cgroup.find() else NO_GROUP


PROBES: Final[Mapping[str, Callable[[], str | None]]] = {
    # Installed is not enough: a kernel or a container may forbid the name spaces it makes.
    "bwrap": lambda: _runs("bwrap", "--ro-bind", "/", "/", "--unshare-all", "true"),
    "ssh-keygen": lambda: _there("ssh-keygen"),
    "ssh-agent": lambda: _there("ssh-agent"),
    "sshd": lambda: _there("sshd"),
    "runsc": _runsc,
    "openssl": lambda: _runs("openssl", "version"),
    "curl": lambda: _there("curl"),
    "restic": lambda: _there("restic"),
    "borg": lambda: _there("borg"),
    "chromium": lambda: _there("chromium"),
    "ansible-playbook": _ansible,
    "git": lambda: _runs("git", "--version"),
    "root": _root,
    "landlock": _landlock,
    "cgroup2": _cgroup2,
    "cgroup": _cgroup,
}


@cache
def missing(tool: str) -> str | None:
    """Why `tool` cannot be used here, or None if it can.

    Raises:
        KeyError: `tool` has no probe; add one to `PROBES`.
    """
    return PROBES[tool]()


def needs(*tools: str) -> pytest.MarkDecorator:
    """Mark a test, a class or a module (`pytestmark = needs(...)`) that cannot run without `tools`."""
    reasons = [reason for tool in tools if (reason := missing(tool)) is not None]
    return pytest.mark.skipif(bool(reasons), reason="; ".join(reasons))
