"""Intents as tools of an agent, with the official client over real standard streams."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from mcp.shared.exceptions import MCPError

from rexecop.app.build import open_instance
from rexecop.app.identity import os_user
from rexecop.app.planner import PlanInput
from rexecop.app.settings import Settings
from rexecop.cli.main import run
from rexecop.proof.errors import RexecopError
from tests.service.agents import SECONDS, Agent, agent, over_stdio
from tests.service.yard import AGENT, CANARY, yard

HELPERS = {"operation_status", "operation_wait", "operation_cancel", "why", "list_operations"}


HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    },
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return yard(tmp_path_factory.mktemp("mcp"))


def words(settings: Settings, *more: str) -> tuple[str, ...]:
    assert settings.profile is not None and settings.env is not None
    key = ("--identity", str(settings.identity)) if AGENT in more else ()
    return (
        "--root",
        str(settings.root),
        *key,
        "mcp",
        "--profile",
        settings.profile,
        "--env",
        settings.env,
        *more,
    )


@pytest.fixture(scope="module")
def bot(settings: Settings) -> Iterator[Agent]:
    connect = over_stdio(
        *words(settings, "--agent", AGENT, "--wait", "2"),
        folder=settings.root.parent,
        REXECOP_SECRET_YARD_KEY=CANARY,
    )
    with agent(connect) as found:
        yield found


def approve(settings: Settings, name: str, key: Path) -> None:
    async def say() -> None:
        with open_instance(replace(settings, identity=None)) as instance:
            await instance.approve(name, key=key)

    asyncio.run(say())


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def lingers(folder: Path) -> bool:
    """Return whether the program that waits for the go in `folder` runs."""
    found = b"\0".join((b"cat", b"--", os.fsencode(folder / "go"), b""))
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # It ended meanwhile.
            if process.read_bytes() == found:
                return True
    return False


def things(settings: Settings) -> Path:
    return settings.root.parent / "things"


def test_permitted_intents_are_tools_with_a_schema_and_honest_hints(bot: Agent) -> None:
    tools = bot.tools()
    look, put = tools["look"], tools["put"]

    assert set(tools) == {"look", "leak", "linger", "put"} | HELPERS  # `wipe` is nobody's.
    assert look.title == "Look at the thing" and "Reads the thing." in (look.description or "")
    assert look.input_schema["properties"]["target"]["enum"] == ["near", "far"]
    assert look.input_schema["required"] == ["target"] and look.input_schema["additionalProperties"] is False
    assert look.annotations is not None and put.annotations is not None
    assert (look.annotations.read_only_hint, look.annotations.destructive_hint) == (True, False)
    assert (put.annotations.read_only_hint, put.annotations.destructive_hint) == (False, False)
    assert put.annotations.idempotent_hint is True and put.annotations.open_world_hint is False
    # The intent has a parameter called `target` of its own.
    assert set(put.input_schema["required"]) == {"text", "rexecop_target"}
    assert put.input_schema["properties"]["mode"]["enum"] == ["apply", "recovery", "dry_run"]


def test_a_read_is_done_at_once_and_says_what_was_found_with_a_receipt(bot: Agent) -> None:
    found = bot.call("look", target="near", reason="what is there")
    told = found.structured_content

    assert isinstance(told, dict) and not found.is_error
    assert (told["status"], told["state"], told["mode"]) == ("completed", "completed", "read_only")
    assert told["facts"]["look"]["content"] == "a thing\n"
    assert told["receipt"].startswith("sha256:")
    assert json.loads(found.content[0].text) == told  # type: ignore[union-attr]


def test_what_policy_denies_is_an_answer_of_its_own_and_is_recorded(bot: Agent, settings: Settings) -> None:
    found = bot.call("wipe", target="near")  # Not listed, and called all the same.
    told = found.structured_content

    assert isinstance(told, dict) and found.is_error is True
    assert (told["status"], told["state"]) == ("denied", "blocked")
    with open_instance(settings) as instance:
        assert instance.status(str(told["operation_id"])).requester == AGENT
    assert (things(settings) / "thing").read_text() == "a thing\n"


def test_a_change_waits_for_a_person_and_is_done_once_they_said_yes(bot: Agent, settings: Settings) -> None:
    asked = bot.call("put", rexecop_target="near", text="another", idempotency_key="k1")
    told = asked.structured_content
    assert isinstance(told, dict) and asked.is_error is False
    name = str(told["operation_id"])
    waited = bot.told("operation_wait", operation_id=name, seconds=1)
    before = (things(settings) / "thing").read_text()
    approve(settings, name, settings.root / "keys" / "approver")
    done = bot.told("operation_wait", operation_id=name, seconds=60)

    assert (told["status"], told["needs"]) == ("pending_approval", ["1 of approvers"])
    assert (waited["status"], before) == ("pending_approval", "a thing\n")
    assert done["status"] == "completed" and (things(settings) / "thing").read_text() == "another"
    again = bot.told("put", rexecop_target="near", text="another", idempotency_key="k1")
    assert again["operation_id"] == name
    with open_instance(settings) as instance:
        view = instance.status(name)
        intent = instance.operation(name).the_intent
    assert (view.requester, view.approved_by) == (AGENT, ("bob",))
    assert (intent.sponsor, intent.origin.channel) == ("alice", "mcp")


def test_what_takes_long_is_running_and_can_be_waited_for_with_progress(
    bot: Agent, settings: Settings
) -> None:
    begun = bot.told("linger", target="near")
    heard = list(bot.heard)
    name = str(begun["operation_id"])
    still = bot.told("operation_status", operation_id=name)
    (things(settings) / "go").write_text("gone")
    done = bot.told("operation_wait", operation_id=name, seconds=60)

    assert (begun["status"], still["status"]) == ("running", "running")
    assert heard and heard[0][1] == 1.0
    assert done["status"] == "completed" and done["output"][0]["text"] == "gone"  # type: ignore[index]


def test_no_tool_approves_halts_or_administers(bot: Agent, settings: Settings) -> None:
    name = str(bot.told("put", rexecop_target="far", text="x")["operation_id"])

    for tool in ("approve", "deny", "halt", "lift", "keys", "operation_approve", "queue"):
        with pytest.raises(MCPError) as refused:
            bot.call(tool, operation_id=name)
        assert refused.value.error.data == {"code": "tool-unknown"}
    told = " ".join(bot.tools())
    assert not any(word in told for word in ("approve", "deny", "halt", "lift", "key", "role", "token"))
    assert bot.told("operation_status", operation_id=name)["status"] == "pending_approval"


def test_neither_an_agent_nor_its_sponsor_approves_what_the_agent_asked(
    bot: Agent, settings: Settings
) -> None:
    name = str(bot.told("put", rexecop_target="far", text="z")["operation_id"])

    for key, code in (("alice", "sponsor-approval"), ("bot-approves", "agent-approval")):
        with pytest.raises(RexecopError) as refused:
            approve(settings, name, settings.root.parent / key)
        assert refused.value.code == code
    assert bot.told("operation_status", operation_id=name)["status"] == "pending_approval"


def test_an_agent_cancels_what_is_its_own_and_nothing_else(bot: Agent, settings: Settings) -> None:
    async def plan() -> str:
        assert settings.profile is not None and settings.env is not None
        asked = PlanInput(profile=settings.profile, env=settings.env, intent="look", target="near")
        with open_instance(replace(settings, identity=None)) as instance:
            return (await instance.plan(asked)).operation_id

    theirs = asyncio.run(plan())
    mine = str(bot.told("put", rexecop_target="far", text="never")["operation_id"])
    refused = bot.call("operation_cancel", operation_id=theirs)
    done = bot.call("operation_cancel", operation_id=mine, reason="not needed")

    assert refused.is_error is True and "somebody else" in str(refused.structured_content)
    assert done.is_error is False and isinstance(done.structured_content, dict)
    assert done.structured_content["state"] == "cancelled"
    assert bot.told("operation_wait", operation_id=theirs, seconds=1)["state"] == "approved"  # Not started.
    named = {one["operation_id"] for one in bot.told("list_operations")["operations"]}  # type: ignore[attr-defined]
    everything = bot.told("list_operations", all=True)["operations"]
    assert mine in named and theirs not in named
    assert theirs in {one["operation_id"] for one in everything}  # type: ignore[attr-defined]


def test_why_says_what_policy_would_answer_and_records_nothing(bot: Agent, settings: Settings) -> None:
    with open_instance(settings) as instance:
        before = len(instance.list())
    found = bot.told("why", tool="wipe", arguments={"target": "near"})
    with open_instance(settings) as instance:
        after = len(instance.list())

    assert any("no rule allows `bot` to destroy" in line for line in found["lines"])  # type: ignore[attr-defined]
    assert before == after


def test_a_secret_never_reaches_the_agent(bot: Agent) -> None:
    found = bot.call("leak", target="near")
    told = found.structured_content
    assert isinstance(told, dict)
    name = told["operation_id"]
    seen = [found, *(bot.call(tool, operation_id=name) for tool in ("operation_status", "why"))]

    assert told["status"] == "completed"
    assert CANARY not in "".join(one.model_dump_json() for one in seen)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("look", {}),
        ("look", {"target": "elsewhere"}),
        ("look", {"target": 7}),
        ("look", {"target": "near", "mode": "apply"}),
        ("look", {"target": "near", "surprise": 1}),
        ("look", {"target": "near", "reason": "x" * 5000}),
        ("put", {"rexecop_target": "near"}),
        ("put", {"rexecop_target": "near", "text": 1.5}),
        ("put", {"rexecop_target": "near", "text": {"secret": "yard-key"}}),
        ("operation_status", {}),
        ("operation_status", {"operation_id": "op_nothing"}),
        ("operation_status", {"operation_id": ["@"]}),
        ("operation_wait", {"operation_id": "@", "seconds": 10**9}),
        ("operation_wait", {"operation_id": "@", "seconds": True}),
        ("operation_cancel", {"operation_id": "\0"}),
        ("why", {}),
        ("why", {"tool": "nothing", "arguments": {}}),
        ("list_operations", {"state": "odd"}),
        ("list_operations", {"limit": 0}),
    ],
)
def test_arguments_that_a_tool_does_not_take_are_a_result_with_a_code(
    bot: Agent, tool: str, arguments: dict[str, object]
) -> None:
    found = bot.call(tool, **arguments)

    assert found.is_error is True and isinstance(found.structured_content, dict)
    assert found.structured_content["code"] and found.structured_content["reason"]


def test_lines_that_are_no_message_are_answered_and_the_next_is_heard(settings: Settings) -> None:
    bad = [
        b"not json",
        b"[" * 100_000,
        b'{"jsonrpc": "2.0"}',
        b"\xff\xfe\x00",
        b'{"jsonrpc": "2.0", "id": 7, "method": "nothing/here"}',
        b'{"jsonrpc": "2.0", "id": 8, "method": "tools/call", "params": {"name": 5}}',
        b'{"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "look", "arguments": '
        + b'{"a":' * 100
        + b"1"
        + b"}" * 100
        + b"}}",
        b"x" * (5 << 20),
    ]
    lines = [json.dumps(HELLO).encode(), *bad, b'{"jsonrpc": "2.0", "id": 99, "method": "tools/list"}']
    ended = subprocess.run(
        [sys.executable, "-m", "rexecop", *words(settings, "--agent", AGENT)],
        input=b"\n".join(lines) + b"\n",
        capture_output=True,
        timeout=120,
        check=False,
        env=dict(os.environ),
    )
    told = [json.loads(line) for line in ended.stdout.splitlines()]

    assert ended.returncode == 0, ended.stderr
    assert all(one["jsonrpc"] == "2.0" for one in told)  # Nothing else came out there.
    codes = [one["error"]["code"] for one in told if one["id"] is None]
    assert sorted(codes) == [-32700, -32700, -32700, -32600, -32600]
    by_id = {one["id"]: one for one in told if one["id"] is not None}
    assert {by_id[n]["error"]["code"] for n in (7, 8)} <= {-32601, -32602}
    assert 9 in by_id and "tools" in by_id[99]["result"]
    assert b"Traceback" not in ended.stderr


def test_told_to_stop_it_ends_and_what_ran_is_left_as_by_any_runner_that_was_stopped(
    settings: Settings,
) -> None:
    command = [sys.executable, "-m", "rexecop", *words(settings, "--agent", AGENT, "--wait", "1")]
    call = {"name": "linger", "arguments": {"target": "far"}}
    lines = [HELLO, {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call}]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        process.stdin.flush()
        replies = [json.loads(process.stdout.readline()) for _ in lines]
        begun = replies[1]["result"]["structuredContent"]
        until(lambda: lingers(things(settings)))
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    with open_instance(settings) as instance:
        view = instance.status(begun["operation_id"])

    assert (begun["status"], code) == ("running", 0)
    assert view.state in ("running", "indeterminate")
    until(lambda: not lingers(things(settings)))


def test_an_agent_is_also_who_the_user_of_the_system_says_where_they_answer_for_it(
    settings: Settings,
) -> None:
    connect = over_stdio(*words(settings, "--agent", "mine"), folder=settings.root.parent)
    with agent(connect) as mine:
        done = mine.told("look", target="near")
    with open_instance(settings) as instance:
        intent = instance.operation(str(done["operation_id"])).the_intent

    assert (intent.by.person, str(intent.by.established), intent.sponsor) == (
        "mine",
        "os-user",
        os_user().person,
    )


@pytest.mark.parametrize(
    ("more", "code"),
    [
        (("--agent", "nobody"), "agent-refused"),
        (("--agent", "other"), "agent-refused"),  # Bob answers for it.
        (("--agent", AGENT, "--sponsor", "bob"), "agent-refused"),
        (("--agent", "mine", "--sponsor", "bob"), "agent-refused"),
    ],
)
def test_nobody_starts_an_agent_that_others_answer_for(
    settings: Settings, more: tuple[str, ...], code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words(settings, *more)) == 2
    assert f"error[{code}]" in capsys.readouterr().err
