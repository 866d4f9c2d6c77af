"""The Python API on a real root: every method, awaited; refusals have codes and store nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import rexecop
from rexecop import Instance, NotVerified, OperationView, RexecopError, TimedOut, open_instance
from rexecop.app import instance as opened
from rexecop.proof.canonical import Json
from tests.app.support import bob, greeting, made, scratch
from tests.house.source import ROOT

CATALOG = ROOT / "examples" / "catalogs" / "targets.readonly.example.yaml"


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep settings of whoever runs the tests out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("REXECOP_ROOT", "REXECOP_IDENTITY", "REXECOP_MODE", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)


def opening(folder: Path) -> Instance:
    """Open the root below `folder` as alice, with the example environment."""
    root = folder / "root"
    return open_instance(
        root,
        identity=folder / "alice",
        env=root / "hello.environment.yaml",
        profile="hello",
        target="localhost",
    )


@asynccontextmanager
async def story() -> AsyncIterator[tuple[Path, Instance]]:
    with scratch() as folder:
        await made(folder)
        async with opening(folder) as instance:
            yield folder, instance


async def change(instance: Instance, text: str = "good evening", **more: str) -> OperationView:
    return await instance.plan(
        "set_greeting",
        mode="apply",
        parameters={"greeting": text},
        reason=more.get("reason"),
        idempotency_key=more.get("idempotency_key"),
    )


async def code_of(work: Awaitable[object]) -> str:
    with pytest.raises(RexecopError) as refused:
        await work
    assert str(refused.value) and "\n" not in str(refused.value)
    return refused.value.code


def test_a_read_is_planned_run_and_looked_at() -> None:
    async def play() -> None:
        async with story() as (_, instance):
            planned = await instance.plan("host_facts", mode="read_only", reason="to see")
            assert planned.state == "approved" and planned.requester == "alice"
            ended = await instance.start(planned.operation_id)
            assert ended.state == rexecop.State.COMPLETED and ended.receipt is not None
            assert await instance.status("@") == ended
            assert await instance.wait("@") == ended
            assert [line.number for line in await instance.operations(state="completed")] == [ended.number]
            assert await instance.operations(after=ended.number) == ()
            history = await instance.history("@")
            assert history[0].kind == "intent/1" and history[-1].kind == "receipt/1"
            assert await instance.history("@", seen=len(history) - 1) == history[-1:]
            origin = history[0].body["origin"]
            assert isinstance(origin, dict) and origin["channel"] == "python"

    asyncio.run(play())


def test_a_change_waits_for_another_person_who_signs_what_is_shown() -> None:
    async def play() -> None:
        async with story() as (folder, instance):
            planned = await change(instance, reason="for the guests")
            assert planned.state == "waiting_for_approval"
            assert (await instance.start(planned.operation_id)).state == "waiting_for_approval"
            assert "good evening" in await instance.preview(planned.operation_id)
            assert any("approver" in line for line in (await instance.why("@")).lines)
            own = instance.approve("@", key=folder / "alice")
            assert await code_of(own) == "self-approval"
            going = asyncio.create_task(instance.start("@", wait=True, timeout=60))
            watching = asyncio.create_task(instance.wait("@", timeout=60))
            await asyncio.sleep(0.1)
            assert greeting(folder) == "hello\n" and not going.done()
            said = await instance.approve("@", key=bob(folder), reason="yes")
            assert said.approved_by == ("bob",)
            assert (await going).state == (await watching).state == "completed"
            assert greeting(folder) == "good evening\n"
            undone = await instance.rollback("@", reason="only a try")
            assert undone.state == "undone" and greeting(folder) == "hello\n"

    asyncio.run(play())


def test_a_no_blocks_and_nothing_runs() -> None:
    async def play() -> None:
        async with story() as (folder, instance):
            await change(instance)
            assert (await instance.deny("@", key=bob(folder), reason="not now")).state == "blocked"
            assert (await instance.start("@")).state == "blocked"
            assert greeting(folder) == "hello\n"

    asyncio.run(play())


def test_time_that_passes_is_an_error_of_ours_and_a_timeout() -> None:
    async def play() -> None:
        async with story() as (folder, instance):
            planned = await change(instance)
            for waiting in (instance.wait("@", timeout=0.1), instance.start("@", wait=True, timeout=0.1)):
                with pytest.raises(TimeoutError) as passed:
                    await waiting
                assert isinstance(passed.value, TimedOut) and passed.value.code == "timed-out"
                assert passed.value.facts["operation_id"] == planned.operation_id
                assert passed.value.operation.state == "waiting_for_approval"
            assert (await instance.cancel("@", reason="enough")).state == "cancelled"
            assert greeting(folder) == "hello\n"

    asyncio.run(play())


def test_what_is_detached_waits_for_a_worker() -> None:
    async def play() -> None:
        async with story() as (_, instance):
            await instance.plan("host_facts", mode="read_only")
            queued = await instance.start("@", detach=True, priority="high")
            assert queued.place == 1 and queued.state == "approved"
            both = instance.start("@", detach=True, wait=True)
            assert await code_of(both) == "argument-refused"
            assert await code_of(instance.resume("@", detach=True, timeout=1)) == "argument-refused"

    asyncio.run(play())


def test_one_key_and_request_give_one_operation_and_another_request_is_refused() -> None:
    async def play() -> None:
        async with story() as (_, instance):
            first = await change(instance, idempotency_key="k")
            assert (await change(instance, idempotency_key="k")).operation_id == first.operation_id
            assert await code_of(change(instance, "other", idempotency_key="k")) == "request-conflict"
            assert len(await instance.operations()) == 2  # The change, and what it was observed by.

    asyncio.run(play())


def test_what_the_caller_does_with_parameters_later_changes_nothing() -> None:
    class Turning(dict[str, Json]):
        """Says something else each time it is asked, as what another thread writes into may."""

        def items(self):  # type: ignore[no-untyped-def]
            self["greeting"] = f"{self['greeting']}!"
            return super().items()

    async def play() -> None:
        async with story() as (_, instance):
            mine = Turning(greeting="one")
            planned = await instance.plan("set_greeting", mode="apply", parameters=mine)
            shown = await instance.preview(planned.operation_id)
            mine["greeting"] = "another"
            assert await instance.preview(planned.operation_id) == shown and "another" not in shown

    asyncio.run(play())


def test_evidence_leaves_and_holds_and_an_altered_byte_is_an_error() -> None:
    async def play() -> None:
        async with story() as (folder, instance):
            await change(instance)
            await instance.approve("@", key=bob(folder))
            await instance.start("@")
            view = await instance.export("@", folder / "change.rxb", with_outputs=True)
            assert view.path == str(folder / "change.rxb")
            report = await instance.verify(view.path)
            assert report.claims.approvals_own == 1 and report.holds(rexecop.Rung.LOGGED)
            assert await code_of(instance.verify(view.path, require="witnessed")) == "not-verified"
            # Without a root and without keys of one's own it is consistent, and nothing more.
            assert await code_of(asyncio.to_thread(rexecop.verify_bundle, view.path)) == "not-verified"
            assert not rexecop.verify_bundle(view.path, require=None).trusted
            data = bytearray(Path(view.path).read_bytes())
            data[len(data) // 2] ^= 1
            Path(view.path).write_bytes(data)
            with pytest.raises(NotVerified) as altered:
                await instance.verify(view.path, require="consistent")
            assert altered.value.report.findings

    asyncio.run(play())


REFUSED: Mapping[str, tuple[str, Callable[[Instance], Awaitable[object]]]] = {
    "no intent": ("argument-refused", lambda it: it.plan("")),
    "no target, which is not the usual one": ("argument-refused", lambda it: it.plan("host_facts", "")),
    "no mode, which is not the usual one": ("argument-refused", lambda it: it.plan("host_facts", mode="")),
    "no profile, which is not the usual one": (
        "argument-refused",
        lambda it: it.plan("host_facts", profile=""),
    ),
    "no file, which is not the usual one": ("argument-refused", lambda it: it.plan("host_facts", env="")),
    "an intent of another kind": ("argument-refused", lambda it: it.plan(7)),  # type: ignore[arg-type]
    "an intent nobody knows": ("intent-unknown", lambda it: it.plan("nothing")),
    "a mode nobody knows": ("argument-refused", lambda it: it.plan("host_facts", mode="now")),
    "a profile nobody has": ("profile-unknown", lambda it: it.plan("host_facts", profile="none")),
    "a file that is not there": ("file-missing", lambda it: it.plan("host_facts", env="none.yaml")),
    "two places for one thing": (
        "argument-refused",
        lambda it: it.plan("host_facts", env="a.yaml", catalog="b.yaml"),
    ),
    "a fraction": (
        "argument-refused",
        lambda it: it.plan("set_greeting", parameters={"greeting": 1.5}),  # type: ignore[dict-item]
    ),
    "half a character": (
        "argument-refused",
        lambda it: it.plan("set_greeting", parameters={"greeting": "\ud800"}),
    ),
    "a list": ("argument-refused", lambda it: it.plan("set_greeting", parameters=["a"])),  # type: ignore[arg-type]
    "a reason without end": ("argument-refused", lambda it: it.plan("host_facts", reason="x" * 5000)),
    "a key of spaces": ("argument-refused", lambda it: it.plan("host_facts", idempotency_key="  ")),
    "no such operation": ("operation-unknown", lambda it: it.start("op_none")),
    "time before now": ("argument-refused", lambda it: it.wait("1", timeout=-1)),
    "no time at all": ("argument-refused", lambda it: it.wait("1", timeout=float("nan"))),
    "a priority nobody knows": (
        "argument-refused",
        lambda it: it.start("1", priority="first"),  # type: ignore[arg-type]
    ),
    "a state nobody knows": ("argument-refused", lambda it: it.operations(state="done")),
    "more than a page": ("argument-refused", lambda it: it.operations(limit=10_000)),
    "no key": ("identity-refused", lambda it: it.approve("1")),
    "a key that is not there": ("key-file-missing", lambda it: it.approve("1", key="none")),
    "a form nobody knows": ("argument-refused", lambda it: it.export("1", "x", format="pdf")),
    "two places to cut": (
        "argument-refused",
        lambda it: it.export("1", "x", witnessed=True, stamped=True),
    ),
    "a word without its reason": ("argument-refused", lambda it: it.reconcile("1", happened=True)),
    "nothing to settle": ("nothing-to-settle", lambda it: it.reconcile("1")),
    "nothing to go on with": ("illegal-move", lambda it: it.resume("1")),
    "nothing to try again": ("illegal-move", lambda it: it.retry("1")),
    "nothing to stop": ("illegal-move", lambda it: it.pause("1")),
    "standard input": ("file-missing", lambda it: it.verify("-")),
    "a rung nobody knows": ("argument-refused", lambda it: it.verify("x", require="high")),
}


def test_what_cannot_be_is_refused_with_a_code_and_nothing_is_stored() -> None:
    async def play() -> None:
        async with story() as (_, instance):
            await instance.plan("host_facts", mode="dry_run")
            before = (await instance.history("1"), await instance.operations())
            found = {name: await code_of(work(instance)) for name, (_, work) in REFUSED.items()}
            assert found == {name: code for name, (code, _) in REFUSED.items()}
            assert (await instance.history("1"), await instance.operations()) == before

    asyncio.run(play())


def test_a_catalog_names_profile_and_environment_and_what_is_not_for_a_target_is_refused() -> None:
    async def play() -> None:
        async with story() as (_, instance):
            planned = await instance.plan("check_backup_status", "critical-vms", catalog=CATALOG)
            assert (planned.profile, planned.mode) == ("tecrax", "dry_run")
            assert CATALOG.name in await instance.preview("@")
            other = instance.plan("restart_zabbix_agent", "critical-vms", catalog=CATALOG)
            assert await code_of(other) == "not-applicable"
            named = instance.plan("check_backup_status", "critical-vms", catalog=CATALOG, profile="hello")
            assert await code_of(named) == "intent-unknown"

    asyncio.run(play())


def test_what_nothing_names_is_refused(tmp_path: Path) -> None:
    async def play() -> None:
        with scratch() as folder:
            await made(folder)
            async with open_instance(folder / "root") as instance:
                for target, profile in ((None, None), ("localhost", None), ("localhost", "hello")):
                    asking = instance.plan("host_facts", target, profile=profile)
                    assert await code_of(asking) == "argument-refused"
                assert await instance.operations() == ()

    asyncio.run(play())


def test_what_is_closed_or_of_another_loop_is_not_used() -> None:
    with scratch() as folder:
        asyncio.run(made(folder))
        instance = opening(folder)

        async def once() -> None:
            await instance.operations()

        async def again() -> None:
            assert await code_of(instance.operations()) == "other-loop"
            await instance.close()
            await instance.close()
            assert await code_of(instance.operations()) == "instance-closed"
            assert instance.unpublished == ()

        asyncio.run(once())
        asyncio.run(again())


def test_it_is_closed_in_the_loop_that_its_connections_belong_to(monkeypatch: pytest.MonkeyPatch) -> None:
    closed_in: list[str] = []
    close = opened.Instance.close

    def closing(self: opened.Instance) -> None:
        closed_in.append(threading.current_thread().name)
        close(self)

    monkeypatch.setattr(opened.Instance, "close", closing)

    async def play() -> None:
        async with story() as (_, instance):
            await instance.operations()
            elsewhere = asyncio.to_thread(asyncio.run, instance.close())
            assert await code_of(elsewhere) == "other-loop"
            assert await instance.operations() == ()
            closed_in.clear()

    asyncio.run(play())
    assert closed_in == [threading.current_thread().name]


def test_without_a_root_nothing_opens_and_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(RexecopError) as missing:
        open_instance(tmp_path / "root")
    with pytest.raises(RexecopError) as unnamed:
        open_instance("")

    assert missing.value.code == "root-missing" and missing.value.next_steps == ("rexecop init",)
    assert unnamed.value.code == "argument-refused"
    assert not (tmp_path / "root").exists()
