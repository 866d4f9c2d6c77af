"""`export --format cose`: the published records as transparent statements, one CBOR sequence."""

from __future__ import annotations

from rexecop.app.errors import NotYet
from rexecop.proof import note
from rexecop.proof.bundle import BundleContents, path_of
from rexecop.proof.chain import unseal
from rexecop.proof.checkpoint import parse
from rexecop.proof.cose import Entry, transparent_statement
from rexecop.proof.receipts import PAYLOAD_TYPE, PUBLISHED, record_statement
from rexecop.proof.signer import Signer


def transparent_statements(contents: BundleContents, signer: Signer) -> tuple[bytes, ...]:
    """Return each published record of a bundle, in order, signed and with the receipt of its place.

    The entry whose inclusion a receipt proves is the record: the canonical bytes of the
    statement's predicate.

    Raises:
        NotYet: nothing in it is published.
    """
    checkpoint, hashes = parse(note.parse(contents.checkpoint).text), contents.proofs.hashes()
    made = []
    for body, place in zip(contents.records, contents.proofs.operation, strict=True):
        sealed = unseal(body)
        if isinstance(sealed.record, PUBLISHED):
            entry = Entry(
                log=checkpoint.origin,
                name=f"{contents.operation}/{sealed.record.n}",
                leaf=place.leaf,
                size=checkpoint.size,
                path=path_of(place.path, hashes),
                root=checkpoint.root,
            )
            made.append(transparent_statement(signer, record_statement(sealed), PAYLOAD_TYPE, entry))
    if not made:
        raise NotYet(f"operation `{contents.operation}` has no plan, approval or receipt to publish")
    return tuple(made)
