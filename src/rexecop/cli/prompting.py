"""A governed session at its prompt: reads a line, carries it out as one operation, says what came of it."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rexecop.cli.driving import put_out, watched
from rexecop.cli.exits import Exit
from rexecop.cli.render import as_json, emit, error_text
from rexecop.cli.session import Session
from rexecop.proof.errors import RexecopError
from rexecop.proof.vocabulary import Mode

if TYPE_CHECKING:
    from rexecop.app.command_line import Line
    from rexecop.app.instance import Instance
    from rexecop.app.planner import PlanInput
    from rexecop.app.views import OperationView

HELP: Final = """\
WORDS        look: run where it can change nothing, as far as this machine sees to that
! WORDS      change something;  !! WORDS  destroy something: policy may want approvals
start N      run operation N, once it is approved
help, quit   this; leave (or Ctrl-D)
Every line is one command and one operation. No shell reads it."""
LEAVING: Final = frozenset({"quit", "exit"})


class Prompt:
    """The session: reads a line, carries it out, says what came of it, until there is none."""

    def __init__(self, session: Session, instance: Instance, asks: PlanInput, *, dry: bool) -> None:
        self._session = session
        self._instance = instance
        self._asks = asks
        self._dry = dry
        self._prompt = f"{asks.target}> " if sys.stdin.isatty() else ""

    async def serve(self) -> int:
        """Return how the session ended: well, whatever became of its lines."""
        if self._prompt:
            self._session.note(f"governed session on `{self._asks.target}`; `help` says how, `quit` leaves")
            import readline  # noqa: F401 - it gives `input` a history and editing
        while (text := await asyncio.to_thread(self._read)) is not None:
            words = text.split()
            if words and words[0] in LEAVING:
                break
            try:
                await self._carry_out(text, words)
            except RexecopError as error:
                emit(error_text(error, as_object=self._session.settings.output == "json"), sys.stderr)
        return Exit.DONE

    def _read(self) -> str | None:
        try:
            return input(self._prompt)
        except EOFError:
            if self._prompt:
                emit("\n", sys.stderr)
            return None

    async def _carry_out(self, text: str, words: list[str]) -> None:
        from rexecop.app.command_line import read_line

        if words == ["help"]:
            self._session.show(HELP)
            return
        if len(words) == 2 and words[0] == "start":
            await self._drive(self._instance.resolve(words[1]))
            return
        line = read_line(text)
        if line is not None:
            await self._run(line)

    async def _run(self, line: Line) -> None:
        mode = Mode.DRY_RUN if self._dry else Mode.READ_ONLY if line.intent == "look" else Mode.APPLY
        view = await self._instance.plan(
            replace(
                self._asks,
                intent=line.intent,
                mode=mode,
                parameters={"argv": list(line.argv)},
            )
        )
        if view.state == "approved":
            await self._drive(view.operation_id)
        else:
            self._tell(view)

    async def _drive(self, operation: str) -> None:
        started = self._instance.start(operation)
        self._tell(await watched(self._session, self._instance, operation, started, watch=False))

    def _tell(self, view: OperationView) -> None:
        with self._session.reading() as reading:
            outputs = reading.outputs(view.operation_id)
        if self._session.settings.output == "json":
            answer = {"operation_id": view.operation_id, "state": view.state, "outputs": outputs}
            emit(as_json(answer, indent=None))
            return
        put_out(outputs)
        if view.state == "completed":
            return
        said = next((step.message for step in view.steps if step.message), None)
        reason = said or (view.decision.reason if view.decision is not None else "")
        self._session.note(f"#{view.number} {view.state}: {reason}")
        for step in view.next:
            self._session.note(f"  {step}")
