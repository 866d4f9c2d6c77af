"""What a node remembers: which permits it has acted on, and what it said of them.

One file, only appended to and flushed before anything is done. A nonce is claimed once, and
under one ticket no runner that lost its lease to a later one gets through.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar, Final

from rexecop.lanes.errors import AddressRefused, RequestRefused
from rexecop.lanes.failures import Failure
from rexecop.proof.canonical import Digest, Json, parse_json
from rexecop.proof.codec import encode, from_json
from rexecop.proof.errors import ProofError
from rexecop.proof.nodes import NodePermit

LINE_BYTES_MAX: Final = 512 * 1024  # A statement, as large as an envelope may be.
KEPT: Final = timedelta(days=1)  # A permit ends within a minute; a clock that is set back is not a day off.
FILE: Final = "claims.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """The permit with `nonce` was taken to be acted on."""

    kind: ClassVar[str] = "claimed/1"

    nonce: str
    ticket: Digest
    fence: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """How the call of a claim ended, in the envelope that was signed."""

    kind: ClassVar[str] = "stated/1"

    nonce: str
    envelope: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Whoever asked has heard it, or has it in keeping."""

    kind: ClassVar[str] = "settled/1"

    nonce: str


_KINDS: Final[Mapping[str, type[Claimed | Stated | Settled]]] = {
    cls.kind: cls for cls in (Claimed, Stated, Settled)
}


class Claims:
    """The claims of one node, in `folder`; one process holds them at a time."""

    def __init__(self, folder: Path, now: datetime) -> None:
        """Read them, dropping what is over.

        Raises:
            AddressRefused: another process holds them, or they cannot be read or written.
        """
        self._claimed: dict[str, Claimed] = {}
        self._stated: dict[str, Json] = {}
        path = folder / FILE
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._read(path.read_bytes() if path.exists() else b"")
            self._drop(now)
            kept: list[Claimed | Stated] = list(self._claimed.values())
            kept += [Stated(nonce=nonce, envelope=said) for nonce, said in self._stated.items()]
            part = path.with_suffix(".part")
            part.write_bytes(b"".join(encode(one) + b"\n" for one in kept))
            part.chmod(0o600)
            self._file = os.open(part, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            os.fsync(self._file)
            part.replace(path)
            opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(opened)
            os.close(opened)
        except BlockingIOError as error:
            raise AddressRefused(f"`{folder}` is held by another node", path=str(folder)) from error
        except (OSError, ProofError) as error:
            words = error.message if isinstance(error, ProofError) else str(error)
            raise AddressRefused(f"the claims in `{folder}` cannot be used: {words}") from error

    def claim(self, asked: NodePermit, now: datetime) -> None:
        """Return once it is on disk that `asked` is being acted on.

        Raises:
            RequestRefused: it was before, a later runner was here, or it cannot be written down.
        """
        permit = asked.permit
        if asked.nonce in self._claimed:
            raise RequestRefused(Failure.PERMIT_MISMATCH, "this permit was used before")
        fences = [one.fence for one in self._claimed.values() if one.ticket == permit.ticket]
        if permit.fence < max(fences, default=0):
            raise RequestRefused(Failure.FENCE_LOST, "another runner took the operation over")
        claimed = Claimed(nonce=asked.nonce, ticket=permit.ticket, fence=permit.fence, at=now)
        try:
            self._write(claimed)
        except OSError as error:
            raise RequestRefused(Failure.INTERNAL, "the node cannot write down what it does") from error
        self._claimed[asked.nonce] = claimed

    def state(self, nonce: str, envelope: Json) -> None:
        """Keep what was said of a claim until it was heard; a full disk loses the word, never the claim."""
        self._stated[nonce] = envelope
        self._note(Stated(nonce=nonce, envelope=envelope))

    def settle(self, nonce: str) -> None:
        """Take note that what was said of a claim was heard."""
        if self._stated.pop(nonce, None) is not None:
            self._note(Settled(nonce=nonce))

    def unheard(self) -> dict[str, Json]:
        """Return what was said and not heard, by nonce."""
        return dict(self._stated)

    def close(self) -> None:
        """Let another process have them."""
        os.close(self._file)
        os.close(self._lock)

    def _write(self, value: Claimed | Stated | Settled) -> None:
        line = encode(value) + b"\n"
        if os.write(self._file, line) != len(line):
            raise OSError("half a line was written")
        os.fsync(self._file)

    def _note(self, value: Stated | Settled) -> None:
        try:
            self._write(value)
        except OSError:
            return  # The call was made; that it was is on disk since before.

    def _read(self, data: bytes) -> None:
        *lines, torn = data.split(b"\n")
        for number, line in enumerate(lines):
            value = parse_json(line, bytes_max=LINE_BYTES_MAX)
            kind = value.get("kind") if isinstance(value, Mapping) else None
            cls = _KINDS.get(str(kind))
            if cls is None:
                raise OSError(f"line {number + 1} is no claim")
            said = from_json(cls, value)
            if isinstance(said, Claimed):
                self._claimed[said.nonce] = said
            elif isinstance(said, Stated):
                self._stated[said.nonce] = said.envelope
            else:
                self._stated.pop(said.nonce, None)
        _ = torn  # Cut off while it was written: nothing was done on its strength.

    def _drop(self, now: datetime) -> None:
        self._claimed = {nonce: one for nonce, one in self._claimed.items() if now - one.at < KEPT}
