"""The tecrax package: found where it says, complete, and the example a part of it."""

import pytest

from tecrax import profile_root
from tecrax.cli import EXIT_OK, EXIT_USAGE, run
from tests.operations.folders import FIXTURE, folder


def test_the_entry_point_names_the_folder_of_the_profile() -> None:
    assert (profile_root() / "profile.yaml").is_file()


def test_every_runbook_an_intent_names_travels_with_the_profile() -> None:
    for intent in (profile_root() / "intents").glob("*.yaml"):
        line = next(line for line in intent.read_text().splitlines() if "runbook_ref" in line)
        assert (profile_root() / line.split(": ")[1]).is_file()


def test_the_example_is_a_part_of_the_profile_word_for_word() -> None:
    whole = folder(profile_root())

    for path, data in folder(FIXTURE).items():
        assert whole[path] == data, path


def test_status_lists_the_intents(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == EXIT_OK
    assert "check_backup_status" in capsys.readouterr().out


def test_an_unknown_command_is_one_line_and_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dance"]) == EXIT_USAGE
    assert capsys.readouterr().err.count("\n") == 1
