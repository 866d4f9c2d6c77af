"""The runner finds out a verifier that answers wrongly, late, or not at all."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from conformance.run import main, read_cases
from tests.conformance.reading import CASES, FOLDER

BELIEVES = """
import json, sys
answer = {"verdict": "verified", "rungs": ["consistent", "signed", "logged"], "findings": [],
          "claims": {"approvals": 0, "approvals_own": 0, "duties": None, "complete": None}, "exit": 0}
if "--batch" in sys.argv:
    for line in sys.stdin:
        print(json.dumps(answer))
else:
    print(json.dumps(answer))
"""


def entry(tmp_path: Path, text: str) -> str:
    script = tmp_path / "verifier.py"
    script.write_text(text, encoding="utf-8")
    return f"{sys.executable} -I {script}"


def found(capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    said = json.loads(capsys.readouterr().out)
    assert said["cases"] == said["passed"] + len(said["failed"])
    failed = said["failed"]
    assert isinstance(failed, dict)
    return failed


def test_a_verifier_that_believes_everything_fails_every_refusal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--entrypoint", entry(tmp_path, BELIEVES), "--batch", "--json"]) == 1

    failed = found(capsys)
    assert {case.name for case in CASES if case.expected(cedar=False)["codes"]} <= failed.keys()
    assert "logged_read-with-outputs" not in failed
    assert failed["E07n_permit-for-an-edited-call"][-1] == 'codes: [], expected ["E07n"]'
    assert any("approvals" in line for line in failed["logged_change-with-approval"])


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("print('[]')", "not a JSON object"),
        ("print('yes')", "not one JSON object: 'yes'"),
        ("raise SystemExit(3)", "not one JSON object: ''"),
        ("print('{}')", "verdict: null"),
        ("print('{\"findings\": [1]}')", "codes: [1]"),
        ("raise ValueError('boom')", "boom"),
    ],
)
@pytest.mark.parametrize("batch", [(), ("--batch",)], ids=["one by one", "batch"])
def test_whatever_a_verifier_does_is_a_difference_and_not_an_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], script: str, said: str, batch: tuple[str, ...]
) -> None:
    asked = ["--entrypoint", entry(tmp_path, script), "--cases", "E08g_ticket*", "--json", *batch]

    assert main(asked) == 1

    (lines,) = found(capsys).values()
    assert lines and (said in " ".join(lines) or batch)


def test_an_exit_code_that_contradicts_the_answer_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    liar = entry(tmp_path, BELIEVES + "raise SystemExit(7)")

    assert main(["--entrypoint", liar, "--cases", "logged_read-with-outputs", "--json"]) == 1
    assert found(capsys) == {"logged_read-with-outputs": ["exit: 7, expected 0"]}


def test_the_command_of_this_project_passes_through_processes_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = f"{sys.executable} -m rexecop verify"
    count = sum(case.verdict in ("E08h", "E08i") for case in CASES)

    assert main(["--entrypoint", command, "--cedar", "--cases", "E08[hi]*"]) == 0
    assert capsys.readouterr().out == f"{count} of {count} cases answered as they should be\n"
    # Who claims an evaluator and has none is found out by the same cases.
    assert main(["--entrypoint", command, "--cases", "E08i*"]) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "required: --entrypoint"),
        (["--entrypoint", "no-such-program"], "is no program"),
        (["--entrypoint", "'"], "No closing quotation"),
        (["--entrypoint", "true", "--cases", "X*"], "matches `X*`"),
        (["--entrypoint", "true", "--folder", "nowhere"], "no folder"),
        (["--entrypoint", "true", "--fast"], "unrecognized"),
    ],
)
def test_what_cannot_be_asked_is_one_line_and_exit_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(words)
    except SystemExit as left:
        code = int(str(left.code))

    assert code == 2 and said in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"expected": 1}', '{"bundle": 1}'])
def test_a_case_that_cannot_be_read_is_named(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "E01a_x").mkdir()
    (tmp_path / "E01a_x" / "case.json").write_text(text, encoding="utf-8")

    assert main(["--entrypoint", "true", "--folder", str(tmp_path)]) == 2
    assert "E01a_x" in capsys.readouterr().err


def test_the_runner_gives_what_the_protocol_says() -> None:
    for case, wanted in zip(read_cases(FOLDER, "*", cedar=True), CASES, strict=True):
        assert (case.name, case.arguments) == (wanted.name, wanted.words())
