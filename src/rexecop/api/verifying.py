"""Verifying evidence from Python: it holds, or an error says why not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from rexecop.api.arguments import StrPath, optional_path, path, word
from rexecop.api.errors import ArgumentRefused, NotVerified
from rexecop.app import verifying
from rexecop.proof.verify.report import Report, Rung


def verify_bundle(
    bundle: StrPath,
    *,
    trust: StrPath | None,
    require: Rung | str | None = Rung.LOGGED,
    checkpoint: StrPath | None = None,
    growth: StrPath | None = None,
    now: datetime | None = None,
    kernel_guard_key: str | None = None,
) -> Report:
    """Verify a bundle, or a folder of evidence, by the keys in the folder `trust`; no root is needed.

    It must reach the rung `require` and nothing may be wrong; with None whatever is found is returned.
    The log must extend `checkpoint`, one that was kept; `growth` proves that it grew from the bundle's.
    `now` is the time to judge by.

    Raises:
        NotVerified: it does not hold; its `report` says what was found.
        FileMissing, FileRefused, TrustFileMalformed: a file is not there or not what it should be.
    """
    return verified(
        bundle,
        trust=trust,
        require=require,
        checkpoint=checkpoint,
        growth=growth,
        now=now,
        kernel_guard_key=kernel_guard_key,
        root=None,
    )


def verified(
    bundle: StrPath,
    *,
    trust: StrPath | None,
    require: Rung | str | None,
    checkpoint: StrPath | None,
    growth: StrPath | None,
    now: datetime | None,
    kernel_guard_key: str | None,
    root: Path | None,
) -> Report:
    """Do as `verify_bundle`, by the keys that `root` has enrolled where no folder is named."""
    if now is not None and (not isinstance(now, datetime) or now.tzinfo is None):
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
