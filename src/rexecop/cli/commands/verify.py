"""`rexecop verify`: check a bundle, offline."""

from __future__ import annotations

from pathlib import Path

import click

from rexecop.cli.errors import Usage
from rexecop.cli.evidence import report_page
from rexecop.cli.exits import Exit
from rexecop.cli.operands import path
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="verify")
@click.argument("bundle")
@click.option("--trust", metavar="DIR", help="The keys you trust; without it those of the root, if any.")
@click.option("--checkpoint", metavar="FILE", help="A checkpoint you kept: the log must extend it.")
@click.option(
    "--growth", metavar="FILE", help="Proof that the log you kept a checkpoint of continues this one."
)
@click.option(
    "--require",
    type=click.Choice(["consistent", "signed", "logged", "witnessed"]),
    default="logged",
    help="The rung that must be reached (logged).",
)
@click.option("--now", metavar="TIME", help="The time to judge by, in UTC; without it this machine's clock.")
@click.pass_obj
def command(
    session: Session,
    bundle: str,
    trust: str | None,
    checkpoint: str | None,
    growth: str | None,
    require: str,
    now: str | None,
) -> int:
    """Check BUNDLE (`-`: what comes on standard input) and print how far it can be believed.

    It may be a folder that `export --format sclite` wrote: then every file in it is checked
    too. No root and no network are needed. Ends with 7 unless the required rung is reached
    and nothing is wrong.
    """
    from rexecop.app.verifying import verify_bundle
    from rexecop.proof.errors import RecordMalformed
    from rexecop.proof.times import parse_time
    from rexecop.proof.verify.report import Rung
    from rexecop.proof.verify.words import report_object

    required = Rung(require)
    root = session.settings.root
    try:
        moment = None if now is None else parse_time(now)
    except RecordMalformed as error:
        raise Usage(f"`--now`: {error.message}") from error
    report = verify_bundle(
        Path(bundle),
        trust_dir=path(trust),
        checkpoint=path(checkpoint),
        growth=path(growth),
        root=root if root.is_dir() else None,
        kernel_guard_key=session.settings.kernel_guard_key,
        now=moment,
    )
    session.answer(
        report_object(report, required),
        lambda page: report_page(page, report, required),
        quiet=report.answer(required),
    )
    return Exit.DONE if report.holds(required) else Exit.EVIDENCE
