"""Each settings file of `examples/config` starts what it is for: a root, a service, an operation."""

import json
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from rexecop.app.settings import SETTINGS, load_settings
from tests.forked import Forked, rexecop
from tests.house.source import ROOT
from tests.service.running import Running
from tests.store import servers

CONFIG: Final = ROOT / "examples" / "config"
GOVERNED: Final = {
    "OPENEXEC_MODE": "clawshield",
    "CLAWSHIELD_TENANT_ID": "tenant-001",
    "CLAWSHIELD_SECRET_KEY": "a-long-shared-secret",
}
COMMENTED: Final = re.compile(r"(?:^#.*\n)+(?:[a-z_]+ = .*\n)*", re.MULTILINE)


def at_home(home: Path, name: str, storage: str | None = None) -> dict[str, str]:
    """Put the example where a user has it, and return the variables of that user."""
    text = (CONFIG / f"{name}.rexecop.toml").read_text(encoding="utf-8")
    if storage is not None:
        text, count = re.subn(
            r'^storage = ".*"$', lambda _: f'storage = "{storage}"', text, flags=re.MULTILINE
        )
        assert count == 1
    (home / ".config" / "rexecop").mkdir(parents=True)
    (home / ".config" / "rexecop" / "rexecop.toml").write_text(text, encoding="utf-8")
    return {"HOME": str(home), "XDG_CONFIG_HOME": ""}


def ran(variables: dict[str, str], *words: str) -> str:
    """Run a command of that user; return what it says beside its answers."""
    code, said = Forked(rexecop, words, **variables).ended()
    assert code == 0, said
    return said


@contextmanager
def serving(variables: dict[str, str]) -> Iterator[Running]:
    process = Forked(rexecop, ("serve", "--port", "0"), **variables)
    try:
        lines: list[str] = []
        while " on http://" not in "".join(lines):  # The log may say something first.
            lines.append(process.stderr.readline())
            assert lines[-1], "".join(lines)
        port = int(lines[-1].split("http://")[1].split()[0].rpartition(":")[2])
        yield Running(process, port, Path(variables["HOME"]))
    finally:
        process.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home with nothing in the environment that could help."""
    for setting in SETTINGS:
        if setting.env is not None:
            monkeypatch.delenv(setting.env, raising=False)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_there_is_an_example_for_each_use_and_every_line_of_it_is_a_setting(tmp_path: Path) -> None:
    names = {path.name.split(".")[0] for path in CONFIG.iterdir()}
    assert names == {"demo", "governed", "postgresql"}
    for name in sorted(names):
        home = tmp_path / name
        at_home(home, name)
        text = (CONFIG / f"{name}.rexecop.toml").read_text(encoding="utf-8")
        found = load_settings({}, {}, tmp_path, home)
        assert found.root.is_relative_to(home) and text.startswith("#"), name
        assert {*tomllib.loads(text)} <= {setting.name for setting in SETTINGS}


def test_the_one_for_trying_things_out_makes_a_root_and_serves_the_demo(home: Path) -> None:
    variables = at_home(home, "demo")
    ran(variables, "init", "--quiet")
    assert (home / "rexecop-demo" / "ledger.sqlite").is_file()
    with serving(variables) as service:
        assert service.get("/ready").status == 200
        assert service.execute("echo", {"msg": "hello"}, "n-1").json["result"] == {"echo": {"msg": "hello"}}


def test_the_governed_one_serves_only_what_was_approved_and_tells_the_journal(home: Path) -> None:
    variables = {**at_home(home, "governed"), **GOVERNED}
    ran(variables, "init", "--quiet")
    with serving(variables) as service:
        assert service.get("/ready").status == 200
        refused = service.execute("echo", {"msg": "hello"}, "n-1")
        assert refused.status == 403 and "result" not in refused.json
        assert service.stop() == 0
        lines = [line for line in service.process.stderr.read().splitlines() if line.startswith("{")]
    assert lines and all(isinstance(json.loads(line), dict) for line in lines)


def test_the_one_for_postgresql_keeps_no_ledger_in_the_root_and_a_worker_drives_it(home: Path) -> None:
    with servers.schema() as url:
        variables = at_home(home, "postgresql", storage=url)
        ran(variables, "init", "--quiet")
        assert not (home / "root" / "ledger.sqlite").exists()
        ran(variables, "run", "host_facts", "--mode", "read_only", "--yes", "--quiet")
        ran(variables, "worker", "run", "--once", "--quiet")
        with serving(variables) as service:
            assert service.get("/ready").status == 200
            assert service.execute("add", {"a": 2, "b": 3}, "n-1").json["result"] == {"sum": 5}
