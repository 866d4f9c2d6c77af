"""`rexecop logs`: what the calls of an operation put out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rexecop.cli.errors import Usage
from rexecop.cli.operands import takes_operation
from rexecop.cli.outputs import follow_outputs, output_rows
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.render import Page, emit
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.views import OutputView


@click.command(cls=VerbCommand, name="logs")
@takes_operation
@click.option("--step", metavar="STEP", help="Only this step.")
@click.option("--stderr", is_flag=True, help="Only what went to standard error.")
@click.option("--raw", is_flag=True, help="Only the text, whole and unescaped: it may steer a terminal.")
@click.option("--cast", is_flag=True, help="A recorded session as an asciicast, to be played.")
@click.option("--follow", "-f", is_flag=True, help="Print what comes until the operation is over.")
@click.pass_obj
def command(
    session: Session, operation: str, step: str | None, stderr: bool, raw: bool, cast: bool, follow: bool
) -> None:
    """Print the output that was kept, redacted as it is stored, one part per call and stream.

    Without `--raw` every control character is escaped.
    """
    with session.reading() as reading:
        if cast:
            from rexecop.app.sitting import film

            emit("".join(f"{line}\n" for line in film(reading, operation)))
            return
        view = reading.status(operation)
        known = {name for s in view.steps for name in (s.id, s.id.split("@", 1)[0])}
        if step is not None and step not in known:
            raise Usage(
                f"operation `{view.number}` has no step `{step}`",
                next_steps=(f"rexecop status {view.number}",),
            )

        def chosen(after: int = -1) -> list[OutputView]:
            found = reading.outputs(view.operation_id, step, after)
            return [output for output in found if output.stream == "stderr" or not stderr]

        if follow:
            follow_outputs(session, reading, view.operation_id, chosen, raw=raw)
            return
        outputs = chosen()
    if raw and session.settings.output == "table":
        emit("".join(output.text or "" for output in outputs))
        return

    def draw(page: Page) -> None:
        page.title(f"#{view.number}  {view.operation_id}", view.state)
        for output in outputs:
            output_rows(page, output)
        if not outputs:
            page.line("no output was kept")

    answer = {"operation_id": view.operation_id, "state": view.state, "outputs": outputs}
    session.answer(answer, draw, quiet="\n".join(output.text or "" for output in outputs))
