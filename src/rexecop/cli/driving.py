"""Running an operation from the command line: progress while it runs, then one answer."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, TextIO

import click

from rexecop.cli.exits import Exit
from rexecop.cli.following import LOOK_SECONDS, nap_seconds
from rexecop.cli.operands import takes_operation, takes_reason
from rexecop.cli.pages import operation_page, view_exit
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.render import as_json, emit, moment, safe
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.instance import Instance
    from rexecop.app.planner import PlanInput
    from rexecop.app.reading import Reading
    from rexecop.app.views import OperationView, OutputView

GLANCE_SECONDS: Final = 0.5  # What is over sooner needs no sign that it runs.


def drive(
    session: Session,
    operation: str,
    work: Callable[[Instance, str], Awaitable[OperationView]],
    *,
    watch: bool = False,
) -> int:
    """Run `work` on the operation, print where it stands then, and return its state's exit code."""

    async def run(instance: Instance) -> OperationView:
        found = instance.resolve(operation)
        return await watched(session, instance, found, work(instance, found), watch=watch)

    try:
        view = session.drive(run)
    except TimeoutError:
        with session.instance() as instance:
            report(session, instance.status(operation))
        return Exit.TIMEOUT
    report(session, view)
    return view_exit(view)


def carry_out(session: Session, asks: PlanInput, *, yes: bool, watch: bool) -> OperationView:
    """Plan what is asked for, show it, ask unless `yes`, and run it; what may not run is left as planned."""
    session.require_answers(yes=yes)

    async def work(instance: Instance) -> OperationView:
        view = await instance.plan(asks)
        if view.state != "approved":
            return view
        if not yes:
            session.show(instance.preview(view.operation_id))
        session.confirm(f"run `{view.intent}` on `{view.target}` ({view.mode})?", yes=yes)
        started = instance.start(view.operation_id)
        return await watched(session, instance, view.operation_id, started, watch=watch)

    return session.drive(work, begins=True)


def moving(
    name: str,
    help: str,
    work: Callable[[Instance, str, str | None], Awaitable[OperationView]],
    *,
    ends_by_state: bool,
) -> click.Command:
    """Return the command that moves an operation by `work`; it ends with its state's code, or with 0."""

    @click.command(cls=VerbCommand, name=name, help=help)
    @takes_operation
    @takes_reason
    @click.pass_obj
    def command(session: Session, operation: str, reason: str | None) -> int:
        code = drive(session, operation, lambda instance, op: work(instance, op, reason))
        return code if ends_by_state else Exit.DONE

    return command


async def watched(
    session: Session,
    instance: Instance,
    operation: str,
    work: Awaitable[OperationView],
    *,
    watch: bool,
) -> OperationView:
    """Await `work`; new records are printed meanwhile if `watch`, else a terminal shows that it runs."""
    running = asyncio.ensure_future(work)
    try:
        if watch:
            await _print_records(session, instance, operation, running)
        elif session.at_terminal():
            await _show_progress(session, instance, operation, running)
        return await running
    finally:
        running.cancel()


async def _print_records(
    session: Session, instance: Instance, operation: str, running: asyncio.Future[OperationView]
) -> None:
    """Print every record that is not printed yet, until nothing runs and none is left."""
    show, done = printing(session, instance, operation, sys.stderr, len(instance.history(operation))), False
    nap = LOOK_SECONDS
    while not done:
        await asyncio.wait({running}, timeout=nap)
        done, began = running.done(), time.monotonic()
        show()
        nap = nap_seconds(time.monotonic() - began)  # Whoever works waits for whoever looks.


async def _show_progress(
    session: Session, instance: Instance, operation: str, running: asyncio.Future[OperationView]
) -> None:
    """Say on a terminal which step runs, once it takes longer than a glance."""
    await asyncio.wait({running}, timeout=GLANCE_SECONDS)
    if running.done():
        return
    from rich.console import Console

    from rexecop.app.watching import in_words

    console = Console(stderr=True, no_color=not session.settings.color, highlight=False, markup=False)
    with console.status("") as shown:
        while not running.done():
            began, view = time.monotonic(), instance.status(operation)
            words = in_words(view.progress) if view.progress is not None else ""
            shown.update(safe(f"{view.state}: {words}, {view.current_step_id or ''}"))
            await asyncio.wait({running}, timeout=nap_seconds(time.monotonic() - began))


def printing(
    session: Session, reading: Reading, operation: str, stream: TextIO, seen: int
) -> Callable[[], bool]:
    """Return what prints the records behind the first `seen` that it did not print, and says if one reads.

    One line per record, on `stream`; with `--json` one object per line, on stdout, before the answer.
    """
    as_objects = session.settings.output == "json"

    def show() -> bool:
        nonlocal seen
        new = reading.history(operation, seen)
        seen += len(new)
        words = (f"{moment(one.at)}  {one.kind:<14}{safe(one.summary)}\n" for one in new)
        texts = (as_json(one, indent=None) for one in new) if as_objects else words
        return emit("".join(texts), sys.stdout if as_objects else stream)

    return show


def report(session: Session, view: OperationView) -> None:
    """Print where an operation stands, with the first facts it found."""
    session.answer(view, lambda page: operation_page(page, view), quiet=view.state)


def put_out(outputs: Sequence[OutputView]) -> None:
    """Write each stream to where it came from, as the command itself would have."""
    for output in outputs:
        if output.text:
            emit(output.text, sys.stderr if output.stream == "stderr" else sys.stdout)
