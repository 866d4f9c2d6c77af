"""Sitting at a recorded session from the command line, and looking on at one."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from rexecop.cli.driving import report
from rexecop.cli.errors import ConfirmationNeeded
from rexecop.cli.exits import Exit
from rexecop.cli.pages import view_exit
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.instance import Instance
    from rexecop.app.views import OperationView


def sit_at(session: Session, operation: str) -> int:
    """Run the operation with whoever is at this terminal at the keys of its program.

    Raises:
        ConfirmationNeeded: nobody is at a terminal. SessionUnknown: see `app.sitting.sit`.
    """
    from rexecop.app.sitting import sit

    keys, screen = sys.stdin.fileno(), sys.stdout.fileno()
    if not (os.isatty(keys) and os.isatty(screen)):
        raise ConfirmationNeeded("a session needs a person at a terminal", next_steps=("rexecop show @",))

    async def work(instance: Instance) -> OperationView:
        found = instance.resolve(operation)
        sit(instance, found, keys, screen)
        number = instance.status(found).number
        session.note(f"recorded: everything shown is kept; `rexecop terminal --join {number}` looks on")
        with _raw(keys):
            return await instance.start(found)

    view = session.drive(work)
    report(session, view)
    return view_exit(view)


def look_on(session: Session, operation: str) -> int:
    """Show what the session of the operation puts out, until it ends or somebody leaves by Ctrl-C.

    Raises:
        SessionUnknown: it does not run here.
    """
    from rexecop.app.sitting import join

    def show(data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    with session.reading() as reading:
        number = reading.status(operation).number
    joined = partial(session.note, "looking on; Ctrl-C leaves")
    asyncio.run(join(session.settings.root, number, show, joined))
    return Exit.DONE


@contextmanager
def _raw(keys: int) -> Iterator[None]:
    """Pass every key on as it is, Ctrl-C too; the terminal is as before afterwards."""
    import termios
    import tty

    before = termios.tcgetattr(keys)
    tty.setraw(keys)
    try:
        yield
    finally:
        termios.tcsetattr(keys, termios.TCSADRAIN, before)
