"""Triggers: strict, planned once each, asked for by who laid them down, and never lost without a word."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from rexecop.app.errors import DeadLetterUnknown, RequestConflict, TriggerRefused
from rexecop.app.identity import os_user
from rexecop.app.instance import Instance
from rexecop.app.triggering import Inbox, event_of, read_request, trigger
from rexecop.cli.main import run
from rexecop.proof.canonical import canonical_bytes
from rexecop.proof.records.intent import Intent
from rexecop.proof.vocabulary import Established
from tests.app.support import made, opened, records, scratch

ASKS: Final = {"profile": "hello", "env": "ENV", "intent": "host_facts", "target": "localhost"}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with scratch() as folder:
        asyncio.run(made(folder))
        yield folder


@pytest.fixture
def instance(folder: Path) -> Iterator[Instance]:
    with opened(folder, None) as instance:
        yield instance


def asks(folder: Path, **more: str | bool) -> bytes:
    return canonical_bytes({**ASKS, "env": str(folder / "root" / "hello.environment.yaml"), **more})


def lay(folder: Path, name: str, data: bytes) -> Path:
    inbox = folder / "root" / "inbox"
    inbox.mkdir(mode=0o700, exist_ok=True)
    (inbox / name).write_bytes(data)
    return inbox / name


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "root" / "inbox").rglob("*.json"))


def dead(instance: Instance, file: str) -> tuple[str, str]:
    """Return the name and code of the dead letter that was `file`."""
    return next((name, one.code) for name, one in Inbox(instance).dead().items() if one.name == file)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "strict JSON"),
        ("[]", "not an object"),
        ("{}", "missing field `env`"),
        ('{"profile":"a","profile":"b"}', "profile"),
        ('{"profile":"a","env":"e","intent":"i","target":"t","start":"false"}', "start"),
        ('{"profile":"a","env":"e","intent":"i","target":"t","approve":true}', "approve"),
        ('{"profile":"a","env":"e","intent":"i","target":"t","by":"root"}', "unknown field `by`"),
        ('{"profile":"a","env":"e","environment":"e","intent":"i","target":"t"}', "`environment` and `env`"),
        ('{"profile":"a","env":"e","intent":"i","target":"t","parameters":{"n":1.5}}', "no trigger"),
    ],
)
def test_what_is_no_request_is_refused_with_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(TriggerRefused) as refused:
        read_request(text.encode())

    assert says in refused.value.message


def test_the_words_of_the_seed_mean_the_same() -> None:
    rest = '"profile":"a","intent":"i","target":"t"'
    ours = read_request(f'{{{rest},"env":"e","start":true}}'.encode())
    theirs = read_request(f'{{"auto_start": true, {rest}, "environment":"e"}}'.encode())

    assert ours == theirs and event_of(ours) == event_of(theirs)


def test_the_intent_says_trigger_with_the_event_and_the_user_of_the_system(
    folder: Path, instance: Instance
) -> None:
    asked = read_request(asks(folder, reason="nightly", source="cron"))

    view = asyncio.run(trigger(instance, asked))

    intent = records(instance, view.operation_id)[0].record
    assert isinstance(intent, Intent)
    assert (intent.origin.channel, intent.origin.event) == ("trigger", event_of(asked))
    assert intent.by == os_user() and intent.by.established is Established.OS_USER
    assert (intent.reason, view.waiting) == ("nightly", None)


def test_one_key_is_one_operation_and_never_another_request(folder: Path, instance: Instance) -> None:
    async def story() -> None:
        asked = read_request(asks(folder, idempotency_key="k1"))
        first = await trigger(instance, asked)
        again = await trigger(instance, asked)

        assert first.operation_id == again.operation_id
        with pytest.raises(RequestConflict):
            await trigger(instance, read_request(asks(folder, idempotency_key="k1", intent="show_greeting")))

    asyncio.run(story())


def test_the_inbox_plans_what_is_good_and_keeps_what_is_bad_with_the_reason(
    folder: Path, instance: Instance
) -> None:
    before = len(instance.list(limit=1000))
    lay(folder, "good.json", asks(folder, mode="read_only", start=True))
    lay(folder, "bad.json", b"{")
    lay(folder, "nowhere.json", asks(folder, target="mars"))
    lay(folder, "open.json", asks(folder)).chmod(0o666)
    (folder / "root" / "inbox" / "link.json").symlink_to("/etc/hostname")
    lay(folder, "half.part", b"not there yet")
    inbox = Inbox(instance)

    asyncio.run(inbox.take())

    assert len(instance.list(limit=1000)) == before + 1
    [waiting] = [one.waiting.operation for one in instance.parts.lifecycle.queue.judged()]
    assert waiting == instance.resolve("@")
    assert left(folder) == [] and not inbox.has_news()
    assert dead(instance, "bad.json")[1] == "trigger-refused"
    assert dead(instance, "nowhere.json")[1] == "target-unknown"
    assert {dead(instance, name)[1] for name in ("open.json", "link.json")} == {"root-unsafe"}
    assert inbox.text(dead(instance, "bad.json")[0])[1] == "{"

    name = dead(instance, "nowhere.json")[0]
    inbox.retry(name)
    assert left(folder) == [f"{name}.json"]
    with pytest.raises(DeadLetterUnknown):
        inbox.drop(name)
    for each in list(inbox.dead()):
        inbox.drop(each)
    assert inbox.dead() == {}
    (folder / "root" / "inbox" / f"{name}.json").unlink()


def test_a_file_whose_taker_died_at_any_point_is_one_operation(
    folder: Path, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox, before = Inbox(instance), len(instance.list(limit=1000))
    lay(folder, "once.json", asks(folder))

    def die(self: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", die)
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(inbox.take())
    assert len(left(folder)) == 1
    asyncio.run(inbox.take())
    assert len(instance.list(limit=1000)) == before + 1

    lay(folder, "twice.json", asks(folder))
    driver = instance.parts.lifecycle.driver
    driver.leaving = True
    asyncio.run(inbox.take())
    assert len(instance.list(limit=1000)) == before + 1 and inbox.has_news()
    driver.leaving = False
    asyncio.run(inbox.take())
    assert len(instance.list(limit=1000)) == before + 2, "the same text laid down again is asked for again"


def test_flags_never_wait_for_stdin_and_json_comes_from_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Silent(io.StringIO):
        def read(self, *_: object) -> str:
            raise AssertionError("stdin was read")

    common = ["--root", str(folder / "root"), "--quiet"]
    env = str(folder / "root" / "hello.environment.yaml")
    monkeypatch.setattr(sys, "stdin", Silent())
    flags = ["--profile", "hello", "--env", env, "--intent", "host_facts", "--target", "localhost"]
    assert run(["trigger", *flags, *common]) == 0
    assert run(["trigger", "--file", "-", *flags, *common]) == 2
    assert run(["trigger", "--start", *common]) == 2
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(asks(folder))))
    capsys.readouterr()
    assert run(["trigger", *common]) == 0
    assert capsys.readouterr().out.startswith("op_")
