"""Workflows of GitHub Actions become drafts that lint, and what was not translated stops them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import pytest

from contrib.drafts import Profile, Untranslatable
from contrib.github_import.github import imported
from contrib.importing import run
from rexecop.operations.lint import lint_profile
from rexecop.operations.profile import load_profile
from rexecop.proof.errors import RexecopError

FLOW: Final = b"""
name: Deploy
on:
  push: {branches: [main]}
  workflow_dispatch:
    inputs:
      version: {description: What to deploy, required: true}
      where: {type: choice, options: [test, live], default: test}
env: {STAGE: "it's on"}
jobs:
  deploy:
    needs: build
    runs-on: ubuntu-latest
    environment: live
    env: {WHERE: '${{ inputs.where }}'}
    steps:
      - uses: actions/checkout@v4
      - name: Deploy it
        working-directory: /srv/app
        timeout-minutes: 5
        run: |
          ./deploy "${{ inputs.version }}" --to "$WHERE"
      - {name: Tell, if: failure(), run: echo no}
      - {name: Token, run: 'curl -H "${{ secrets.TOKEN }}" localhost'}
      - {name: Snake, shell: python, run: print(1)}
  build:
    runs-on: ubuntu-latest
    strategy: {matrix: {python: ['3.11', '3.12']}}
    steps:
      - {run: make build, continue-on-error: true}
      - {name: Matrix, run: 'echo ${{ matrix.python }}'}
  reused: {uses: ./.github/workflows/other.yml}
"""


def drafted() -> Profile:
    return imported(FLOW, "deploy.yml", "deploy")


def test_a_draft_has_no_errors_and_calls_its_jobs_behind_those_they_need() -> None:
    files = {path: text.encode() for path, text in drafted().files().items()}
    assert [one.text() for one in lint_profile(files) if one.severity == "error"] == []
    profile = load_profile(files)
    assert set(profile.intents) == {"deploy", "build", "reused", "deploy_all"}
    assert [step.id for step in profile.workflows["workflows/deploy_all.yaml"].steps] == [
        *("build", "reused", "deploy")
    ]
    steps = [step.id for step in profile.workflows["workflows/deploy.yaml"].steps]
    assert steps == ["todo_step_1", "deploy_it", "todo_tell", "todo_token", "todo_snake"]
    parameters = profile.intents["deploy_all"].parameters
    assert parameters is not None and set(parameters.names) == {"version", "where"}
    assert parameters.defaults == {"where": "test"}


def test_the_report_names_everything_that_was_left_out() -> None:
    report = drafted().report()
    for word in (
        *(
            "`on`",
            "actions/checkout@v4",
            "1 of 5 steps",
            "failure()",
            "secrets.TOKEN",
            "its shell is `python`",
        ),
        *("matrix.python", "`strategy`", "`environment`", "continue-on-error", "other.yml", "runs-on"),
    ):
        assert word in report, word


def test_what_somebody_writes_into_an_input_is_never_part_of_a_script(tmp_path: Path) -> None:
    data = b"""
on: {workflow_dispatch: {inputs: {what: {required: true}}}}
env: {PLAIN: "it's $HOME"}
jobs:
  say:
    env: {COPY: 'a ${{ github.event.inputs.what }}'}
    steps: [{run: 'echo "${{ inputs.what }}" "$COPY" "$PLAIN"'}]
"""
    (text,) = imported(data, "say.yml", "say").scripts.values()
    (tmp_path / "say.sh").write_text(text)
    evil = '"; touch evil; echo $(touch evil) `touch evil`'
    ran = subprocess.run(
        ["/bin/bash", tmp_path / "say.sh", evil], capture_output=True, text=True, check=True, cwd=tmp_path
    )

    assert ran.stdout == f"{evil} a {evil} it's $HOME\n" and not (tmp_path / "evil").exists()


def test_a_script_ends_at_its_first_failure_as_it_did(tmp_path: Path) -> None:
    data = b"jobs: {a: {steps: [{run: 'false; echo on'}, {shell: bash, run: 'false | true; echo on'}]}}"
    for text in imported(data, "x.yml", "x").scripts.values():
        (tmp_path / "x.sh").write_text(text)
        ran = subprocess.run(["/bin/bash", tmp_path / "x.sh"], capture_output=True, text=True, check=False)
        assert (ran.returncode, ran.stdout) == (1, "")


@pytest.mark.parametrize(
    "data", [b"", b"- 1", b"jobs: {}", b"jobs: {a: {needs: b, steps: []}, b: {needs: a, steps: []}}"]
)
def test_what_is_no_workflow_is_said_so(data: bytes) -> None:
    with pytest.raises((Untranslatable, RexecopError)):
        imported(data, "x.yml", "x")


def test_the_command_writes_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "deploy.yml").write_bytes(FLOW)

    assert run(imported, "github_import", [str(tmp_path / "deploy.yml"), str(tmp_path / "deploy")]) == 0
    assert capsys.readouterr().out == (tmp_path / "deploy" / "REPORT.md").read_text()
