"""Witnesses: somebody else's key that says how much of a log it has seen, so that nobody can unsay it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rexecop.app.clock import SystemClock
from rexecop.app.errors import FileMissing, FileRefused, NotYet, SinkFailed, SizeRefused, WitnessStateDamaged
from rexecop.app.files import locked, read_file, reason_of, replace_file
from rexecop.keys import load_signer
from rexecop.proof import checkpoint as checkpoints
from rexecop.proof import note as notes
from rexecop.proof.checkpoint import Checkpoint
from rexecop.proof.errors import CosignatureUnmatched, ProofError, SignatureWrong, SignerUnknown
from rexecop.proof.logproof import instance_keys
from rexecop.proof.merkle import consistency_proof
from rexecop.proof.note import Note, NoteKey, SignatureType
from rexecop.proof.publickey import PublicKey
from rexecop.proof.suites import ED25519
from rexecop.proof.trust import Enrolment
from rexecop.proof.vocabulary import Role
from rexecop.proof.witness import Request, judge, with_lines
from rexecop.store.ledger import LedgerStore
from rexecop.store.log import StoredCheckpoint

if TYPE_CHECKING:
    from rexecop.lanes.program import Ran
    from rexecop.proof.verify.trusted import TrustedKeys

STATE_BYTES_MAX: Final = 16 * 1024 * 1024  # Some ten thousand logs.
ANSWER_BYTES_MAX: Final = notes.NOTE_BYTES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class CosignedView:
    """That `witnesses` cosigned the checkpoint of `size` records."""

    size: int
    witnesses: tuple[str, ...]


class Witnesses:
    """The witnesses of one ledger: asked, and their answers kept."""

    def __init__(self, store: LedgerStore, enrolments: Callable[[], tuple[Enrolment, ...]]) -> None:
        self._store = store
        self._enrolments = enrolments

    def request(self, since: int | None = None) -> bytes:
        """Return the request to cosign the newest checkpoint, from `since` or where one was cosigned last.

        Raises:
            NotYet: the ledger is empty. SizeRefused: there are not so many records.
        """
        stored = self._store.checkpoint()
        if stored is None:
            raise NotYet("the ledger is empty")
        origin = _open(stored.note)[1].origin
        if since is None:
            # To a witness another epoch is another log.
            last = self.cosigned()
            since = last.size if last is not None and _open(last.note)[1].origin == origin else 0
        if since > stored.size:
            raise SizeRefused(f"the log has {stored.size} records, not {since}", size=stored.size)
        proof = self._store.with_nodes(partial(consistency_proof, since, stored.size))
        self._store.give_checkpoint(stored)
        return Request(old=since, proof=proof, note=stored.note).encode()

    def add(self, answer: bytes) -> CosignedView:
        """Keep the signature lines that a witness answered with, beside the checkpoint they are for.

        Raises:
            NoteMalformed: they are no signature lines. SignerUnknown: none is by an enrolled witness.
            CosignatureUnmatched: they are for no checkpoint that was given to a witness.
        """
        lines = notes.parse_lines(answer[:ANSWER_BYTES_MAX].decode("utf-8", "replace"))
        keys = self._keys()
        for stored in self._store.given_checkpoints():
            try:
                found = notes.verify(Note(text=_open(stored.note)[0].text, signatures=lines), keys)
            except SignatureWrong:
                continue
            except SignerUnknown as error:
                raise SignerUnknown(
                    "no line is by a witness that is enrolled here",
                    next_steps=("rexecop keys trust FILE --person NAME --role witness",),
                ) from error
            known = {(entry.key.name, entry.key.key_id) for entry in found}
            mine = tuple(line for line in lines if (line.name, line.key_id) in known)
            self._store.give_checkpoint(stored, mine)
            return CosignedView(size=stored.size, witnesses=tuple(entry.key.name for entry in found))
        raise CosignatureUnmatched("the lines cosign no checkpoint that was given to a witness from here")

    def ask(self, send: Callable[[bytes], Ran]) -> CosignedView:
        """Ask a witness by way of `send` and keep its answer.

        Raises:
            SinkFailed: it did not cosign. Others as `add`.
        """
        ran = send(self.request())
        size = ran.stdout.strip()
        if ran.returncode and size.isdigit() and len(size) < 17:
            # It says where it is, as the protocol has it.
            ran = send(self.request(int(size)))
        if ran.returncode:
            raise SinkFailed(f"the witness did not cosign: {complaint(ran.returncode, ran.stderr)}")
        return self.add(ran.stdout)

    def covering(self, operation: str) -> StoredCheckpoint:
        """Return the newest cosigned checkpoint, which covers every record of `operation`.

        Raises:
            NotYet: it does not, or there is none.
        """
        last = self._store.leaf_of(operation, self._store.records_of(operation) - 1)
        found = self.cosigned()
        if found is None or found.size <= last:
            size = "nothing" if found is None else f"{found.size} records"
            raise NotYet(
                f"witnesses cosigned {size}; operation `{operation}` ends with record {last + 1} of the log",
                next_steps=("rexecop log witness request", "rexecop log publish"),
            )
        return found

    def cosigned(self) -> StoredCheckpoint | None:
        """Return the newest checkpoint that a witness cosigned, or None."""
        for stored in self._store.given_checkpoints():
            note, found = _open(stored.note)
            if any(line.name != found.origin for line in note.signatures):
                return stored
        return None

    def _keys(self) -> list[NoteKey]:
        found, now = [], SystemClock().now()
        for item in self._enrolments():
            public = PublicKey.from_line(item.public)
            if item.role is Role.WITNESS and item.valid_at(now) and public.algorithm == ED25519:
                found.append(NoteKey(name=item.person, public=public, type=SignatureType.COSIGNATURE))
        return found


def complaint(code: int, stderr: bytes) -> str:
    """Return the last line that a program wrote to stderr, or its exit code."""
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else f"it ended with {code}"


def cosign(data: bytes, *, key: Path, name: str, state: Path, trust: TrustedKeys) -> str:
    """Return the line by which the witness `name` cosigns the request `data`.

    That it saw the checkpoint is on disk, in `state`, before the line is returned.

    Raises:
        WitnessRequestMalformed, WitnessStale, LogForked, CheckpointForeign, ...: see `proof.witness.judge`.
        WitnessStateDamaged: what it saw before cannot be read.
        KeyRefused: `key` cannot be used. NoteMalformed: `name` cannot sign.
    """
    notes.require_name(name)
    request, signer = Request.parse(data), load_signer(key)
    with _state(state) as seen:
        held = {checkpoint.origin: checkpoint for _, checkpoint in seen.values()}
        origin = checkpoints.parse(notes.parse(request.note).text).origin
        found = judge(request, held.get(origin), instance_keys(trust))
        now = int(SystemClock().now().timestamp())
        line = notes.cosign(found.note.text, name, signer, at_seconds=now)
        own = tuple(item for item in found.note.signatures if item.key_id == found.signer.key_id)
        seen[origin] = with_lines(replace(found.note, signatures=own), (line,)), found.checkpoint
    return line.encode()


@contextmanager
def _state(path: Path) -> Iterator[dict[str, tuple[Note, Checkpoint]]]:
    """Lend what a witness saw, by origin, to one process at a time; it is on disk again at the end."""
    with locked(path.with_name(f"{path.name}.lock")):
        try:
            data = read_file(path, bytes_max=STATE_BYTES_MAX)
        except FileMissing:
            data = b""
        kept = notes.split(data)
        try:
            opened = [_open(item) for item in kept]
        except ProofError as error:
            raise WitnessStateDamaged(f"`{path}` cannot be read: {error.message}", path=str(path)) from error
        seen = {checkpoint.origin: (note, checkpoint) for note, checkpoint in opened}
        if notes.join(kept) != data or len(seen) != len(kept):
            raise WitnessStateDamaged(f"`{path}` is not made of one note for each log", path=str(path))
        yield seen
        try:
            written = notes.join(note.encode() for _, (note, _) in sorted(seen.items()))
            replace_file(path, written, mode=0o600)
        except OSError as error:
            raise FileRefused(f"`{path}` cannot be written: {reason_of(error)}", path=str(path)) from error


def _open(data: bytes) -> tuple[Note, Checkpoint]:
    note = notes.parse(data)
    return note, checkpoints.parse(note.text)
