"""One command over SSH: started once, watched, and ended with its tree when its time is up."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import Final

import asyncssh

from rexecop.lanes.errors import ClearanceRefused, RequestRefused, Unreachable
from rexecop.lanes.exchange import MESSAGE_LENGTH_MAX, measured, without_answer
from rexecop.lanes.failures import Failure, describe
from rexecop.lanes.messages.ssh import Command
from rexecop.lanes.port import Chunk, LaneEvent, LaneResult
from rexecop.lanes.ssh import Work
from rexecop.lanes.ssh_connections import Connections, Link
from rexecop.lanes.ssh_remote import Hello, command_line, killer_line
from rexecop.lanes.ssh_session import Output, RemoteLine, Session
from rexecop.proof.call import Call, Terminal, call_digest
from rexecop.proof.canonical import Json, digest_of
from rexecop.proof.vocabulary import Effect, Ended

# After a refused session: a server counts one that ended for a moment longer, and nothing was sent yet.
PAUSES_SECONDS: Final = (0.01, 0.03, 0.1, 0.3)
OPEN_SECONDS: Final = 10.0  # For a session on a connection that is there.
DRAIN_SECONDS: Final = 2.0  # For output after the end of its program; what holds it longer was left behind.
KILL_SECONDS: Final = 5.0  # For ending a tree, beside its grace.
WINDOW_BYTES: Final = 1 << 20  # What the other side may send before it must wait for us.
TERMINAL: Final = "vt100"
END_OF_INPUT: Final = b"\x04"  # Ctrl-D: how input ends on a terminal.
NOT_EXECUTABLE: Final = 126  # What a shell answers for a program it may not run, or does not find.
NOT_FOUND: Final = 127
SIGNAL_BASE: Final = 128  # How a shell tells a death by signal; a program may exit like that too.
SIGNAL_MAX: Final = 64


async def run_command(work: Work, connections: Connections) -> AsyncGenerator[LaneEvent]:
    """Make the call of `work`; yield its output, last its result.

    Raises:
        ClearanceRefused: from the clearance; the host was told nothing.
    """
    assert work.message.command is not None
    run = _Run(work, work.message.command)
    try:
        async with AsyncExitStack() as stack:
            link = await run.begin(connections, stack)
            async with aclosing(run.events(link)) as events:
                async for event in events:
                    yield event
            return
    except ClearanceRefused:
        raise
    except RequestRefused as error:
        yield not_made(work.call, error)


def not_made(call: Call, error: RequestRefused) -> LaneResult:
    """Return the result of a call that never got to its host; what we refused ourselves is a refusal."""
    ours = error.failure is Failure.HOST_KEY_MISMATCH or not isinstance(error, Unreachable)
    return LaneResult(
        ended=Ended.REFUSED if ours else without_answer(call, sent=False),
        duration_ms=0,
        measured=measured({}, "not-executed"),
        failure=error.failure,
        message=error.message[:MESSAGE_LENGTH_MAX],
    )


def mark_of(call: Call) -> str:
    """Return a name for one call being made that no other call has."""
    here = f"{os.getpid()} {time.monotonic_ns()} {call_digest(call)}"
    return digest_of(here.encode()).removeprefix("sha256:")[:32]


class _Run:
    def __init__(self, work: Work, command: Command) -> None:
        self._work = work
        self._command = command
        self._mark = mark_of(work.call)
        self._facts: dict[str, Json] = {}
        self._happened = asyncio.Event()
        self._session = self._new_session()
        self._started = 0.0
        self._events = 0
        self._late: list[Chunk] = []
        self._settled = False  # Nothing of the call is left that the lane knows of.

    def _new_session(self) -> Session:
        limits, secrets = self._work.limits, self._work.secrets
        # On a terminal both streams are one, and the wrapper speaks there too.
        speaks = self._command.wrapped
        terminal = self._command.columns > 0
        out = Output("stdout", limits, secrets, self._mark if speaks and terminal else None)
        err = Output("stderr", limits, secrets, self._mark if speaks and not terminal else None)
        return Session(out, err, self._cleared, self._happened.set)

    def _cleared(self) -> None:
        self._work.clearance()
        self._started = time.monotonic()

    async def begin(self, connections: Connections, stack: AsyncExitStack) -> Link:
        """Start the command and return its connection, held by `stack`; one found broken is replaced once.

        Raises:
            ClearanceRefused, RequestRefused: the command was not started.
        """
        message, pauses, renewed = self._work.message, iter(PAUSES_SECONDS), False
        link = await stack.enter_async_context(connections.link(message.route, message.sessions))
        while True:
            self._facts = {**link.facts, "grade": "shape", "read_by": "login shell"}
            try:
                await self._start(link)
                return link
            except (asyncssh.Error, OSError) as error:
                refused = isinstance(error, asyncssh.ChannelOpenError) and not link.broken
                if self._started and not refused:
                    # From here on it may have happened; only a plain no of the host says that it did not.
                    self._session.end()
                    return link
                if self._started:
                    raise Unreachable(Failure.UNSUPPORTED, f"the host refused it: {error}") from None
                pause = next(pauses, None) if refused else None
                if pause is None and (renewed or not link.broken):
                    failure = Failure.TRANSIENT_CONNECTOR_ERROR
                    raise Unreachable(failure, f"no session on the connection: {error}") from None
            if pause is not None:
                await asyncio.sleep(pause)
            else:
                renewed = True
                await stack.aclose()
                link = await stack.enter_async_context(connections.link(message.route, message.sessions))
            self._session = self._new_session()

    async def _start(self, link: Link) -> None:
        command, session = self._command, self._session
        size = Terminal(rows=command.rows, columns=command.columns)
        if self._work.seat is not None:
            size = self._work.seat.size or size
        line = command_line(command, self._mark, self._work.limits)
        loop = asyncio.get_running_loop()
        making = asyncio.create_task(
            link.connection.create_session(
                lambda: session,
                line,
                encoding=None,
                window=WINDOW_BYTES,
                request_pty="force" if command.columns else False,
                term_type=TERMINAL,
                term_size=(size.columns, size.rows),
            )
        )
        making.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            async with asyncio.timeout(OPEN_SECONDS) as limit:
                session.on_clear = lambda: limit.reschedule(loop.time() + self._work.limits.timeout_ms / 1000)
                await asyncio.shield(making)
        except TimeoutError:
            session.given_up = not self._started
            if not self._started:
                raise
            return  # Its time is up, which is seen next.
        except asyncio.CancelledError:
            session.given_up = not self._started
            if self._started:
                await self._end_tree(link)
                making.cancel()
            raise
        if not command.wrapped:
            await self._give_input()

    async def _give_input(self) -> None:
        """Write the input of the command, or have the person who is at its keys type it."""
        channel = self._session.channel
        if channel is None or channel.is_closing():
            return
        if self._work.seat is not None:
            await self._work.seat.sit(RemoteLine(channel))
            return
        if self._command.stdin:
            channel.write(self._command.stdin.encode())
        if self._command.columns:
            channel.write(END_OF_INPUT)
        else:
            channel.write_eof()

    async def events(self, link: Link) -> AsyncGenerator[LaneEvent]:
        """Yield the output of the command, last its result; what still runs when this ends is ended."""
        reason: Failure | None = None
        held = False  # The program ended, and something it left behind holds its output.
        session, spoken = self._session, not self._command.wrapped
        until = self._started + self._work.limits.timeout_ms / 1000
        try:
            while not session.over and reason is None:
                self._happened.clear()
                for chunk in self._chunks():
                    yield chunk
                if not spoken and session.hello is not None:
                    spoken = True
                    await self._give_input()
                if session.flooded:
                    reason = Failure.OUTPUT_LIMIT
                elif session.answered and not session.over:
                    until = min(until, time.monotonic() + DRAIN_SECONDS)
                if reason is None and not await self._within(until):
                    reason, held = Failure.TIMEOUT, session.answered
            if reason is not None:
                await self._end_tree(link)
                self._settled = True
            for chunk in (*self._late, *self._chunks()):
                yield chunk
            self._settled = True
            yield self._result(None if held else reason)
        finally:
            if self._work.seat is not None:
                self._work.seat.leave()
            if not self._settled:
                await self._end_tree(link)
            if session.channel is not None:
                session.channel.abort()

    async def _within(self, until: float) -> bool:
        """Wait until something happens; return False when it did not `until` then."""
        if self._happened.is_set():
            return True
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await self._happened.wait()
        except TimeoutError:
            return False
        return True

    async def _end_tree(self, link: Link) -> None:
        """End what the command started, and say how much of it is left, as far as that can be known."""
        session, limits = self._session, self._work.limits
        self._facts["left"] = "unknown"
        try:
            if session.hello is None and not session.over and session.channel is not None:
                # No tree is known; a server may signal what it started, and does not say whether it did.
                session.channel.send_signal("KILL")
            if self._command.wrapped:
                async with asyncio.timeout(limits.grace_ms / 1000 + KILL_SECONDS):
                    line = killer_line(self._mark, session.hello, limits)
                    said = await link.connection.run(line, encoding=None, stdin=asyncssh.DEVNULL)
                self._facts["left"] = int(said.stdout or b"")
            await self._drain(DRAIN_SECONDS)
        except (asyncssh.Error, OSError, ValueError):
            return  # The watch on the other side ends it in time.

    async def _drain(self, seconds: float) -> None:
        """Take what still comes, so that a full channel does not keep the session from its end."""
        until = time.monotonic() + seconds
        while not self._session.over and await self._within(until):
            self._happened.clear()
            self._late += self._chunks()

    def _chunks(self) -> Iterator[Chunk]:
        for name, data in self._session.take():
            if self._work.seat is not None:
                self._work.seat.show(data)
            yield Chunk(n=self._events, stream=name, data=data)
            self._events += 1

    def _result(self, reason: Failure | None) -> LaneResult:
        session = self._session
        hello = session.hello
        self._facts["tree"] = hello.tree if hello is not None else "none"
        end = self._end(reason, hello)
        return replace(
            end,
            duration_ms=int((time.monotonic() - self._started) * 1000),
            measured=measured(self._facts, "remote-watch" if hello is not None else "none"),
            stdout=bytes(session.out.kept),
            stderr=bytes(session.err.kept),
            stdout_bytes=session.out.raw_bytes,
            stderr_bytes=session.err.raw_bytes,
            redactions=session.out.redactions + session.err.redactions,
        )

    def _end(self, reason: Failure | None, hello: Hello | None) -> LaneResult:
        session, status = self._session, self._session.status
        if reason is not None:
            return self._ended(reason, describe(reason))
        if not session.answered:
            return self._ended(*_UNANSWERED[self._work.call.effect is Effect.READ])
        if self._command.wrapped and hello is None:
            what = "the host did not run the call's wrapper; say `remote: plain` if it runs no POSIX shell"
            return self._ended(Failure.UNSUPPORTED, what)
        if hello is not None and hello.tree == "cwd":
            self._facts["tree"] = "none"
            return self._answered(Failure.NOT_FOUND, f"folder `{self._command.cwd:.80}` cannot be entered")
        if status is None:
            return self._ended(Failure.KILLED, f"the program was ended by signal {session.signal}")
        if status == 0:
            return self._answered(None, None)
        failure = {NOT_FOUND: Failure.NOT_FOUND, NOT_EXECUTABLE: Failure.PERMISSION_DENIED}.get(status)
        if failure is not None:
            return self._answered(failure, f"{describe(failure)} (status {status})")
        number = status - SIGNAL_BASE
        if self._command.wrapped and 0 < number <= SIGNAL_MAX:
            what = f"the program was ended by signal {number}, or exited with {status}, which looks the same"
            return self._ended(Failure.KILLED, what)
        return self._answered(Failure.NONZERO_EXIT, f"the program ended with status {status}")

    def _answered(self, failure: Failure | None, message: str | None) -> LaneResult:
        return self._as(Ended.OK if failure is None else Ended.FAILED, failure, message)

    def _ended(self, failure: Failure, message: str) -> LaneResult:
        return self._as(without_answer(self._work.call, sent=True), failure, message)

    def _as(self, ended: Ended, failure: Failure | None, message: str | None) -> LaneResult:
        return LaneResult(
            ended=ended,
            duration_ms=0,
            measured=measured({}, ""),
            failure=failure,
            message=message,
            status=self._session.status,
            signal=self._session.signal,
        )


_UNANSWERED: Final = {
    True: (Failure.TRANSIENT_CONNECTOR_ERROR, "the connection broke before the program had ended"),
    False: (Failure.UNKNOWN_OUTCOME, "the connection broke before the program had ended"),
}
