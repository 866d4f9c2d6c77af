"""What records and receipts look like as evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rexecop.app.plain import moment
from rexecop.cli.pages import ROOMY, next_rows
from rexecop.cli.render import Page, as_json

if TYPE_CHECKING:
    from rexecop.app.views import EvidenceView, ReceiptView, RecordEvidence, RecordView, SignatureLine

DIGITS_SHOWN: Final = 12  # Of a digest in a list: enough to name a record with.


def receipt_page(page: Page, view: ReceiptView) -> None:
    """Draw a receipt: what it came to, how obligations were met, and what it rests on."""
    said = view.receipt
    page.title(f"#{view.number}  {view.operation_id}", str(said["state"]))
    page.row("because", str(said["reason"]))
    page.row("closed at", str(said["at"]))
    outcomes, obligations = said.get("outcomes"), said.get("obligations", ())
    ends = outcomes.items() if isinstance(outcomes, dict) else ()
    page.row(
        "counts", f"{said['attempts']} attempts: " + (", ".join(f"{n} {end}" for end, n in ends) or "none")
    )
    for index, one in enumerate(obligations if isinstance(obligations, list) else ()):
        kept = "yes" if one["met"] else "no"
        page.row("obliged" if index == 0 else "", f"{kept:<4}{one['name']}: {one['how']}", state=kept)
    for name in ("facts", "head"):
        if name in said:
            page.row(name, str(said[name]))
    page.row("digest", view.digest)
    signature_rows(page, view.signatures)
    next_rows(page, (f"rexecop export {view.number}",))


def signature_rows(page: Page, signatures: Sequence[SignatureLine]) -> None:
    """Draw the signatures over a record, and whether they hold."""
    for index, one in enumerate(signatures):
        page.row("signed" if index == 0 else "", f"{one.verdict}: {one.form} by {one.by}", state=one.verdict)
    if not signatures:
        page.row("signed", "no signature lies beside it; its place in the log vouches for it")


def evidence_page(page: Page, view: EvidenceView) -> None:
    """Draw one line per record, indented below the one it rests on."""
    page.title(f"#{view.number}  {view.operation_id}")
    page.row("evidence", view.verdict)
    for damage in view.damaged:
        page.row("damaged", damage)
    page.line()
    roomy = page.fits(ROOMY)
    heads = ("n", "record", *(("rests on", "at") if roomy else ()), "leaf", "digest", "says")
    rows = [
        (
            str(one.record.n),
            f"{'  ' * (one.depth - 1)}└ {one.record.kind}" if one.depth else one.record.kind,
            *((" ".join(map(str, one.rests_on)), moment(one.record.at)) if roomy else ()),
            str(one.leaf),
            one.record.digest.removeprefix("sha256:")[:DIGITS_SHOWN],
            _says(one.record),
        )
        for one in view.records
    ]
    page.table(heads, rows, indent=0, whole=heads[:-1], wrap=True)
    page.line()
    for index, access in enumerate(view.accesses):
        by = access["by"]
        who = by["person"] if isinstance(by, dict) else ""
        label = "handed out" if index == 0 else ""
        page.row(label, f"{access['at']} by {who}: {access['action']} {access.get('digest', '')}")
    next_rows(page, (f"rexecop evidence show {view.number} --record 0",))


def _says(one: RecordView) -> str:
    return f"{one.by.removesuffix(' (engine)')}: {one.summary}"


def record_page(page: Page, view: RecordEvidence) -> None:
    """Draw one record whole, and what stands behind it."""
    one = view.line.record
    page.title(f"record {one.n} of {view.operation_id}", one.kind)
    page.row("says", _says(one))
    page.row("digest", one.digest)
    page.row("rests on", " ".join(map(str, view.line.rests_on)) or "no other record")
    page.row("in the log", view.included)
    signature_rows(page, view.signatures)
    for index, blob in enumerate(view.blobs):
        kept = f"{blob.ref.kept_bytes} of {blob.ref.raw_bytes} bytes"
        page.row("outputs" if index == 0 else "", f"{blob.name}, {kept}: {blob.state}")
        page.row("", blob.ref.commitment)
    page.line()
    page.block(as_json(dict(sorted(one.body.items()))))
