"""The proposals beside the corpus follow from their source, have every code, and are answered as they say."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from conformance import proposal_vectors
from conformance.proposal_vectors import FOLDER
from conformance.run_proposals import main
from rexecop.cli.main import run
from rexecop.operations.proposals import Why
from tests.conformance.test_corpus import BYTES_MAX
from tests.house.source import ROOT

INDEX: dict[str, dict[str, str]] = json.loads((FOLDER / "index.json").read_bytes())["proposals"]
BELIEVES = """
import json
print(json.dumps({"proposal_digest": "sha256:0", "may_execute": False}))
"""


def test_the_same_source_writes_the_same_proposals() -> None:
    kept = {path.name: path.read_bytes() for path in FOLDER.glob("*.json")}

    assert proposal_vectors.files() == kept, "run `make corpus`"


def test_every_code_has_a_proposal_and_a_file_is_called_by_its_verdict() -> None:
    assert {said.get("code") for said in INDEX.values()} == {None, *Why}
    for name, said in INDEX.items():
        assert name.partition("_")[0] == said.get("code", "accepted")
    assert len(INDEX) >= 80


def test_every_code_is_on_the_page() -> None:
    page = (ROOT / "docs" / "reactions.md").read_text(encoding="utf-8")
    table = page.split("| Code | Refused is |")[1].split("\n\n")[0]

    assert [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")] == list(Why)


def test_the_proposals_leave_the_corpus_small_enough_to_carry() -> None:
    folders = (FOLDER, FOLDER.parent / "cases")
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]

    assert sum(path.stat().st_size for path in files) < BYTES_MAX


def test_the_command_answers_every_proposal(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["reaction-proposal", "validate", "--json", "--profile", str(FOLDER / "profile"), "--proposal"]
    for name, said in INDEX.items():
        about = ["--observation", str(FOLDER / said["about"])] if "about" in said else []
        code = run([*words, str(FOLDER / name), *about])
        out, err = capsys.readouterr()
        if "code" in said:
            assert (code, out, json.loads(err)["facts"]["why"]) == (2, "", said["code"]), name
            assert len(err.splitlines()) == 1
        else:
            assert (code, json.loads(out)["proposal_digest"]) == (0, said["digest"]), name


def test_the_runner_finds_out_a_reader_that_believes_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reader = tmp_path / "believes.py"
    reader.write_text(BELIEVES)
    asked = ["--entrypoint", f"{sys.executable} {reader}", "--cases"]

    assert main([*asked, "authority_*"]) == 1
    assert "0 of 4" in capsys.readouterr().out
    assert main([*asked, "accepted_no-op.json"]) == 1
    assert main([*asked, "nothing*"]) == 2
    assert main(["--entrypoint", "no-such-program"]) == 2


def test_the_runner_asks_a_reader_as_the_protocol_says(tmp_path: Path) -> None:
    command = f"{Path(sys.executable).parent / 'rexecop'} reaction-proposal validate"

    assert main(["--entrypoint", command, "--cases", "digest_about-*"]) == 0
