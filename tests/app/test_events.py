"""Events at a root: decided by the rules of a profile, once, with a cooldown; and signed over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from rexecop.app import callers
from rexecop.app.clock import SystemClock
from rexecop.app.door import ServiceRole
from rexecop.app.errors import WebhookRefused
from rexecop.app.events import EventView, Outcome, Told, read_told, take_event
from rexecop.app.instance import Instance
from rexecop.app.profiles import find_profile
from rexecop.app.triggering import Inbox
from rexecop.app.webhooks import TOLERANCE, require_signed, take_webhook
from rexecop.engines.senders import signed
from rexecop.operations.errors import EventRefused, TargetUnknown
from rexecop.proof.canonical import digest_of
from rexecop.proof.payload import Value, payload_text
from rexecop.proof.records.intent import Intent
from rexecop.proof.vocabulary import State
from tests.app.support import made, opened, records, scratch
from tests.service.consoles import a_caller

SECRET: Final = b"whsec_" + b"QUJD" * 8
KEY: Final = b"ABC" * 8
GATEWAY: Final = a_caller("gateway", ServiceRole.GATEWAY)
RULES: Final = """
id: greetings
rules:
  - id: look
    event_type: host.seen
    decision: plan_operation
    operation: {intent: host_facts, target_from: subject, mode: read_only}
    cooldown_seconds: 300
  - id: greet
    event_type: host.new
    decision: plan_operation
    operation: {intent: set_greeting, target: localhost, mode: apply}
  - {id: quiet, event_type: host.idle, decision: ignore}
  - {id: tell, event_type: host.odd, decision: escalate, cooldown_seconds: 300}
"""


def without_parameter(data: bytes) -> bytes:
    """Return a file of the profile with a greeting that nobody has to give."""
    text = data.replace(b"{greeting}", b"hello").replace(b"value_from: parameters.greeting", b"value: hello")
    return text.partition(b"  parameters:")[0] if b"intent:\n  workflow: workflows/set" in text else text


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with scratch() as folder:
        asyncio.run(made(folder))
        profile = folder / "root" / "greeter"
        for name, data in find_profile("hello").files.items():
            path = profile / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(without_parameter(data))
        (profile / "triggers").mkdir()
        (profile / "triggers" / "trigger_rules.yaml").write_text(RULES)
        webhooks = folder / "root" / "webhooks.yaml"
        webhooks.write_text(
            "webhooks:\n"
            "  scan: {secret: [hook], profile: ./greeter, env: hello.environment.yaml, start: true}\n"
            "  gate: {caller: gateway, profile: ./greeter, env: hello.environment.yaml, start: true}\n"
        )
        webhooks.chmod(0o600)
        yield folder


@pytest.fixture
def instance(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Instance]:
    monkeypatch.setenv("REXECOP_SECRET_HOOK", SECRET.decode())
    with opened(folder, None) as instance:
        yield instance


def cloud(name: str, kind: str = "host.seen", **more: Value) -> dict[str, Value]:
    now = SystemClock().now()
    found: dict[str, Value] = {
        "specversion": "1.0", "id": name, "source": "/t", "type": kind, "subject": "localhost",
        "time": now.isoformat(), "cooldownkey": name, "data": {"load": 1.5},
    }  # fmt: skip
    return {**found, **more}


def told(folder: Path, event: dict[str, Value], *, start: bool = False) -> Told:
    root = folder / "root"
    data = payload_text(event).encode()
    found = read_told(data, str(root / "greeter"), str(root / "hello.environment.yaml"), start=start)
    assert found is not None
    return found


def taken(instance: Instance, folder: Path, event: dict[str, Value], *, start: bool = False) -> EventView:
    return asyncio.run(take_event(instance, told(folder, event, start=start)))


def count(instance: Instance) -> int:
    return len(instance.list(limit=1000))


def test_an_event_is_one_plan_whose_intent_names_it(folder: Path, instance: Instance) -> None:
    event = cloud("one")
    view, before = taken(instance, folder, event), count(instance)

    assert view.outcome is Outcome.PLANNED and view.operation is not None
    intent = records(instance, view.operation.operation_id)[0].record
    assert isinstance(intent, Intent)
    assert (intent.origin.channel, intent.origin.event) == (
        "trigger",
        digest_of(payload_text(event).encode()),
    )
    assert (intent.intent, intent.reason) == ("host_facts", "rule look: host.seen localhost")
    assert view.operation.place is None, "nobody said that it should be started"
    again = taken(instance, folder, event)
    assert again.outcome is Outcome.DUPLICATE and again.operation is not None
    assert again.operation.operation_id == view.operation.operation_id
    assert count(instance) == before


def test_events_that_come_at_one_time_are_planned_once_and_keep_the_cooldown(
    folder: Path, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    same, before = cloud("same"), count(instance)
    others = [cloud(f"other-{n}", cooldownkey="shared") for n in range(3)]

    async def all_of_them() -> list[Outcome]:
        with opened(folder, None) as beside:
            work = [
                take_event(one, told(folder, event))
                for one in (instance, beside)
                for event in (same, *others)
            ]
            return [view.outcome for view in await asyncio.gather(*work)]

    found = asyncio.run(all_of_them())
    assert found.count(Outcome.PLANNED) == 2 and count(instance) == before + 2
    assert set(found) == {Outcome.PLANNED, Outcome.DUPLICATE, Outcome.COOLING}
    real, later = SystemClock.now, cloud("later", cooldownkey="shared")
    for seconds, outcome in ((240, Outcome.COOLING), (302, Outcome.PLANNED)):
        with monkeypatch.context() as patched:
            patched.setattr(SystemClock, "now", lambda self, by=seconds: real(self) + timedelta(seconds=by))
            event = {**later, "id": f"later-{seconds}"}
            assert taken(instance, folder, event).outcome is outcome


def test_what_is_not_planned_is_ignored_or_handed_to_people_once(folder: Path, instance: Instance) -> None:
    before, inbox = count(instance), Inbox(instance)

    for kind, rule in (("host.idle", "quiet"), ("host.gone", None)):
        ignored = taken(instance, folder, cloud(kind, kind))
        assert (ignored.outcome, ignored.rule) == (Outcome.IGNORED, rule)
        assert taken(instance, folder, cloud(kind, kind)).outcome is Outcome.DUPLICATE
    odd = taken(instance, folder, cloud("odd-1", "host.odd", cooldownkey="odd"))
    assert odd.outcome is Outcome.ESCALATED and odd.letter is not None
    cooling = taken(instance, folder, cloud("odd-2", "host.odd", cooldownkey="odd"))
    assert cooling.outcome is Outcome.COOLING
    letter, text = inbox.text(odd.letter)
    assert (letter.code, letter.message) == ("event-escalated", "rule tell: host.odd localhost")
    assert '"odd-1"' in text and count(instance) == before
    inbox.drop(odd.letter)


def test_with_start_a_read_is_started_and_a_change_only_after_an_approval(
    folder: Path, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = taken(instance, folder, cloud("read"), start=True).operation
    assert read is not None and read.place is not None
    change = taken(instance, folder, cloud("change", "host.new"), start=True).operation
    assert change is not None and (change.state, change.place) == (State.WAITING_FOR_APPROVAL, 2)
    # Where policy asks nobody, a rule starts no change: somebody has to.
    pack = folder / "root" / "policy" / "starter" / "requirements" / "approvals.cedar"
    rules = pack.read_text()
    pack.write_text(rules.replace('Action::"change"', 'Action::"destroy"'))
    free = taken(instance, folder, cloud("free", "host.new"), start=True).operation
    pack.write_text(rules)
    assert free is not None and (free.state, free.place) == (State.APPROVED, None)


def test_an_event_in_the_inbox_is_taken_and_one_that_cannot_be_lies_among_the_dead(
    folder: Path, instance: Instance
) -> None:
    inbox = Inbox(instance)
    (folder / "root" / "inbox").mkdir(mode=0o700, exist_ok=True)
    before = count(instance)
    for name, event in (("good", cloud("good")), ("lost", cloud("lost", subject="mars"))):
        lying = told(folder, event, start=True).letter
        (folder / "root" / "inbox" / f"{name}.json").write_bytes(lying)
    (folder / "root" / "inbox" / "odd.json").write_bytes(
        payload_text({"event": {}, "approve": True}).encode()
    )

    asyncio.run(inbox.take())

    assert count(instance) == before + 1 and instance.status("@").place is not None
    codes = {letter.name: letter.code for letter in inbox.dead().values()}
    assert codes == {"lost.json": "target-unknown", "odd.json": "event-refused"}
    for name in list(inbox.dead()):
        inbox.drop(name)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"profile": 1}, "nobody says the `profile`"),
        ({"approve": True}, "unknown key `approve`"),
        ({"start": "false"}, "`start` is not true or false"),
        ({"event": []}, "an event is a JSON object"),
    ],
)
def test_what_stands_around_an_event_is_read_as_strictly(wrong: dict[str, Value], says: str) -> None:
    around: dict[str, Value] = {"profile": "hello", "env": "e", "event": cloud("x"), **wrong}

    with pytest.raises(EventRefused) as refused:
        read_told(payload_text(around).encode(), None, None)

    assert says in refused.value.message
    assert read_told(b'{"profile": "hello"}', None, None) is None


def send(instance: Instance, name: str, event: dict[str, Value], headers: dict[str, str]) -> EventView:
    return asyncio.run(take_webhook(instance, name, headers, payload_text(event).encode()))


def test_a_signed_message_is_taken_once_and_refused_when_it_comes_again(
    folder: Path, instance: Instance
) -> None:
    event, before = cloud("w1"), count(instance)
    headers = signed("msg_1", SystemClock().now(), payload_text(event).encode(), SECRET)

    view = send(instance, "scan", event, headers)
    assert view.outcome is Outcome.PLANNED and view.operation is not None
    assert view.operation.place is not None and count(instance) == before + 1
    with pytest.raises(WebhookRefused, match="`msg_1` was here before") as refused:
        send(instance, "scan", event, headers)
    assert refused.value.facts["status"] == 409
    # Signed by who knows the secret, but under an id that was used up.
    other = cloud("w2")
    reused = signed("msg_1", SystemClock().now(), payload_text(other).encode(), SECRET)
    with pytest.raises(WebhookRefused, match="was here before"):
        send(instance, "scan", other, reused)
    fresh = signed("msg_2", SystemClock().now(), payload_text(event).encode(), SECRET)
    assert send(instance, "scan", event, fresh).outcome is Outcome.DUPLICATE
    assert count(instance) == before + 1


def test_a_message_whose_taker_died_before_it_stood_in_the_queue_is_started_when_it_comes_again(
    folder: Path, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = cloud("w3")
    headers = signed("msg_3", SystemClock().now(), payload_text(event).encode(), SECRET)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Instance, "enqueue", die)
        with pytest.raises(KeyboardInterrupt):
            send(instance, "scan", event, headers)
    assert instance.status("@").place is None
    with pytest.raises(WebhookRefused, match="was here before"):
        send(instance, "scan", event, headers)
    assert instance.status("@").place is not None


def test_what_is_signed_and_cannot_be_planned_lies_among_the_dead_and_may_come_again(
    folder: Path, instance: Instance
) -> None:
    event = cloud("w4", subject="mars")
    headers = signed("msg_4", SystemClock().now(), payload_text(event).encode(), SECRET)

    for _ in range(2):
        with pytest.raises(TargetUnknown):
            send(instance, "scan", event, headers)
    [(name, letter)] = Inbox(instance).dead().items()
    assert (letter.name, letter.code) == ("webhook:scan", "target-unknown")
    Inbox(instance).drop(name)


def test_a_page_looks_through_so_many_operations_and_says_where_to_go_on(
    folder: Path, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "LOOKED_AT_MAX", 2)
    body = payload_text(cloud("gate-1")).encode()
    (one,) = asyncio.run(callers.tell_events(instance, GATEWAY, [body]))
    for n in range(3):
        taken(instance, folder, cloud(f"between-{n}"))

    pages, before = list[list[str]](), 0
    while not pages or (pages[-1] == [] and before):
        found, after = callers.events_of(instance, GATEWAY, before, 10)
        pages.append([planned.id for planned in found])
        before = after or 0

    assert pages == [[], [one.id]]


def test_an_event_of_a_caller_that_died_before_it_stood_in_the_queue_is_started_when_it_is_told_again(
    folder: Path, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = payload_text(cloud("gate-2")).encode()

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Instance, "enqueue", die)
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(callers.tell_events(instance, GATEWAY, [body]))
    assert instance.status("@").place is None
    (again,) = asyncio.run(callers.tell_events(instance, GATEWAY, [body]))
    assert again.view is not None and again.view.outcome is Outcome.DUPLICATE
    assert instance.status("@").place is not None


NOW: Final = datetime(2027, 1, 31, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, None),
        ({"webhook-signature": "v1,AAAA " + "v1a,BBBB"}, "no signature is by a secret"),
        ({"webhook-signature": ""}, "are needed"),
        ({"webhook-id": ""}, "are needed"),
        ({"webhook-id": "msg_2"}, "no signature is by a secret"),
        ({"webhook-timestamp": "1.5"}, "seconds since 1970"),
        ({"webhook-timestamp": "\u0661"}, "seconds since 1970"),
        ({"webhook-timestamp": str(int(NOW.timestamp()) + 1)}, "no signature is by a secret"),
    ],
)
def test_a_message_is_signed_as_a_whole_or_refused_with_the_reason(
    change: dict[str, str], says: str | None
) -> None:
    headers = {**signed("msg_1", NOW, b"{}", SECRET), **change}

    if says is None:
        require_signed(headers, b"{}", [b"another" * 4, KEY], NOW)
        with pytest.raises(WebhookRefused, match="no signature is by"):
            require_signed(headers, b"{ }", [KEY], NOW)
    else:
        with pytest.raises(WebhookRefused, match=says) as refused:
            require_signed(headers, b"{}", [KEY], NOW)
        assert refused.value.facts["status"] == 401


@pytest.mark.parametrize("by", [TOLERANCE, -TOLERANCE])
def test_a_message_of_other_minutes_is_refused_at_the_very_edge(by: timedelta) -> None:
    headers, second = (
        signed("msg_1", NOW + by, b"{}", SECRET),
        timedelta(seconds=1 if by > timedelta(0) else -1),
    )

    require_signed(headers, b"{}", [KEY], NOW)
    with pytest.raises(WebhookRefused, match="off the clock"):
        require_signed(headers, b"{}", [KEY], NOW - second)


def test_a_webhook_that_nobody_wrote_down_and_a_body_that_is_no_event_are_refused(
    folder: Path, instance: Instance
) -> None:
    with pytest.raises(WebhookRefused, match="no webhook is called `other`") as refused:
        send(instance, "other", {}, {})
    assert refused.value.facts["status"] == 404
    elsewhere: dict[str, Value] = {"event": cloud("w5"), "env": "/etc/other.yaml"}
    asks: dict[str, Value] = {"intent": "host_facts"}
    for body in (asks, elsewhere):
        headers = signed("msg_5", SystemClock().now(), payload_text(body).encode(), SECRET)
        with pytest.raises(EventRefused, match="takes one CloudEvent"):
            send(instance, "scan", body, headers)
