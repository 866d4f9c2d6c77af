"""Groups and commands of our kind: lazily loaded, with the global options on every level."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Final

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from rexecop.cli.errors import VerbUnknown
from rexecop.cli.session import Session
from rexecop.cli.table import ALIASES, BY_NAME, ENTRIES, GROUPS, SPELLINGS, Entry

WORD_SHOWN_MAX: Final = 40  # A mistyped word is repeated in one line; a pasted file is not.


def _remember(ctx: click.Context, param: click.Parameter, value: str | bool | None) -> None:
    """Keep what was typed for one of the global options, under its setting's name."""
    if ctx.get_parameter_source(param.name) is not ParameterSource.COMMANDLINE:
        return
    if value is not None:
        name, _, fixed = param.name.removeprefix("global_").partition("__")
        ctx.ensure_object(Session).flags[name] = fixed or value


def _no_color(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(Session).flags["color"] = False


def global_options(*, hidden: bool) -> list[click.Option]:
    """Return the options that every command takes, before and after its name."""

    def option(*names: str, help: str, **more: bool) -> click.Option:
        return click.Option(
            names, help=help, hidden=hidden, expose_value=False, callback=_remember, default=None, **more
        )

    formats = click.Option(
        ["--output", "global_output"],
        type=click.Choice(("table", "json", "yaml")),
        help="How results are printed.",
        hidden=hidden,
        expose_value=False,
        callback=_remember,
    )
    no_color = click.Option(
        ["--no-color"],
        is_flag=True,
        help="No colour, not even on a terminal.",
        hidden=hidden,
        expose_value=False,
        callback=_no_color,
    )
    return [
        option("--root", "global_root", help="The runtime root (default `.rexecop`)."),
        option("--storage", "global_storage", help="Where the ledger is (default `sqlite`, in the root)."),
        formats,
        option("--json", "global_output__json", is_flag=True, help="Short for `--output json`."),
        option("--quiet", "-q", "global_quiet", is_flag=True, help="Print an id, or nothing."),
        no_color,
        option("--as", "global_as", help="A label beside the requester; establishes nothing."),
        option("--identity", "global_identity", help="The SSH private key that establishes you."),
    ]


class VerbCommand(click.Command):
    """A command that takes the global options too and shows its example."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        own = super().get_params(ctx)
        taken = {name for param in own for name in param.opts}
        extra = [option for option in global_options(hidden=True) if not taken & set(option.opts)]
        return [*own, *extra]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_example(ctx, formatter, self.epilog)


class VerbGroup(click.Group):
    """A command with commands of its own (`keys new`)."""

    command_class = VerbCommand

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *global_options(hidden=True)]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_example(ctx, formatter, self.epilog)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise verb_unknown(args[0], self.list_commands(ctx), ctx.command_path)
        return super().resolve_command(ctx, args)


class VerbWithMore(VerbGroup):
    """The command `own` with commands below it: a first word that names none of those is its own."""

    def __init__(self, own: click.Command, below: Sequence[click.Command]) -> None:
        super().__init__(name=own.name, help=own.help, commands=below)
        self.own = own

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: object
    ) -> click.Context:
        if args and args[0] in self.commands:
            return super().make_context(info_name, args, parent, **extra)
        return self.own.make_context(info_name, args, parent, **extra)

    def get_help(self, ctx: click.Context) -> str:
        return self.own.get_help(ctx)


class LazyGroup(VerbGroup):
    """The top of the command line. A command's file is imported when it is called, not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [entry.name for entry in ENTRIES]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        for count in (1, 2):
            ours = SPELLINGS.get(" ".join(args[:count]))
            if ours is not None:
                return super().resolve_command(ctx, [*ours.split(), *args[count:]])
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = BY_NAME.get(ALIASES.get(cmd_name, cmd_name))
        if entry is None:
            return None
        command = import_module(entry.module).command
        return command if isinstance(command, click.Command) else None

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*click.Group.get_params(self, ctx), *global_options(hidden=False)]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples stand beside the commands."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        names = [
            CompletionItem(entry.name, help=entry.summary)
            for entry in ENTRIES
            if entry.name.startswith(incomplete)
        ]
        # What click does for options, without loading every command for its summary.
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for group in GROUPS:
            with formatter.section(group.capitalize()):
                for entry in ENTRIES:
                    if entry.group == group:
                        _write_entry(formatter, entry)
        formatter.write_paragraph()
        formatter.write_text("Every other command: rexecop help all. One command: rexecop COMMAND --help.")


def _write_entry(formatter: click.HelpFormatter, entry: Entry) -> None:
    margin = " " * formatter.current_indent
    formatter.write(f"{margin}{entry.name:<10}{entry.summary}\n{margin}{'':<10}  $ {entry.example}\n")


def _write_example(ctx: click.Context, formatter: click.HelpFormatter, own: str | None) -> None:
    entry = _entry_of(ctx)
    with formatter.section("Example"):
        formatter.write_text(own or (entry.example if entry else ""))
    formatter.write_paragraph()
    formatter.write_text("Global options (--json, --root, ...): rexecop --help")


def _entry_of(ctx: click.Context) -> Entry | None:
    words = ctx.command_path.split(" ")
    return BY_NAME.get(ALIASES.get(words[1], words[1])) if len(words) > 1 else None


def verb_unknown(word: str, known: Sequence[str], path: str) -> VerbUnknown:
    """Return the error for `word`, which is none of `known`, with the nearest one that is."""
    from difflib import get_close_matches

    shown = word if len(word) <= WORD_SHOWN_MAX else f"{word[: WORD_SHOWN_MAX - 3]}..."
    near = get_close_matches(word[:WORD_SHOWN_MAX], known, n=1)
    if near:
        return VerbUnknown(
            f"`{shown}` is no command of `{path}`; did you mean `{near[0]}`?",
            next_steps=(f"{path} {near[0]} --help",),
            found=shown,
        )
    return VerbUnknown(f"`{shown}` is no command of `{path}`", next_steps=(f"{path} --help",), found=shown)


@click.command(cls=LazyGroup, name="rexecop")
def program() -> None:
    """Runs operations on real systems under governance, and proves what happened."""
