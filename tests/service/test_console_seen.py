"""The console in a real browser: by keyboard, without scripts, on a phone, in dark and in light.

`REXECOP_PICTURES=write` writes the pictures of the docs anew; look at them before keeping them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.app.support import asked, bob, change, made, opened, scratch
from tests.browser import Browser, browser
from tests.house.source import ROOT
from tests.needs import needs
from tests.service.consoles import console

PICTURES: Final = ROOT / "docs" / "pictures"
PICTURE_BYTES_MAX: Final = 80_000
LOOKS: Final = (
    "", "/operations", "/approvals", "/plan", "/plan?intent=set_greeting", "/policy", "/queue", "/halts",
    "/reviews", "/targets", "/windows", "/trends", "/log", "/health", "{waits}", "{waits}/approval", "{done}",
    "{done}/evidence",
)  # fmt: skip
TAB: Final = 9


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A browser that is signed in at `base`, by the keyboard alone and with scripts switched off."""

    browser: Browser
    base: str
    done: str
    waits: str

    def visit(self, path: str) -> None:
        names = {"done": f"/operations/{self.done}", "waits": f"/operations/{self.waits}"}
        self.browser.visit(f"{self.base}{path.format(**names)}")

    def focus(self, selector: str) -> None:
        """Go on with the tabulator until the focus is there; it has to be seen at every place."""
        for _ in range(60):
            self.browser.press("Tab", code=TAB)
            look = "getComputedStyle(document.activeElement)"
            width = self.browser.value(f"{look}.outlineStyle + ' ' + {look}.outlineWidth")
            assert width == "solid 3px" or self.browser.value("document.activeElement === document.body"), (
                width
            )
            if self.browser.value(f"document.activeElement.matches({selector!r})"):
                return
        raise AssertionError(f"{selector} cannot be reached")

    def press_enter(self) -> None:
        self.browser.events.clear()
        self.browser.press("Enter", code=13, text="\r")
        self.browser.loaded()


def story(folder: Path) -> tuple[str, str]:
    async def told() -> tuple[str, str]:
        with opened(folder) as instance:
            read = await instance.plan(asked(folder, "host_facts", "read_only", reason="a look before work"))
            await instance.start(read.operation_id)
            done = await instance.plan(change(folder, reason="guests are coming"))
            await instance.approve(done.operation_id, key=bob(folder))
            await instance.start(done.operation_id)
            waits = await instance.plan(change(folder, greeting="good night", reason="guests are leaving"))
            return done.operation_id, waits.operation_id

    asyncio.run(made(folder))
    return asyncio.run(told())


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    with scratch() as folder, browser() as chromium:
        done, waits = story(folder)
        with console(folder / "root") as (at, link):
            found = Seen(browser=chromium, base=f"http://127.0.0.1:{at.port}/console", done=done, waits=waits)
            chromium.ask("Emulation.setScriptExecutionDisabled", value=True)
            chromium.dress()
            found.visit(f"/sign-in?link={link}")
            found.focus("button")
            found.press_enter()
            yield found


@needs("chromium")
def test_a_change_is_planned_by_keyboard_alone_after_policy_was_asked(seen: Seen) -> None:
    assert seen.browser.value("location.pathname") == "/console"
    seen.visit("/plan?intent=set_greeting")
    seen.focus("[name='p.greeting']")
    seen.browser.write("good <b>morning</b>")
    seen.focus("[name=reason]")
    seen.browser.write("by keyboard")
    seen.focus("button[value=why]")
    seen.press_enter()
    assert "What policy would answer" in seen.browser.value("document.body.innerText")

    seen.focus("button[value=plan]")
    seen.press_enter()

    assert "/console/operations/op_" in seen.browser.value("location.href")
    assert "good <b>morning</b>" in seen.browser.value("document.body.innerText")


@needs("chromium")
def test_pages_run_nothing_fetch_nothing_elsewhere_and_fit_a_phone(seen: Seen) -> None:
    seen.browser.dress(width=390)
    for path in LOOKS:
        seen.visit(path)
        assert seen.browser.value("document.scripts.length") == 0
        assert all(one.startswith((seen.base, "data:")) for one in seen.browser.requested()), path
        assert seen.browser.value("document.documentElement.scrollWidth <= innerWidth"), path
        assert seen.browser.value("getComputedStyle(document.querySelector('main')).maxWidth") == "1216px"
    seen.browser.dress()


@needs("chromium")
def test_first_comes_the_way_past_the_navigation(seen: Seen) -> None:
    seen.visit("/operations")
    seen.browser.press("Tab", code=TAB)

    assert seen.browser.value("document.activeElement.getAttribute('href')") == "#main"


@needs("chromium")
@pytest.mark.parametrize(
    ("name", "path", "scheme", "width", "height"),
    [
        ("console-overview", "", "light", 900, 560),
        ("console-approval", "{waits}/approval", "dark", 800, 560),
        ("console-operation", "{done}", "light", 760, 640),
        ("console-phone", "{waits}", "dark", 390, 640),
    ],
)
def test_pages_look_as_the_system_is_set_and_are_pictured_so(
    seen: Seen, name: str, path: str, scheme: str, width: int, height: int
) -> None:
    seen.browser.dress(scheme=scheme, width=width, height=height)
    seen.visit(path)
    if path == "{done}":
        seen.browser.value("document.querySelector('.timeline').scrollIntoView()")

    paper = seen.browser.value("getComputedStyle(document.body).backgroundColor")
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 26)"}[scheme]
    picture, file = seen.browser.picture(), PICTURES / f"{name}.png"
    if os.environ.get("REXECOP_PICTURES") == "write":
        file.write_bytes(picture)
    assert len(picture) > 1000 and len(file.read_bytes()) < PICTURE_BYTES_MAX
