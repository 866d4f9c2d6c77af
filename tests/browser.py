"""A real browser, driven over its debugging pipe: what a page runs, fetches, and looks like.

One start serves many pages. Nothing listens on a port, and the profile is thrown away.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

FLAGS: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
)  # fmt: skip
SILENT_SECONDS: Final = 120  # Only a browser that hangs says nothing for so long.
# The browser reads commands from descriptor 3 and answers on 4.
START: Final = 'exec "$@" 3<&{reads} 4>&{writes}'


class Browser:
    """The pipe to one browser, attached to one page."""

    def __init__(self, to: int, back: int, saved: Path) -> None:
        self._to, self._back, self._saved = to, back, saved
        self._buffer, self._number = b"", 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        self.ask("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(saved), eventsEnabled=True)
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Inspector"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:  # noqa: ANN401 - the protocol's own JSON
        """Return what `method` answers; events that come first are kept in `events`."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (found := self._next()).get("id") != self._number:
            self.events.append(found)
        if "error" in found:
            raise RuntimeError(f"{method}: {found['error']}")
        return dict(found["result"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._back], [], [], SILENT_SECONDS)
            piece = os.read(self._back, 1 << 20) if ready else b""
            if not piece:
                raise RuntimeError("the browser ended" if ready else f"not a word for {SILENT_SECONDS} s")
            self._buffer += piece
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = dict(json.loads(text))
        if message.get("method") == "Inspector.targetCrashed":
            raise RuntimeError("the page crashed")
        return message

    def open(self, file: Path) -> None:
        """Open `file` and wait until it is loaded."""
        self.visit(file.absolute().as_uri())

    def visit(self, url: str) -> None:
        """Open the page at `url` and wait until it is loaded."""
        self.events.clear()
        self.ask("Page.navigate", url=url)
        self.loaded()

    def loaded(self) -> None:
        """Wait until the page that comes next is loaded."""
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def value(self, expression: str) -> Any:  # noqa: ANN401 - whatever the page says
        """Return what `expression` comes to in the page."""
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def requested(self) -> list[str]:
        """Return every address the page asked for."""
        sent = [event for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    def dress(self, *, scheme: str = "light", media: str = "", width: int = 1200, height: int = 900) -> None:
        """Show pages in this colour scheme, medium and width."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.ask("Emulation.setEmulatedMedia", media=media, features=features)
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def press(self, key: str, *, code: int = 0, text: str = "") -> None:
        """Press and let go a key of the keyboard."""
        named: dict[str, Any] = {"key": key, "windowsVirtualKeyCode": code, "text": text}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **named)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **named)

    def write(self, text: str) -> None:
        """Type `text` where the focus is."""
        self.ask("Input.insertText", text=text)

    def picture(self) -> bytes:
        """Return what is to be seen of the page, as PNG."""
        return b64decode(self.ask("Page.captureScreenshot", format="png")["data"])

    def save(self, link: str) -> dict[str, bytes]:
        """Return what a click on the element `link` saves, by name."""
        self.value(f"document.querySelector({link!r}).click()")
        while not any(event["params"].get("state") == "completed" for event in self.events):
            self.events.append(self._next())
        return {file.name: file.read_bytes() for file in self._saved.iterdir()}

    def printed(self) -> bytes:
        """Return the page as PDF, as it would be printed."""
        return b64decode(self.ask("Page.printToPDF", preferCSSPageSize=True)["data"])


@contextmanager
def browser(*flags: str) -> Iterator[Browser]:
    """Start a browser, with further `flags`, and end it."""
    reads, to = os.pipe()
    back, writes = os.pipe()
    start = START.format(reads=reads, writes=writes)
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        saved = Path(profile) / "saved"
        saved.mkdir()
        process = subprocess.Popen(
            ("bash", "-c", start, "bash", "chromium", *FLAGS, *flags, f"--user-data-dir={profile}"),
            pass_fds=(reads, writes),
            stderr=subprocess.DEVNULL,
        )
        os.close(reads)
        os.close(writes)
        try:
            yield Browser(to, back, saved)
        finally:
            process.kill()
            process.wait()
            os.close(to)
            os.close(back)
