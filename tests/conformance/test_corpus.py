"""The corpus is whole, follows from its sources, and this verifier answers it as it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from conformance import generate
from conformance.generate import expectation
from rexecop.app.verifying import Packs
from rexecop.cli.main import run
from rexecop.proof.verify import CODES, Report, Rung
from rexecop.proof.verify.words import report_object
from tests.conformance.reading import CASES, FOLDER, KEPT, CaseFolder
from tests.house.source import ROOT

MANY = 80  # Fewer cases leave shapes of a bundle to luck.
BYTES_MAX = 9 * 1024 * 1024  # What everybody who clones the project carries.


def test_every_code_has_a_case_and_every_refusal_names_a_code() -> None:
    named = {case.verdict for case in CASES}

    # What lies in a folder beside a bundle is judged by whoever writes such folders.
    assert named - set(Rung) == set(CODES) - {"E01f"}
    assert {Rung.CONSISTENT, Rung.LOGGED, Rung.WITNESSED} <= named
    assert len(CASES) >= MANY


def test_a_folder_is_called_by_its_verdict() -> None:
    for case in CASES:
        for cedar in (True, False):
            expected = case.expected(cedar=cedar)
            codes, rungs = expected["codes"], expected["rungs"]
            assert isinstance(codes, list) and isinstance(rungs, list)
            if cedar:
                assert case.verdict in (codes or rungs[-1:]), case.name
            assert (expected["exit"] == 0) == (not codes and str(case.about["require"]) in rungs), case.name
            assert (expected["verdict"] == "verified") == (expected["exit"] == 0), case.name
            assert set(codes) <= set(CODES), case.name


def test_what_honest_people_do_has_a_case_of_every_shape() -> None:
    honest = [case for case in CASES if not case.expected(cedar=True)["codes"]]

    assert len(honest) >= 12
    assert len({case.about["title"] for case in CASES}) == len(CASES)


def test_the_corpus_stays_small_enough_to_carry() -> None:
    files = [file for file in FOLDER.rglob("*") if file.is_file()]

    assert sum(file.stat().st_size for file in files) < BYTES_MAX


def test_the_same_sources_write_the_same_cases(tmp_path: Path) -> None:
    generate.write(tmp_path / "cases")

    def contents(folder: Path) -> dict[str, bytes]:
        return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}

    found, kept = contents(tmp_path / "cases"), contents(FOLDER)
    other = sorted(name for name in found.keys() | kept.keys() if found.get(name) != kept.get(name))
    assert other == [], "conformance/cases is not what its sources write; run `make corpus`"


def test_nothing_but_cases_is_ever_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "precious").mkdir()

    assert generate.main([str(tmp_path)]) == 2
    assert "left alone" in capsys.readouterr().err and (tmp_path / "precious").is_dir()


@pytest.mark.parametrize("case", [*CASES, *KEPT], ids=lambda case: case.name)
def test_the_verifier_answers_every_case_with_and_without_an_evaluator(case: CaseFolder) -> None:
    packs = Packs()

    def said(report: Report) -> object:
        return expectation(report, case.required)

    assert said(case.judged()) == case.expected(cedar=False)
    with_cedar = case.judged(evaluate=packs.evaluate, members=packs.members)
    assert said(with_cedar) == case.expected(cedar=True)


@pytest.mark.parametrize("case", [*CASES, *KEPT], ids=lambda case: case.name)
def test_the_command_answers_every_case(
    case: CaseFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    code = run(("verify", *case.words()))

    expected = case.expected(cedar=True)
    said = json.loads(capsys.readouterr().out)
    assert (code, said["verdict"], said["rungs"]) == (
        expected["exit"],
        expected["verdict"],
        expected["rungs"],
    )
    assert sorted({finding["code"] for finding in said["findings"]}) == expected["codes"]


def test_what_was_released_is_believed_for_ever() -> None:
    assert len(KEPT) >= 3
    for case in KEPT:
        assert case.verdict == Rung.LOGGED and case.expected(cedar=True)["exit"] == 0
        assert case.expected(cedar=False) == case.expected(cedar=True)


def test_the_pages_lead_to_files_that_are_there() -> None:
    for page in (ROOT / "conformance").rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^):#]+)[^)]*\)", text)
        for target in (*links, *re.findall(r"`(\w+\.py)`", text)):
            assert (page.parent / target).exists(), f"{page.name} names {target}"


def test_every_field_of_the_answer_is_on_the_page_and_no_other() -> None:
    page = (ROOT / "docs/formats/verification.md").read_text(encoding="utf-8")
    report, claims = page.split("## The report")[1].split("| Claim |")
    said = report_object(CASES[0].judged(), CASES[0].required)

    assert set(re.findall(r"^\| `(\w+)` \|", report, re.MULTILINE)) == set(said)
    shown = re.findall(r"^\| `(\w+)` \|", claims.split("\n## ")[0], re.MULTILINE)
    assert isinstance(said["claims"], dict) and set(shown) == set(said["claims"])
