"""Looking at an operation again and again while others drive it; whoever looks changes nothing."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rexecop.cli.pages import operation_page
from rexecop.cli.render import Page, emit
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.reading import Reading
    from rexecop.app.views import OperationView

LOOK_SECONDS: Final = 0.2  # How often one looks: faster than people read.
SHARE: Final = 10  # Looking takes at most a tenth of the time, however large the operation is.
TIMEOUT_SECONDS_MAX: Final = 7 * 24 * 3600  # A week; longer is not watching any more.
RULER: Final = 30  # Characters of a bar.


def follow(
    reading: Reading,
    operation: str,
    timeout: float | None,
    show: Callable[[OperationView], bool],
) -> OperationView | None:
    """Call `show` whenever the operation changed, until it is over; None when `timeout` seconds passed.

    It also ends where `show` says that nobody reads any more.
    """
    from rexecop.app.watching import is_over

    until, last = None if timeout is None else time.monotonic() + timeout, None
    while True:
        began = time.monotonic()
        view = reading.status(operation)
        read = view == last or show(view)
        if is_over(view) or not read:
            return view
        last, now = view, time.monotonic()
        if until is not None and now >= until:
            return None
        time.sleep(min(nap_seconds(now - began), until - now if until else TIMEOUT_SECONDS_MAX))


def nap_seconds(looked_seconds: float) -> float:
    """Return how long not to look again after a look that took so long."""
    return max(LOOK_SECONDS, SHARE * looked_seconds)


class Screen:
    """A page drawn over the one before, on the terminal behind stdout."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._height = 0

    def draw(self, view: OperationView) -> bool:
        """Draw where the operation stands over what was drawn before; of many targets the waves."""
        from rexecop.app.watching import in_words, targets_of

        page, found = (
            Page(colour=self._session.colour(sys.stdout), width=self._session.width()),
            view.progress,
        )
        if found is not None:
            many = targets_of(found) > 1
            words = f"{found.ended} of {found.steps} steps" if many else in_words(found)
            page.line(f"{bar(found.ended, found.steps)} {words}")
            view = replace(view, steps=()) if many else view
        operation_page(page, view)
        rows = os.get_terminal_size(sys.stdout.fileno()).lines - 1
        lines = page.text().splitlines()[:rows]
        back = f"\x1b[{self._height}A\x1b[J" if self._height else ""
        self._height = len(lines)
        # What is wider than the terminal is cut by it, so that a line stays one.
        return emit(back + "\x1b[?7l" + "".join(f"{line}\n" for line in lines) + "\x1b[?7h")


def bar(done: int, total: int) -> str:
    """Return like `[####......]`."""
    filled = RULER * done // total if total else 0
    return f"[{'#' * filled}{'.' * (RULER - filled)}]"
