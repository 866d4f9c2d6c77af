"""Commands over the fake instance: what is asked of it, what is printed, how it ends."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from rexecop.cli.pages import facts_table, validation_page
from rexecop.cli.render import Page
from rexecop.cli.table import ENTRIES
from tests.cli.conftest import Rexecop
from tests.cli.fake import FakeInstance, a_view, operation_id

READING = (
    ("show", "1"),
    ("status", "1"),
    ("history", "1"),
    ("logs", "1"),
    ("list",),
    ("why", "1"),
    ("keys", "list"),
    ("keys", "list", "--allowed-signers"),
    ("receipt", "show", "1"),
    ("evidence", "show", "1"),
    ("evidence", "show", "1", "--record", "1"),
    ("evidence", "show", "1", "--step", "greet"),
    ("log", "verify"),
    ("log", "checkpoint"),
    ("log", "prove", "1", "0"),
    ("log", "consistency", "1", "2"),
    ("log", "consistency", "1"),
    ("log", "publish"),
    ("log", "witness", "request"),
    ("export", "1"),
)


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_every_reading_command_ends_with_nought_and_speaks_all_three_formats(
    rexecop: Rexecop, fake: FakeInstance, words: tuple[str, ...]
) -> None:
    table, as_json, as_yaml = rexecop(*words), rexecop(*words, "--json"), rexecop("--output", "yaml", *words)

    assert (table.code, as_json.code, as_yaml.code) == (0, 0, 0)
    assert table.out and "Traceback" not in table.err
    assert json.loads(as_json.out) == yaml.safe_load(as_yaml.out)


@pytest.mark.parametrize(
    "words",
    [
        w
        for w in READING
        if w[0] in {"show", "status", "history", "logs", "why", "export", "receipt", "evidence"}
    ],
)
def test_json_about_an_operation_names_it(
    rexecop: Rexecop, fake: FakeInstance, words: tuple[str, ...]
) -> None:
    assert rexecop(*words, "--json").found["operation_id"] == operation_id(1)


@pytest.mark.parametrize("name", ["3", "@", operation_id(3), operation_id(3)[:-1] + "3"])
def test_an_operation_goes_by_number_by_at_and_by_id_alone_or_with_the_option(
    rexecop: Rexecop, fake: FakeInstance, name: str
) -> None:
    assert rexecop("status", name, "--json").found["number"] == 3
    assert rexecop("status", "--operation", name, "--json").found["number"] == 3


def test_the_state_becomes_the_exit_code_only_when_asked(rexecop: Rexecop, fake: FakeInstance) -> None:
    assert rexecop("status", "2").code == 0
    assert rexecop("status", "2", "--exit-code").code == 4
    assert rexecop("show", "1", "--exit-code").code == 0


@pytest.mark.parametrize(
    ("state", "code"),
    [("completed", 0), ("failed", 1), ("blocked", 3), ("approved", 5), ("indeterminate", 6)],
)
def test_start_ends_with_the_code_of_the_state_it_reached(
    rexecop: Rexecop, fake: FakeInstance, state: str, code: int
) -> None:
    fake.reached = state

    ended = rexecop("start", "3", "--timeout", "5", "--json")

    assert (ended.code, ended.found["state"]) == (code, state)
    assert fake.calls == [("start", 5.0)]


def test_start_that_runs_out_of_time_says_where_it_stands_and_ends_with_nine(
    rexecop: Rexecop, fake: FakeInstance
) -> None:
    fake.reached = "running"

    ended = rexecop("start", "3", "--timeout", "0.5", "--json")

    assert (ended.code, ended.found["operation_id"]) == (9, operation_id(3))


def test_start_without_the_approval_it_needs_ends_with_four(rexecop: Rexecop, fake: FakeInstance) -> None:
    assert rexecop("start", "2").code == 4


def test_watching_prints_no_record_twice(rexecop: Rexecop, fake: FakeInstance) -> None:
    ended = rexecop("start", "3", "--watch")

    assert ended.code == 0
    assert ended.err == ""


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("pause", "3"), 0),
        (("cancel", "3"), 0),
        (("escalate", "3"), 0),
        (("rollback", "1"), 0),
        (("resume", "1"), 0),
        (("retry", "1"), 1),
    ],
)
def test_what_changes_an_operation_hands_the_reason_on(
    rexecop: Rexecop, fake: FakeInstance, words: tuple[str, ...], code: int
) -> None:
    ended = rexecop(*words, "--reason", "because")

    assert ended.code == code
    assert fake.calls[-1][1] == "because"


def test_an_approval_shows_the_preview_and_is_not_given_without_a_yes(
    rexecop: Rexecop, fake: FakeInstance
) -> None:
    asked = rexecop("approve", "2", "--key", "bob.key")
    given = rexecop("approve", "2", "--key", "bob.key", "--yes", "--reason", "fine", "--json")

    assert asked.code == 2 and "confirmation-needed" in asked.err and "uname -n" in asked.err
    assert given.code == 0 and given.found["state"] == "approved"
    assert fake.calls == [("approve", "fine")]


def test_who_may_not_approve_hears_so_before_anything_is_shown(rexecop: Rexecop, fake: FakeInstance) -> None:
    ended = rexecop("approve", "2", "--key", "own.key", "--yes")

    assert ended.out == "" and "error[self-approval]" in ended.err and "uname -n" not in ended.err
    assert fake.calls == []


def test_kept_output_is_escaped_unless_raw_and_only_of_the_step_and_stream_asked_for(
    rexecop: Rexecop, fake: FakeInstance
) -> None:
    assert rexecop("logs", "1", "--raw").out == "good\tday\n\x1b[2Jcleared\u202e\n"
    streams = rexecop("logs", "1", "--stderr", "--step", "greet", "--json").found["outputs"]
    assert isinstance(streams, list) and [found["stream"] for found in streams] == ["stderr"]
    assert rexecop("logs", "1", "--step", "nothing").code == 2


def test_rules_and_facts_of_several_targets_and_steps_name_them(fake: FakeInstance) -> None:
    one = fake.validate("1")
    rules = tuple(replace(one.rules[0], details={"target": target}) for target in ("here", "there"))
    step = replace(fake.status("1").steps[0], facts={"name": "x" * 999})
    page = Page(colour=False, width=None)
    validation_page(page, replace(one, rules=rules))
    facts_table(page, (step, replace(step, id="again")))

    assert "there" in page.text() and "again" in page.text()
    assert max(map(len, page.text().splitlines())) < 250


def test_a_denial_is_an_answer(rexecop: Rexecop, fake: FakeInstance) -> None:
    ended = rexecop("deny", "--operation", "2", "--agent", "--yes", "--quiet")

    assert (ended.code, ended.out, ended.err) == (0, "blocked\n", "")


@pytest.mark.parametrize("words", [(), ("--key", "a", "--agent")])
def test_an_approval_is_signed_by_exactly_one_key(
    rexecop: Rexecop, fake: FakeInstance, words: tuple[str, ...]
) -> None:
    assert rexecop("approve", "2", "--yes", *words).code == 2
    assert fake.calls == []


def test_reconcile_looks_or_takes_a_persons_word_with_a_reason(rexecop: Rexecop, fake: FakeInstance) -> None:
    assert rexecop("reconcile", "1").code == 2
    assert rexecop("reconcile", "1", "--probe", "--outcome", "happened").code == 2
    assert rexecop("reconcile", "1", "--outcome", "happened").code == 2
    said = ("--outcome", "not-happened", "--reason", "saw it", "--step", "copy")
    assert rexecop("reconcile", "1", *said).code == 0
    assert fake.calls == [("reconcile", (False, False, "saw it", "copy"))]


def test_validate_and_doctor_end_with_one_when_something_is_wrong(
    rexecop: Rexecop, fake: FakeInstance
) -> None:
    assert rexecop("validate", "1").code == 1
    assert rexecop("doctor").code == 1
    assert rexecop("doctor", "--fix").code == 0


def test_export_takes_a_path_and_a_format_word_is_a_format(rexecop: Rexecop, fake: FakeInstance) -> None:
    assert rexecop("export", "1", "--output", "proof.rxb", "--json").found["path"] == "proof.rxb"
    assert rexecop("export", "1", "--output", "json").found["path"] == f"{operation_id(1)}.rxb"
    assert rexecop("export", "1", "--output", "./json", "--quiet").out == "json\n"
    assert [path for _, path in fake.calls] == [Path("proof.rxb"), None, Path("json")]


def test_an_export_that_could_not_be_recorded_says_so(rexecop: Rexecop, fake: FakeInstance) -> None:
    ended = rexecop("export", "1", "--format", "report", "--json")

    assert ended.found["unrecorded"] == "the disk is full" and "no record of this export" in ended.err
    assert "record" not in rexecop("export", "1", "--json").err
    assert rexecop("export", "1", "--format", "leaflet").code == 2


def test_the_bare_envelope_is_all_that_is_printed_when_asked_for(
    rexecop: Rexecop, fake: FakeInstance
) -> None:
    assert rexecop("receipt", "show", "1", "--envelope").found.keys() == {
        "payload",
        "payloadType",
        "signatures",
    }


def test_evidence_is_of_one_record_or_of_one_step_that_there_is(rexecop: Rexecop, fake: FakeInstance) -> None:
    assert rexecop("evidence", "show", "1", "--record", "0", "--step", "greet").code == 2
    assert "no record is about a step" in rexecop("evidence", "show", "1", "--step", "nothing").err


def test_a_list_that_goes_on_says_how(rexecop: Rexecop, fake: FakeInstance) -> None:
    first = rexecop("list", "--limit", "2", "--json").found

    assert first["next_after"] == 2
    second = rexecop("list", "--after", "2", "--json").found
    assert second["next_after"] is None and str(second).count("operation_id") == 1
    assert rexecop("list", "--state", "approved", "--quiet").out == f"{operation_id(3)}\n"


def test_what_a_target_says_cannot_move_the_cursor(rexecop: Rexecop, fake: FakeInstance) -> None:
    fake.views[4] = a_view(4, "failed", reason="\x1b[2Jcleared\u202e", waiting="a\nb")

    for words in (("status", "4"), ("status", "4", "--json")):
        ended = rexecop(*words)
        assert "\x1b" not in ended.out and "\u202e" not in ended.out


def test_every_command_in_the_table_has_help_with_its_example(rexecop: Rexecop) -> None:
    for entry in ENTRIES:
        ended = rexecop(entry.name, "--help")
        assert ended.code == 0, entry.name
        assert "Usage: rexecop" in ended.out and "Example" in ended.out, entry.name


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("2", "--answer", "a"),
        ("2", "--request", "r", "--key", "bob.key"),
        ("--request", "r", "--answer", "a"),
    ],
    ids=" ".join,
)
def test_an_approval_is_about_exactly_one_thing(
    rexecop: Rexecop, fake: FakeInstance, words: tuple[str, ...]
) -> None:
    ended = rexecop("approve", *words)

    assert ended.code == 2 and "name one of" in ended.err and fake.calls == []


def test_a_request_that_is_none_is_refused_without_a_root(rexecop: Rexecop, alone: Path) -> None:
    (alone / "r").write_text("junk")

    ended = rexecop("approve", "--request", "r", "--key", "bob.key", "--yes", "--json")

    assert ended.code == 2 and json.loads(ended.err)["code"] == "request-malformed"
    assert not list(alone.glob("*answer*"))


def test_a_halt_says_who_could_lift_it_before_it_stops_anything(rexecop: Rexecop, alone: Path) -> None:
    assert rexecop("init").code == 0
    entities = alone / ".rexecop" / "policy" / "starter" / "entities.yaml"
    entities.write_text(entities.read_text() + "  zoe: {groups: [approvers]}\n")

    ended = rexecop("halt", "--reason", "odd writes")

    assert ended.code == 0 and "odd writes" in ended.out
    assert "lifting it is for you and `zoe`" in ended.err
    assert "lifting it" not in rexecop("halt").err
    assert rexecop("halt", "--lift", "--scope", "all", "--reason", "seen").out == "nothing is halted\n"
