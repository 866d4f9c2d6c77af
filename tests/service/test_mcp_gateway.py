"""An MCP server of somebody else behind policy, approvals and receipts, as it is, over both transports."""

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from mcp.shared.exceptions import MCPError

from rexecop.app.build import open_instance
from rexecop.app.evidence import Asked
from rexecop.app.settings import Settings
from rexecop.app.verifying import verify_bundle
from rexecop.cli.main import run
from rexecop.proof.verify import Rung
from tests.service.agents import Agent, agent, over_stdio
from tests.service.yard import AGENT, yard

UPSTREAM: Final = str(Path(__file__).with_name("upstream.py"))
START_SECONDS: Final = 60.0
FILE: Final = """\
gateway:
  name: NAME
  server: SERVER
  tools: {list_notes: read, add_note: change}
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return yard(tmp_path_factory.mktemp("gateway"))


def things(settings: Settings) -> Path:
    return settings.root.parent / "things"


def written(settings: Settings, name: str, server: object) -> Path:
    file = settings.root.parent / f"{name}.yaml"
    file.write_text(FILE.replace("NAME", name).replace("SERVER", json.dumps(server)))
    return file


def by_program(settings: Settings, name: str) -> Path:
    return written(settings, name, {"program": [sys.executable, UPSTREAM, str(things(settings))]})


def accept(settings: Settings, file: Path) -> int:
    return run(["--root", str(settings.root), "gateway", "accept", str(file), "--yes", "--quiet"])


@contextmanager
def through(settings: Settings, file: Path) -> Iterator[Agent]:
    words = ("--root", str(settings.root), "--identity", str(settings.identity), "mcp", "--agent", AGENT)
    with agent(over_stdio(*words, "--gateway", str(file), folder=settings.root.parent)) as found:
        yield found


def approve(settings: Settings, name: str) -> None:
    async def say() -> None:
        with open_instance(replace(settings, identity=None)) as instance:
            await instance.approve(name, key=settings.root / "keys" / "approver")

    asyncio.run(say())


def said(found: object) -> list[str]:
    return [str(block.text) for block in found.content]  # type: ignore[attr-defined]


def test_tools_of_another_server_are_operations_with_evidence(settings: Settings, tmp_path: Path) -> None:
    file = by_program(settings, "notes")
    assert accept(settings, file) == 0
    with through(settings, file) as bot:
        tools = bot.tools()
        before = bot.call("list_notes")
        asked = bot.told("add_note", note="buy milk", loud=True)
        approve(settings, str(asked["operation_id"]))
        done = bot.call("operation_wait", operation_id=asked["operation_id"], seconds=60)
        after = bot.call("list_notes")
        task = bot.begin("list_notes")
        as_task = bot.result(task.task_id)
        with pytest.raises(MCPError, match="there is no tool `burn`"):
            bot.call("burn")

    assert "burn" not in tools and tools["add_note"].description.startswith("Add a note.")  # type: ignore[union-attr]
    assert tools["add_note"].input_schema["required"] == ["note"]
    assert asked["status"] == "pending_approval"
    assert said(done)[0] == "added buy milk" and done.structured_content["status"] == "completed"
    assert "BUY MILK" in said(after)[0] and "BUY MILK" not in said(before)[0]
    assert said(as_task)[0] == said(after)[0] and as_task.structured_content["operation_id"] == task.task_id
    with open_instance(settings) as instance:
        bundle = tmp_path / "proof.rxb"
        instance.export(str(asked["operation_id"]), Asked(form="bundle", path=bundle))
    report = verify_bundle(bundle, trust_dir=None, checkpoint=None, root=settings.root)
    assert report.holds(Rung.LOGGED) and report.claims.approvals_own == 1


def test_a_tool_that_is_described_otherwise_is_not_called_until_it_is_accepted_again(
    settings: Settings,
) -> None:
    file = by_program(settings, "turning")
    assert accept(settings, file) == 0
    notes, turned = things(settings) / "notes", things(settings) / "turned"
    before = notes.read_text() if notes.exists() else ""
    turned.touch()
    try:
        with through(settings, file) as bot:
            asked = bot.told("add_note", note="sneaky")
            approve(settings, str(asked["operation_id"]))
            refused = bot.call("operation_wait", operation_id=asked["operation_id"], seconds=60)
            untouched = bot.call("list_notes")
            assert accept(settings, file) == 0
            asked = bot.told("add_note", note="known")
            approve(settings, str(asked["operation_id"]))
            known = bot.told("operation_wait", operation_id=asked["operation_id"])
        assert refused.is_error is True and refused.structured_content["status"] == "failed"
        assert "not what was accepted" in json.dumps(refused.structured_content)
        assert untouched.is_error is False  # Of the other tool the server says what it said.
        assert known["status"] == "completed" and notes.read_text() == f"{before}known\n"
    finally:
        turned.unlink()


def test_a_file_that_says_something_else_than_was_accepted_is_not_served(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    file = by_program(settings, "edited")
    assert accept(settings, file) == 0
    file.write_text(file.read_text().replace("add_note: change", "add_note: read"))

    assert run(["--root", str(settings.root), "mcp", "--agent", AGENT, "--gateway", str(file)]) == 2
    assert "was not accepted as it is now" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gateway: 7",
        "gateway: {name: x}",
        "gateway: {name: ../x, server: {program: [a]}}",
        "gateway: {name: x, server: {program: [a]}, tools: {t: maybe}}",
        "gateway: {name: x, server: {program: [a]}, surprise: 1}",
        "gateway: {name: x, server: {base_url: 'file:///etc/passwd'}}",
        "gateway: {name: x, server: {program: [/nonexistent]}, others: change}",
        "{",
    ],
)
def test_a_file_that_says_no_gateway_is_one_clear_line(
    settings: Settings, tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "odd.yaml").write_text(text)

    assert accept(settings, tmp_path / "odd.yaml") == 2
    told = capsys.readouterr().err
    assert "error[" in told and "Traceback" not in told
    assert not (settings.root / "gateways" / "x").exists()


def test_a_server_over_http_is_governed_the_same(settings: Settings) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, UPSTREAM, str(things(settings)), str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            deadline = time.monotonic() + START_SECONDS
            while time.monotonic() < deadline:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            where = {
                "base_url": f"http://127.0.0.1:{port}/mcp",
                "allow_plaintext": True,
                "allow_private": True,
            }
            file = written(settings, "distant", where)
            file.write_text(f"{file.read_text()}  others: change\n")
            assert accept(settings, file) == 0
            with through(settings, file) as bot:
                tools = bot.tools()
                found = bot.call("list_notes")
        finally:
            server.terminate()

    burn = tools["burn"].annotations  # What is not named is what `others` says.
    assert burn is not None and (burn.read_only_hint, burn.destructive_hint) == (False, True)
    assert (
        tools["list_notes"].annotations is not None and tools["list_notes"].annotations.read_only_hint is True
    )
    assert burn.open_world_hint is True
    assert found.is_error is False and found.structured_content["status"] == "completed"
