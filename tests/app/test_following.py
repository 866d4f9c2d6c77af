"""What follows by itself from what a trigger looked at: planned once, never started, and seen by people."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from rexecop.app import following
from rexecop.app.clock import SystemClock
from rexecop.app.door import ServiceScope
from rexecop.app.events import EventView, read_told, take_event
from rexecop.app.following import KIND, due, follow, promise
from rexecop.app.instance import Instance
from rexecop.app.reacting import Reacting, as_text
from rexecop.app.triggering import AutoReact, Request, trigger
from rexecop.app.worker import Worker
from rexecop.cli.main import run
from rexecop.engines.session import Session
from rexecop.operations.errors import AppendConflict, StoreUnavailable, TargetUnknown
from rexecop.proof.payload import Value, payload_text
from rexecop.proof.records.instance import Note
from rexecop.proof.records.intent import Intent
from rexecop.proof.vocabulary import State
from tests.app.support import made, opened, records, scratch, verified
from tests.app.test_reactions import LOOPING, level, looking_up

RULES = """
id: looping
rules:
  - id: seen
    event_type: host.seen
    decision: plan_operation
    operation: {intent: first, target_from: subject, mode: MODE, auto_react: plan_only}
"""


class Site:
    """A profile whose rules ask for one another and an environment, for one test."""

    def __init__(self, folder: Path, name: str, *, mode: str = "read_only", cooldown: str = "0s") -> None:
        self.folder, self.profile = folder, folder / name
        self.env = folder / f"{name}.environment.yaml"
        budgets = f"max_reactions: 9, cooldown: {cooldown}" if cooldown != "0s" else "max_reactions: 9"
        for path, text in {**LOOPING, "triggers/trigger_rules.yaml": RULES.replace("MODE", mode)}.items():
            (self.profile / path).parent.mkdir(parents=True, exist_ok=True)
            made = text.replace("max_reactions: COUNT", budgets).replace("DEPTH", "9")
            (self.profile / path).write_text(made.replace("[read_only]", "[dry_run, read_only]"))
        level(self.env, 9)

    async def told(
        self, instance: Instance, name: str, target: str = "a", *, start: bool = False, within: str = ""
    ) -> EventView:
        """Tell an event of a host that was seen, `within` the scope of targets with such names."""
        now = SystemClock().now()
        event: dict[str, Value] = {
            "specversion": "1.0", "id": f"{self.profile.name}-{name}", "source": "/t", "type": "host.seen",
            "subject": target, "time": now.isoformat(), "cooldownkey": name,
        }  # fmt: skip
        found = read_told(payload_text(event).encode(), str(self.profile), str(self.env), start=start)
        assert found is not None
        scope = ServiceScope(targets=(within,)) if within else None
        return await take_event(instance, replace(found, scope=scope))

    async def looked(self, instance: Instance, name: str, target: str = "a") -> str:
        """Tell an event, run what it triggered, and return that operation."""
        view = (await self.told(instance, name, target)).operation
        assert view is not None
        return (await instance.start(view.operation_id)).operation_id


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with scratch() as folder:
        asyncio.run(made(folder))
        yield folder


@pytest.fixture
def instance(folder: Path) -> Iterator[Instance]:
    with opened(folder, None) as instance:
        yield instance
        for name, _ in instance.parts.world.store.posted("escalation"):
            instance.parts.world.store.post("escalation", name, None)


def children(instance: Instance, parent: str) -> list[str]:
    """Return the operations that reactions to `parent` planned."""
    found = [line.operation_id for line in instance.list(limit=1000)]
    origins = {name: instance.operation(name).the_intent.origin for name in found}
    return [name for name, origin in origins.items() if origin.parent == parent]


def notes(instance: Instance, operation: str) -> list[str]:
    found = [sealed.record for sealed in records(instance, operation)]
    return [one.text for one in found if isinstance(one, Note) and one.topic == "reaction"]


def promised(instance: Instance) -> list[str]:
    return [name for name, _ in instance.parts.world.store.posted(KIND)]


def test_what_follows_is_not_planned_for_a_teller_who_is_held_to_a_scope(
    folder: Path, instance: Instance
) -> None:
    async def story() -> None:
        site = Site(folder, "bounded")
        for within, expected in (("a*", 0), ("", 1)):
            view = (await site.told(instance, f"by {within}", within=within)).operation
            assert view is not None and len(promised(instance)) == expected
            await instance.cancel(view.operation_id)
        await Worker(instance, once=True).run(asyncio.Event())

    asyncio.run(story())


def test_what_follows_from_a_triggered_look_is_planned_when_it_ended_and_not_started(
    folder: Path, instance: Instance
) -> None:
    async def story() -> None:
        site = Site(folder, "plain")
        view = (await site.told(instance, "1")).operation
        assert view is not None and promised(instance) == [view.operation_id]
        parent = (await instance.start(view.operation_id)).operation_id

        [child] = children(instance, parent)
        intent = records(instance, child)[0].record
        assert isinstance(intent, Intent) and intent.origin.rule is not None
        assert (intent.intent, intent.mode, instance.status(child).state) == (
            "second",
            "read_only",
            "approved",
        )
        assert child not in [one.waiting.operation for one in instance.parts.lifecycle.queue.judged()]
        [said] = notes(instance, parent)
        assert f"planned operation {instance.status(child).number}, second: approved" in said
        assert any(said.splitlines()[0] in line for line in instance.why(parent).lines)
        assert promised(instance) == []
        assert verified(instance, parent).findings == () == verified(instance, child).findings
        assert verified(instance, parent).state is State.COMPLETED
        # What a reaction planned is nobody's trigger: nothing follows from it by itself.
        await instance.start(child)
        assert children(instance, child) == []

    asyncio.run(story())


def test_every_target_of_a_group_has_what_follows_from_it(folder: Path, instance: Instance) -> None:
    async def story() -> None:
        parent = await Site(folder, "group").looked(instance, "1", "both")
        found = sorted(instance.operation(child).the_intent.target for child in children(instance, parent))
        assert found == ["a", "b"] and len(notes(instance, parent)[0].splitlines()) == 2

    asyncio.run(story())


@pytest.mark.parametrize("dies", ["before it plans", "before it notes", "before it takes the promise down"])
def test_whoever_dies_is_followed_by_a_worker_that_plans_it_once(
    folder: Path, instance: Instance, monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    class Died(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Died

    site = Site(folder, f"dies-{dies.rsplit(maxsplit=1)[-1]}")

    async def story() -> str:
        view = (await site.told(instance, "1")).operation
        assert view is not None
        with monkeypatch.context() as patch:
            match dies:
                case "before it plans":
                    patch.setattr(Reacting, "plan", die)
                case "before it notes":
                    patch.setattr(following, "Session", type("Dead", (Session,), {"load": die}))
                case _:
                    patch.setattr(following, "withdraw", die)
            with pytest.raises(Died):
                await instance.start(view.operation_id)
        assert promised(instance) == [view.operation_id] == list(due(instance))
        await asyncio.gather(*(Worker(instance=instance, once=True).run(asyncio.Event()) for _ in range(3)))
        return view.operation_id

    parent = asyncio.run(story())
    assert len(children(instance, parent)) == len(notes(instance, parent)) == 1
    assert promised(instance) == []


def test_several_that_follow_at_once_plan_and_note_it_once(
    folder: Path, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(folder, "several")

    async def story() -> str:
        with monkeypatch.context() as patch:

            async def later(*_: object) -> None:
                raise StoreUnavailable("not now")

            patch.setattr(Reacting, "plan", later)
            parent = await site.looked(instance, "1")
        # What the operation came to is not what the ledger could not take afterwards.
        assert instance.status(parent).state == "completed" and notes(instance, parent) == []
        await asyncio.gather(*(follow(instance, parent) for _ in range(5)))
        return parent

    parent = asyncio.run(story())
    assert len(children(instance, parent)) == len(notes(instance, parent)) == 1
    assert promised(instance) == []


def test_who_was_slow_does_not_note_what_another_noted_meanwhile(
    folder: Path, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, real = Site(folder, "slow"), Reacting.plan

    async def story() -> str:
        over, held = asyncio.Event(), asyncio.Event()

        async def slow(self: Reacting, *asked: object) -> object:
            view = await real(self, *asked)  # type: ignore[arg-type]
            if not held.is_set():
                held.set()
                await over.wait()
            return view

        view = (await site.told(instance, "1")).operation
        assert view is not None
        with monkeypatch.context() as patch:
            patch.setattr(Reacting, "plan", slow)
            first = asyncio.ensure_future(instance.start(view.operation_id))
            await held.wait()
            await follow(instance, view.operation_id)
            over.set()
            await first
        return view.operation_id

    parent = asyncio.run(story())
    assert len(children(instance, parent)) == len(notes(instance, parent)) == 1
    assert promised(instance) == []


def test_a_promise_of_what_was_never_stored_is_forgotten_after_a_while(
    folder: Path, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, name = Site(folder, "never"), f"op_{'0' * 32}"
    promise(instance, name, str(site.profile), str(site.env))
    assert due(instance) == () and promised(instance) == [name]
    real = SystemClock.now

    def later(self: SystemClock) -> datetime:
        return real(self) + timedelta(hours=2)

    monkeypatch.setattr(SystemClock, "now", later)
    assert due(instance) == () and promised(instance) == []


def test_what_cannot_be_planned_leaves_no_promise_and_one_key_is_one(
    folder: Path, instance: Instance
) -> None:
    site = Site(folder, "refused")
    asked = Request(
        profile=str(site.profile), env=str(site.env), intent="first", target="a", mode="read_only",
        idempotency_key="once", auto_react=AutoReact.PLAN_ONLY,
    )  # fmt: skip

    async def story() -> None:
        with pytest.raises(TargetUnknown):
            await site.told(instance, "1", "mars")
        assert promised(instance) == []
        first, again = await trigger(instance, asked), await trigger(instance, asked)
        assert first.operation_id == again.operation_id and promised(instance) == [first.operation_id]
        await instance.cancel(first.operation_id)
        await Worker(instance=instance, once=True).run(asyncio.Event())
        [said] = notes(instance, first.operation_id)
        assert "nothing follows" in said and "is cancelled" in said and promised(instance) == []

    asyncio.run(story())


def test_a_dry_run_observes_nothing_and_says_so(folder: Path, instance: Instance) -> None:
    parent = asyncio.run(Site(folder, "dry", mode="dry_run").looked(instance, "1"))

    [said] = notes(instance, parent)
    assert "only looked at what would be done" in said and children(instance, parent) == []
    assert instance.needs() == ()


def test_budgets_and_cooldowns_hold_for_what_follows_by_itself(folder: Path, instance: Instance) -> None:
    site = Site(folder, "cooling", cooldown="1h")

    async def story() -> tuple[str, str]:
        return await site.looked(instance, "1"), await site.looked(instance, "2")

    first, second = asyncio.run(story())
    assert len(children(instance, first)) == 1 and children(instance, second) == []
    assert notes(instance, second) == ["auto-react: a: no_op by rule high: reaction_cooling_down"]


def test_what_could_not_follow_waits_for_a_person_until_it_did(folder: Path, instance: Instance) -> None:
    site = Site(folder, "moved")

    async def story() -> str:
        view = (await site.told(instance, "1")).operation
        assert view is not None
        level(site.env, 9, "elsewhere")
        return (await instance.start(view.operation_id, as_planned=True)).operation_id

    parent = asyncio.run(story())
    [said] = notes(instance, parent)
    assert "error[observation-refused]" in said and children(instance, parent) == []
    [need] = instance.needs()
    number = instance.status(parent).number
    assert (need.kind, need.number, need.next) == ("escalated", number, f"rexecop why {number}")
    level(site.env, 9)
    reacting = Reacting(instance)
    asyncio.run(reacting.plan(reacting.observation(parent), str(site.profile), str(site.env)))
    assert instance.needs() == () and len(children(instance, parent)) == 1


def test_a_worker_follows_what_it_drives(folder: Path, instance: Instance) -> None:
    site = Site(folder, "driven")

    async def story() -> str:
        view = (await site.told(instance, "1", start=True)).operation
        assert view is not None
        await Worker(instance=instance, once=True).run(asyncio.Event())
        return view.operation_id

    parent = asyncio.run(story())
    assert instance.status(parent).state == "completed" and len(children(instance, parent)) == 1


def test_what_is_for_people_stands_in_ops_until_it_is_reviewed_or_well(
    folder: Path, instance: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    site, root = Site(folder, "people"), str(folder / "root")

    first = asyncio.run(looking_up(instance, site.profile, site.env))
    [need] = instance.needs()
    number = instance.status(first).number
    assert (need.kind, need.number, need.what) == ("escalated", number, "looping/second on a")
    assert need.next.startswith("rexecop reaction-explain --reaction reaction-")
    assert run(["ops", "--root", root, "--json"]) == 0
    assert [one["kind"] for one in json.loads(capsys.readouterr().out)["needs"]] == ["escalated"]
    assert run([*need.next.split()[1:], "--root", root]) == 0
    assert f"rexecop review done {first} --reason TEXT" in capsys.readouterr().out

    assert run(["review", "done", str(number), "--reason", "known, will be replaced", "--root", root]) == 0
    assert instance.needs() == () and notes(instance, first) == ["reviewed: known, will be replaced"]
    reacting = Reacting(instance)
    view = asyncio.run(reacting.plan(reacting.observation(first), str(site.profile), str(site.env)))
    assert (view.outcome, view.waits) == ("escalate", False) and instance.needs() == ()

    second = asyncio.run(looking_up(instance, site.profile, site.env))
    assert [need.operation_id for need in instance.needs()] == [second]
    # A look at the same target by the same intent that is for nobody ends it.
    level(site.env, 1)
    request = Request(
        profile=str(site.profile), env=str(site.env), intent="second", target="a", mode="read_only",
        auto_react=AutoReact.PLAN_ONLY,
    )  # fmt: skip

    async def well() -> None:
        await instance.start((await trigger(instance, request)).operation_id)

    asyncio.run(well())
    assert instance.needs() == ()
    # And what was seen before that brings it back no more.
    asyncio.run(reacting.plan(reacting.observation(second), str(site.profile), str(site.env)))
    assert instance.needs() == ()
    capsys.readouterr()


def test_a_proposal_that_was_handed_in_waits_until_somebody_decides(
    folder: Path, instance: Instance, capsys: pytest.CaptureFixture[str]
) -> None:
    site, root = Site(folder, "proposed"), str(folder / "root")
    parent = asyncio.run(looking_up(instance, site.profile, site.env))
    reacting = Reacting(instance)
    proposal = as_text(reacting.proposal(reacting.observation(parent), None, None))
    file = folder / "handed-in.json"
    file.write_text(proposal)
    words = ["--root", root, "--json"]
    submit = ["reaction-proposal", "submit", "--profile", str(site.profile), "--proposal", str(file), *words]

    assert run(submit) == 0 == run(submit)
    [digest] = {json.loads(line)["proposal"] for line in _objects(capsys.readouterr().out)}
    assert [need.kind for need in instance.needs()] == ["escalated", "proposal"]
    assert instance.needs()[1].next == f"rexecop reaction-proposal review --proposal {digest}"
    assert run(["reaction-proposal", "review", "--proposal", digest, *words]) == 0
    decide = [
        "reaction-proposal",
        "submit",
        "--proposal",
        digest,
        "--decision",
        "reject",
        "--reviewer",
        "bob",
    ]
    assert run([*decide, *words]) == 2
    assert "stand together" in capsys.readouterr().err
    before = len(instance.list(limit=1000))
    assert run([*decide, "--reason", "seen", *words]) == 0
    # Whoever decided about what should follow has seen the reaction, too.
    assert instance.needs() == () and len(instance.list(limit=1000)) == before
    assert run(["reaction-proposal", "review", "--proposal", digest, *words]) == 2
    capsys.readouterr()
    file.write_text(proposal.replace('"reaction_id":"reaction-', '"reaction_id":"reaction-0'))
    assert run(submit) == 2
    assert json.loads(capsys.readouterr().err)["facts"]["why"] == "digest"


def _objects(text: str) -> list[str]:
    decoder, found, at = json.JSONDecoder(), [], 0
    while (at := text.find("{", at)) >= 0:
        value, at = decoder.raw_decode(text, at)
        found.append(json.dumps(value))
    return found


def test_what_a_caller_says_of_a_chain_only_makes_it_stricter(folder: Path, instance: Instance) -> None:
    site, root = Site(folder, "said"), str(folder / "root")
    parent = asyncio.run(_triggered_without(instance, site))
    words = ["reaction-plan", "--operation", parent, "--env", str(site.env), "--profile", str(site.profile)]
    words += ["--root", root, "--quiet"]

    assert run([*words, "--depth", "9"]) == 0 and children(instance, parent) == []
    assert run([*words, "--reaction-count", "9"]) == 0 and children(instance, parent) == []
    rule = Reacting(instance).explain(parent).rule
    assert run([*words, "--visited-rule-digest", rule]) == 0 and children(instance, parent) == []
    assert [need.why for need in instance.needs()] == ["level needs a person: max_reaction_depth_exceeded"]
    assert run([*words, "--depth", "0", "--reaction-count", "0"]) == 0
    assert len(children(instance, parent)) == 1 and instance.needs() == ()
    assert run([*words, "--visited-rule-digest", "x"]) == 2


async def _triggered_without(instance: Instance, site: Site) -> str:
    view = await trigger(
        instance,
        Request(profile=str(site.profile), env=str(site.env), intent="first", target="a", mode="read_only"),
    )
    return (await instance.start(view.operation_id)).operation_id


def test_a_note_that_others_keep_from_being_written_leaves_the_promise(
    folder: Path, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(folder, "busy")

    async def story() -> str:
        with monkeypatch.context() as patch:

            async def overtaken(_: Session) -> None:
                raise AppendConflict("somebody else wrote")

            class Overtaken(Session):
                flush = overtaken  # type: ignore[assignment]

            patch.setattr(following, "Session", Overtaken)
            parent = await site.looked(instance, "1")
        assert notes(instance, parent) == [] and promised(instance) == [parent]
        await follow(instance, parent)
        return parent

    parent = asyncio.run(story())
    assert len(notes(instance, parent)) == len(children(instance, parent)) == 1
