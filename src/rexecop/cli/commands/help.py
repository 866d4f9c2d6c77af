"""`rexecop help`: help on one command, or `help all`."""

from __future__ import annotations

import click

from rexecop.cli.parsing import VerbCommand, verb_unknown
from rexecop.cli.render import emit
from rexecop.cli.table import ALIASES, BY_NAME, ENTRIES


@click.command(cls=VerbCommand, name="help")
@click.argument("words", nargs=-1, metavar="[COMMAND | all]")
@click.pass_context
def command(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Print help: the four groups, everything (`all`), or one command."""
    top = ctx.find_root()
    if words == ("all",):
        emit(every_command())
        return
    found: click.Command = top.command
    here = top
    for word in words:
        below = found.get_command(here, word) if isinstance(found, click.Group) else None
        if below is None:
            known = found.list_commands(here) if isinstance(found, click.Group) else []
            raise verb_unknown(word, known, here.command_path)
        here = click.Context(below, info_name=word, parent=here)
        found = below
    emit(f"{found.get_help(here)}\n")


def every_command() -> str:
    """Return one line per command, then the names that mean another."""
    lines = [f"  {entry.name:<12}{entry.summary}" for entry in sorted(ENTRIES, key=lambda e: e.name)]
    other = [f"  {name:<15}{BY_NAME[meant].name}" for name, meant in ALIASES.items()]
    return "\n".join(["Commands:", *lines, "", "Other names:", *other, ""])
