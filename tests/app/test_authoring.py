"""Beginning a profile: what is written works at once, and its runbooks are at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Final

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


def test_a_case_that_cannot_be_planned_fails_and_the_others_are_still_tried(tmp_path: Path) -> None:
    new_profile(tmp_path / "site")
    case = tmp_path / "site" / "tests" / "enough.case.yaml"
    case.write_text(case.read_text().replace("target: localhost", "target: elsewhere"))

    cases = {case.name: case.differences for case in offline.test_profile(str(tmp_path / "site"))}
    assert cases["enough"] == ("environment `site` has no target `elsewhere`; known: localhost, small",)
    assert cases["no_answer"] == cases["own_threshold"] == ()


WORDS: Final = """
profile: {label: Our site, description: 7}
intents:
  check_memory:
    label: "Memory\n  of a host"
    owners: [sre, 7, [x]]
    safe_next_options: [rexecop why]
    failure_mapping: {connector: {operator_summary: It did not answer.}, policy: {operator_summary: 7}, x: y}
  other: [odd]
more: anything
"""


def test_what_a_profile_tells_operators_is_shown_and_what_is_odd_in_it_passed_over(tmp_path: Path) -> None:
    new_profile(tmp_path / "site")
    (tmp_path / "site" / "operator_metadata.yaml").write_text(WORDS)

    view = offline.show_profile(str(tmp_path / "site"))
    (intent,) = view.intents
    assert (view.label, view.description) == ("Our site", "What can be asked of our hosts.")
    assert (intent.label, intent.owners) == ("Memory of a host", ("sre",))
    assert (intent.runbook, intent.options) == ("docs/check_memory.md", ("rexecop why",))
    assert intent.failures == {"connector": "It did not answer."}


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
