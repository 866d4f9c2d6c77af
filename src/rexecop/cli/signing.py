"""Saying yes or no with one's own key: `approve` and `deny` differ in one word."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rexecop.cli.driving import report
from rexecop.cli.errors import FileUnwritable, Usage
from rexecop.cli.operands import given, may_take_operation, path, takes_reason
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.render import Page
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.approver import Word
    from rexecop.app.instance import Instance


def signing(name: str, help: str, *, approves: bool) -> click.Command:
    """Return the command that shows the preview, asks, and signs a yes, or a no, over it.

    It raises Usage where not exactly one of key file and agent is named, ApprovalRefused
    before anything is shown, and what `Session.confirm` raises.
    """

    @click.command(cls=VerbCommand, name=name, help=help)
    @may_take_operation
    @click.option("--key", metavar="FILE", help="Sign with this SSH private key.")
    @click.option("--agent", is_flag=True, help="Sign with a key in the SSH agent.")
    @click.option("--for", "behalf", metavar="PERSON", help="Say it for them, who gave you their vote.")
    @click.option("--step", metavar="ID", help="Only this step, whose exact call waits for it.")
    @click.option("--withdraw", is_flag=True, help="Take back what you said; until the start.")
    @click.option("--request", metavar="FILE", help="Answer this request into a file; no root is needed.")
    @click.option("--output", metavar="FILE", help="Where the answer to `--request` goes.")
    @click.option("--answer", metavar="FILE", help="Take an answer that was signed elsewhere.")
    @takes_reason
    @click.option("--yes", "-y", is_flag=True, help="Do not ask; for scripts.")
    @click.option("--by", "label", help="A label beside the key; establishes nothing.")
    @click.pass_obj
    def command(
        session: Session,
        operation: str | None,
        key: str | None,
        agent: bool,
        behalf: str | None,
        step: str | None,
        withdraw: bool,
        request: str | None,
        output: str | None,
        answer: str | None,
        reason: str | None,
        yes: bool,
        label: str | None,
    ) -> int:
        from rexecop.app.approver import Word

        _require_one(name, operation, request, answer)
        if label is not None:
            session.flags["as"] = label
            session.forget_settings()
        if answer is not None:
            _take(session, answer)
            return 0
        if agent == (key is not None):
            raise Usage("name the key that signs: either `--key FILE` or `--agent`")
        word = Word(approves=approves, withdraws=withdraw, reason=reason, step=step, behalf=behalf)
        question = "withdraw what you said about this?" if withdraw else f"{name} exactly this?"
        if request is not None and behalf is not None and withdraw:
            raise Usage("what was said for somebody else is taken back at the instance, or by them")
        if request is not None:
            _answer(session, Path(request), output, path(key), agent, word, question, yes=yes)
        else:
            assert operation is not None
            _sign(session, operation, path(key), agent, word, question, yes=yes)
        return 0

    return command


def write_request(session: Session, operation: str, file: str) -> None:
    """Write what the operation asks its approvers into the new file `file`.

    Raises:
        FileUnwritable: it is there already.
    """
    from rexecop.app.files import write_new

    with session.instance() as instance:
        data = instance.approval_request(operation)
        awaiting = instance.status(operation).awaiting
    if not write_new(Path(file), data, mode=0o644):
        steps = (f"rexecop show {operation} --request ANOTHER",)
        raise FileUnwritable(f"`{file}` is there already", next_steps=steps)
    step = "" if awaiting is None else f" --step {awaiting.step}"
    session.note(f"wrote `{file}`; its approver runs `rexecop approve --request {file}{step} --key FILE`")


def _require_one(name: str, operation: str | None, request: str | None, answer: str | None) -> None:
    if sum(one is not None for one in (operation, request, answer)) != 1:
        raise Usage(
            "name one of: an operation, a request to answer (`--request`), an answer to take (`--answer`)",
            next_steps=("rexecop list --state waiting_for_approval", f"rexecop {name} @ --key FILE"),
        )


def _sign(
    session: Session, operation: str, key: Path | None, agent: bool, word: Word, question: str, *, yes: bool
) -> None:
    async def admitted(instance: Instance) -> tuple[str, str]:
        found = instance.resolve(operation)
        await instance.may_approve(
            found,
            key=key,
            agent=agent,
            approves=word.approves,
            withdraws=word.withdraws,
            step=word.step,
            behalf=word.behalf,
        )
        return found, f"{instance.preview(found)}\n{instance.asked_in_words(found)}"

    found, shown = session.drive(admitted)
    if not session.settings.quiet:
        session.show(shown)
    session.confirm(question, yes=yes)
    view = session.drive(
        lambda instance: instance.approve(
            found,
            key=key,
            agent=agent,
            approves=word.approves,
            withdraws=word.withdraws,
            reason=word.reason,
            step=word.step,
            behalf=word.behalf,
        )
    )
    report(session, view)


def _answer(
    session: Session,
    request: Path,
    output: str | None,
    key: Path | None,
    agent: bool,
    word: Word,
    question: str,
    *,
    yes: bool,
) -> None:
    """Show all that is signed, ask, and write the answer; only the request and the key are read."""
    from rexecop.app.approver import prepare

    prepared = prepare(request, key=key, agent=agent, environ=session.environ, word=word)
    target = Path(output) if output is not None else request.with_name(f"{request.name}.answer")
    if not session.settings.quiet:
        session.show(prepared.text)
    session.confirm(question, yes=yes)
    prepared.write(target)
    said = prepared.statement
    found = {"operation_id": said.operation, "answer": str(target), "approves": said.approves}

    def draw(page: Page) -> None:
        page.row("wrote", str(target))
        page.row("next", f"rexecop approve --answer {target}   (on the instance)")

    session.answer(found, draw, quiet=str(target))


def _take(session: Session, file: str) -> None:
    from rexecop.app.approver import ANSWER_BYTES_MAX

    data = given(file, ANSWER_BYTES_MAX)
    report(session, session.drive(lambda instance: instance.take_answer(data)))
