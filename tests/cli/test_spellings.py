"""What operators type for another runner about reactions and triggers means the same, or says what does."""

from __future__ import annotations

import io
import json
import sys

import click
import pytest

from rexecop.app.triggering import AutoReact, read_request
from rexecop.cli.main import run
from rexecop.cli.parsing import program
from rexecop.cli.table import SPELLINGS

# Every command and option of the area, as the seed's help has them.
COMMANDS: dict[str, tuple[str, ...]] = {
    "reaction-plan": (
        *("--profile", "--env", "--observation", "--operation", "--target", "--mode"),
        *("--depth", "--reaction-count", "--visited-rule-digest"),
    ),
    "reaction-start": ("--reaction",),
    "reaction-replay": ("--reaction",),
    "reaction explain": ("--reaction",),
    "reaction-proposal-validate": ("--profile", "--proposal"),
    "reaction-proposal-review": ("--profile", "--proposal"),
    "reaction-proposal-submit": ("--profile", "--proposal", "--decision", "--reviewer", "--reason"),
    "trigger": ("--env", "--profile", "--intent", "--target", "--mode", "--auto-start", "--auto-react"),
    "plan": ("--profile", "--env", "--intent", "--target", "--mode", "--auto-react"),
    "ops": (),
    "escalate": (),
    "dead-letter list": (),
    "dead-letter show": (),
}


def found(words: str) -> click.Command:
    """Return the command that `words` lead to."""
    command: click.Command = program
    typed, ctx = words.split(), click.Context(program, info_name="rexecop")
    while typed:
        assert isinstance(command, click.Group)
        _, below, typed = command.resolve_command(ctx, typed)
        assert below is not None
        command, ctx = below, click.Context(below, info_name=below.name, parent=ctx)
    return command


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_and_option_of_the_seed_is_taken(words: str) -> None:
    known = {name for param in found(words).params for name in param.opts}

    assert set(COMMANDS[words]) <= known


@pytest.mark.parametrize("words", SPELLINGS)
def test_a_spelling_is_the_command_it_stands_for(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert found(words) is found(SPELLINGS[words])
    assert run([*words.split(), "--help"]) == 0
    assert f"Usage: rexecop {SPELLINGS[words]}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["plan", "--intent", "i", "--target", "t", "--auto-react", "plan_only"], "trigger --auto-react"),
        (["trigger", "--intent", "i", "--auto-react", "run"], "plan_only"),
        (["reaction-plan", "--operation", "1", "--depth", "-1"], "--depth"),
        (["reaction-plan", "--operation", "1", "--env", "e", "--visited-rule-digest", "x"], "sha256:"),
        (["reaction", "watch"], "reaction-"),
        (["reaction-proposal-accept"], "reaction-proposal"),
    ],
)
def test_what_has_no_meaning_here_is_one_line_that_names_what_has(
    words: list[str], names: str, capsys: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    assert run(words) == 2

    said = capsys.readouterr().err
    assert names in said and "Traceback" not in said and said.startswith("rexecop: error[")


def test_a_trigger_in_json_says_what_follows_in_the_seeds_words() -> None:
    rest = '"profile":"a","env":"e","intent":"i","target":"t"'

    assert read_request(f'{{{rest},"auto_react":"plan_only"}}'.encode()).auto_react is AutoReact.PLAN_ONLY
    assert read_request(f'{{{rest},"auto_react":null}}'.encode()).auto_react is None


@pytest.mark.parametrize("word", ['"run"', "true", "1", '""'])
def test_a_trigger_that_asks_for_more_than_a_plan_is_refused(
    word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f'{{"profile":"a","env":"e","intent":"i","target":"t","auto_react":{word}}}'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    assert run(["trigger", "--json"]) == 2
    assert "auto_react" in json.loads(capsys.readouterr().err)["message"]
