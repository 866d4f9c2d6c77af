"""Whatever is typed: one line, a code, the next command, never a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.cli.exits import STATE_EXITS, Exit
from rexecop.cli.failures import CODE_EXITS, DAMAGE_CODES, as_known, exit_of
from rexecop.cli.main import run
from rexecop.cli.reference import error_codes
from rexecop.proof.errors import NodeMissing, RexecopError
from rexecop.proof.vocabulary import State
from rexecop.store.errors import StoreDamaged
from tests.cli.conftest import Rexecop
from tests.cli.fake import FakeInstance

HOSTILE = (
    "../plans/1",
    "/etc/passwd",
    "op_" + "a" * 10_000,
    "-1",
    "0",
    "@@",
    "1; rm -rf x",
    "\x1b[2J",
    "\udcff\udcfe",
    "op_\u202e",
    " ",
    "",
)


@pytest.mark.parametrize("kind", [NodeMissing, StoreDamaged])
def test_damage_met_by_any_command_leads_to_what_mends_it(kind: type[RexecopError]) -> None:
    assert kind.code in DAMAGE_CODES
    assert as_known(kind("gone")).next_steps == ("rexecop recover --full",)
    assert as_known(kind("gone", next_steps=("other",))).next_steps == ("other",)


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_what_names_no_operation_is_refused_in_one_line_before_anything_else(
    rexecop: Rexecop, fake: FakeInstance, name: str
) -> None:
    ended = rexecop("status", "--operation", name)

    first, *rest = ended.err.splitlines()
    assert ended.code == 2 and ended.out == ""
    assert first.startswith("rexecop: error[operation-name-bad]: ") and len(first) < 200
    assert rest == ["  try: rexecop list"]
    assert "\x1b" not in ended.err


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("plna",), "verb-unknown", "did you mean `plan`"),
        (("keys", "nwe"), "verb-unknown", "did you mean `new`"),
        (("frobnicate" * 1000,), "verb-unknown", "is no command"),
        (("status",), "usage", "no operation is named"),
        (("status", "1", "--operation", "2"), "usage", "two operations"),
        (("list", "--limit", "many"), "usage", "--limit"),
        (("list", "--limit", "0"), "usage", "--limit"),
        (("list", "--state", "sleeping"), "usage", "`sleeping`"),
        (("list", "--nope"), "usage", "--nope"),
        (("start", "1", "--timeout", "-1"), "usage", "--timeout"),
        (("list", "--as", ""), "setting-invalid", "--as"),
        (("help", "nothing"), "verb-unknown", "is no command"),
        (("completion", "tcsh"), "usage", "`tcsh`"),
    ],
)
def test_a_slip_is_one_line_with_a_code_and_what_to_try(
    rexecop: Rexecop, fake: FakeInstance, words: tuple[str, ...], code: str, says: str
) -> None:
    ended = rexecop(*words)

    first = ended.err.splitlines()[0]
    assert ended.code == 2 and ended.out == ""
    assert first.startswith(f"rexecop: error[{code}]: ") and says in first
    assert not first.endswith(".") and len(first) < 400


@pytest.mark.parametrize("where", ["before", "after", "variable", "file"])
def test_with_json_an_error_is_one_object_on_stderr(
    rexecop: Rexecop, fake: FakeInstance, alone: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    words: tuple[str, ...] = ("status", "9")
    if where == "before":
        words = ("--json", *words)
    elif where == "after":
        words = (*words, "--output", "json")
    elif where == "variable":
        monkeypatch.setenv("REXECOP_OUTPUT", "json")
    else:
        (alone / "rexecop.toml").write_text('output = "json"')

    ended = rexecop(*words)

    assert (ended.code, ended.out) == (2, "")
    found = json.loads(ended.err)
    assert list(found) == ["code", "message", "facts", "next"]
    assert found["code"] == "operation-unknown" and found["next"] == ["rexecop list"]


def test_a_refusal_by_the_kernel_keeps_its_code(rexecop: Rexecop, fake: FakeInstance) -> None:
    ended = rexecop("approve", "2", "--key", "own.key", "--yes", "--quiet")

    assert ended.err == "rexecop: error[self-approval]: `alice` asked for this and cannot approve it\n"


def test_what_nobody_expected_is_one_line_and_debug_says_where(
    rexecop: Rexecop, fake: FakeInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeInstance, "check", lambda *_, **__: 1 // 0)
    plain = rexecop("doctor")
    monkeypatch.setenv("REXECOP_DEBUG", "1")
    full = rexecop("doctor")

    assert plain.code == full.code == Exit.FAILED
    assert plain.err.startswith("rexecop: error[internal-error]: ") and "Traceback" not in plain.err
    assert "Traceback" in full.err and "ZeroDivisionError" in full.err


def test_control_c_ends_with_130(
    rexecop: Rexecop, fake: FakeInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeInstance, "check", interrupted)
    ended = rexecop("doctor")

    assert ended.code == 130 and "error[interrupted]" in ended.err


def test_a_folder_that_is_gone_is_one_clear_line(rexecop: Rexecop, fake: FakeInstance, alone: Path) -> None:
    alone.rmdir()

    assert "error[folder-missing]" in rexecop("doctor").err


@given(st.lists(st.text(max_size=12), max_size=5))
def test_no_command_line_whatever_ends_in_a_traceback(words: list[str]) -> None:
    codes = {int(code) for code in Exit}

    assert run(["status", *words]) in codes
    assert run(["list", "--limit", *words]) in codes


def test_a_reader_that_goes_away_is_no_error(alone: Path) -> None:
    piped = subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -m rexecop help all | true; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert (piped.stdout, piped.stderr) == ("0\n", "")


def test_every_state_has_an_exit_code() -> None:
    assert set(STATE_EXITS) == {state.value for state in State}


def test_every_code_with_an_exit_of_its_own_exists() -> None:
    trees = {row.code for row in error_codes()}

    assert set(CODE_EXITS) - trees == set()


def test_an_error_without_an_exit_of_its_own_takes_that_of_its_tree() -> None:
    exits = {row.code: row.exit for row in error_codes()}

    assert exits["self-approval"] is Exit.DENIED
    assert exits["approvals-missing"] is Exit.NEEDS_APPROVAL
    assert exits["store-missing"] is Exit.UNAVAILABLE
    assert exits["usage"] is Exit.USAGE
    assert exit_of(RexecopError("?")) is Exit.FAILED
