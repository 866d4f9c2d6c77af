"""`attempt/1`: written before a lane touches anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from rexecop.proof.canonical import Digest
from rexecop.proof.message import Scalar
from rexecop.proof.permit import Permit
from rexecop.proof.records.base import Record
from rexecop.proof.records.plan import Pinned
from rexecop.proof.vocabulary import Grade, Isolation, Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt(Record):
    """The call of `permit` is about to be made.

    The filled call is `template` of the plan with `values`; its digest stands in the
    permit. For changes `target_n` counts attempts on the target of this instance and
    `target_prev` is the one before. `packs` names the policy that allowed the call again,
    `observed` the facts the plan pinned as they were read just before it. `within` is the attempt
    in the course of which a lane asked for this one.
    """

    kind: ClassVar[str] = "attempt/1"

    phase: Phase
    target: str
    template: Digest
    permit: Permit
    lane: str
    placement: str
    isolation: Isolation
    grade: Grade | None = None
    values: Mapping[str, Scalar] | None = None
    attestation: str | None = None
    target_n: int | None = None
    target_prev: Digest | None = None
    packs: tuple[Digest, ...] = ()
    observed: Pinned | None = None
    within: Digest | None = None
