"""What a log and a witness say to each other (C2SP tlog-witness, `add-checkpoint`), over any transport."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from rexecop.proof import checkpoint
from rexecop.proof.base64text import decode_base64, encode_base64
from rexecop.proof.checkpoint import Checkpoint, LogKeys, Witnessed
from rexecop.proof.errors import LogForked, WitnessRequestMalformed, WitnessStale
from rexecop.proof.merkle import EMPTY_ROOT, LEAVES_MAX, verify_consistency
from rexecop.proof.note import NOTE_BYTES_MAX, Note, NoteSignature

PROOF_LINES_MAX: Final = 63  # The format's limit: no tree is deeper.
REQUEST_BYTES_MAX: Final = NOTE_BYTES_MAX + 64 * PROOF_LINES_MAX

_OLD: Final = re.compile(r"old (0|[1-9][0-9]{0,15})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Please cosign the checkpoint in `note`; `proof` joins it to the one of `old` leaves."""

    old: int
    proof: tuple[bytes, ...]
    note: bytes

    def encode(self) -> bytes:
        """Return the request as it is sent."""
        lines = "".join(f"{encode_base64(item)}\n" for item in self.proof)
        return f"old {self.old}\n{lines}\n".encode() + self.note

    @classmethod
    def parse(cls, data: bytes) -> Request:
        """Return the request that `data` is; its note is not looked into.

        Raises:
            WitnessRequestMalformed: it is none, or breaks a limit.
        """
        if len(data) > REQUEST_BYTES_MAX:
            raise WitnessRequestMalformed(f"request has {len(data)} bytes, at most {REQUEST_BYTES_MAX}")
        head, _, rest = data.partition(b"\n\n")
        first, *lines = head.decode("ascii", "replace").split("\n")
        old = _OLD.fullmatch(first)
        if old is None or int(old[1]) > LEAVES_MAX or len(lines) > PROOF_LINES_MAX:
            raise WitnessRequestMalformed(
                f"request does not begin with a line `old SIZE` and at most {PROOF_LINES_MAX} hashes"
            )
        try:
            proof = tuple(decode_base64(line) for line in lines)
        except ValueError as error:
            raise WitnessRequestMalformed("a line of the proof is not base64") from error
        return cls(old=int(old[1]), proof=proof, note=rest)


def judge(request: Request, held: Checkpoint | None, log_keys: LogKeys) -> Witnessed:
    """Return the checkpoint of `request`, which a witness that last saw `held` may cosign.

    Raises:
        WitnessRequestMalformed: the checkpoint is older than what the request starts from.
        CheckpointForeign, CheckpointUnsigned: it is not by a log that is known.
        WitnessStale: the request starts from another size than `held`.
        LogForked: it has the size of `held` and another root.
        ConsistencyProofWrong, LogProofMalformed: it is not shown to continue `held`.
    """
    found = checkpoint.verify(request.note, log_keys)
    size, root = found.checkpoint.size, found.checkpoint.root
    if request.old > size:
        raise WitnessRequestMalformed(f"request starts from {request.old} records, its checkpoint has {size}")
    latest, latest_root = (held.size, held.root) if held else (0, EMPTY_ROOT)
    if request.old != latest:
        raise WitnessStale(
            f"the witness last saw {latest} records, the request starts from {request.old}",
            size=latest,
            next_steps=(f"rexecop log witness request --since {latest}",),
        )
    if size == latest and root != latest_root:
        raise LogForked(f"there are two logs of {size} records with different roots", size=size)
    verify_consistency(latest, size, latest_root, root, request.proof)
    return found


def with_lines(found: Note, lines: tuple[NoteSignature, ...]) -> Note:
    """Return `found` with `lines`, each in the place of an older one by its key."""
    merged = {(line.name, line.key_id): line for line in (*found.signatures, *lines)}
    return replace(found, signatures=tuple(merged.values()))
