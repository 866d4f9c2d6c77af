"""The one top-level handler: every way a command can end becomes an exit code and at most one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final, TextIO

import click

from rexecop.cli.exits import Exit
from rexecop.cli.parsing import program
from rexecop.cli.render import emit, error_text
from rexecop.cli.session import Session

DEBUG: Final = "REXECOP_DEBUG"


def run(words: Sequence[str]) -> int:
    """Run one command line and return its exit code; nothing is raised, and no traceback is printed.

    With `REXECOP_DEBUG=1` what went wrong is printed in full as well.
    """
    for stream in (sys.stdout, sys.stderr):
        _never_fail_on_text(stream)
    session = Session()
    typed = list(words) or ["--help"]
    try:
        return _invoke(typed, session)
    except SystemExit as ended:  # What click leaves with once it has answered a shell's completion.
        return ended.code if isinstance(ended.code, int) else Exit.DONE
    except BaseException as error:  # noqa: BLE001 - the one place where everything ends
        return _ended_badly(error, session, typed)


def _invoke(words: list[str], session: Session) -> int:
    result = program.main(words, prog_name="rexecop", standalone_mode=False, obj=session)
    return int(result) if isinstance(result, int) else Exit.DONE


def _ended_badly(error: BaseException, session: Session, words: list[str]) -> int:
    from rexecop.cli.failures import as_known, exit_of

    if os.environ.get(DEBUG) == "1":
        import traceback

        emit("".join(traceback.format_exception(error)), sys.stderr)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        emit(f"{error.message}\n", sys.stderr)
        return Exit.USAGE
    known = as_known(error)
    emit(error_text(known, as_object=session.wants_json(words)), sys.stderr)
    return exit_of(known)


def _never_fail_on_text(stream: TextIO) -> None:
    """A name that the terminal's encoding lacks is shown escaped."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
