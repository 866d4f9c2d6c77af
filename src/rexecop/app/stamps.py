"""Time stamps for checkpoints: asked for, taken in, and found again for export.

The note of a checkpoint that was asked about is kept, for the log itself drops most.
All of it lies in the table of signatures: it hangs on digests, and no record depends on it.
"""

from __future__ import annotations

from typing import Final

from rexecop.app.errors import NotYet, StampRefused
from rexecop.app.views import StampView
from rexecop.operations.ports import Batch, Ids, Ledger, Signature
from rexecop.proof import checkpoint as checkpoints
from rexecop.proof import note as notes
from rexecop.proof import stamp
from rexecop.proof.canonical import digest_of, hash_bytes, sha256
from rexecop.proof.errors import StampUntrusted
from rexecop.store.ledger import LedgerStore
from rexecop.store.log import StoredCheckpoint

SHELF: Final = digest_of(b"checkpoints to be stamped")  # What lies under it are notes, oldest first.
NOTE, NONCE, STAMP = "checkpoint", "rfc3161-nonce", "rfc3161"


class Stamps:
    """Time stamps for the log of one instance."""

    def __init__(self, store: LedgerStore, instance: str, ids: Ids) -> None:
        self._store = store
        self._instance = instance
        self._ids = ids

    async def request(self) -> tuple[int, bytes]:
        """Return the size of the newest checkpoint, and the TimeStampReq for it.

        Raises:
            NotYet: the ledger is empty.
        """
        found = self._store.checkpoint()
        if found is None:
            raise NotYet("the ledger is empty")
        text = _text(found.note)
        nonce = self._ids.nonce()
        kept = [item.data for item in self._store.signatures(SHELF)]
        wanted = [] if found.note in kept else [Signature(digest=SHELF, form=NOTE, data=found.note)]
        await self._keep(*wanted, Signature(digest=digest_of(text), form=NONCE, data=nonce.encode()))
        return found.size, stamp.request(sha256(text), int(nonce, 16))

    async def add(self, data: bytes) -> StampView:
        """Keep the answer `data` of an authority beside the checkpoint it is of.

        Raises:
            StampRefused: it is of no checkpoint that was asked about here, or answers another request.
            ProofError: it is no time stamp, or wrong. Whom to trust is for a verifier to say.
        """
        found = stamp.decode(data)
        for item in self._store.signatures(SHELF):
            text = _text(item.data)
            if hash_bytes(found.hash_name, text) == found.imprint:
                break
        else:
            raise StampRefused(
                "it is of no checkpoint that a stamp was asked for here",
                next_steps=("rexecop log stamp request > q.tsq",),
            )
        beside = self._store.signatures(digest_of(text))
        asked = [int(one.data, 16) for one in beside if one.form == NONCE]
        if found.nonce not in (None, *asked):
            raise StampRefused("it answers another request than those made here")
        authority = None
        try:
            stamp.verify(found, text, ())
        except StampUntrusted as untrusted:
            authority = untrusted.facts.get("authority")
        if all(one.data != data for one in beside):
            await self._keep(Signature(digest=digest_of(text), form=STAMP, data=data))
        return StampView(
            authority="unknown" if authority is None else str(authority),
            at=found.at,
            checkpoint_size=checkpoints.parse(text.decode()).size,
            digest=digest_of(data),
        )

    async def _keep(self, *kept: Signature) -> None:
        count = self._store.records_of(self._instance)
        await self._store.append(Batch(operation=self._instance, expected=count, records=(), signatures=kept))


def stamps_of(store: Ledger, note: bytes) -> tuple[bytes, ...]:
    """Return the stamps kept beside the checkpoint `note`, oldest first."""
    return tuple(one.data for one in store.signatures(digest_of(_text(note))) if one.form == STAMP)


def newest_stamped(store: Ledger, size: int) -> StoredCheckpoint | None:
    """Return the newest checkpoint with a stamp that covers `size` records, or None."""
    for item in reversed(store.signatures(SHELF)):
        found = checkpoints.parse(notes.parse(item.data).text)
        if found.size < size:
            break
        if stamps_of(store, item.data):
            return StoredCheckpoint(size=found.size, note=item.data)
    return None


def _text(note: bytes) -> bytes:
    """Return the bytes a stamp is over: the text of the note, which no further signature changes."""
    return notes.parse(note).text.encode()
