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


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A bundle just cut: what it holds, and its bytes."""

    contents: BundleContents
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """`files` returns what to write for a cut whose file is to be the path given: that file first.

    `ending` is what the file's name ends in where nobody named one.
    """

    ending: str
    files: Callable[[Cut, Path], Mapping[Path, bytes]]


def _bundle(cut: Cut, target: Path) -> Mapping[Path, bytes]:
    return {target: cut.data}


def _report(cut: Cut, target: Path) -> Mapping[Path, bytes]:
    """Return the page for people; a bundle too large to lie in it lies beside it."""
    from rexecop.app.offline import packaged, verify_own
    from rexecop.app.report.page import is_embedded, page
    from rexecop.app.report.story import Dossier, Told
    from rexecop.proof.chain import unseal

    contents = cut.contents
    instance = tuple(map(unseal, contents.instance_records))
    within = is_embedded(cut.data)
    beside = Path(f"{contents.operation}.rxb") if within else target.with_name(f"{target.name}.rxb")
    told = Told(
        operation=contents.operation,
        records=tuple(map(unseal, contents.records)),
        outputs={commitment: blob.data for commitment, blob in contents.blobs.items()},
    )
    dossier = Dossier(
        instance=contents.instance,
        operations=(told,),
        instance_records=instance,
        report=verify_own(cut.data, instance),
        bundle=cut.data,
        bundle_name=beside.name,
    )
    whole = page(dossier, packaged("report.css"))
    return {target: whole} if within else {target: whole, beside: cut.data}


FORMATS: Final[Mapping[str, Format]] = {
    "bundle": Format(ending=".rxb", files=_bundle),
    "report": Format(ending=".html", files=_report),
}
