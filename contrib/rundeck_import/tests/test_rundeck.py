"""Jobs of Rundeck become drafts that lint, and what was not translated can be seen and does not run."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import pytest

from contrib.drafts import Profile, Untranslatable
from contrib.importing import run
from contrib.rundeck_import.rundeck import imported
from rexecop.operations.lint import lint_profile
from rexecop.operations.profile import load_profile
from rexecop.proof.errors import RexecopError

JOBS: Final = b"""
- name: Restart web
  group: ops/web
  description: |
    Restarts one service and waits.
  loglevel: INFO
  options:
    - {name: service, required: true, description: Which one, enforced: true, values: [nginx, haproxy]}
    - {name: wait, value: '5', regex: '[0-9]{1,3}'}
    - {name: api-key, secure: true, storagePath: keys/api}
  sequence:
    keepgoing: false
    strategy: node-first
    commands:
      - {exec: 'systemctl restart ${option.service}'}
      - {exec: 'sleep ${option.wait} && echo "$(date)"', description: Wait}
      - description: Look
        script: |
          #!/bin/bash
          test "@option.service@" = nginx && curl -fsS http://localhost/
      - {exec: 'curl -H ${option.api-key} localhost'}
      - {scriptfile: /opt/x.sh}
      - {jobref: {name: Clean up}}
      - {jobref: {name: Elsewhere}}
      - {script: 'print(1)', scriptInterpreter: /usr/bin/python3}
      - {exec: 'echo ${job.execid}'}
  nodefilters: {filter: 'tags: web'}
  schedule: {time: {hour: '04'}}
  timeout: 10m
- name: Clean up
  sequence:
    commands: [{exec: 'find /tmp/web -delete'}]
- name: Clean up
  sequence: {commands: []}
"""


def drafted() -> Profile:
    return imported(JOBS, "jobs.yaml", "web")


def files() -> dict[str, bytes]:
    return {path: text.encode() for path, text in drafted().files().items()}


def test_a_draft_has_no_errors_and_every_step_is_a_change_that_stops_where_it_was_not_translated() -> None:
    assert [one.text() for one in lint_profile(files()) if one.severity == "error"] == []
    profile = load_profile(files())
    assert set(profile.intents) == {"restart_web", "clean_up", "clean_up_2"}
    steps = [step.id for step in profile.workflows["workflows/restart_web.yaml"].steps]
    assert steps == [
        *("step_1", "wait", "look", "todo_step_4", "todo_step_5", "step_6", "todo_step_7", "todo_step_8"),
        "todo_step_9",
    ]
    actions = drafted().actions
    assert {action["effect"] for action in actions.values()} == {"change"}
    assert actions["restart_web_step_1"]["args"] == ["restart", "{service}"]
    assert {actions[name]["command"] for name in actions if "todo" in name} == {"/bin/false"}


def test_the_report_names_everything_that_was_left_out() -> None:
    report = drafted().report()
    for word in (
        *("4 of 9 steps", "`schedule`", "`nodefilters`", "`api-key` is secret", "scriptfile: /opt/x.sh"),
        *("`Elsewhere`", "/usr/bin/python3", "${job.execid}", "look at the quotes"),
    ):
        assert word in report, word


def test_what_somebody_writes_into_an_option_is_never_part_of_a_script(tmp_path: Path) -> None:
    profile = imported(
        b"- {name: say, options: [{name: what, required: true}],"
        b" sequence: {commands: [{exec: 'echo \"${option.what}\" ;'}]}}",
        "jobs.yaml",
        "say",
    )
    ((path, text),) = profile.scripts.items()
    (tmp_path / "say.sh").write_text(text)
    evil = '"; touch evil; echo $(touch evil) `touch evil`'
    ran = subprocess.run(
        ["/bin/sh", tmp_path / "say.sh", evil], capture_output=True, text=True, check=True, cwd=tmp_path
    )

    assert ran.stdout == f"{evil}\n" and not (tmp_path / "evil").exists() and path.endswith(".sh")


@pytest.mark.parametrize("data", [b"", b"a: 1", b"- {name: x}", b"- 1", b"[{sequence: 1}]"])
def test_what_is_no_list_of_jobs_is_said_so(data: bytes) -> None:
    with pytest.raises((Untranslatable, RexecopError)):
        imported(data, "jobs.yaml", "web")


def test_the_command_writes_a_folder_once_and_says_in_one_line_why_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "jobs.yaml").write_bytes(JOBS)
    words = [str(tmp_path / "jobs.yaml"), str(tmp_path / "web")]

    assert run(imported, "rundeck_import", words) == 0 and "steps translated" in capsys.readouterr().out
    assert (tmp_path / "web" / "REPORT.md").read_text() == drafted().report()
    (tmp_path / "odd.yaml").write_bytes(b"a: &x 1\nb: *x")
    for wrong in (
        words,
        [str(tmp_path / "none"), str(tmp_path / "y")],
        [str(tmp_path / "odd.yaml"), "z"],
        [],
    ):
        assert run(imported, "rundeck_import", wrong) == 2
        assert capsys.readouterr().err.count("\n") == 1
