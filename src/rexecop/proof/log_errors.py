"""Errors of the Merkle log, signed notes and checkpoints.

ProofError
└── LogError
    ├── LogProofMalformed      a proof that fits no such place or size
    ├── InclusionProofWrong    a proof that leads to another root
    ├── ConsistencyProofWrong  a proof that does not join the two roots
    ├── NodeMissing            a tree node the store should hold and does not
    ├── NoteMalformed          text that is no signed note
    └── CheckpointMalformed    a note that is no checkpoint
"""

from __future__ import annotations

from rexecop.proof.errors import ProofError


class LogError(ProofError):
    """The log does not show what it should."""

    code = "log-error"


class LogProofMalformed(LogError):
    """A Merkle proof has the wrong shape for the place and sizes it is given for."""

    code = "log-proof-malformed"


class InclusionProofWrong(LogError):
    """The leaf is not at that place under that root."""

    code = "inclusion-proof-wrong"


class ConsistencyProofWrong(LogError):
    """The newer tree is not shown to continue the older one."""

    code = "consistency-proof-wrong"


class NodeMissing(LogError):
    """A node that a leaf completed is not in that leaf's row."""

    code = "log-node-missing"


class NoteMalformed(LogError):
    """A signed note breaks its format or a limit."""

    code = "note-malformed"


class CheckpointMalformed(LogError):
    """The text of a note is not a checkpoint."""

    code = "checkpoint-malformed"
