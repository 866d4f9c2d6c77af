"""The command line run in this process, in an empty folder, over a fake instance."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from rexecop.cli.main import run
from rexecop.cli.session import Session
from tests.cli.fake import FakeInstance, a_view


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What one command left."""

    code: int
    out: str
    err: str

    @property
    def found(self) -> dict[str, object]:
        """What stdout says as JSON."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value


Rexecop = Callable[..., Ended]


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, an empty home, none of our variables."""
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    for name in ("REXECOP_ROOT", "REXECOP_STORAGE", "REXECOP_OUTPUT", "XDG_CONFIG_HOME", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("COLUMNS", "80")
    return here


@pytest.fixture
def rexecop(alone: Path, capsys: pytest.CaptureFixture[str]) -> Rexecop:
    """Run one command line."""

    def call(*words: str) -> Ended:
        capsys.readouterr()
        code = run(words)
        said = capsys.readouterr()
        return Ended(code=code, out=said.out, err=said.err)

    return call


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeInstance:
    """Three operations: one waits, one may run, one is done."""
    instance = FakeInstance(a_view(1, "completed"), a_view(2, "waiting_for_approval"), a_view(3, "approved"))

    @contextmanager
    def opened(_: Session) -> Iterator[FakeInstance]:
        yield instance

    async def made_already(_: object) -> None:
        return None

    monkeypatch.setattr(Session, "instance", opened)
    monkeypatch.setattr(Session, "reading", opened)
    monkeypatch.setattr("rexecop.app.build.ensure_root", made_already)
    return instance
