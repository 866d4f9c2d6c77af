"""Beginning a profile: what is written works at once, and its runbooks are at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from rexecop.app import offline
from rexecop.app.errors import FileMissing, FileRefused
from rexecop.app.offline import lint_environment, lint_profile, new_profile, runbook
from rexecop.operations.errors import IntentUnknown, ProfileRefused


def test_a_new_profile_lints_and_passes_its_own_cases(tmp_path: Path) -> None:
    view = new_profile(tmp_path / "site")
    path = str(tmp_path / "site")

    assert (view.name, [intent.name for intent in view.intents]) == ("site", ["check_memory"])
    assert lint_profile(path) == ()
    assert lint_environment(tmp_path / "site" / "tests" / "site.yaml") == ()
    cases = offline.test_profile(path)
    assert len(cases) == 3 and not any(case.differences for case in cases)


def test_its_cases_see_when_its_normalizer_says_something_else(tmp_path: Path) -> None:
    new_profile(tmp_path / "site")
    normalizer = tmp_path / "site" / "normalizers" / "memory.yaml"
    normalizer.write_text(normalizer.read_text().replace("MemAvailable", "MemFree"))

    assert [case.name for case in offline.test_profile(str(tmp_path / "site")) if case.differences] == [
        "enough",
        "own_threshold",
    ]


def test_a_runbook_is_shown_by_the_name_of_its_intent(tmp_path: Path) -> None:
    new_profile(tmp_path / "site")
    path = str(tmp_path / "site")

    assert runbook(path, "check_memory").startswith("# Memory")
    with pytest.raises(IntentUnknown, match="did you mean `check_memory`"):
        runbook(path, "check_memroy")
    with pytest.raises(FileMissing, match="no runbook"):
        runbook("hello", "host_facts")


def test_nothing_is_written_over_and_under_no_wrong_name(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "mine").touch()

    with pytest.raises(FileRefused):
        new_profile(tmp_path / "site")
    with pytest.raises(ProfileRefused):
        new_profile(tmp_path / "no name")
    assert not (tmp_path / "no name").exists()
