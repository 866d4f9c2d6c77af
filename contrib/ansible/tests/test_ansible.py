"""Playbooks that exist, run by a real `ansible-playbook` on this machine; and what its figures come to."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from rexecop.app.instance import Instance
from rexecop.app.planner import PlanInput
from rexecop.app.profiles import find_profile
from rexecop.app.views import OperationView, StepView
from rexecop.operations.errors import OperationsError
from rexecop.operations.golden import golden_cases, run_case
from rexecop.operations.lint import lint_profile
from rexecop.operations.profile import load_profile
from rexecop.proof.canonical import Json
from tests.app.support import bob, made, opened, scratch, verified
from tests.needs import needs

HERE: Final = Path(__file__).resolve().parents[1]
PROFILE: Final = HERE / "profile"
PROGRAM: Final = shutil.which(
    "ansible-playbook", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin"
)
ENVIRONMENT: Final = """
environment:
  id: ansible
  profile: ansible
  values: {{ansible_playbook: '{program}', playbooks: '{folder}', inventory: '{folder}/inventory.ini'}}
  targets:
    fleet: {{type: inventory, criticality: low}}
    rack: {{type: inventory, criticality: low}}
  connectors:
    playbooks: {{backend: process}}
"""
PLAYBOOK: Final = """
- hosts: all
  gather_facts: false
  tasks:
    - name: write it
      ansible.builtin.copy: {content: "secret words\\n", dest: "{{ inventory_dir }}/written.txt"}
    - name: say it
      ansible.builtin.debug: {msg: "more secret words"}
"""
FAILS: Final = """
- hosts: all
  gather_facts: false
  tasks:
    - {name: never, ansible.builtin.fail: {msg: "secret words"}}
"""
# Check mode does not keep this from writing: the task says so, as a module may.
IGNORES: Final = """
- hosts: all
  gather_facts: false
  tasks:
    - name: all the same
      check_mode: false
      ansible.builtin.copy: {content: x, dest: "{{ inventory_dir }}/check.txt"}
"""
LOST: Final = """
- hosts: all
  gather_facts: false
  tasks:
    - name: cut off
      ansible.builtin.raw: "true"
      vars: {ansible_connection: ssh, ansible_host: 127.0.0.1, ansible_port: 1}
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with scratch() as found:
        books = found / "books"
        books.mkdir()
        for name, text in (("site", PLAYBOOK), ("fails", FAILS), ("ignores", IGNORES), ("lost", LOST)):
            (books / f"{name}.yml").write_text(text)
        line = f"localhost ansible_connection=local ansible_python_interpreter={sys.executable}\n"
        (books / "inventory.ini").write_text(line)
        (books / "broken.yml").write_text("- hosts: [")
        text = ENVIRONMENT.format(program=PROGRAM, folder=books)
        (found / "ansible.environment.yaml").write_text(text)
        asyncio.run(made(found))
        yield found


def asked(folder: Path, intent: str, playbook: str, mode: str, target: str = "fleet") -> PlanInput:
    return PlanInput(
        profile=str(PROFILE),
        env=str(folder / "ansible.environment.yaml"),
        intent=intent,
        target=target,
        mode=mode,
        parameters={"playbook": playbook},
    )


def ran(folder: Path, instance: Instance, request: PlanInput) -> tuple[OperationView, StepView]:
    async def play() -> OperationView:
        planned = await instance.plan(request)
        if planned.state == "waiting_for_approval":
            await instance.approve(planned.operation_id, key=bob(folder))
        return await instance.start(planned.operation_id)

    view = asyncio.run(play())
    (step,) = view.steps
    return view, step


def facts_of(step: StepView) -> Mapping[str, Json]:
    return step.facts or {}


@needs("ansible-playbook")
def test_a_playbook_runs_with_approval_and_its_figures_are_facts(folder: Path) -> None:
    with opened(folder) as instance:
        view, step = ran(folder, instance, asked(folder, "run_playbook", "site.yml", "apply"))

        assert (view.state, view.approved_by) == ("completed", ("bob",)), step
        wanted = {"hosts": 1, "ok": 2, "changed": 1, "failures": 0}
        assert {name: facts_of(step)[name] for name in wanted} == wanted
        assert facts_of(step)["changed_tasks"] == "localhost: write it"
        assert (folder / "books" / "written.txt").read_text() == "secret words\n"
        data = instance.parts.evidence.bundle(view.operation_id, with_outputs=True)
        assert b"secret words" not in data and verified(instance, view.operation_id).findings == ()


@needs("ansible-playbook")
def test_a_task_that_fails_is_a_failure_that_names_it(folder: Path) -> None:
    with opened(folder) as instance:
        view, step = ran(folder, instance, asked(folder, "run_playbook", "fails.yml", "apply"))

        assert view.state == "failed" and facts_of(step)["failed_tasks"] == "localhost: never"
        broken, step = ran(folder, instance, asked(folder, "run_playbook", "broken.yml", "apply"))
        assert broken.state == "failed" and step.status not in (0, None)


@needs("ansible-playbook")
def test_check_mode_is_a_change_for_it_may_be_one(folder: Path) -> None:
    with opened(folder) as instance:
        with pytest.raises(OperationsError, match="read_only"):
            asyncio.run(instance.plan(asked(folder, "check_playbook", "ignores.yml", "read_only")))
        waits = asyncio.run(instance.plan(asked(folder, "check_playbook", "ignores.yml", "apply")))
        assert waits.state == "waiting_for_approval"
        view, _ = ran(folder, instance, asked(folder, "check_playbook", "ignores.yml", "apply"))

        assert view.state == "completed" and (folder / "books" / "check.txt").read_text() == "x"


@needs("ansible-playbook")
def test_a_host_lost_in_the_middle_of_a_task_leaves_the_change_unknown(folder: Path) -> None:
    with opened(folder) as instance:
        view, step = ran(folder, instance, asked(folder, "run_playbook", "lost.yml", "apply", "rack"))

        assert (view.state, step.ended) == ("indeterminate", "unknown")


@needs("ansible-playbook", "bwrap")
def test_a_playbook_is_listed_where_it_can_touch_nothing(folder: Path) -> None:
    with opened(folder) as instance:
        view, step = ran(folder, instance, asked(folder, "list_playbook", "site.yml", "read_only"))

        assert (view.state, step.grade) == ("completed", "contained"), step
        assert facts_of(step)["plays"] == 1


@pytest.mark.parametrize(
    "playbook", ["../site.yml", "/etc/site.yml", "-e.yml", "a//b.yml", "site.sh", "a b.yml"]
)
def test_what_is_no_playbook_of_the_folder_is_refused(folder: Path, playbook: str) -> None:
    with opened(folder) as instance, pytest.raises(OperationsError):
        asyncio.run(instance.plan(asked(folder, "run_playbook", playbook, "dry_run")))


def test_the_profile_says_nothing_odd_and_its_cases_come_out_as_they_say() -> None:
    files = find_profile(str(PROFILE)).files
    assert [finding for finding in lint_profile(files) if finding.severity == "error"] == []
    profile, cases = load_profile(files), golden_cases(files)
    assert len(cases) == 3
    assert [run_case(case, profile, files) for case in cases] == [()] * 3
