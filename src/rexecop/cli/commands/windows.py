"""`rexecop windows`: when changes may run, now and in the coming week; windows from a calendar."""

from __future__ import annotations

import click

from rexecop.cli.errors import Usage
from rexecop.cli.operands import given, path
from rexecop.cli.pages import windows_page
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.render import as_yaml
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="windows")
@click.argument("name", required=False, metavar="[TARGET | import]")
@click.argument("file", required=False, metavar="[FILE.ics]")
@click.option("--env", help="The environment: a path to its file.")
@click.option("--timezone", help="With `import`: the zone of events that name none.")
@click.option("--freeze", is_flag=True, help="With `import`: the events are freezes.")
@click.pass_obj
def command(
    session: Session, name: str | None, file: str | None, env: str | None, timezone: str | None, freeze: bool
) -> None:
    """Print windows and freezes of a TARGET, or of the whole environment: now, next, and the week.

    `rexecop windows import FILE.ics` prints what to put under `safety` of an environment,
    or into windows.yaml of a policy pack; `-` reads the calendar from standard input.
    """
    if name == "import":
        return _import(session, file, timezone, freeze)
    if file is not None or timezone is not None or freeze:
        raise Usage("only `rexecop windows import` takes a file, `--timezone` and `--freeze`")
    with session.instance() as instance:
        view = instance.windows(path(env or session.settings.env), name)
    session.answer(view, lambda page: windows_page(page, view), quiet=view.state)


def _import(session: Session, file: str | None, timezone: str | None, freeze: bool) -> None:
    from rexecop.app.calendars import CALENDAR_BYTES_MAX, import_calendar

    if file is None:
        raise Usage("name the calendar: `rexecop windows import FILE.ics`, or `-` for standard input")
    found = {
        "freezes" if freeze else "maintenance_windows": import_calendar(
            given(file, CALENDAR_BYTES_MAX), timezone
        )
    }
    session.answer(found, lambda page: page.block(as_yaml(found)), quiet=as_yaml(found))
