"""Environments: read strictly, hold no secret, and their groups stand for real targets."""

from pathlib import Path

import pytest

from rexecop.operations.environment import Backend, load_environment
from rexecop.operations.errors import (
    EnvironmentRefused,
    PolicyPackUnsupported,
    SecretInline,
    TargetUnknown,
)
from rexecop.operations.pinned_files import EnvironmentSnapshot, environment_snapshot, files_of_snapshot
from rexecop.operations.targets import resolve_targets
from rexecop.proof.canonical import digest_of
from rexecop.proof.vocabulary import Mode
from tests.operations.folders import ENVIRONMENTS, HELLO_ENVIRONMENT, SEED_ENVIRONMENT, environment

PROVIDER_TOKEN = "ghp_" + "a1B2" * 9
KEY = "-----BEGIN OPENSSH " + "PRIVATE KEY-----"


@pytest.mark.parametrize(
    "path", [*sorted(ENVIRONMENTS.glob("*.yaml")), HELLO_ENVIRONMENT], ids=lambda path: path.name
)
def test_every_shipped_environment_loads(path: Path) -> None:
    assert load_environment({path.name: path.read_bytes()}).targets


def test_an_environment_written_for_the_seed_loads_unchanged() -> None:
    site = environment()

    shell = site.connectors["shell"]
    assert (site.id, site.profile, site.safety.default_mode) == ("site", "seedlike", Mode.DRY_RUN)
    assert (shell.backend, shell.declared) == (Backend.PROCESS, "local_shell_readonly")
    assert (shell.timeout_ms, shell.output_bytes) == (5000, 4096)
    assert site.safety.concurrent_max == 1
    hello = load_environment({HELLO_ENVIRONMENT.name: HELLO_ENVIRONMENT.read_bytes()})
    assert hello.safety.concurrent_max is None


def test_a_pinned_environment_is_the_same_under_any_file_name() -> None:
    files = {"here/there.yaml": SEED_ENVIRONMENT.encode()}
    data = environment_snapshot(files)

    again = load_environment(files_of_snapshot(data, EnvironmentSnapshot.kind))
    assert again.digest == load_environment(files).digest == digest_of(data)


SECRETS = {
    "connectors.shell.password": "      password: hunter2hunter2",
    "connectors.shell.auth.token": "      auth: {token: abc}",
    "connectors.shell.api_key": "      api_key: 12345",
    "connectors.shell.description": f"      description: {PROVIDER_TOKEN}",
    "connectors.shell.host": f'      host: "{KEY}"',
}


@pytest.mark.parametrize(("field", "line"), SECRETS.items(), ids=SECRETS)
def test_a_secret_written_out_is_refused_by_its_place_and_never_repeated(field: str, line: str) -> None:
    text = SEED_ENVIRONMENT.replace("      enabled: true", line)

    with pytest.raises(SecretInline) as refused:
        environment(text)

    assert refused.value.facts["field"] == f"environment.{field}"
    assert refused.value.facts["line"] == 12
    for secret in ("hunter2", "abc", "12345", PROVIDER_TOKEN, KEY):
        assert secret not in refused.value.message + str(refused.value.facts)


def test_secrets_by_reference_are_welcome() -> None:
    assert environment(
        SEED_ENVIRONMENT.replace("      enabled: true", "      description: see token_ref")
    ).connectors


BROKEN = [
    ("  id: site", "  ident: site", "environment.ident", "allowed: id,"),
    ("type: host,", "type: group,", "environment.targets.web", "go together"),
    ("criticality: medium", "criticality: extreme", "environment.targets.web.criticality", "low, medium"),
    ("timeout_seconds: 5", "timeout_seconds: 0", "environment.connectors.shell.timeout_seconds", "1 to"),
    (
        "timeout_seconds: 5",
        "timout_seconds: 5",
        "environment.connectors.shell.timout_seconds",
        "did you mean",
    ),
    ("enabled: true", "enabled: yes", "environment.connectors.shell.enabled", "`true` or `false`"),
    ("default_mode: dry_run", "default_mode: yolo", "environment.safety.default_mode", "dry_run"),
    ("command: hostname", "comand: hostname", "environment.connectors.shell.allowlist[0].comand", "command"),
]


@pytest.mark.parametrize(("old", "new", "field", "named"), BROKEN)
def test_what_is_wrong_is_named_by_its_field(old: str, new: str, field: str, named: str) -> None:
    assert old in SEED_ENVIRONMENT
    with pytest.raises(EnvironmentRefused) as refused:
        environment(SEED_ENVIRONMENT.replace(old, new, 1))

    assert refused.value.facts["field"] == field
    assert named in refused.value.message


def test_rules_that_cannot_be_enforced_are_refused_not_ignored() -> None:
    rule = "{rule_id: a, effect: allow, conditions: [{path: action.mode, operator: like, value: read}]}"
    pack = f"  policy_pack:\n    policy_id: x\n    version: '1'\n    rules:\n      - {rule}\n"

    with pytest.raises(PolicyPackUnsupported, match=r"`like` cannot be said of `action.mode`") as refused:
        environment(SEED_ENVIRONMENT + pack)
    assert refused.value.facts["line"] == (SEED_ENVIRONMENT + pack).count("\n")

    assert environment(SEED_ENVIRONMENT + pack.replace("like", "eq")).rules is not None
    assert environment(SEED_ENVIRONMENT).rules is None


GROUPS = """
environment:
  id: groups
  targets:
    all: {type: group, members: [web-pair, db, lone]}
    web-pair: {type: group, members: [web1, web2], criticality: high}
    db: {type: database, criticality: low, attributes: {port: 5432}}
    all_critical: {type: group, members: [db2]}
    loop: {type: group, members: [pool]}
    pool: {type: group, members: [loop]}
"""


def test_a_group_stands_for_its_members_each_once() -> None:
    found = resolve_targets(environment(GROUPS), "all")

    assert [target.id for target in found] == ["web1", "web2", "db", "lone"]
    assert [target.type for target in found] == ["host", "host", "database", "host"]
    assert found[0].groups == ("all", "web-pair")


def test_a_name_that_only_a_group_lists_is_a_target() -> None:
    assert resolve_targets(environment(GROUPS), "web2")[0].id == "web2"


def test_criticality_is_the_declared_one_else_the_strictest_around_it() -> None:
    site = environment(GROUPS)
    found = {name: resolve_targets(site, name)[0].criticality for name in ("web1", "db", "db2", "lone")}

    assert found == {"web1": "high", "db": "low", "db2": "critical", "lone": "low"}


def test_an_unknown_target_is_refused_with_the_nearest_and_all_known() -> None:
    with pytest.raises(TargetUnknown, match="did you mean `web1`") as refused:
        resolve_targets(environment(GROUPS), "wbe1")

    assert "lone" in str(refused.value.facts["allowed"])


def test_a_group_that_contains_itself_is_refused() -> None:
    with pytest.raises(EnvironmentRefused, match="contains itself"):
        resolve_targets(environment(GROUPS), "loop")


def test_ten_thousand_members_are_resolved() -> None:
    members = ", ".join(f"n{index}" for index in range(10_000))
    site = environment(f"environment:\n  id: big\n  targets:\n    all: {{members: [{members}]}}\n")

    assert len(resolve_targets(site, "all")) == 10_000
