"""The bans catch what they are for, however it is spelled."""

import pytest

from tests.house.source import Source
from tests.house.test_bans import breaches


def written(text: str, path: str) -> Source:
    return Source(path=path, text=text)


@pytest.mark.parametrize(
    "text",
    [
        "import datetime\ndatetime.datetime.now()",
        "from datetime import datetime as dt\ndt.now()",
        "import time as t\nt.time()",
        "from hashlib import sha256",
        "import hashlib",
        "from json import dumps",
        "import json as j\nj.dumps({})",
        "import typing as t\nx: t.Any = 1",
        "from typing import Any",
        "import subprocess",
        "import asyncio\nasyncio.create_subprocess_exec('true')",
        "import os\nos.execvp('true', ['true'])",
        "from os import fork",
        "import os\nos.posix_spawnp('true', ['true'], {})",
        "eval('1')",
        "from importlib import metadata",
        "import importlib.metadata as m\nm.entry_points()",
    ],
)
@pytest.mark.parametrize("path", ["src/rexecop/operations/plan.py", "profiles/tecrax/src/tecrax/cli.py"])
def test_a_banned_name_is_caught_in_the_core_and_in_a_profile(text: str, path: str) -> None:
    assert breaches(written(text, path)) != []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("from datetime import UTC, datetime\ndatetime.now(UTC)", "src/rexecop/app/clock.py"),
        ("import hashlib\nhashlib.sha256()", "src/rexecop/proof/canonical.py"),
        ("import subprocess\nsubprocess.Popen", "src/rexecop/lanes/spawner.py"),
        ("import json\njson.loads('1')", "src/rexecop/operations/plan.py"),
        ("class Log:\n    def time(self) -> int: ...\nLog().time()", "src/rexecop/operations/plan.py"),
    ],
)
def test_a_name_at_home_and_a_name_that_only_looks_alike_are_allowed(text: str, path: str) -> None:
    assert breaches(written(text, path)) == []
