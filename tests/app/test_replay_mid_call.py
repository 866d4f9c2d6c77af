"""Operations whose lanes asked for calls in mid-call, driven again: leave and refusals come out the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from rexecop.app.instance import Instance
from rexecop.app.planner import PlanInput
from rexecop.engines.caller import LEAVE_REFUSED, Caller
from rexecop.engines.driver import Driver
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.instance import Note
from tests.app.support import made, opened, records, scratch
from tests.app.test_replay import DIES_AT, Dying, Killed, again

PROFILE = {
    "profile.yaml": "profile_contract: {name: asking, version: 1.0.0, description: Calls in calls.}",
    "intents/talk.yaml": "intent: {workflow: workflows/talk.yaml, title: Talk, modes: [apply]}",
    "connectors/peer.yaml": """connector:
  name: peer
  backends: [mock]
  capabilities: [one, two, three]
  actions: {one: {effect: change}, two: {effect: change}, three: {effect: change}}
""",
    "workflows/talk.yaml": """workflow:
  intent: talk
  mode: apply
  risk: low
  steps:
    - {id: one, type: connector, connector: peer, action: one}
    - {id: two, type: connector, connector: peer, action: two%s}
""",
    "validation_rules/talk.yaml": """validation_rule:
  intent: talk
  steps: [{type: require_equals, path: one.done, value: true, rule: talk.done}]
""",
}
APPROVED = ", approvals: [1 of approvers]"


def written(folder: Path, name: str, asks: str, more: str = "") -> PlanInput:
    """Return what asks for steps `one` and `two`, where the call of `one` asks for the action `asks`."""
    for path, text in PROFILE.items():
        file = folder / name / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text % more if "%s" in text else text)
    env = folder / name / "env.yaml"
    env.write_text(f"""environment:
  id: {name}
  profile: asking
  targets: {{peer: {{type: host}}}}
  connectors:
    peer:
      backend: mock
      actions:
        one: {{data: {{done: true}}, asks: {asks}}}
        two: {{success: true}}
        three: {{success: true}}
""")
    return PlanInput(
        profile=str(folder / name / "profile.yaml"),
        env=str(env),
        intent="talk",
        target="peer",
        mode="apply",
        parameters={},
    )


async def _live(folder: Path) -> dict[str, str]:
    await made(folder)
    found: dict[str, str] = {}
    with opened(folder) as instance:

        async def ready(name: str, asks: str, more: str = "") -> Instance:
            found[name] = (await instance.plan(written(folder, name, asks, more))).operation_id
            return instance

        for name, asks in (("given", "two"), ("unplanned", "three"), ("itself", "one")):
            await (await ready(name, asks)).start(found[name])
        await (await ready("unapproved", "two", APPROVED)).start(found["unapproved"])
        DIES_AT[0] = 2
        with pytest.raises(Killed):
            await (
                (await ready("killed", "two"))
                .driven_by(lambda world: Driver(world, Dying))
                .start(found["killed"])
            )
        for step in ("two", "one"):
            await instance.reconcile(found["killed"], probe=False, happened=True, reason="looked", step=step)
    return found


@pytest.fixture(scope="module")
def lived() -> Iterator[tuple[Path, Mapping[str, str]]]:
    with scratch() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr("rexecop.app.lifecycle.settle_after", lambda op, margin: None)  # Nobody waits.
        yield folder, asyncio.run(_live(folder))


@pytest.mark.parametrize("name", ["given", "unplanned", "itself", "unapproved", "killed"])
def test_what_a_lane_asked_for_comes_out_the_same(lived: tuple[Path, Mapping[str, str]], name: str) -> None:
    folder, found = lived
    with opened(folder) as instance:
        there = [one.record for one in records(instance, found[name])]

    view = again(folder, found[name])

    assert (view.same, view.differences, view.records) == (True, (), len(there))
    within = [one for one in there if isinstance(one, Attempt) and one.within is not None]
    refused = [one for one in there if isinstance(one, Note) and one.topic == LEAVE_REFUSED]
    assert (len(within), len(refused)) == ((1, 0) if name in ("given", "killed") else (0, 1))


def test_an_engine_that_gives_no_leave_any_more_is_seen(
    lived: tuple[Path, Mapping[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, found = lived
    monkeypatch.setattr("rexecop.engines.caller.asked_call", lambda op, call: None)

    view = again(folder, found["given"])

    assert (view.same, view.kind) == (False, "attempt/1")
    assert view.replayed is not None and view.replayed["topic"] == LEAVE_REFUSED


def test_an_engine_that_gives_leave_where_it_refused_is_seen(
    lived: tuple[Path, Mapping[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, found = lived

    async def leave(*about: object) -> tuple[()]:
        return ()

    monkeypatch.setattr("rexecop.engines.driver._Drive._leave", leave)

    view = again(folder, found["unapproved"])

    assert (view.same, view.kind) == (False, "note/1")
    assert view.replayed is not None and "within" in view.replayed


def test_a_call_that_is_asked_for_otherwise_is_seen(
    lived: tuple[Path, Mapping[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, found = lived
    attempt = Caller._attempt
    monkeypatch.setattr(Caller, "_attempt", lambda *about: attempt(*about[:5]))  # Within nothing.

    view = again(folder, found["given"])

    assert not view.same and any("within" in line for line in view.differences)
