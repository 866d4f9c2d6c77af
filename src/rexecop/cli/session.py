"""One run of the command line: what was typed, the settings, and how answers leave."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from rexecop.cli.errors import ConfirmationNeeded, Declined, FolderMissing
from rexecop.cli.render import Page, as_json, as_yaml, emit, safe
from rexecop.proof.errors import RexecopError

if TYPE_CHECKING:
    from rexecop.app.instance import Instance
    from rexecop.app.reading import Reading
    from rexecop.app.settings import Settings, Value
    from rexecop.proof.verify.trusted import TrustedKeys

T = TypeVar("T")


class Session:
    """Settings, the instance, answers and questions for one command."""

    def __init__(self) -> None:
        self.flags: dict[str, Value] = {}
        self.environ: Mapping[str, str] = os.environ

    @cached_property
    def settings(self) -> Settings:
        """The settings in force.

        Raises:
            SettingsError: a settings file or a value is not usable.
            FolderMissing: the current folder is gone.
        """
        from rexecop.app.settings import load_settings

        try:
            here = Path.cwd()
        except OSError as error:
            raise FolderMissing("the current folder does not exist any more", next_steps=("cd",)) from error
        found = load_settings(self.flags, self.environ, here, Path(os.path.expanduser("~")))
        if found.storage == "file" and not found.quiet:
            self.note("storage `file` is the default store: one SQLite file in the root")
        return found

    @contextmanager
    def instance(self) -> Iterator[Instance]:
        """The instance of the root in force, closed at the end."""
        from rexecop.app.build import open_instance

        with open_instance(self.settings) as instance:
            yield instance
        for reason in instance.unpublished:
            self.note(f"the newest checkpoint was not published: {reason}")

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """The root's ledger, for commands that only look."""
        from rexecop.app.reading import open_reading

        with open_reading(self.settings) as reading:
            yield reading

    def trusted(self, folder: str | None) -> TrustedKeys:
        """The keys in `folder`, else those of the root in force if there is one."""
        from rexecop.app.verifying import trusted_keys

        root = self.settings.root
        return trusted_keys(None if folder is None else Path(folder), root if root.is_dir() else None)

    @contextmanager
    def counting(self, done: str, what: str = "records") -> Iterator[Callable[[int, int], None]]:
        """What hears how many of `what`, and of how many, are `done`; a terminal shows it."""
        if not self.at_terminal():
            yield lambda count, total: None
            return
        from rich.console import Console

        console = Console(stderr=True, no_color=not self.settings.color, highlight=False, markup=False)
        with console.status("") as shown:
            yield lambda count, total: shown.update(f"{count:,} of {total:,} {what} {done}")

    def drive(self, work: Callable[[Instance], Awaitable[T]], *, begins: bool = False) -> T:
        """Open the instance and run `work` with it to its end.

        A verb that `begins` something makes the default root where there is none, and says so.
        """
        import asyncio

        from rexecop.app.build import ensure_root

        async def run() -> T:
            made = await ensure_root(self.settings) if begins else None
            if made is not None:
                self.note(f"made a runtime root at `{made.root}`; `rexecop init` makes one with an example")
            with self.instance() as instance:
                return await work(instance)

        return asyncio.run(run())

    def answer(self, value: object, draw: Callable[[Page], None], quiet: str = "") -> None:
        """Print `value` in the format asked for; `draw` makes the table, `quiet` is all `--quiet` prints."""
        output = self.settings.output
        if output == "json":
            emit(as_json(value))
        elif output == "yaml":
            emit(as_yaml(value))
        elif self.settings.quiet:
            emit("".join(f"{safe(line)}\n" for line in quiet.splitlines()))
        else:
            page = Page(colour=self.colour(sys.stdout), width=self.width())
            draw(page)
            emit(page.text())

    def note(self, message: str) -> None:
        """Say something beside the answer, on stderr."""
        emit(f"rexecop: {safe(message)}\n", sys.stderr)

    def show(self, text: str) -> None:
        """Print `text` for the person who is asked next: on stderr, so that stdout stays the answer."""
        emit(text if text.endswith("\n") else f"{text}\n", sys.stderr)

    def require_answers(self, *, yes: bool) -> None:
        """Return only if a question can be answered, or was beforehand: asked for before anything is done.

        Raises:
            ConfirmationNeeded: nobody is at a terminal.
        """
        if not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise ConfirmationNeeded("it asks before it acts and there is no terminal to ask on; add `--yes`")

    def confirm(self, question: str, *, yes: bool) -> None:
        """Return only if the answer to `question` is yes; `yes` answers it beforehand.

        Raises:
            ConfirmationNeeded: nobody is at a terminal.
            Declined: the answer is no.
        """
        if yes:
            return
        self.require_answers(yes=yes)
        if not click.confirm(question, default=False, err=True):
            raise Declined("the answer was no; nothing was done")

    def at_terminal(self) -> bool:
        """Return whether a person watches: progress is shown then and only then."""
        return sys.stderr.isatty() and not self.settings.quiet and self.settings.output == "table"

    def colour(self, stream: object) -> bool:
        """Return whether `stream` takes colour."""
        return self.settings.color and bool(getattr(stream, "isatty", lambda: False)())

    def width(self) -> int | None:
        """Return the columns of the terminal; None where nothing needs to fit."""
        columns = self.environ.get("COLUMNS", "")
        if columns.isascii() and columns.isdigit() and 0 < len(columns) <= 4:
            return max(40, int(columns))
        try:
            return max(40, os.get_terminal_size(sys.stdout.fileno()).columns)
        except (OSError, ValueError, AttributeError):  # No terminal; closed; never open.
            return None

    def forget_settings(self) -> None:
        """Read the settings anew when they are asked for next."""
        self.__dict__.pop("settings", None)

    def wants_json(self, words: list[str]) -> bool:
        """Return whether errors leave as JSON, even when the settings are what is wrong."""
        typed = "--json" in words or "--output=json" in words
        typed = typed or any(pair == ("--output", "json") for pair in pairwise(words))
        if typed:
            return True
        try:
            return self.settings.output == "json"
        except RexecopError:
            return self.environ.get("REXECOP_OUTPUT") == "json"
