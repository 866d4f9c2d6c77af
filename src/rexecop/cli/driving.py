"""Running an operation from the command line: progress while it runs, then one answer."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, TextIO

import click

from rexecop.app.plain import moment
from rexecop.cli.errors import Interrupted, Usage
from rexecop.cli.exits import Exit
from rexecop.cli.following import LOOK_SECONDS, nap_seconds
from rexecop.cli.operands import takes_operation, takes_reason, takes_waiting
from rexecop.cli.pages import operation_page, view_exit
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.render import as_json, emit, safe
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.instance import Instance
    from rexecop.app.planner import PlanInput
    from rexecop.app.reading import Reading
    from rexecop.app.views import OperationView, OutputView
    from rexecop.app.waiting import Waits

ROOM: Final = "Without room it waits in the queue and ends with 5; `--timeout` keeps its place (9)."
GLANCE_SECONDS: Final = 0.5  # What is over sooner needs no sign that it runs.


def drive(
    session: Session,
    operation: str,
    work: Callable[[Instance, str], Awaitable[OperationView]],
    *,
    watch: bool = False,
) -> int:
    """Run `work` on the operation, print where it stands then, and return its state's exit code."""

    name = operation

    async def run(instance: Instance) -> OperationView:
        nonlocal name
        name = instance.resolve(operation)
        with _ended_by_sigterm():
            return await watched(session, instance, name, work(instance, name), watch=watch)

    try:
        view = session.drive(run)
    except TimeoutError:
        with session.instance() as instance:
            report(session, instance.status(name))
        return Exit.TIMEOUT
    except (KeyboardInterrupt, asyncio.CancelledError) as ended:
        raise _interrupted(session, name) from ended
    report(session, view)
    return view_exit(view)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let one SIGTERM end the work as Ctrl-C does; a second ends the process."""
    loop, me = asyncio.get_running_loop(), asyncio.current_task()

    def heard() -> None:
        loop.remove_signal_handler(signal.SIGTERM)
        if me is not None:
            me.cancel()

    with suppress(NotImplementedError, RuntimeError, ValueError):  # Not everywhere, and in one thread only.
        loop.add_signal_handler(signal.SIGTERM, heard)
    try:
        yield
    finally:
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.remove_signal_handler(signal.SIGTERM)


def _interrupted(session: Session, operation: str) -> Interrupted:
    """Return what there is to say of an operation whose command was ended: whether it still waits."""
    with session.reading() as reading:
        view = reading.status(operation)
    name = f"operation #{view.number}, which is `{view.state}`,"
    if view.place is None:
        words = f"interrupted; {name} does not wait in the queue"
        return Interrupted(words, next_steps=(f"rexecop status {view.number}",))
    out = "pause" if view.state in ("running", "resuming", "retrying") else "queue --leave"
    further = (f"rexecop status {view.number}", f"rexecop {out} {view.number}")
    words = f"interrupted; {name} keeps its place in the queue, and a worker goes on with it"
    return Interrupted(words, next_steps=further[: 1 if view.state == "undoing" else 2])


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
) -> click.Command:
    """Return the command that moves an operation by `work`, and has nothing to wait for."""

    @click.command(cls=VerbCommand, name=name, help=help)
    @takes_operation
    @takes_reason
    @click.pass_obj
    def command(session: Session, operation: str, reason: str | None) -> int:
        drive(session, operation, lambda instance, op: work(instance, op, reason))
        return Exit.DONE

    return command


def ordering(
    name: str,
    help: str,
    work: Callable[[Instance, str, str | None, Waits], Awaitable[OperationView]],
) -> click.Command:
    """Return the command that lets an operation go on by `work`, when there is room for it."""

    @click.command(cls=VerbCommand, name=name, help=f"{help}\n\n{ROOM}")
    @takes_operation
    @takes_reason
    @takes_waiting
    @click.pass_obj
    def command(
        session: Session, operation: str, reason: str | None, timeout: float | None, wait: bool, detach: bool
    ) -> int:
        from rexecop.app.waiting import Waits

        require_one_way(detach=detach, waits=wait or timeout is not None)
        waits = Waits(timeout=timeout, wait=wait, detach=detach)
        return drive(session, operation, lambda instance, op: work(instance, op, reason, waits))

    return command


def require_one_way(*, detach: bool, waits: bool) -> None:
    """Return only if a command is told either to wait or not to.

    Raises:
        Usage: it is told both.
    """
    if detach and waits:
        raise Usage("`--detach` waits for nothing")


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
        if not running.done():
            running.cancel()
            # What it still writes down is written before the instance is closed.
            await asyncio.wait({running})


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
