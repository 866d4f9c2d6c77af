"""`export --format cose`: the published records as transparent statements, one CBOR sequence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rexecop.app.errors import NotYet
from rexecop.app.files import write_over
from rexecop.app.views import ExportView
from rexecop.proof import note
from rexecop.proof.bundle import BundleContents, from_members, path_of
from rexecop.proof.canonical import digest_of
from rexecop.proof.chain import unseal
from rexecop.proof.checkpoint import parse
from rexecop.proof.container import unpack
from rexecop.proof.cose import Entry, transparent_statement
from rexecop.proof.receipts import PAYLOAD_TYPE, PUBLISHED, record_statement
from rexecop.proof.signer import Signer

if TYPE_CHECKING:
    from rexecop.app.instance import Instance


def export_cose(instance: Instance, operation: str, path: Path | None) -> ExportView:
    """Write the published records of `operation` to `path`, by default `<operation>.cose` here.

    Raises:
        NotYet: nothing of it is published. FileRefused: the file cannot be written.
    """
    bundle = instance.parts.evidence.bundle(operation)
    statements = transparent_statements(bundle, instance.parts.world.signer)
    if not statements:
        raise NotYet(f"operation `{operation}` has no plan, approval or receipt to publish")
    data, target = b"".join(statements), path or Path(f"{operation}.cose")
    write_over(target, data)
    return export_view(bundle, target, data, records=len(statements))


def transparent_statements(bundle: bytes, signer: Signer) -> tuple[bytes, ...]:
    """Return each published record of `bundle`, in order, signed and with the receipt of its place.

    The entry whose inclusion a receipt proves is the record: the canonical bytes of the
    statement's predicate.
    """
    contents = contents_of(bundle)
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
    return tuple(made)


def contents_of(bundle: bytes) -> BundleContents:
    """Return what `bundle` holds.

    Raises:
        ContainerMalformed, BundleMalformed: it is no bundle.
    """
    return from_members(unpack(bundle).members)[0]


def export_view(bundle: bytes, path: Path, data: bytes, *, records: int) -> ExportView:
    """Return what is said of `data`, written to `path` out of `bundle`."""
    contents = contents_of(bundle)
    return ExportView(
        target=None,
        operation_id=contents.operation,
        path=str(path),
        bytes=len(data),
        records=records,
        digest=digest_of(data),
        checkpoint_size=parse(note.parse(contents.checkpoint).text).size,
    )
