"""Committing to what a call puts out while it runs, a stretch at a time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

from rexecop.engines.session import Session
from rexecop.lanes.port import Chunk
from rexecop.operations.ports import Ids
from rexecop.proof.canonical import Digest, commit
from rexecop.proof.records.stretch import Stretch

STRETCH_BYTES: Final = 256 * 1024  # What may be lost of a flood when the machine dies.
STRETCH_SECONDS: Final = 1.0  # What may be lost of a slow session.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """A stretch on its way into the ledger."""

    stream: str
    start: int
    length: int
    commitment: Digest


@dataclass(slots=True)
class Streaming:
    """The output of `attempt` while it comes; `keys` are what its streams are committed to under.

    A stretch is written when enough has come, with what comes after a second, or at the end.
    """

    session: Session
    ids: Ids
    attempt: Digest
    keys: dict[str, bytes] = field(default_factory=dict)
    _waiting: dict[str, bytearray] = field(default_factory=dict)
    _written: dict[str, int] = field(default_factory=dict)
    _since: float = field(default_factory=time.monotonic)

    async def take(self, chunk: Chunk) -> None:
        """Take in a chunk.

        Raises:
            As `Session.flush_or_reload`.
        """
        self._waiting.setdefault(chunk.stream, bytearray()).extend(chunk.data)
        due = time.monotonic() - self._since >= STRETCH_SECONDS
        if not due and sum(map(len, self._waiting.values())) < STRETCH_BYTES:
            return
        held = self.hold()
        # Who writes meanwhile (a person who asks for a pause) ends no call that runs.
        while not await self.session.flush_or_reload():
            for stretch in held:
                self._add(stretch)
        self._since = time.monotonic()

    def hold(self) -> list[_Held]:
        """Hold a stretch of each stream for what came since the last, and return them."""
        held: list[_Held] = []
        for stream, data in self._waiting.items():
            if data:
                key = self.keys.setdefault(stream, self.ids.key())
                start = self._written.get(stream, 0)
                commitment = commit(key, bytes(data))
                held.append(_Held(stream=stream, start=start, length=len(data), commitment=commitment))
                self._written[stream] = start + len(data)
                data.clear()
        for stretch in held:
            self._add(stretch)
        return held

    def _add(self, held: _Held) -> None:
        self.session.add(
            Stretch,
            attempt=self.attempt,
            stream=held.stream,
            start=held.start,
            length=held.length,
            commitment=held.commitment,
        )
