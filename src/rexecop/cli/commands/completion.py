"""`rexecop completion`: a completion script for the shell."""

from __future__ import annotations

import click

from rexecop.cli.parsing import VerbCommand
from rexecop.cli.render import emit

_WHERE = {
    "bash": '# put this into ~/.bashrc:  eval "$(rexecop completion bash)"',
    "zsh": '# put this into ~/.zshrc:  eval "$(rexecop completion zsh)"',
    "fish": "# put this into ~/.config/fish/completions/rexecop.fish",
}


@click.command(cls=VerbCommand, name="completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete commands and options."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    if found is None:
        return
    made = found(ctx.find_root().command, {}, "rexecop", "_REXECOP_COMPLETE")
    # The script alone: click's `source()` first asks the installed bash for its version.
    emit(f"{_WHERE[shell]}\n{made.source_template % made.source_vars()}\n")
