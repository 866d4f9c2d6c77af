"""Verifying evidence from Python: it holds, or an error says why not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict, Unpack

from rexecop.api.arguments import StrPath, optional_path, path, word
from rexecop.api.errors import ArgumentRefused, NotVerified
from rexecop.app import verifying
from rexecop.proof.verify.report import Report, Rung


class Judging(TypedDict, total=False):
    """By what evidence is judged: `trust` is a folder of keys, and no others count.

    It must reach the rung `require` (`logged`) and nothing may be wrong; with None whatever is found is
    returned. The log must extend `checkpoint`, one that was kept; `growth` proves that the log of that one
    continues the bundle's. `now` stands in for this machine's clock.
    """

    trust: StrPath | None
    require: Rung | str | None
    checkpoint: StrPath | None
    growth: StrPath | None
    now: datetime | None


def verify_bundle(
    bundle: StrPath, *, kernel_guard_key: str | None = None, **judged: Unpack[Judging]
) -> Report:
    """Verify a bundle, or a folder of evidence, without a root and without a network.

    Raises:
        NotVerified: it does not hold; its `report` says what was found.
        FileMissing, FileRefused, TrustFileMalformed: a file is not there or not what it should be.
    """
    return verified(bundle, None, kernel_guard_key, **judged)


def verified(
    bundle: StrPath,
    root: Path | None,
    kernel_guard_key: str | None,
    *,
    trust: StrPath | None = None,
    require: Rung | str | None = Rung.LOGGED,
    checkpoint: StrPath | None = None,
    growth: StrPath | None = None,
    now: datetime | None = None,
) -> Report:
    """Do as `verify_bundle`, by the keys that `root` has enrolled where no folder is named."""
    moment: object = now
    if moment is not None and (not isinstance(moment, datetime) or moment.tzinfo is None):
        raise ArgumentRefused("`now` is no time with its zone", argument="now")
    required = None if require is None else Rung(word("require", require, Rung))
    report = verifying.verify_bundle(
        path("bundle", bundle),
        trust_dir=optional_path("trust", trust),
        checkpoint=optional_path("checkpoint", checkpoint),
        growth=optional_path("growth", growth),
        root=root,
        now=None if now is None else now.astimezone(UTC),
        kernel_guard_key=kernel_guard_key,
    )
    if required is not None and not report.holds(required):
        raise NotVerified(report, report.answer(required))
    return report
