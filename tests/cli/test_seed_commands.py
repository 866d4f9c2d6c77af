"""The commands that pages for the seed write about catalogs, operations and the profile, word for word."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

import pytest

from tecrax.cli import run as tecrax
from tests.cli.conftest import Rexecop

CATALOG: Final = "examples/catalogs/targets.readonly.example.yaml"
BACKUPS: Final = (
    "--profile tecrax --env examples/environments/small-public-unit-proxmox.example.yaml "
    "--intent check_backup_status --target all_critical_vms --mode dry_run"
)

# What is typed in the folder above `examples`, in this order, how it ends, and words of what it says.
COMMANDS: Final = (
    (f"rexecop targets list --catalog {CATALOG}", 0, "this-host +host +tecrax"),
    (f"rexecop targets show this-host --catalog {CATALOG}", 0, "tecrax.host.basic_inventory.v1"),
    (f"rexecop targets show nobody --catalog {CATALOG}", 2, "known: this-host, critical-vms"),
    ("rexecop operations list --profile tecrax", 0, "reboot_guest +change"),
    (f"rexecop operations list --catalog {CATALOG} --target this-host", 0, "check_ntp_health +admission_req"),
    (f"rexecop operations list --catalog {CATALOG} --target this-host", 0, "unsupported_target_kind"),
    ("rexecop operations explain check_ntp_health --profile tecrax", 0, "runbook +docs/time.md"),
    ("rexecop operations explain dance --profile tecrax", 2, "has no operation `dance`"),
    (
        f"rexecop operations unavailable --target this-host --catalog {CATALOG} --intent patch_host",
        0,
        "patch_host +missing_capability",
    ),
    (
        f"rexecop operations unavailable --target critical-vms --catalog {CATALOG}",
        0,
        "missing|unsupported|all",
    ),
    ("rexecop runbook show check_ntp_health --profile tecrax", 0, "# Time"),
    (f"rexecop secrets doctor --catalog {CATALOG}", 0, "ok"),
    (f"rexecop doctor --catalog {CATALOG}", 0, "root +ok"),
    (f"rexecop plan --catalog {CATALOG} --target critical-vms --intent check_backup_status", 0, "approved"),
    (f"rexecop plan {BACKUPS}", 0, "check_backup_status on all_critical_vms"),
    ("rexecop start --operation @", 0, "completed"),
    ("rexecop status --operation @", 0, "completed"),
    ("rexecop validate --operation @", 0, "check_backup_status.all_critical_covered"),
    ("rexecop history --operation @", 0, "receipt/1"),
    ("rexecop receipt show @", 0, "because +completed"),
    ("rexecop evidence show @", 0, "verified"),
    ("rexecop runtime status", 0, "runtime +ok"),
    ("rexecop version", 0, r"rexecop \d"),
    ("tecrax", 0, "the infrastructure profile"),
    ("tecrax status", 0, "check_ntp_health"),
    ("tecrax fixture-review --service demo-web", 0, "fixture:service:demo-web"),
    ("tecrax fixture-review", 0, "tecrax_local_fixture_review"),
    ("tecrax reaction-observation --input none.json --operation op-1 --target this-host", 2, "file-missing"),
)


def test_the_commands_of_the_seed_do_what_its_pages_say(
    rexecop: Rexecop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    assert rexecop("init").code == 0 and rexecop("examples", "copy", ".").code == 0
    for line, code, words in COMMANDS:
        program, *rest = line.split()
        if program == "rexecop":
            ended = rexecop(*rest)
            found, said = int(ended.code), ended.out + ended.err
        else:
            found, streams = tecrax(rest), capsys.readouterr()
            said = streams.out + streams.err
        assert (found, bool(re.search(words, said))) == (code, True), f"{line}\n{said}"


def test_catalogs_answer_programs_in_json(rexecop: Rexecop) -> None:
    assert rexecop("examples", "copy", ".").code == 0

    found = rexecop("--json", "operations", "list", "--catalog", CATALOG, "--target", "this-host")

    statuses = {
        one["operation"]["operation"]: one["applicability"]["status"]
        for one in json.loads(found.out)["operations"]
    }
    assert Path(CATALOG).is_file() and statuses["check_ntp_health"] == "admission_required"
