"""Roots and running services."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from rexecop.app.build import init_root
from rexecop.app.settings import Settings, load_settings
from tests.service.running import Running, running


def fresh_root(folder: Path) -> Settings:
    """Make a runtime root in `folder` and return its settings."""
    settings = load_settings({"root": str(folder / ".rexecop")}, {}, folder, folder)
    asyncio.run(init_root(settings))
    return settings


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return fresh_root(tmp_path_factory.mktemp("service"))


@pytest.fixture(scope="module")
def service(settings: Settings) -> Iterator[Running]:
    with running(settings.root) as found:
        yield found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return fresh_root(tmp_path).root
