"""Who was given evidence of what: a chain of its own in the ledger, beside the instance's.

A bundle carries the instance's chain whole, so that no revocation can be left out. Who
else was given evidence is none of its reader's business, and would make every bundle
larger than the one before: so accesses are not in that chain.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from rexecop.app.identity import os_user
from rexecop.operations.errors import AppendConflict
from rexecop.operations.ports import Batch
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import seal, unseal
from rexecop.proof.errors import RexecopError
from rexecop.proof.principal import Principal
from rexecop.proof.records import Access
from rexecop.store.ledger import LedgerStore
from rexecop.store.reading import Reading

EXPORT: Final = "export"
VIEW: Final = "view"
TRIES_MAX: Final = 8  # Several may export at one moment; each needs the place after the other.


def access_chain(instance: str) -> str:
    """Return the name of the chain of accesses."""
    return f"{instance}/access"


def record_access(
    store: LedgerStore,
    *,
    subject: str,
    action: str,
    digest: Digest,
    now: datetime,
    by: Principal | None = None,
) -> str | None:
    """Record that evidence of `subject` is handed to `by`, else to the user this process runs as.

    Return why it cannot be recorded, None when it is.
    """
    chain = access_chain(store.instance_id)
    try:
        for _ in range(TRIES_MAX):
            count = store.records_of(chain)
            last = unseal(store.body_at(store.leaf_of(chain, count - 1))) if count else None
            record = Access(
                operation=chain,
                n=count,
                prev=last.digest if last else None,
                at=max(now, last.record.at) if last else now,
                by=by or os_user(),
                subject=subject,
                action=action,
                digest=digest,
            )
            try:
                store.append_sync(Batch(operation=chain, expected=count, records=(seal(record),)))
                return None
            except AppendConflict:
                continue
    except RexecopError as error:
        return error.message
    return f"others exported {TRIES_MAX} times meanwhile"


def accesses_of(ledger: Reading, subject: str) -> tuple[Access, ...]:
    """Return the accesses to evidence of `subject`, oldest first."""
    chain = access_chain(ledger.instance_id)
    found = ledger.journal(chain).records if ledger.records_of(chain) else ()
    records = (sealed.record for sealed in found)
    return tuple(record for record in records if isinstance(record, Access) and record.subject == subject)
