"""What is erased is nowhere in the root any more, and every proof stands."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from rexecop.proof.canonical import Digest
from rexecop.proof.errors import RexecopError
from rexecop.proof.records.outcome import Outcome
from tests.app.support import asked, bob, change, made, opened, records, scratch, verified

CANARY = "canary-that-must-go"
KEPT = "another-that-stays"
LARGE = "a-canary-over-many-pages "


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A root where two changes have put text out: one with the canary, one with what stays."""

    async def story(folder: Path) -> None:
        await made(folder)
        with opened(folder) as instance:
            for text in (CANARY, KEPT):
                name = (await instance.plan(change(folder, text))).operation_id
                await instance.approve(name, key=bob(folder))
                assert (await instance.start(name)).state == "completed"

    with scratch() as folder:
        asyncio.run(story(folder))
        yield folder


def keys_of(folder: Path, commitments: list[Digest]) -> list[bytes]:
    connection = apsw.Connection(str(folder / "root" / "ledger.sqlite"))
    found = dict(connection.execute("SELECT commitment, key FROM blobs"))
    connection.close()
    return [found[bytes.fromhex(one[7:])] for one in commitments]


def lies_in(folder: Path, needle: bytes) -> list[str]:
    return [
        path.name for path in (folder / "root").rglob("*") if path.is_file() and needle in path.read_bytes()
    ]


def test_bytes_and_keys_are_gone_from_every_file_and_exports_say_who_erased_them(folder: Path) -> None:
    with opened(folder) as instance:
        other, name = (line.operation_id for line in instance.list() if line.intent.endswith("set_greeting"))
        refs = {
            ref.commitment: ref
            for sealed in records(instance, name)
            if isinstance(sealed.record, Outcome)
            for ref in (sealed.record.blobs or {}).values()
        }
        commitments = list(refs)
        keys = keys_of(folder, commitments)
        texts = [
            blob.data
            for one in commitments
            if (blob := instance.parts.ledger.blob(one)) is not None and blob.data
        ]
        assert texts and all(lies_in(folder, key) for key in keys)

        view = instance.erase(name, step=None, rule="keep-30-days", reason="asked by its owner")

        assert set(view.erased) == set(commitments) and view.before == () and view.cleared
        for key in keys:
            assert lies_in(folder, key) == []
        assert [out.text for out in instance.outputs(name)] == [None] * len(instance.outputs(name))
        assert any(out.text for out in instance.outputs(other))
        report = verified(instance, name)
        assert report.findings == ()
        assert {item.why for item in report.not_checked if item.what.startswith("output ")} == {
            "erased by `alice` under `keep-30-days`"
        }
        assert verified(instance, other).findings == ()
        assert instance.log_verify()["verdict"] == "consistent"

        again = instance.erase(name, step=None, rule="keep-30-days", reason="asked by its owner")
        assert again.erased == () and set(again.before) == set(commitments)


def test_the_bytes_of_an_erased_output_leave_the_file(folder: Path) -> None:
    async def story() -> None:
        with opened(folder) as instance:
            greeting = folder / "rexecop-hello" / "greeting.txt"
            greeting.write_text("hello\n" + LARGE * 2_000)
            name = (await instance.plan(asked(folder, "show_greeting", "read_only"))).operation_id
            await instance.start(name)
            connection = apsw.Connection(str(folder / "root" / "ledger.sqlite"))
            held = [data for (data,) in connection.execute("SELECT data FROM chunks")]
            connection.close()
            assert any(LARGE.encode() in data for data in held)
            view = instance.erase(name, step=None, rule="r", reason="r")
            assert view.erased and view.cleared
            connection = apsw.Connection(str(folder / "root" / "ledger.sqlite"))
            left = [data for (data,) in connection.execute("SELECT data FROM chunks")]
            connection.close()
            assert not any(LARGE.encode() in data for data in left)
        assert lies_in(folder, (LARGE * 20).encode()) == []

    asyncio.run(story())


def test_one_step_can_be_erased_alone(folder: Path) -> None:
    async def story() -> None:
        with opened(folder) as instance:
            name = (await instance.plan(asked(folder, "host_facts", "read_only"))).operation_id
            await instance.start(name)
            step = instance.outputs(name)[0].step
            view = instance.erase(name, step=step, rule="r", reason="r")
            assert view.erased
            assert all((out.text is None) == (out.step == step) for out in instance.outputs(name))
            rest = instance.erase(name, step=None, rule="r", reason="r")
            assert rest.erased and set(rest.before) == set(view.erased)

    asyncio.run(story())


def test_what_may_still_be_needed_or_says_nothing_is_not_erased(folder: Path) -> None:
    async def story() -> None:
        with opened(folder) as instance:
            waiting = (await instance.plan(replace(change(folder, "later"), observe=False))).operation_id
            done = next(line.operation_id for line in instance.list() if line.state == "completed")
            before = instance.parts.ledger.size()
            for name, step, rule, reason in (
                (waiting, None, "r", "r"),
                (done, "no_such_step", "r", "r"),
                (done, None, " ", "r"),
                (done, None, "r", "x" * 1001),
            ):
                with pytest.raises(RexecopError) as refused:
                    instance.erase(name, step=step, rule=rule, reason=reason)
                assert refused.value.code == "erasure-refused"
            assert instance.parts.ledger.size() == before

    asyncio.run(story())


def test_while_a_reader_holds_an_older_state_it_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rexecop.store.connection.BUSY_SECONDS_MAX", 0.05)

    async def story() -> None:
        with opened(folder) as instance:
            name = (await instance.plan(asked(folder, "host_facts", "read_only"))).operation_id
            await instance.start(name)
            reader = apsw.Connection(str(folder / "root" / "ledger.sqlite"))
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM records").fetchall()
            view = instance.erase(name, step=None, rule="r", reason="r")
            assert view.erased and not view.cleared
            reader.close()
            assert instance.erase(name, step=None, rule="r", reason="r").cleared

    asyncio.run(story())
