"""The tecrax package: found where it says, complete, the example a part of it; command and validators."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tecrax import __version__, profile_root
from tecrax.cli import EXIT_FAILED, EXIT_OK, EXIT_USAGE, run
from tecrax.reviewing import conformance, review
from tecrax.topology import leaks_below, leaks_in, unexcused
from tecrax.validators import main as validate
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


def test_status_and_version_answer_programs_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--json", "status"]) == EXIT_OK
    found = json.loads(capsys.readouterr().out)
    assert found["version"] == __version__ and found["problems"] == []
    assert found["intents"] == sorted(file.stem for file in (profile_root() / "intents").iterdir())

    assert (run(["--version"]), run(["version"])) == (EXIT_OK, EXIT_OK)
    assert capsys.readouterr().out == f"tecrax {__version__}\n" * 2


# --- the review of the fixture ---


def changed(path: str, old: str, new: str) -> Mapping[str, bytes]:
    """Return the part of the profile that its fixture answers, `new` for `old`, or nothing from it on."""
    files = folder(FIXTURE)
    before, found, after = files[path].decode().partition(old)
    assert found
    return {**files, path: (before + new + after if new else before).encode()}


@cache
def reviewed(path: str, old: str, new: str) -> dict[str, Any]:
    found = review(changed(path, old, new), "Demo Web!")
    problems = [one for one in found.problems if "no golden case" not in one]
    return {**json.loads(json.dumps(found.document)), "wrong": problems}


FIXED = ("fixtures/tecrax_fixture.yaml", "age_hours: 6", "age_hours: 6")


def test_a_review_says_what_was_planned_and_found_on_the_target_of_that_name() -> None:
    found = reviewed(*FIXED)
    receipt = found["fixture_receipt"]
    by_intent = {one["intent"]: one for one in receipt["rehearsed"]}

    assert found["artifact_type"] == "tecrax_local_fixture_review" and found["wrong"] == []
    assert receipt["target"] == "fixture:service:demo-web"
    assert by_intent.keys() == {"check_backup_status", "restart_zabbix_agent"}
    restart = by_intent["restart_zabbix_agent"]
    assert restart["facts"]["fixture:service:demo-web"]["zabbix_agent"]["state"] == "active"
    undo = {one["id"]: one["undo"] for one in restart["supervision_plan"]["steps"]}
    assert "zabbix_agent.start_agent" in undo["restart_agent"] and undo["verify_agent"] is None


@pytest.mark.parametrize(
    ("path", "old", "new", "said"),
    [
        (
            "fixtures/tecrax_fixture.yaml",
            "age_hours: 6",
            "age_hours: 600",
            "check_backup_status: what the fixture",
        ),
        ("fixtures/tecrax_fixture.yaml", "state: active", "state: failed", "restart_zabbix_agent: what the"),
        ("workflows/restart_zabbix_agent.yaml", "  rollback:", "", "has no undo"),
        ("workflows/check_backup_status.yaml", "action: read_backup_status", "action: read_b", "read_b"),
    ],
)
def test_a_review_follows_from_the_files_and_fails_where_they_are_wrong(
    path: str, old: str, new: str, said: str
) -> None:
    found, good = reviewed(path, old, new), reviewed(*FIXED)

    assert any(said in one for one in found["wrong"]), found["wrong"]
    assert found["review_result"]["verdict"] == "fail"
    assert found["profile"]["digest"] != good["profile"]["digest"]


def test_the_command_reviews_what_is_installed_and_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fixture-review", "--service", "demo-web"]) == EXIT_OK
    found = json.loads(capsys.readouterr().out)

    assert found["review_result"] == {"verdict": "pass", "problems": []}
    assert found["sclite_fixture_receipt_descriptor"]["canonicalization"] == "sclite-json-v0.1"


def test_what_lint_says_a_case_that_differs_and_an_intent_without_one_are_named() -> None:
    whole = folder(profile_root())
    cases = {name: data for name, data in whole.items() if name.endswith(".case.yaml")}
    kept = {name: data for name, data in whole.items() if name not in cases}
    one = cases["tests/backup_old.case.yaml"].replace(b"verdict: failed", b"verdict: passed")
    assert one != cases["tests/backup_old.case.yaml"]

    found = conformance({**kept, "tests/backup_old.case.yaml": one})
    refused = conformance({**kept, "profile.yaml": b"profile_contract: {}"})

    assert "intent `check_certificate` has no golden case" in found
    assert "backup_old: verdict is `failed`, not `passed`" in found
    assert refused and all("golden case" not in one for one in refused)


# --- what files tell ---

HEADER = "-----BEGIN " + "RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (HEADER, "private-key"),
        ("-----BEGIN " + "PRIVATE KEY-----", "private-key"),
        ("AGE-SECRET-" + "KEY-1" + "Q" * 58, "private-key"),
        ("id = AKIA" + "Z3MXQ7PLW2B9RTUV", "cloud-token"),
        ("x: ghp" + "_" + "a1B2c3D4e5F6" * 3, "cloud-token"),
        ("glpat" + "-" + "a1B2c3D4e5F6a1B2c3D4", "cloud-token"),
        ("token" + ": 'q9Zk3LmX7vTn2RbW8sYd'", "secret-assigned"),
        ("host: 10.20" + ".30.40", "ipv4-address"),
        ("host: 100.70" + ".1.2:22", "ipv4-address"),
        ("http://81.2" + ".69.142/", "ipv4-address"),
        ("host: fd12:3456" + ":789a::1", "ipv6-address"),
        ("[2a02:8109" + ":0:1:2:3:4:5]:22", "ipv6-address"),
        ("fe80" + "::1c2:3ff:fe04:506", "ipv6-address"),
        ("ether 3c:52" + ":82:aa:bb:cc", "mac-address"),
        ("ether 3C-52" + "-82-AA-BB-CC", "mac-address"),
        ("cd /home" + "/janusz/work", "home-path"),
        ("key: /root" + "/.ssh/id", "home-path"),
    ],
)
def test_what_tells_of_a_site_is_found_in_whatever_file_it_stands(line: str, kind: str) -> None:
    assert [(one.line, one.kind) for one in leaks_in("x.pem", f"first\n{line}\n")] == [(2, kind)]


@pytest.mark.parametrize(
    "line",
    [
        "192.0.2.7 198.51.100.1 203.0.113.255 127.0.0.1 0.0.0.0 255.255.255.0 224.0.0.1",
        "2001:db8::1 ::1 :: ff02::1 items[::2] std::vector 12:30:45 a::b",
        "version 1.2.3.4, section 2.1.3.2, object 2.5.29.15",
        "ether 00:00:5e:00:53:01 ff:ff:ff:ff:ff:ff, cd /home" + "/user/work",
        "password: mail-password-reference, token_length_max = 128, secret = aaaaaaaaaaaaaaaaaaaa1",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "-----BEGIN PUBLIC KEY-----",
    ],
)
def test_what_everybody_has_tells_nothing(line: str) -> None:
    assert list(leaks_in("x", line)) == []


def test_every_tracked_file_is_read_whatever_its_name_and_others_are_not(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    for name in ("key", "a.sh", "b.pem", "untracked"):
        (tmp_path / name).write_text(f"\n{HEADER}\n")
    subprocess.run(["git", "-C", str(tmp_path), "add", "key", "a.sh", "b.pem"], check=True)

    assert [str(one) for one in leaks_below(tmp_path)] == [
        "a.sh:2: private-key", "b.pem:2: private-key", "key:2: private-key",
    ]  # fmt: skip


def test_what_is_excused_is_left_out_and_an_excuse_for_nothing_is_a_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key").write_text(HEADER)
    lines = ["key private-key  # made up", "", "gone ipv4-address"]

    assert list(unexcused(leaks_below(tmp_path), lines)) == [
        "nothing is left to excuse by `gone ipv4-address`"
    ]
    assert validate(["secret-topology", str(tmp_path)]) == EXIT_FAILED
    assert capsys.readouterr().err == "key:1: private-key\n"
    excused = tmp_path.with_name("excused")
    excused.write_text(lines[0])
    assert validate(["secret-topology", str(tmp_path), "--excused", str(excused)]) == EXIT_OK
    assert capsys.readouterr().out == "secret_topology_ok\n"
