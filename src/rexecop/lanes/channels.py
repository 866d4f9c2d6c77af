"""What a program is given and what it is heard through: its standard streams, its files, its proxy.

Everything is opened before the program starts. The keeper gets copies, and ours are closed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence

from rexecop.lanes.egress import Egress
from rexecop.lanes.live import Live
from rexecop.lanes.output import Stream, raw_limit
from rexecop.lanes.script import script_files
from rexecop.lanes.seat import LocalLine, Seat
from rexecop.lanes.spawning import memory_file
from rexecop.lanes.typist import Typist, open_terminal
from rexecop.proof.call import Limits, ProcessRequest


class Channels:
    """Our ends of what one call is given. `stdin` and `secrets` are already resolved."""

    def __init__(
        self,
        request: ProcessRequest,
        limits: Limits,
        stdin: bytes | None,
        secrets: Sequence[bytes],
        egress: Egress | None,
        seat: Seat | None,
        live: Live | None,
    ) -> None:
        """Open everything.

        Raises:
            OSError: the system has no descriptors or memory left.
        """
        self.given: list[int] = []
        self.streams: tuple[Stream, ...] = ()
        self.typist: Typist | None = None
        self._seat: Seat | None = None
        self._live = live
        feed = live if live is not None and live.feeds else None
        self._program = -1
        raw = raw_limit(limits)
        if request.tty is not None:
            master, slave = open_terminal(request.tty)
            self.given += [slave, os.dup(slave), os.dup(slave)]
            self.streams = (Stream("stdout", master, limits.output_bytes, raw, secrets),)
            if request.tty.attended:
                self._seat, self._program = seat, os.dup(master)
            elif feed is not None:
                feed.join(os.dup(master), stdin or b"", terminal=True)
            else:
                self.typist = Typist(os.dup(master), stdin or b"")
        else:
            if feed is not None:
                read, write = os.pipe()
                self.given.append(read)
                feed.join(write, stdin or b"", terminal=False)
            else:
                self.given.append(os.open(os.devnull, os.O_RDONLY) if stdin is None else memory_file(stdin))
            for name in ("stdout", "stderr"):
                read, write = os.pipe()
                self.given.append(write)
                self.streams += (Stream(name, read, limits.output_bytes, raw, secrets),)
        if request.script is not None:
            self.given += script_files(request.script)
        if egress is not None:
            self.given.append(egress.link())

    async def sit(self) -> None:
        """Give the terminal to the person whose seat it is, if there is one."""
        if self._seat is not None:
            program, self._program = self._program, -1
            await self._seat.sit(LocalLine(program))

    def start(self, notify: Callable[[], None]) -> None:
        """Listen, and type what is to be typed."""
        for stream in self.streams:
            stream.start(notify)
        if self.typist is not None:
            self.typist.start()
        if self._live is not None:
            self._live.start(notify)

    @property
    def flooded(self) -> bool:
        """Whether far more came than may be kept."""
        return any(stream.flooded for stream in self.streams)

    @property
    def at_end(self) -> bool:
        """Whether nothing more can come."""
        return all(stream.at_end for stream in self.streams)

    def take(self) -> list[tuple[str, bytes]]:
        """Return what may be shown since the last call, by the name of its stream."""
        found = [(stream.name, data) for stream in self.streams for data in stream.take()]
        if found and self.typist is not None:
            self.typist.heard()
        if self._seat is not None:
            for _, data in found:
                self._seat.show(data)
        return found

    async def complaint(self) -> str:
        """Return what a wrapper said when it could not start the program."""
        stream = self.streams[-1]
        stream.start(lambda: None)
        for _ in range(20):
            if stream.at_end:
                break
            await asyncio.sleep(0.005)
        stream.take()
        return bytes(stream.kept[:200]).decode("utf-8", "replace").strip()

    def release(self) -> None:
        """Close our copies of what the keeper was given."""
        while self.given:
            os.close(self.given.pop())

    def close(self) -> None:
        """Close everything."""
        self.release()
        for stream in self.streams:
            stream.close()
        if self.typist is not None:
            self.typist.close()
        if self._live is not None:
            self._live.close()
        if self._seat is not None:
            self._seat.leave()
        if self._program >= 0:
            os.close(self._program)
            self._program = -1
