"""The forms evidence leaves in. A form is one line in `FORMATS` and the function it names.

Nothing heavy is imported before a form is written: the command line reads this table for its help.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rexecop.proof.bundle import BundleContents
    from rexecop.proof.chain import Sealed
    from rexecop.proof.signer import Signer
    from rexecop.store.ledger import LedgerStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A bundle just cut: what it holds, its bytes, its name without an ending, and who may sign for it.

    `records` are those of its one operation, opened; of a window there are none. `guard_key` is the setting
    of that name, `log` the ledger it was cut from.
    """

    contents: BundleContents
    records: tuple[Sealed, ...] = ()
    data: bytes
    name: str
    signer: Signer
    guard_key: str | None
    log: LedgerStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """`files` returns what to write for a cut whose file (or folder) is to be the path given.

    `ending` is what its name ends in where nobody named one. Of operations every form can
    be, or `of_operations` is false; of windows those that say so. Without `outputs` it
    has no place for kept outputs.
    """

    ending: str
    files: Callable[[Cut, Path], Mapping[Path, bytes]]
    of_operations: bool = True
    of_windows: bool = False
    outputs: bool = True
    folder: bool = False


def _bundle(cut: Cut, target: Path) -> Mapping[Path, bytes]:
    return {target: cut.data}


def _report(cut: Cut, target: Path) -> Mapping[Path, bytes]:
    """Return the page for people; a bundle too large to lie in it lies beside it."""
    from rexecop.app.offline import packaged
    from rexecop.app.report.page import is_embedded, page
    from rexecop.app.report.story import Dossier, told
    from rexecop.app.verifying import verify_own
    from rexecop.proof.chain import unseal

    contents = cut.contents
    instance = tuple(map(unseal, contents.instance_records))
    within = is_embedded(cut.data)
    beside = Path(f"{cut.name}.rxb") if within else target.with_name(f"{target.name}.rxb")
    dossier = Dossier(
        instance=contents.instance,
        operations=told(contents),
        instance_records=instance,
        report=verify_own(cut.data, instance),
        bundle=cut.data,
        bundle_name=beside.name,
    )
    whole = page(dossier, packaged("report.css"))
    return {target: whole} if within else {target: whole, beside: cut.data}


def _controls(cut: Cut, target: Path) -> Mapping[Path, bytes]:
    """Return the rows, a page of them for people, and beside them the bundle that they were read from."""
    from rexecop.app.controls import controls_page
    from rexecop.app.offline import packaged
    from rexecop.app.report.controls import page as page_of
    from rexecop.app.verifying import verify_own
    from rexecop.proof.canonical import canonical_bytes, digest_of
    from rexecop.proof.chain import unseal
    from rexecop.proof.codec import to_json

    report = verify_own(cut.data, tuple(map(unseal, cut.contents.instance_records)))
    found = controls_page(cut.contents, digest_of(cut.data), report)
    beside = target.with_name(f"{cut.name}.rxb")
    page = page_of(found, packaged("report.css"), beside.name)
    rows = canonical_bytes(to_json(found)) + b"\n"
    return {**_both(target, page, rows), beside: cut.data}


def _check(cut: Cut, target: Path) -> Mapping[Path, bytes]:
    """Return what a check found and the sheet for anybody, as pages and as JSON, and the bundle."""
    from rexecop.app.checks import check_of
    from rexecop.app.offline import packaged
    from rexecop.app.report import check, signoff
    from rexecop.proof.canonical import canonical_bytes
    from rexecop.proof.codec import to_json

    found, style = check_of(cut), packaged("report.css")
    sheet, beside = signoff.sheet_of(found, cut.records), target.with_name(f"{cut.name}.rxb")
    html, rows = check.page(found, style, beside.name), canonical_bytes(to_json(found)) + b"\n"
    of_sheet, public = canonical_bytes(to_json(sheet)) + b"\n", target.with_suffix(".sign-off.html")
    both = {**_both(target, html, rows), **_both(public, signoff.page(sheet, style), of_sheet)}
    return {**both, beside: cut.data}


def _both(target: Path, page: bytes, rows: bytes) -> Mapping[Path, bytes]:
    """Return a page and what it was made from under the same name, the one that `target` ends like first."""
    if target.suffix == ".html":
        return {target: page, target.with_suffix(".json"): rows}
    return {target: rows, target.with_suffix(".html"): page}


def _cose(cut: Cut, target: Path) -> Mapping[Path, bytes]:
    from rexecop.app.cose_export import transparent_statements

    return {target: b"".join(transparent_statements(cut.contents, cut.signer))}


def _sclite(cut: Cut, target: Path) -> Mapping[Path, bytes]:
    from rexecop.app.sclite.exchange import guard_key
    from rexecop.app.sclite.folder import make_folder

    files = make_folder(cut.data, guard_key(cut.guard_key))
    return {target / name: data for name, data in files.items()}


FORMATS: Final[Mapping[str, Format]] = {
    "bundle": Format(ending=".rxb", files=_bundle, of_windows=True),
    "report": Format(ending=".html", files=_report, of_windows=True),
    "controls": Format(ending=".controls.json", files=_controls, of_operations=False, of_windows=True),
    "check": Format(ending=".check.html", files=_check),
    "sclite": Format(ending=".sclite", files=_sclite, folder=True),
    "cose": Format(ending=".cose", files=_cose, outputs=False),
}
