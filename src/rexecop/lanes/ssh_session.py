"""What one session on an SSH connection says: its output, its end, and what its wrapper says between them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import asyncssh

from rexecop.lanes.output import Stream, raw_limit
from rexecop.lanes.port import Clearance
from rexecop.lanes.ssh_remote import HELLO_BYTES_MAX, Hello, find_hello
from rexecop.proof.call import Limits, Terminal

TYPED_BYTES_MAX: Final = 1 << 20  # What waits for a program that reads no keys; more is lost.


class Session(asyncssh.SSHClientSession[bytes]):
    """What the other side says of one command. The clearance is asked between the channel and the command."""

    def __init__(self, out: Output, err: Output, clearance: Clearance, happened: Callable[[], None]) -> None:
        self.out = out
        self.err = err
        self.channel: asyncssh.SSHClientChannel[bytes] | None = None
        self.on_clear: Callable[[], None] = lambda: None
        self.given_up = False
        self.status: int | None = None
        self.signal: int | None = None
        self.answered = False
        self.over = False
        self._clearance = clearance
        self._happened = happened
        self._paused = False

    @property
    def hello(self) -> Hello | None:
        return self.out.hello or self.err.hello

    @property
    def flooded(self) -> bool:
        return self.out.flooded or self.err.flooded

    def take(self) -> Iterator[tuple[str, bytes]]:
        """Yield what may be shown since the last time."""
        for stream in (self.out, self.err):
            for data in stream.take():
                yield stream.name, data
        if self._paused and self.channel is not None and not self.over:
            self._paused = False
            self.channel.resume_reading()

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self.channel = chan
        try:
            if self.given_up:
                raise asyncio.CancelledError  # Nobody waits any more, so nothing is run.
            self._clearance()
        except BaseException:
            chan.abort()
            raise
        self.on_clear()

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        stream = self.err if datatype == asyncssh.EXTENDED_DATA_STDERR else self.out
        stream.put(data)
        if stream.full and not self._paused and self.channel is not None:
            self._paused = True
            self.channel.pause_reading()
        self._happened()

    def exit_status_received(self, status: int) -> None:
        self.status, self.answered = status, True
        self._happened()

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        self.signal, self.answered = _SIGNALS.get(f"SIG{signal}", 0), True
        self._happened()

    def connection_lost(self, exc: Exception | None) -> None:
        self.end()

    def end(self) -> None:
        """Nothing more comes of this command."""
        self.over = True
        self.out.end()
        self.err.end()
        self._happened()


_SIGNALS: Final = {item.name: int(item) for item in signal.Signals}


class Output(Stream):
    """One stream of a command, without what the wrapper (which knows `mark`) says on it."""

    def __init__(self, name: str, limits: Limits, secrets: Sequence[bytes], mark: str | None) -> None:
        super().__init__(name, -1, limits.output_bytes, raw_limit(limits), secrets)
        self.hello: Hello | None = None
        self._mark = mark
        self._before = b""

    def put(self, data: bytes) -> None:
        """Let `data` wait to be taken, unless it is from before the wrapper spoke."""
        if self._mark is None:
            super().put(data)
            return
        self._before += data
        found = find_hello(self._before, self._mark)
        if found is not None or len(self._before) >= HELLO_BYTES_MAX:
            self.hello, rest = found or (None, self._before)
            self._mark = None
            super().put(rest)

    def end(self) -> None:
        """Nothing more comes."""
        if self._mark is not None:
            self._mark = None
            super().put(self._before)
        self.at_end = True


class RemoteLine:
    """The line to a program on another host that a person sits at (`seat.Line`): `channel` leads there."""

    def __init__(self, channel: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = channel

    def type(self, keys: bytes) -> None:
        """See `seat.Line.type`."""
        if not self._channel.is_closing() and self._channel.get_write_buffer_size() < TYPED_BYTES_MAX:
            self._channel.write(keys)

    def resize(self, size: Terminal) -> None:
        """See `seat.Line.resize`."""
        if not self._channel.is_closing():
            self._channel.change_terminal_size(size.columns, size.rows)

    def close(self) -> None:
        """See `seat.Line.close`; whoever made the channel closes it."""
