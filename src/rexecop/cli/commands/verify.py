"""`rexecop verify`: check a bundle, offline."""

from __future__ import annotations

from pathlib import Path

import click

from rexecop.cli.evidence import report_object, report_page
from rexecop.cli.exits import Exit
from rexecop.cli.operands import path
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="verify")
@click.argument("bundle")
@click.option("--trust", metavar="DIR", help="The keys you trust; without it those of the root, if any.")
@click.option("--checkpoint", metavar="FILE", help="A checkpoint you kept: the log must extend it.")
@click.option(
    "--require",
    type=click.Choice(["consistent", "signed", "logged", "witnessed"]),
    default="logged",
    help="The rung that must be reached (logged).",
)
@click.pass_obj
def command(session: Session, bundle: str, trust: str | None, checkpoint: str | None, require: str) -> int:
    """Check BUNDLE and print how far it can be believed; no root and no network are needed.

    BUNDLE may be a folder that `export --format sclite` wrote: then every file in it is checked too.
    Ends with 7 unless the required rung is reached and nothing is wrong.
    """
    from rexecop.app.offline import verify_bundle
    from rexecop.proof.verify.report import Rung

    required = Rung(require)
    root = session.settings.root
    report = verify_bundle(
        Path(bundle),
        trust_dir=path(trust),
        checkpoint=path(checkpoint),
        root=root if root.is_dir() else None,
        kernel_guard_key=session.settings.kernel_guard_key,
    )
    session.answer(
        report_object(report, required),
        lambda page: report_page(page, report, required),
        quiet=report.answer(required),
    )
    return Exit.DONE if report.holds(required) else Exit.EVIDENCE
