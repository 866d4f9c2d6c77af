"""Recorded operations driven again: the same records, or the first that differs, and nothing touched."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

import rexecop.engines.closing as closing
from rexecop.app import observing
from rexecop.app.errors import ReplayImpossible
from rexecop.app.replay.drive import ReplayView
from rexecop.cli.exits import Exit
from rexecop.engines.caller import Caller
from rexecop.engines.driver import Driver
from rexecop.engines.session import Session
from rexecop.lanes.port import LaneResult
from rexecop.proof.errors import RexecopError
from rexecop.proof.records.command import Command, Verb
from tests.app.support import asked, bob, change, made, opened, scratch
from tests.cli.conftest import Rexecop, alone, rexecop

__all__ = ["alone", "rexecop"]
MARGIN_MS = 2000


DIES_AT = [1]  # At which attempt.


class Killed(BaseException):
    """The runner is gone."""


class Dying(Caller):
    """Its runner is gone when the answer comes."""

    async def _dispatch(self, *about: object) -> LaneResult:
        result = await super()._dispatch(*about)  # type: ignore[arg-type]
        if self.session.op.tries >= DIES_AT[0]:
            raise Killed
        return result


class Meanwhile(Caller):
    """While its first call runs, somebody asks for a pause."""

    async def _dispatch(self, *about: object) -> LaneResult:
        result = await super()._dispatch(*about)  # type: ignore[arg-type]
        if self.session.op.tries == 1:
            other = Session.load(self.session.store, self.session.clock, self.session.id)
            other.add(Command, self.session.op.the_intent.by, verb=Verb.PAUSE, reason="lunch")
            await other.flush()
        return result


async def _live(folder: Path) -> dict[str, str]:
    """Make one operation of every kind, and return them by name."""
    await made(folder)
    found: dict[str, str] = {}
    file = folder / "rexecop-hello" / "greeting.txt"
    with opened(folder) as instance:

        async def approved(name: str, greeting: str) -> str:
            found[name] = (await instance.plan(change(folder, greeting))).operation_id
            await instance.approve(found[name], key=bob(folder))
            return found[name]

        found["read"] = (await instance.plan(asked(folder, "show_greeting", "read_only"))).operation_id
        await instance.start(found["read"])
        found["dry"] = (
            await instance.plan(asked(folder, "set_greeting", "dry_run", {"greeting": "x"}))
        ).operation_id
        await instance.start(found["dry"])
        await instance.start(await approved("undone", "good evening"))
        assert (await instance.rollback(found["undone"], "wrong host")).state == "undone"
        await approved("drifted", "good night")
        file.write_text("somebody was here\n")
        assert (await instance.start(found["drifted"])).state == "failed"
        file.write_text("hello\n")
        assert (await instance.retry(found["drifted"])).state == "completed"
        found["denied"] = (await instance.plan(change(folder))).operation_id
        await instance.approve(found["denied"], key=bob(folder), approves=False, reason="not now")
        await instance.cancel(await approved("cancelled", "never"))
        meanwhile = instance.driven_by(lambda world: Driver(world, Meanwhile))
        assert (await meanwhile.start(await approved("paused", "good noon"))).state == "paused"
        assert (await instance.resume(found["paused"])).state == "completed"
        await approved("settled", "good day")
        DIES_AT[0] = 2
        with pytest.raises(Killed):
            await instance.driven_by(lambda world: Driver(world, Dying)).start(found["settled"])
        assert (await instance.reconcile(found["settled"], probe=True)).state == "paused"
        assert (await instance.resume(found["settled"])).state == "completed"
        await approved("stated", "good bye")
        with pytest.raises(Killed):
            await instance.driven_by(lambda world: Driver(world, Dying)).start(found["stated"])
        await instance.reconcile(found["stated"], probe=False, happened=False, reason="looked")
        assert (await instance.cancel(found["stated"])).state == "cancelled"
        await approved("lost", "who knows")
        DIES_AT[0] = 1
        with pytest.raises(Killed):
            await instance.driven_by(lambda world: Driver(world, Dying)).start(found["lost"])
        assert (await instance.start(found["lost"])).state == "paused"  # What was lost was a read.
        with pytest.raises(Killed):
            await instance.driven_by(lambda world: Driver(world, Dying)).resume(found["lost"])
    with opened(folder, None) as instance:
        found["blocked"] = (await instance.plan(change(folder))).operation_id
    return found


@pytest.fixture(scope="module")
def lived() -> Iterator[tuple[Path, Mapping[str, str]]]:
    with scratch() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(observing, "FRESH", timedelta(0))  # What was read just now is read again.
        patched.setattr("rexecop.app.lifecycle.settle_after", lambda op, margin: None)  # Nobody waits.
        found = asyncio.run(_live(folder))
        yield folder, found


def again(folder: Path, operation: str) -> ReplayView:
    with opened(folder) as instance:
        return asyncio.run(instance.replay(operation, MARGIN_MS))


def test_every_kind_of_operation_comes_out_the_same_with_its_targets_gone(
    lived: tuple[Path, Mapping[str, str]],
) -> None:
    folder, found = lived
    scene, ledger = folder / "rexecop-hello", folder / "root" / "ledger.db"
    away = scene.rename(folder / "away")
    before = ledger.read_bytes() if ledger.exists() else b""
    try:
        views = {name: again(folder, operation) for name, operation in found.items()}
    finally:
        away.rename(scene)

    assert [(name, view.differences) for name, view in views.items() if not view.same] == []
    states = {name: view.state for name, view in views.items()}
    assert (
        states["undone"] == "undone" and states["denied"] == "blocked" and states["cancelled"] == "cancelled"
    )
    with opened(folder) as instance:
        counts = {name: len(instance.history(operation)) for name, operation in found.items()}
    assert {name: view.records for name, view in views.items()} == counts
    assert (ledger.read_bytes() if ledger.exists() else b"") == before


def test_a_broken_engine_is_seen_at_the_first_record_it_writes_otherwise(
    lived: tuple[Path, Mapping[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, found = lived
    monkeypatch.setattr(closing, "outcome_counts", lambda op: {"ok": 99})

    view = again(folder, found["read"])

    assert (view.same, view.kind, view.n) == (False, "receipt/1", view.records)
    assert any("`outcomes.ok` is 99" in line for line in view.differences)
    assert view.recorded is not None and view.replayed is not None
    assert view.recorded["outcomes"] != view.replayed["outcomes"]


def test_an_engine_that_stops_early_is_seen_as_a_record_that_does_not_come(
    lived: tuple[Path, Mapping[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, found = lived
    monkeypatch.setattr(Caller, "call", nothing)

    view = again(folder, found["read"])

    assert (view.same, view.kind, view.replayed) == (False, "attempt/1", None)


async def nothing(*about: object) -> None:
    raise RexecopError("no call is made")


def test_the_command_ends_with_0_or_1_and_shows_both_sides(
    lived: tuple[Path, Mapping[str, str]], rexecop: Rexecop, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, found = lived
    root = ("--root", str(folder / "root"))

    assert rexecop("replay", found["undone"], *root, "--quiet").out == "same\n"
    monkeypatch.setattr(closing, "outcome_counts", lambda op: {})
    ended = rexecop("replay", "--operation", found["undone"], *root)

    assert ended.code == Exit.FAILED
    assert "recorded" in ended.out and "replayed" in ended.out and "differs" in ended.out


def test_what_was_erased_is_refused_with_a_code(lived: tuple[Path, Mapping[str, str]]) -> None:
    folder, found = lived
    with opened(folder) as instance:
        instance.erase(found["read"], step=None, rule="asked", reason="a test")

    with pytest.raises(ReplayImpossible, match="erased"):
        again(folder, found["read"])
