"""A proof of growth as a file of its own: what `rexecop log consistency --json` prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rexecop.proof.canonical import parse_json
from rexecop.proof.codec import from_json
from rexecop.proof.errors import LogProofMalformed, ProofError

GROWTH_BYTES_MAX: Final = 64 * 1024  # A path has at most some hundred hashes.


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthProof:
    """That the log of `new` records continues the one of `old`; hashes are in hex."""

    old: int
    new: int
    old_root: str
    new_root: str
    path: tuple[str, ...]

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """The path as bytes.

        Raises:
            LogProofMalformed: a part of it is not a hash in hex.
        """
        try:
            return tuple(bytes.fromhex(step) for step in self.path)
        except ValueError as error:
            raise LogProofMalformed("a hash of the proof is not hex") from error


def read_growth(data: bytes) -> GrowthProof:
    """Return the proof in the JSON `data`.

    Raises:
        LogProofMalformed: it is none.
    """
    try:
        return from_json(GrowthProof, parse_json(data, bytes_max=GROWTH_BYTES_MAX))
    except ProofError as error:
        raise LogProofMalformed(f"proof of growth cannot be read: {error.message}") from error
