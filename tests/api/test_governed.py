"""Governed functions on a real root: what is called when, what is recorded, and what comes back."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import pytest

from rexecop import (
    ApprovalNeeded,
    ArgumentRefused,
    Instance,
    NotAllowed,
    NotCompleted,
    NotStarted,
    OutcomeUnknown,
    ResultRefused,
    RexecopError,
    TimedOut,
    governed,
    open_instance,
    open_instance_sync,
)
from rexecop.proof.canonical import Json
from tests.app.support import bob, made, scratch
from tests.house.source import ROOT

SECRET: Final = "correct horse battery"
FORBID: Final = """
@id("never-that")
forbid (principal, action == Action::"intent:python/forbidden", resource);
"""
LISTED: Final = """
actions:
  intent:python/forbidden: read
  intent:python/*: change
"""


class Box(msgspec.Struct, frozen=True):
    name: str
    count: int = 3


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with scratch() as found, pytest.MonkeyPatch.context() as patch:
        patch.chdir(found)
        patch.setenv("HOME", str(found))
        patch.setenv("REXECOP_SECRET_CACHE_TOKEN", SECRET)
        asyncio.run(made(found))
        for name, more in (("rules.cedar", FORBID), ("entities.yaml", LISTED)):
            with open(found / "root" / "policy" / "starter" / name, "a") as file:
                file.write(more)
        yield found


@asynccontextmanager
async def opening(folder: Path) -> AsyncIterator[Instance]:
    async with open_instance(folder / "root", identity=folder / "alice") as instance:
        yield instance


async def kinds(instance: Instance, operation: str) -> list[str]:
    return [record.kind.partition("/")[0] for record in await instance.history(operation)]


def test_a_read_that_policy_allows_is_called_and_leaves_evidence_that_verifies(folder: Path) -> None:
    async def play() -> None:
        async with opening(folder) as instance:

            @governed(instance, action="look", effect="read", target="cache")
            async def look(name: str, tags: list[str] | None = None, box: Box | None = None) -> Box:
                """Look at it."""
                return Box(name="".join([name, *(tags or [])]), count=box.count if box else 0)

            assert await look("a", tags=["b"]) == Box(name="ab", count=0)
            ended = await instance.status("@")
            assert (ended.intent, ended.mode, ended.state) == ("look", "read_only", "completed")
            (step,) = ended.steps
            assert (step.isolation, step.grade, step.target) == ("none", "shape", "cache")
            outcome = next(one for one in await instance.history("@") if one.kind == "outcome/1")
            measured = outcome.body["measured"]
            assert isinstance(measured, dict) and measured["protection"] == "in-process"
            assert "no bounds" not in await instance.preview("@")
            assert "a call runs without isolation" in await instance.preview("@")
            await instance.export("@", folder / "look.rxb", with_outputs=True)
            assert (await instance.verify(folder / "look.rxb")).findings == ()
            assert (getattr(look, "__name__", ""), look.__doc__) == ("look", "Look at it.")
            assert not hasattr(look, "__wrapped__")

            again = look.asking(idempotency_key="once", reason="to see")
            assert await again("x", box=Box(name="q", count=9)) == Box(name="x", count=9)
            known = (await instance.status("@")).operation_id
            assert await again("x", box=Box(name="q", count=9)) == Box(name="x", count=9)
            assert (await instance.status("@")).operation_id == known
            with pytest.raises(RexecopError) as refused:
                await again("y")
            assert refused.value.code == "request-conflict"

    asyncio.run(play())


def test_a_change_waits_for_another_person_and_is_called_once(folder: Path) -> None:
    async def play() -> None:
        called: list[str] = []
        async with opening(folder) as instance:

            @governed(instance, action="restart", effect="change", target="cache")
            async def restart(name: str) -> dict[str, Json]:
                records = [one.kind for one in await other.history("@")]
                called.append(name)
                return {"attempted": "attempt/1" in records, "ended": "outcome/1" in records}

            async with opening(folder) as other:
                asked = restart.asking(idempotency_key="r-1")
                with pytest.raises(ApprovalNeeded) as needed:
                    await asked("c")
                name = needed.value.operation_id
                assert name in str(needed.value.next_steps) and called == []
                await other.approve(name, key=bob(folder))
                # What is durable before the call is the attempt, and nobody knows its end yet.
                answers = await asyncio.gather(*(asked("c") for _ in range(4)), restart.run(name))
            assert answers == [{"attempted": True, "ended": False}] * 5 and called == ["c"]
            assert (await kinds(instance, name)).count("attempt") == 1
            assert (await instance.status(name)).approved_by == ("bob",)

    asyncio.run(play())


def test_who_waits_is_called_when_it_was_approved_and_told_when_time_passes(folder: Path) -> None:
    async def play() -> None:
        async with opening(folder) as instance:

            @governed(instance, action="wait", effect="change")
            async def change() -> str:
                return "done"

            with pytest.raises(TimedOut) as passed:
                await change.asking(wait=True, timeout=0.1)()
            assert passed.value.operation.state == "waiting_for_approval"
            planned = await change.asking(idempotency_key="w").plan()
            going = asyncio.create_task(change.asking(wait=True, timeout=60).run(planned.operation_id))
            await asyncio.sleep(0)
            assert not going.done()
            await instance.approve(planned.operation_id, key=bob(folder))
            assert await going == "done"
            denied = await change.plan()
            await instance.deny(denied.operation_id, key=bob(folder), reason="no")
            with pytest.raises(NotAllowed):
                await change.run(denied.operation_id)

    asyncio.run(play())


def test_what_policy_forbids_is_not_called_and_has_a_receipt(folder: Path) -> None:
    async def play() -> None:
        async with opening(folder) as instance:

            @governed(instance, action="forbidden", effect="read")
            async def forbidden() -> None:
                raise AssertionError("it was called")

            with pytest.raises(NotAllowed, match="never-that") as refused:
                await forbidden()
            assert (await kinds(instance, refused.value.operation_id))[-1] == "receipt"

    asyncio.run(play())


def test_what_a_function_raises_is_a_failure_and_raised_again_and_not_repeated(folder: Path) -> None:
    async def play() -> None:
        async with opening(folder) as instance:

            @governed(instance, action="fail", effect="read")
            def fail() -> None:
                raise LookupError("a detail of its own")

            with pytest.raises(LookupError, match="a detail of its own"):
                await fail.asking(idempotency_key="f")()
            ended = await instance.status("@")
            assert ended.state == "failed" and ended.steps[0].message == "the function raised LookupError"
            assert "detail" not in str([one.body for one in await instance.history("@")])
            with pytest.raises(NotCompleted, match="raised LookupError"):
                await fail.asking(idempotency_key="f")()

    asyncio.run(play())


def test_a_change_without_an_answer_is_unknown_and_is_not_called_again(folder: Path) -> None:
    async def play() -> None:
        called: list[str] = []
        async with opening(folder) as instance:

            @governed(instance, action="hang", effect="change", target="late", seconds=1)
            async def hang() -> None:
                called.append("hang")
                await asyncio.Event().wait()

            @governed(instance, action="hang_read", effect="read", seconds=1)
            def hang_read() -> None:
                ended.wait(60)

            @governed(instance, action="lost", effect="change", target="lost", unsure=(ConnectionError,))
            async def lost() -> None:
                called.append("lost")
                raise ConnectionResetError("no answer came")

            ended = threading.Event()
            for function, key in ((hang, "hung"), (lost, "lost")):
                asked = function.asking(idempotency_key=key)
                planned = await asked.plan()
                await instance.approve(planned.operation_id, key=bob(folder))
                for _ in range(2):
                    with pytest.raises(OutcomeUnknown) as unknown:
                        await asked()
                    assert unknown.value.operation.state == "indeterminate"
            assert called == ["hang", "lost"]
            with pytest.raises(NotCompleted, match="ran out of time"):
                await hang_read()
            ended.set()
            cancelled = await lost.plan()
            assert cancelled.state == "waiting_for_approval"

    asyncio.run(play())


def test_a_target_in_use_keeps_other_changes_out_and_they_wait_in_no_queue(folder: Path) -> None:
    async def play() -> None:
        async with opening(folder) as instance:
            free, inside = asyncio.Event(), asyncio.Event()

            @governed(instance, action="hold", effect="change", target="shared")
            async def hold() -> str:
                inside.set()
                await free.wait()
                return "held"

            first, second = await hold.plan(), await hold.plan()
            for planned in (first, second):
                await instance.approve(planned.operation_id, key=bob(folder))
            going = asyncio.create_task(hold.run(first.operation_id))
            await inside.wait()
            with pytest.raises(NotStarted) as waits:
                await hold.run(second.operation_id)
            assert (await instance.status(waits.value.operation_id)).place is None
            free.set()
            assert await going == "held"
            assert await hold.run(second.operation_id) == "held"

    asyncio.run(play())


def test_a_program_that_dies_in_the_middle_leaves_an_unknown_outcome(folder: Path) -> None:
    program = f"""
import os, sys
from rexecop import OutcomeUnknown, governed, open_instance_sync
with open_instance_sync({str(folder / "root")!r}, identity={str(folder / "alice")!r}) as instance:
    @governed(instance, action="die", effect="change", target="dying")
    def die() -> None:
        os._exit(7)
    asked = die.asking(idempotency_key="d")
    planned = asked.plan()
    if planned.state == "waiting_for_approval":
        instance.approve(planned.operation_id, key={str(bob(folder))!r})
    try:
        asked()
    except OutcomeUnknown as unknown:
        print(unknown.code)
"""
    (folder / "die.py").write_text(program)
    runs = [
        subprocess.run(
            [sys.executable, folder / "die.py"],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )
        for _ in range(2)
    ]

    assert [run.returncode for run in runs] == [7, 0], runs[1].stderr
    assert runs[1].stdout == "outcome-unknown\n"


def test_a_secret_is_given_to_the_function_and_to_no_record(folder: Path) -> None:
    async def play() -> None:
        seen: list[str] = []
        async with opening(folder) as instance:

            @governed(instance, action="login", effect="read", secrets={"token": "cache_token"})
            async def login(name: str, token: str = "") -> dict[str, str]:
                seen.append(token)
                return {"said": f"hello {name}, {token}"}

            assert await login("a") == {"said": f"hello a, {SECRET}"} and seen == [SECRET]
            name = (await instance.status("@")).operation_id
            await instance.export(name, folder / "login.rxb", with_outputs=True)
            evidence = str([one.body for one in await instance.history(name)])
            assert SECRET not in evidence and SECRET.encode() not in (folder / "login.rxb").read_bytes()
            assert SECRET not in str(await login.asking(idempotency_key="l")("b")) or seen == [SECRET] * 2
            assert await login.asking(idempotency_key="l")("b") == {"said": "hello b, [redacted]"}

            @governed(instance, action="nowhere", effect="read", secrets={"token": "nothing_there"})
            async def nowhere(token: str = "") -> None:
                raise AssertionError("it was called")

            with pytest.raises(NotCompleted, match="nothing_there"):
                await nowhere()
            with pytest.raises(RexecopError) as refused:
                await login("ghp_" + "a" * 36)
            assert refused.value.code == "secret-inline" and "aaaa" not in str(refused.value)

    asyncio.run(play())


def test_evidence_may_hold_the_digest_of_an_answer_alone(folder: Path) -> None:
    async def play() -> None:
        async with opening(folder) as instance:

            @governed(instance, action="weigh", effect="read", result="digest")
            async def weigh() -> dict[str, str]:
                return {"weight": "a private matter"}

            asked = weigh.asking(idempotency_key="weighed")
            assert await asked() == {"weight": "a private matter"}
            await instance.export("@", folder / "weigh.rxb", with_outputs=True)
            assert b"private matter" not in (folder / "weigh.rxb").read_bytes()
            with pytest.raises(NotCompleted, match="only the digest"):
                await asked()

    asyncio.run(play())


def test_what_evidence_cannot_hold_is_refused_before_or_fails_the_call(folder: Path) -> None:
    async def play() -> None:
        async with opening(folder) as instance:

            @governed(instance, action="measure", effect="read")
            async def measure(count: int) -> object:
                return {"weight": 1.5} if count else {"a set": object()}

            for count in (0, 1):
                with pytest.raises(ResultRefused):
                    await measure(count)
                assert "it ran, and" in str((await instance.status("@")).steps[0].message)
            before = (await instance.status("@")).number
            with pytest.raises(RexecopError) as refused:
                await measure("three")  # type: ignore[arg-type]
            assert refused.value.code == "parameter-refused"
            with pytest.raises(ArgumentRefused):
                await measure(object())  # type: ignore[arg-type]
            with pytest.raises(TypeError):
                await measure(1, 2)  # type: ignore[call-arg]
            assert (await instance.status("@")).number == before

    asyncio.run(play())


def test_what_cannot_be_registered_is_refused_where_it_is_written(folder: Path) -> None:
    async def play() -> None:
        async with opening(folder) as instance:

            def weighs(weight: float) -> None: ...
            def bare(weight) -> None: ...  # type: ignore[no-untyped-def]
            def any_number(*names: str) -> None: ...
            def fine(name: str) -> None: ...

            for wrong in (weighs, bare, any_number, partial(fine, "x"), "fine"):
                with pytest.raises(ArgumentRefused):
                    governed(instance, action="wrong", effect="read")(wrong)  # type: ignore[arg-type]
            for bad in ({"effect": "write"}, {"action": "Not A Name"}, {"secrets": {"token": "x"}}):
                chosen: dict[str, object] = {"action": "wrong", "effect": "read", **bad}
                with pytest.raises(RexecopError):
                    governed(instance, **chosen)(fine)  # type: ignore[call-overload]
            governed(instance, action="fine", effect="read")(fine)
            with pytest.raises(ArgumentRefused, match="already"):
                governed(instance, action="fine", effect="read")(fine)
            schema: dict[str, Json] = {"weight": {"type": "integer", "maximum": 3}}
            named = governed(instance, action="schema", effect="read", parameters=schema)(bare)
            await named(3)
            with pytest.raises(RexecopError, match="maximum"):
                await named(4)

    asyncio.run(play())


def test_an_approval_is_for_the_function_as_it_was(folder: Path) -> None:
    async def play() -> None:
        async with opening(folder) as instance:

            @governed(instance, action="drift", effect="change")
            async def drift() -> str:
                return "as approved"

            planned = await drift.plan()
            await instance.approve(planned.operation_id, key=bob(folder))
        async with opening(folder) as instance:

            @governed(instance, action="drift", effect="change")
            async def drift() -> str:
                return "another"

            with pytest.raises(ArgumentRefused, match="as it is now"):
                await drift.run(planned.operation_id)
        async with opening(folder) as instance:
            # Where no such function is registered, nothing is called.
            ended = await instance.start(planned.operation_id)
            assert ended.state == "failed" and "no handler" in str(ended.steps[0].message)

    asyncio.run(play())


def test_a_program_without_a_loop_calls_and_gets_an_answer(folder: Path) -> None:
    with open_instance_sync(folder / "root", identity=folder / "alice") as instance:

        @governed(instance, action="twice", effect="read")
        def twice(number: int) -> int:
            """Double it."""
            return 2 * number

        @governed(instance, action="store", effect="change")
        def store(text: str) -> str:
            return text

        assert twice(21) == 42 and twice.__doc__ == "Double it."
        with pytest.raises(ApprovalNeeded) as needed:
            store("x")
        instance.approve(needed.value.operation_id, key=bob(folder))
        assert store.run(needed.value.operation_id) == "x"
        asked = store.asking(idempotency_key="s")
        instance.approve(asked.plan("y").operation_id, key=bob(folder))
        assert asked("y") == "y"

        async def coroutine() -> None: ...

        with pytest.raises(ArgumentRefused, match="open_instance"):
            governed(instance, action="coroutine", effect="read")(coroutine)
