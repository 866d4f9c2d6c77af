"""Asking the same again: what is kept in memory never outlives the files it was made from."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from rexecop.app.build import init_root, open_instance
from rexecop.app.errors import FileRefused
from rexecop.app.files import read_file
from rexecop.app.planner import PlanInput
from tests.app.support import settings

BENCH = Path(__file__).parents[2] / "bench"


def copied(folder: Path) -> PlanInput:
    """Copy the two-step profile into `folder` and return the request for it."""
    shutil.copytree(BENCH / "profile", folder / "profile")
    shutil.copy(BENCH / "environment.yaml", folder / "environment.yaml")
    return PlanInput(
        profile=str(folder / "profile"),
        env=str(folder / "environment.yaml"),
        intent="look",
        target="thing",
        mode="read_only",
        channel="test",
    )


def test_the_same_request_is_compiled_once_until_its_environment_changes(tmp_path: Path) -> None:
    asyncio.run(init_root(settings(tmp_path)))
    request, environment = copied(tmp_path), tmp_path / "environment.yaml"
    with open_instance(settings(tmp_path)) as instance:
        planner = instance.parts.planner
        first = planner.prepare(request).draft
        assert planner.prepare(request).draft is first
        text = environment.read_text(encoding="utf-8")
        environment.write_text(text.replace("criticality: low", "criticality: high"), encoding="utf-8")
        changed = planner.prepare(request).draft
    assert [target.criticality for target in (*first.targets, *changed.targets)] == ["low", "high"]


def test_a_change_of_the_profile_alone_is_compiled_again(tmp_path: Path) -> None:
    asyncio.run(init_root(settings(tmp_path)))
    request, profile = copied(tmp_path), tmp_path / "profile" / "profile.yaml"
    with open_instance(settings(tmp_path)) as instance:
        first = instance.parts.planner.prepare(request).draft
        profile.write_text(profile.read_text(encoding="utf-8") + "\n# a remark\n", encoding="utf-8")
        changed = instance.parts.planner.prepare(request).draft
    assert changed.profile.digest != first.profile.digest


def test_a_file_is_read_whole_whatever_size_it_states(tmp_path: Path) -> None:
    # Files that state no size are read as far as they go, and no file beyond the limit.
    assert read_file(Path("/proc/self/status")).startswith(b"Name:")
    file = tmp_path / "file"
    file.write_bytes(b"x" * 100)
    assert read_file(file, bytes_max=100) == b"x" * 100
    with pytest.raises(FileRefused):
        read_file(file, bytes_max=99)
