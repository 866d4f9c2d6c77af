"""Playbooks that exist, run by a real `ansible-playbook` on this machine; and what its figures come to."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
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
from rexecop.proof.records.plan import Plan
from tests.app.support import bob, made, opened, records, scratch, verified
from tests.needs import needs

HERE: Final = Path(__file__).resolve().parents[1]
PROFILE: Final = HERE / "profile"
SCRIPT: Final = PROFILE / "scripts" / "playbook.py"
SECONDS: Final = 120  # Of a program that is started here; only what hangs takes them.
CANARY: Final = "correct-horse-canary-4711"
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
    playbooks: {{backend: process{secrets}}}
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
TAGGED: Final = """
- hosts: all
  gather_facts: false
  tasks:
    - name: first
      tags: [a]
      ansible.builtin.copy:
        content: "{{ word }} {{ number + 1 }} {{ on | type_debug }}"
        dest: "{{ inventory_dir }}/a.txt"
    - {name: second, tags: [a, b], ansible.builtin.fail: {msg: skipped by its tag}}
    - {name: third, ansible.builtin.fail: {msg: it has no tag}}
"""
VAULTED: Final = """
- hosts: all
  gather_facts: false
  vars_files: [secret.yml]
  tasks:
    - name: what was in it
      ansible.builtin.copy: {content: "{{ hidden }}", dest: "{{ inventory_dir }}/hidden.txt"}
    - name: what everybody on this machine can read
      ansible.builtin.shell: cat /proc/[0-9]*/cmdline > {{ inventory_dir }}/words.txt || true
"""
BOOKS: Final = {
    "site": PLAYBOOK,
    "fails": FAILS,
    "ignores": IGNORES,
    "lost": LOST,
    "tagged": TAGGED,
    "vaulted": VAULTED,
}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with scratch() as found:
        books = found / "books"
        books.mkdir()
        for name, text in BOOKS.items():
            (books / f"{name}.yml").write_text(text)
        line = f"localhost ansible_connection=local ansible_python_interpreter={sys.executable}\n"
        (books / "inventory.ini").write_text(line)
        (books / "broken.yml").write_text("- hosts: [")
        for name, secrets in (("ansible", ""), ("vault", ", secrets: {vault_password: vault-password}")):
            text = ENVIRONMENT.format(program=PROGRAM, folder=books, secrets=secrets)
            (found / f"{name}.environment.yaml").write_text(text)
        asyncio.run(made(found))
        yield found


def asked(
    folder: Path,
    intent: str,
    playbook: str,
    mode: str = "apply",
    target: str = "fleet",
    env: str = "ansible",
    observe: bool | None = False,
    **parameters: Json,
) -> PlanInput:
    """Ask for a run that rests on no observation, which costs another one, unless `observe` is None."""
    return PlanInput(
        profile=str(PROFILE),
        env=str(folder / f"{env}.environment.yaml"),
        intent=intent,
        target=target,
        mode=mode,
        parameters={"playbook": playbook, **parameters},
        observe=observe,
    )


async def approved(folder: Path, instance: Instance, request: PlanInput) -> str:
    planned = await instance.plan(request)
    if planned.state == "waiting_for_approval":
        await instance.approve(planned.operation_id, key=bob(folder))
    return planned.operation_id


def ran(folder: Path, instance: Instance, request: PlanInput) -> tuple[OperationView, StepView]:
    """Return how the operation went, and its last step."""

    async def play() -> OperationView:
        return await instance.start(await approved(folder, instance, request))

    view = asyncio.run(play())
    return view, view.steps[-1]


def script(*words: str, stdin: str = "", text: str = "", cwd: Path) -> subprocess.CompletedProcess[str]:
    """Return how the script ended, or `text` in its place."""
    (cwd / "script.py").write_text(text or SCRIPT.read_text())
    return subprocess.run(
        ["/usr/bin/python3", str(cwd / "script.py"), *words],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        cwd=cwd,
    )


@pytest.fixture(scope="module")
def shut(folder: Path) -> Iterator[Callable[[PlanInput], object]]:
    """What plans in one instance that stays open: opening is what costs."""
    with opened(folder) as instance:
        yield lambda request: asyncio.run(instance.plan(request))


def facts_of(step: StepView) -> Mapping[str, Json]:
    return step.facts or {}


@needs("ansible-playbook", "bwrap")
def test_a_playbook_runs_with_approval_and_its_figures_are_facts(folder: Path) -> None:
    with opened(folder) as instance:
        view, step = ran(folder, instance, asked(folder, "run_playbook", "site.yml", observe=None))

        assert (view.state, view.approved_by) == ("completed", ("bob",)), step
        wanted = {"hosts": 1, "ok": 2, "changed": 1, "failures": 0, "altered": True}
        assert {name: facts_of(step)[name] for name in wanted} == wanted
        assert facts_of(step)["changed_tasks"] == "localhost: write it"
        assert (folder / "books" / "written.txt").read_text() == "secret words\n"
        data = instance.parts.evidence.bundle(view.operation_id, with_outputs=True)
        assert b"secret words" not in data and verified(instance, view.operation_id).findings == ()


@needs("ansible-playbook")
def test_a_task_that_fails_is_a_failure_that_names_it(folder: Path) -> None:
    with opened(folder) as instance:
        view, step = ran(folder, instance, asked(folder, "run_playbook", "fails.yml"))

        assert view.state == "failed" and facts_of(step)["failed_tasks"] == "localhost: never"
        broken, step = ran(folder, instance, asked(folder, "run_playbook", "broken.yml"))
        assert broken.state == "failed" and step.status not in (0, None)


@needs("ansible-playbook")
def test_check_mode_is_a_change_for_it_may_be_one(folder: Path) -> None:
    with opened(folder) as instance:
        with pytest.raises(OperationsError, match="read_only"):
            asyncio.run(instance.plan(asked(folder, "check_playbook", "ignores.yml", "read_only")))
        waits = asyncio.run(instance.plan(asked(folder, "check_playbook", "ignores.yml")))
        assert waits.state == "waiting_for_approval"
        view, _ = ran(folder, instance, asked(folder, "check_playbook", "ignores.yml"))

        assert view.state == "completed" and (folder / "books" / "check.txt").read_text() == "x"


@needs("ansible-playbook")
def test_a_host_lost_in_the_middle_of_a_task_leaves_the_change_unknown(folder: Path) -> None:
    with opened(folder) as instance:
        view, step = ran(folder, instance, asked(folder, "run_playbook", "lost.yml", target="rack"))

        assert (view.state, step.ended) == ("indeterminate", "unknown")


@needs("ansible-playbook", "bwrap")
def test_a_playbook_is_listed_where_it_can_touch_nothing(folder: Path) -> None:
    with opened(folder) as instance:
        view, step = ran(folder, instance, asked(folder, "list_playbook", "site.yml", "read_only"))

        assert (view.state, step.grade) == ("completed", "contained"), step
        assert {name: facts_of(step)[name] for name in ("plays", "hosts", "host_names", "tasks")} == {
            "plays": 1,
            "hosts": 1,
            "host_names": "localhost",
            "tasks": 2,
        }


@needs("ansible-playbook", "bwrap")
def test_what_is_edited_after_the_approval_does_not_run(folder: Path) -> None:
    book = folder / "books" / "edited.yml"
    book.write_text(PLAYBOOK.replace("written.txt", "approved.txt"))

    async def story(instance: Instance) -> OperationView:
        operation = await approved(
            folder, instance, asked(folder, "run_playbook", "edited.yml", observe=None)
        )
        plan = records(instance, operation)[1].record
        assert isinstance(plan, Plan) and plan.pinned is not None
        book.write_text(PLAYBOOK.replace("written.txt", "edited.txt"))
        return await instance.start(operation)

    with opened(folder) as instance:
        view = asyncio.run(story(instance))

        assert (view.state, view.steps[-1].error_class) == ("failed", "drifted")
        assert "`fleet.content.digest` is" in str(view.reason)
        assert not (folder / "books" / "edited.txt").exists()
        assert not (folder / "books" / "approved.txt").exists()
        assert verified(instance, view.operation_id).findings == ()


def test_a_rule_forbids_a_run_that_rests_on_no_observation() -> None:
    with scratch() as found:
        asyncio.run(made(found))
        text = ENVIRONMENT.format(program="/bin/false", folder=found, secrets="")
        (found / "ansible.environment.yaml").write_text(text)
        page = (HERE.parents[1] / "docs" / "bridges.md").read_text()
        rule = page[page.index('@id("playbooks-are-pinned")') :].split("```")[0]
        (found / "root" / "policy" / "starter" / "pinned.cedar").write_text(rule)
        with opened(found) as instance:
            view, step = ran(found, instance, asked(found, "run_playbook", "site.yml"))

            assert view.state == "blocked" and "playbooks-are-pinned" in str(view.reason)
            assert step.attempts == 0


@needs("ansible-playbook")
def test_a_run_that_names_the_content_runs_that_content_only(folder: Path) -> None:
    books = folder / "books"
    found = script("content", str(books), str(books / "inventory.ini"), "", cwd=folder)
    digest = json.loads(found.stdout)["digest"]
    (books / "note.txt").write_text("one more file")
    with opened(folder) as instance:
        view, _ = ran(folder, instance, asked(folder, "run_playbook", "fails.yml", content=digest))

        first = view.steps[0]
        assert view.state == "failed" and (first.id, first.ended) == ("content", "failed")
        assert view.steps[-1].attempts == 0


@needs("ansible-playbook")
def test_tags_and_variables_arrive_as_they_are(folder: Path) -> None:
    request = asked(
        folder,
        "run_playbook",
        "tagged.yml",
        tags="a,c",
        skip_tags="b",
        extra_vars='{"word": "--check \'$(id)\' \\\\ \\"q\\" { }", "number": 3, "on": true}',
    )
    with opened(folder) as instance:
        view, step = ran(folder, instance, request)

        assert view.state == "completed" and facts_of(step)["ok"] == 1, step
        assert (folder / "books" / "a.txt").read_text() == "--check '$(id)' \\ \"q\" { } 4 bool"


@needs("ansible-playbook", "bwrap")
def test_a_vaulted_file_is_read_with_the_password_and_the_password_is_nowhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    books = folder / "books"
    password = folder / "password"
    password.write_text(CANARY)
    (books / "secret.yml").write_text("hidden: what was encrypted\n")
    vault = [str(Path(str(PROGRAM)).with_name("ansible-vault")), "encrypt", "--vault-password-file"]
    subprocess.run(
        [*vault, str(password), str(books / "secret.yml")], check=True, timeout=SECONDS, capture_output=True
    )
    password.unlink()
    monkeypatch.setenv("REXECOP_SECRET_VAULT_PASSWORD", CANARY)
    with opened(folder) as instance:
        request = asked(folder, "run_playbook", "vaulted.yml", env="vault", observe=None, vault=True)
        view, step = ran(folder, instance, request)

        assert view.state == "completed" and facts_of(step)["failures"] == 0, step
        plan = records(instance, view.operation_id)[1].record
        assert isinstance(plan, Plan) and plan.pinned is not None
        assert (books / "hidden.txt").read_text() == "what was encrypted"
        assert CANARY.encode() not in instance.parts.evidence.bundle(view.operation_id, with_outputs=True)

        closed, step = ran(folder, instance, asked(folder, "run_playbook", "vaulted.yml", env="vault"))
        assert (closed.state, step.ended) == ("failed", "failed")
        with pytest.raises(OperationsError, match="vault_password"):
            asyncio.run(instance.plan(asked(folder, "run_playbook", "vaulted.yml", vault=True)))

    words = (books / "words.txt").read_bytes()
    at = words.split(b"\0").index(b"--vault-password-file")
    leaked = CANARY.encode() in words
    assert not leaked and not os.path.exists(words.split(b"\0")[at + 1])
    kept = [path for path in folder.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert kept == []


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '"text"',
        "@/etc/passwd",
        "a=b",
        '{"a": 1',
        '{"a": {"b": 1}}',
        '{"a": ["b"]}',
        '{"a": 1.5}',
        '{"a": null}',
        '{"a-b": 1}',
        '{"_a": 1}',
        '{"ansible_connection": "local"}',
        '{"hostvars": 1}',
        "{\"a\": \"{{ lookup('pipe', 'id') }}\"}",
        '{"a": "{% raw %}"}',
        '{"a": "\\u007b\\u007b 1 }}"}',
    ],
)
def test_what_is_no_plain_variable_is_refused_by_plan_and_script(
    shut: Callable[[PlanInput], object], folder: Path, tmp_path: Path, text: str
) -> None:
    with pytest.raises(OperationsError, match="extra_vars"):
        shut(asked(folder, "run_playbook", "site.yml", "dry_run", extra_vars=text))
    words = ("/bin/false", str(tmp_path), "a,", "site.yml", "all", "all", "", text, "none", "")
    ended = script("run", *words, cwd=tmp_path)
    assert ended.returncode == 1 and ended.stderr.startswith("extra_vars") and ended.stderr.count("\n") == 1


@pytest.mark.parametrize("tags", ["-a", "a,,b", "a\n", "a b", "@a"])
def test_what_is_no_list_of_tags_is_refused(
    shut: Callable[[PlanInput], object], folder: Path, tags: str
) -> None:
    with pytest.raises(OperationsError, match="tags"):
        shut(asked(folder, "run_playbook", "site.yml", "dry_run", tags=tags))
    with pytest.raises(OperationsError, match="skip_tags"):
        shut(asked(folder, "run_playbook", "site.yml", "dry_run", skip_tags=tags))


def test_every_edit_of_what_a_run_may_read_is_another_digest(tmp_path: Path) -> None:
    books, site = tmp_path / "books", tmp_path / "site"
    (books / "roles").mkdir(parents=True)
    (books / ".git").mkdir()
    (site / "host_vars").mkdir(parents=True)
    (books / "site.yml").write_text("one")
    (books / "link.yml").symlink_to("site.yml")
    (site / "hosts").write_text("web-1\n")

    def digest() -> str:
        found = script("content", str(books), str(site / "hosts"), "", cwd=tmp_path)
        assert found.returncode == 0, found
        return str(json.loads(found.stdout)["digest"])

    edits: list[Callable[[], object]] = [
        lambda: (books / "site.yml").write_text("two"),
        lambda: (books / "site.yml").chmod(0o755),
        lambda: (books / "roles" / "x").write_text(""),
        lambda: (books / "roles" / "x").rename(books / "roles" / "y"),
        (books / "roles" / "empty").mkdir,
        (books / "link.yml").unlink,
        lambda: (books / "link.yml").symlink_to("roles/y"),
        lambda: (site / "hosts").write_text("web-2\n"),
        lambda: (site / "host_vars" / "web-2").write_text("a: 1"),
    ]
    seen = [digest()]
    for edit in edits:
        edit()
        seen.append(digest())
    assert len(set(seen)) == len(edits) + 1
    (books / ".git" / "HEAD").write_text("history is not read")
    (site / "other").write_text("nor what lies beside an inventory")
    assert digest() == seen[-1]


def test_what_cannot_be_pinned_is_said_in_one_line_and_nothing_runs(tmp_path: Path) -> None:
    books, text = tmp_path / "books", SCRIPT.read_text()
    books.mkdir()
    (books / "site.yml").write_text("x" * 100)
    few = text.replace("ENTRIES_MAX = 10_000", "ENTRIES_MAX = 1")
    small = text.replace("BYTES_MAX = 256 * 1024 * 1024", "BYTES_MAX = 99")
    began = tmp_path / "began"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {began}\n")
    program.chmod(0o755)

    def said(text: str, wanted: str = "") -> str:
        cwd = tmp_path / f"call-{len(list(tmp_path.iterdir()))}"
        cwd.mkdir()
        words = (str(program), str(books), "a,", "site.yml", "all", "all", "", "{}", "stdin", wanted)
        ended = script("run", *words, text=text, stdin="secret words", cwd=cwd)
        assert ended.returncode == 1 and ended.stderr.count("\n") == 1 and not began.exists(), ended
        return ended.stderr

    assert "more than 1 entries" in said(few) and "more than 99 bytes" in said(small)
    assert "nothing was run" in said(text, "sha256:" + "0" * 64)
    for name, target in (("out", "/etc/hosts"), ("up", "../began"), ("in", ".git/config")):
        (books / name).symlink_to(target)
        assert f"{name} is a symbolic link that leads out" in said(text)
        (books / name).unlink()
    os.mkfifo(books / "pipe")
    assert "pipe is neither file" in said(text)


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
    assert len(cases) == 5
    assert [run_case(case, profile, files) for case in cases] == [()] * 5
