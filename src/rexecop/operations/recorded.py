"""Records that an operation has, or that it is a defect to ask for."""

from __future__ import annotations

from typing import TypeVar

from rexecop.proof.chain import Sealed
from rexecop.proof.errors import ChainBroken
from rexecop.proof.records.base import Record

R = TypeVar("R", bound=Record)


def typed(sealed: Sealed | None, kind: type[R]) -> R:
    """Return the record of `sealed` as the `kind` it is; raises ChainBroken where it is none."""
    record = sealed.record if sealed is not None else None
    if not isinstance(record, kind):
        raise ChainBroken(f"the operation has no {kind.__name__.lower()} record")
    return record


def present(sealed: Sealed | None, name: str) -> Sealed:
    """Return `sealed`, or raise ChainBroken that names what is missing."""
    if sealed is None:
        raise ChainBroken(f"the operation has no {name} record")
    return sealed
