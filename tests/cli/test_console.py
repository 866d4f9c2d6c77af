"""The console at work on a real root: its keys do what the commands do, and there is no way out of it."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Input, Static

from rexecop.app.build import open_instance
from rexecop.app.delegating import Delegations
from rexecop.app.instance import Instance
from rexecop.app.settings import load_settings
from rexecop.cli.console import TABS, Console, Signing
from rexecop.cli.exits import Exit
from rexecop.cli.main import run
from rexecop.proof.times import format_time

LOOK = ("run", "host_facts", "--mode", "read_only", "--yes", "-q", "--identity", "me.key")
CHANGE = (
    "plan",
    "--intent",
    "set_greeting",
    "--mode",
    "apply",
    "--param",
    "greeting=hi",
    "--identity",
    "me.key",
)


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rexecop-", dir="/var/tmp") as folder:
        before = os.getcwd()
        os.chdir(folder)
        assert run(("init", "--approver", "bob", "--other", "me", "--other", "dora", "--quiet")) == 0
        assert run(("keys", "new", "me.key", "--person", "me", "--role", "requester", "-q")) == 0
        assert run(LOOK) == 0
        yield Path(folder)
        os.chdir(before)


@contextmanager
def opened(root: Path) -> Iterator[Instance]:
    os.chdir(root)
    settings = load_settings({"identity": "me.key"}, {}, root, root)
    with open_instance(settings, {}) as instance:
        yield instance


async def shown(pilot: Pilot[None], tab: str) -> str:
    from textual.widgets import TabbedContent

    pilot.app.query_one(TabbedContent).active = tab
    await pilot.pause()
    return str(pilot.app.query_one(f"#{tab}-text", Static).content)


def test_every_tab_says_what_its_command_says(root: Path) -> None:
    async def story() -> None:
        with opened(root) as instance:
            async with Console(instance, str(root)).run_test(size=(120, 50)) as pilot:
                await pilot.pause()
                said = {tab: await shown(pilot, tab) for tab in TABS}

                assert "completed" in said["operation"] and "host_facts" in said["operation"]
                assert said["plan"].startswith("rexecop preview 1")
                assert "receipt" in said["records"]
                assert "read_hostname" in said["output"]
                assert "starter/people-may-read" in said["why"]

    asyncio.run(story())


def test_a_change_is_found_in_the_inbox_approved_and_started_by_keys(root: Path) -> None:
    assert run(CHANGE) == Exit.DONE

    async def story() -> None:
        with opened(root) as instance:
            operation = instance.resolve("@")
            async with Console(instance, str(root)).run_test(size=(120, 50)) as pilot:
                await pilot.press("f2")
                assert pilot.app.query_one(DataTable).row_count == 1
                await pilot.press("a")
                await pilot.pause()
                screen = pilot.app.screen
                assert isinstance(screen, Signing)
                assert instance.preview(operation).splitlines()[0] in str(screen.query_one(Static).content)
                screen.query_one("#key", Input).value = str(root / ".rexecop/keys/approver")
                await pilot.click("#sign")
                await pilot.app.workers.wait_for_complete()
                assert instance.status(operation).state == "approved"
                await pilot.press("f1", "s")
                await pilot.app.workers.wait_for_complete()
                assert instance.status(operation).state == "completed"

    asyncio.run(story())


def test_who_asked_is_refused_as_approver_with_the_same_words_as_elsewhere(root: Path) -> None:
    assert run(CHANGE) == Exit.DONE

    async def story() -> None:
        with opened(root) as instance:
            operation = instance.resolve("@")
            async with Console(instance, str(root)).run_test(size=(120, 50)) as pilot:
                await pilot.press("f2", "a")
                await pilot.pause()
                pilot.app.screen.query_one("#key", Input).value = str(root / "me.key")
                await pilot.click("#sign")
                await pilot.app.workers.wait_for_complete()
                await pilot.pause()
                assert instance.status(operation).state == "waiting_for_approval"
                assert any(notice.severity == "error" for notice in pilot.app._notifications)

    asyncio.run(story())


def test_a_vote_is_cast_for_whoever_gave_it_away(root: Path) -> None:
    assert run(("keys", "new", "dora.key", "--person", "dora", "--role", "approver", "-q")) == 0
    assert run(CHANGE) == Exit.DONE

    async def story() -> None:
        with opened(root) as instance:
            operation, mine = instance.resolve("@"), Delegations(instance, {})
            until = format_time(instance.parts.world.clock.now() + timedelta(days=1))
            bob = root / ".rexecop/keys/approver"
            given = mine.prepare("dora", until=until, scope=(), reason="on leave", key=bob, agent=False)
            await mine.give(given)
            async with Console(instance, str(root)).run_test(size=(120, 50)) as pilot:
                await pilot.press("f2", "a")
                await pilot.pause()
                pilot.app.screen.query_one("#key", Input).value = str(root / "dora.key")
                pilot.app.screen.query_one("#behalf", Input).value = "bob"
                await pilot.click("#sign")
                await pilot.app.workers.wait_for_complete()
                assert instance.status(operation).approved_by == ("dora for bob",)

    asyncio.run(story())


def test_there_is_no_palette_and_no_shell(root: Path) -> None:
    assert Console.ENABLE_COMMAND_PALETTE is False


def test_without_a_terminal_it_says_what_to_use_instead(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.chdir(root)

    assert run(("tui",)) == Exit.USAGE
    assert "rexecop list" in capsys.readouterr().err
