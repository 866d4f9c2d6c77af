"""Lint: all problems at once, and what passes it also plans."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from rexecop.execution.strict_yaml import Document, load_yaml
from rexecop.operations import reading
from rexecop.operations.lint import lint_environment, lint_profile
from rexecop.operations.profile import load_profile
from rexecop.operations.reading import Finding
from rexecop.proof.vocabulary import Mode
from tests.operations.folders import (
    ENVIRONMENTS,
    FLEET,
    HELLO,
    SEED,
    SEED_ENVIRONMENT,
    SHIPPED,
    TECRAX,
    edited,
    environment_file,
    folder,
    plan,
    seed,
)


def errors(found: tuple[Finding, ...]) -> list[Finding]:
    return [item for item in found if item.severity == "error"]


@pytest.mark.parametrize("root", SHIPPED, ids=lambda root: root.name)
def test_every_shipped_profile_is_without_errors(root: Path) -> None:
    assert errors(lint_profile(folder(root))) == []


@pytest.mark.parametrize("path", sorted(ENVIRONMENTS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_environment_fits_its_profile(path: Path) -> None:
    profile = load_profile(folder(FLEET if path.name.startswith("fleet") else TECRAX))

    assert errors(lint_environment({path.name: path.read_bytes()}, profile)) == []


def test_a_file_to_put_needs_no_command() -> None:
    left = [item.message for item in lint_profile(folder(TECRAX)) if "leaves its command" in item.message]

    assert left == []


def test_values_of_an_environment_may_stand_in_what_goes_over_http_or_sftp() -> None:
    path = "connectors/managed_file.yaml"
    files = folder(TECRAX)
    only = files[path].replace(b'path: "{env.managed_folder}', b'path: "{env.a_folder_of_its_own}')

    found = [item.message for item in errors(lint_profile({**files, path: only}))]

    assert only != files[path] and found == []


def test_a_file_is_read_once_however_often_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    read = list[str]()

    def counted(data: bytes | str, *, source: str) -> Document:
        read.append(source)
        return load_yaml(data, source=source)

    monkeypatch.setattr(reading, "load_yaml", counted)
    lint_profile(folder(TECRAX))

    assert read and len(read) == len(set(read))


def test_a_seed_profile_is_without_errors() -> None:
    profile = load_profile(seed())

    assert errors(lint_profile(seed())) == []
    assert errors(lint_environment({"site.yaml": SEED_ENVIRONMENT.encode()}, profile)) == []


def test_all_problems_are_found_at_once() -> None:
    files: Mapping[str, bytes] = {
        **edited("intents/look.yaml", "risk: low", "risky: low"),
        "workflows/look.yaml": SEED["workflows/look.yaml"].replace("timeout: 10s", "timeout: soon").encode(),
        "connectors/shell.yaml": b"connector: {name: shell, capabilities: [read_name], colour: red}",
        "normalizers/more.yaml": b"a: 1\na: 2\n",
    }

    found = errors(lint_profile(files))

    assert {item.file for item in found} >= set(files) - {
        *("profile.yaml", "docs/look.md", "validation_rules/look.yaml", "normalizers/look.yaml"),
        *("reactions/reaction_pack.yaml", "triggers/trigger_rules.yaml", "operator_metadata.yaml"),
    }
    assert all(item.line >= 1 and item.message for item in found)


WORKFLOW, CONNECTOR = "workflows/look.yaml", "connectors/shell.yaml"
PROBLEMS = [
    (seed(**{"validation_rules/look.yaml": None}), "no rule that gives a verdict"),
    (seed(**{"normalizers/look.yaml": None}), "no normalizer"),
    (edited(WORKFLOW, "connector: shell,", "connector: shall,"), "did you mean `shell`"),
    (edited(WORKFLOW, "action: fetch_status", "action: fetch_state"), "did you mean `fetch_status`"),
    (edited("normalizers/look.yaml", "from: read_name", "from: read_mane"), "`read_mane`"),
    (edited(CONNECTOR, "hostname, args: []", "hostname, args: ['{nobody}']"), "`{nobody}`"),
    (edited("intents/look.yaml", "  risk: low", "  observe: lock"), "did you mean `look`"),
    (edited("validation_rules/look.yaml", "look_missing", "ghp_" + "x" * 36), "holds a secret"),
]


@pytest.mark.parametrize(("files", "named"), PROBLEMS, ids=[named for _, named in PROBLEMS])
def test_what_would_be_refused_at_plan_is_an_error_before(files: dict[str, bytes], named: str) -> None:
    assert any(named in item.message for item in errors(lint_profile(files)))


def test_an_environment_that_does_not_fit_is_told_where() -> None:
    profile = load_profile(seed())
    text = SEED_ENVIRONMENT.replace("profile: seedlike", "profile: other").replace(
        "local_shell_readonly", "http_api", 1
    )

    found = errors(lint_environment({"site.yaml": text.encode()}, profile))

    messages = " ".join(item.message for item in found)
    assert "for profile `other`" in messages
    assert "`http_api`" in messages


def test_lint_passes_means_every_intent_plans() -> None:
    hello = load_profile(folder(HELLO))
    here = environment_file(HELLO.parent / "hello.environment.yaml")

    for intent in hello.intents:
        parameters = {"greeting": "x"} if intent == "set_greeting" else {}
        assert plan(hello, here, intent, "localhost", Mode.DRY_RUN, parameters).steps


@pytest.mark.parametrize(
    "text",
    [
        "said: ghp_TOKEN\n",
        'said: "gh\\x70_TOKEN"\n',
        'said: "ghp_\\\n  TOKEN"\n',
        "said: >-\n  Bearer\n  TOKENTOKEN\n",
        'said: "https:\\/\\/me:word@host.example"\n',
    ],
)
def test_a_secret_in_a_file_that_nothing_else_reads_is_found_however_it_is_written(text: str) -> None:
    written = text.replace("TOKEN", "x" * 36)

    found = errors(lint_profile(seed(**{"tests/a.case.yaml": written})))

    assert [(one.file, "holds a secret" in one.message) for one in found] == [("tests/a.case.yaml", True)]
