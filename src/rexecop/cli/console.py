"""The operator's console in a terminal: what waits, what runs, and the evidence of what is over.

It reads and acts through the same functions as the commands, and offers no other way out of
itself, so that it can stand as the forced command of an SSH key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, DataTable, Footer, Header, Input, Static, TabbedContent, TabPane

from rexecop.app.plain import moment
from rexecop.cli.pages import operation_page, why_page
from rexecop.cli.render import Page, safe
from rexecop.proof.errors import RexecopError
from rexecop.proof.vocabulary import State

if TYPE_CHECKING:
    from rexecop.app.instance import Instance
    from rexecop.app.views import OperationView

LINES_MAX: Final = 200  # Operations at a glance; `rexecop list` pages through all of them.
LOOK_SECONDS: Final = 1.0  # How old what is shown may be.
OUTPUT_LENGTH_MAX: Final = 16 * 1024  # Of one stream; `rexecop logs --raw` prints all of it.
COLUMNS: Final = ("#", "state", "intent", "target", "mode", "asked by", "updated")
FILTERS: Final[Mapping[str, str | None]] = {
    "all": None,
    "inbox": State.WAITING_FOR_APPROVAL.value,
    "running": State.RUNNING.value,
    "failed": State.FAILED.value,
}
TABS: Final = ("operation", "plan", "records", "output", "why")


class Signing(ModalScreen[tuple[str, str, str] | None]):
    """Shows what is signed and asks for key file (`agent` for the agent), reason and whose vote it is."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "back")]

    def __init__(self, word: str, shown: str) -> None:
        super().__init__()
        self._word = word
        self._shown = shown

    def compose(self) -> ComposeResult:
        with Vertical(id="signing"):
            with VerticalScroll():
                yield Static(safe_block(self._shown), markup=False)
            yield Input(placeholder="key file, or `agent` for a key in the SSH agent", id="key")
            yield Input(placeholder="reason", id="reason")
            yield Input(placeholder="for: whoever gave you their vote; empty for your own", id="behalf")
            with Horizontal(id="buttons"):
                yield Button(f"sign: {self._word} exactly this", id="sign", variant="warning")
                yield Button("back", id="back")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        key = self.query_one("#key", Input).value.strip()
        if event.button.id == "sign" and key:
            reason, behalf = (self.query_one(name, Input).value.strip() for name in ("#reason", "#behalf"))
            self.dismiss((key, reason, behalf))
        elif event.button.id == "back":
            self.dismiss(None)
        else:
            self.query_one("#key", Input).focus()

    def action_leave(self) -> None:
        self.dismiss(None)


class Console(App[None]):
    """The list above, the operation under the cursor below."""

    ENABLE_COMMAND_PALETTE = False  # It can write files, and this may be all somebody is allowed.
    TITLE = "rexecop"
    CSS = """
    DataTable { height: 2fr; }
    TabbedContent { height: 3fr; }
    TabPane > VerticalScroll { height: 1fr; }
    #signing { padding: 1 2; background: $surface; border: thick $warning; height: 90%; width: 90%; }
    Signing { align: center middle; }
    #buttons { height: 3; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f1", "only('all')", "all"),
        Binding("f2", "only('inbox')", "inbox"),
        Binding("f3", "only('running')", "running"),
        Binding("f4", "only('failed')", "failed"),
        Binding("a", "sign('approve')", "approve"),
        Binding("d", "sign('deny')", "deny"),
        Binding("s", "act('start')", "start"),
        Binding("p", "act('pause')", "pause"),
        Binding("c", "act('cancel')", "cancel"),
        Binding("q", "quit", "quit"),
    ]

    def __init__(self, instance: Instance, root: str) -> None:
        super().__init__()
        self._instance = instance
        self._only = "all"
        self._rows: tuple[tuple[str, ...], ...] | None = None
        self.sub_title = root

    def compose(self) -> ComposeResult:
        # Held here: what is heard while all is taken down would find nothing any more.
        self._table = DataTable[str](cursor_type="row", zebra_stripes=True)
        self._tabs = TabbedContent()
        self._texts = {name: Static(id=f"{name}-text", markup=False) for name in TABS}
        yield Header()
        yield self._table
        with self._tabs:
            for name, text in self._texts.items():
                with TabPane(name, id=name), VerticalScroll():
                    yield text
        yield Footer()

    def on_mount(self) -> None:
        self._table.add_columns(*COLUMNS)
        self._table.focus()
        self._look()
        self.set_interval(LOOK_SECONDS, self._look)

    def on_data_table_row_highlighted(self) -> None:
        self._describe()

    def on_tabbed_content_tab_activated(self) -> None:
        self._describe()

    def action_only(self, which: str) -> None:
        self._only = which
        self._look()

    def action_act(self, verb: str) -> None:
        chosen = self._chosen()
        if chosen is not None:
            acts: Mapping[str, Callable[[str], Awaitable[OperationView]]] = {
                "start": self._instance.start,
                "pause": self._instance.pause,
                "cancel": self._instance.cancel,
            }
            self.run_worker(self._acted(verb, acts[verb](chosen)))

    def action_sign(self, word: str) -> None:
        chosen = self._chosen()
        if chosen is None:
            return
        shown = f"{self._instance.preview(chosen)}\n{self._instance.asked_in_words(chosen)}"

        def signed(answer: tuple[str, str, str] | None) -> None:
            if answer is not None:
                self.run_worker(self._acted(word, self._approve(chosen, word, *answer)))

        self.push_screen(Signing(word, shown), signed)

    async def _approve(self, operation: str, word: str, key: str, reason: str, behalf: str) -> OperationView:
        awaiting = self._instance.status(operation).awaiting
        return await self._instance.approve(
            operation,
            key=None if key == "agent" else Path(key).expanduser(),
            agent=key == "agent",
            approves=word == "approve",
            reason=reason or None,
            step=awaiting.step if awaiting is not None else None,
            behalf=behalf or None,
        )

    async def _acted(self, verb: str, work: Awaitable[OperationView]) -> None:
        try:
            view = await work
            self.notify(f"{verb}: #{view.number} is {view.state}", markup=False)
        except RexecopError as error:
            self.notify(safe(error.message), title=error.code, severity="error", markup=False)
        self._look()

    def _look(self) -> None:
        """Show the list as it is now; the cursor stays on its operation."""
        lines = self._instance.list(state=FILTERS[self._only], limit=LINES_MAX)
        rows = tuple(
            (
                line.operation_id,
                str(line.number),
                line.state,
                line.intent,
                line.target,
                line.mode,
                line.requester,
                moment(line.updated),
            )
            for line in lines
        )
        if rows == self._rows:
            return
        self._rows = rows
        chosen, table = self._chosen(), self._table
        table.clear()
        for operation, *cells in rows:
            table.add_row(*(safe(cell) for cell in cells), key=operation)
        known = [row[0] for row in rows]
        if chosen in known:
            table.move_cursor(row=known.index(chosen))
        self._describe()

    def _chosen(self) -> str | None:
        if not self._table.row_count:
            return None
        return self._table.coordinate_to_cell_key(self._table.cursor_coordinate).row_key.value

    def _describe(self) -> None:
        """Show the chosen operation in the tab that is open."""
        chosen, tab = self._chosen(), self._tabs.active
        if not tab:
            return
        try:
            text = "nothing here" if chosen is None else self._text(tab, chosen)
        except RexecopError as error:
            text = safe(f"{error.code}: {error.message}")
        self._texts[tab].update(text)

    def _text(self, tab: str, operation: str) -> str:
        page = Page(colour=False, width=max(40, self.size.width - 4))
        if tab == "operation":
            operation_page(page, self._instance.status(operation))
        elif tab == "plan":
            page.block(self._instance.preview(operation))
        elif tab == "records":
            for record in self._instance.history(operation):
                page.block(f"{moment(record.at)}  {record.kind:<14}{safe(record.summary)}")
        elif tab == "output":
            for output in self._instance.outputs(operation):
                page.line(f"{output.phase} {output.step} on {output.target}, {output.stream}")
                page.block((output.text or "(erased)")[:OUTPUT_LENGTH_MAX].expandtabs())
        else:
            why_page(page, self._instance.why(operation))
        return page.text()


def safe_block(text: str) -> str:
    """Return `text` with every line made safe for a terminal."""
    return "\n".join(safe(line) for line in text.split("\n"))
