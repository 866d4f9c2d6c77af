"""Which outputs the instance's own records say are erased: named one by one, or by their age."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from rexecop.proof.canonical import Digest
from rexecop.proof.records.base import Record
from rexecop.proof.records.instance import Erasure, Retention


class Erasures:
    """The erasures of one instance; `named` are those of single outputs, of equal ones the last."""

    def __init__(self, records: Iterable[Record]) -> None:
        found = [record for record in records if isinstance(record, Erasure | Retention)]
        self.named = {record.commitment: record for record in found if isinstance(record, Erasure)}
        self._aged = [record for record in found if isinstance(record, Retention)]

    def why_missing(self, commitment: Digest, at: datetime) -> Erasure | Retention | None:
        """Return what says why an output that is not there, of an outcome recorded `at`, is gone.

        What an operation that had not ended then kept goes by a later one; the first that fits is named.
        """
        aged = (record for record in self._aged if at < record.before)
        return self.named.get(commitment) or next(aged, None)
