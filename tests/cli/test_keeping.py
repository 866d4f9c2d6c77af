"""Backup, recovery, erasure and support from the command line: what they say, and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rexecop.cli.exits import Exit
from tests.cli.conftest import Rexecop


@pytest.fixture
def root(rexecop: Rexecop, alone: Path) -> Path:
    assert rexecop("init", "--quiet").code == 0
    return alone / ".rexecop"


def test_a_backup_with_private_keys_says_so_loudly(rexecop: Rexecop, root: Path) -> None:
    quiet = rexecop("backup", "create", "without", "--json")
    loud = rexecop("backup", "create", "with", "--with-keys", "--quiet")

    assert quiet.err == "" and quiet.found["verdict"] == "whole"
    assert "PRIVATE KEYS" in loud.err and loud.out == "with\n"


@pytest.mark.parametrize("content", [b"", b"junk", b"\0" * 2048, b"x" * 512 * 5])
def test_what_is_no_backup_is_refused_as_evidence(rexecop: Rexecop, root: Path, content: bytes) -> None:
    Path("file").write_bytes(content)

    looked = rexecop("backup", "verify", "file", "--json")
    restored = rexecop("backup", "restore", "file", "--root", "new", "--json")
    recovered = rexecop("recover", "--from", "file", "--json")

    assert looked.code == Exit.EVIDENCE and looked.found["verdict"] == "refused" and looked.err == ""
    for ended in (restored, recovered):
        assert ended.code == Exit.EVIDENCE and json.loads(ended.err)["code"] == "backup-refused"
    assert not Path("new").exists()


def test_a_restored_root_is_named_with_what_it_continues(rexecop: Rexecop, root: Path) -> None:
    rexecop("backup", "create", "file", "--with-keys")

    ended = rexecop("backup", "restore", "file", "--root", "new", "--reason", "the disk died", "--json")
    again = rexecop("backup", "restore", "file", "--root", "new", "--json")

    assert ended.code == 0 and (ended.found["epoch"], ended.found["reason"]) == (2, "the disk died")
    assert again.code == Exit.USAGE and json.loads(again.err)["code"] == "restore-refused"
    assert rexecop("doctor", "--root", "new").code == 0


@pytest.mark.parametrize("words", [("--new-epoch",), ("--reason", "x")])
def test_an_epoch_and_its_reason_go_together(rexecop: Rexecop, root: Path, words: tuple[str, ...]) -> None:
    ended = rexecop("recover", *words)

    assert ended.code == Exit.USAGE and "error[usage]" in ended.err


def test_recover_ends_well_where_all_is_said(rexecop: Rexecop, root: Path) -> None:
    ended = rexecop("recover", "--json")

    assert ended.code == 0 and ended.found["damaged"] == [] and ended.found["problem"] is None


def test_support_is_redacted_or_not_given(rexecop: Rexecop, root: Path) -> None:
    refused = rexecop("support", "bundle", "--json")
    made = rexecop("support", "bundle", "--redacted", "--output", "s.zip", "--json")

    assert refused.code == Exit.USAGE and json.loads(refused.err)["code"] == "support-unredacted"
    assert made.code == 0 and Path("s.zip").stat().st_size == made.found["bytes"]


def test_erasing_needs_a_rule_and_a_reason(rexecop: Rexecop, root: Path) -> None:
    for words in (("--rule", "r"), ("--reason", "r")):
        assert rexecop("evidence", "erase", "@", *words).code == Exit.USAGE
