"""`gc` takes what is old and nobody needs, says so in the log, and every proof stays."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import apsw
import pytest

from rexecop.app.collecting import CollectedView, Collector, Retaining
from rexecop.app.doctor import fold_row
from rexecop.app.evidence import Asked
from rexecop.app.fleet import LEFT, Left
from rexecop.app.instance import Instance
from rexecop.app.queueing import QUEUE
from rexecop.app.worker import WORKERS, Beat
from rexecop.engines.runner import boot_id
from rexecop.operations.fold import fold
from rexecop.operations.machine import TERMINAL
from rexecop.proof.canonical import Digest
from rexecop.proof.codec import encode
from rexecop.proof.records import Retention
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.verify import verify
from rexecop.proof.verify.trusted import trust_of
from tests.app.support import asked, bob, change, made, opened, records, scratch, verified

NOW = Retaining(older_than=timedelta(0), rule="older than 0d", reason="a test of retention")


def collected(instance: Instance, retaining: Retaining | None = NOW) -> CollectedView:
    return Collector(instance, lambda done, total: None).apply(retaining)


def outputs_of(instance: Instance, operation: str) -> set[Digest]:
    outcomes = (sealed.record for sealed in records(instance, operation))
    return {
        ref.commitment
        for outcome in outcomes
        if isinstance(outcome, Outcome)
        for ref in (outcome.blobs or {}).values()
    }


def kept_of(instance: Instance, operation: str) -> set[Digest]:
    return {one for one in outputs_of(instance, operation) if instance.parts.ledger.blob(one) is not None}


@pytest.fixture
def folder() -> Iterator[Path]:
    with scratch() as folder:
        asyncio.run(made(folder))
        yield folder


async def history(instance: Instance, folder: Path, chance: random.Random) -> None:
    """Let some operations come to some state each."""
    for n in range(5):
        kind = chance.choice(("read", "read", "change", "waits", "given up"))
        if kind == "read":
            name = (await instance.plan(asked(folder, "host_facts", "read_only"))).operation_id
            await instance.start(name)
            continue
        name = (await instance.plan(change(folder, f"greeting {n}"))).operation_id
        if kind == "change":
            await instance.approve(name, key=bob(folder))
            await instance.start(name)
        elif kind == "given up":
            await instance.cancel(name, "not needed")


async def _done(instance: Instance, folder: Path) -> str:
    name = (await instance.plan(asked(folder, "host_facts", "read_only"))).operation_id
    await instance.start(name)
    return name


@pytest.mark.parametrize("seed", [1, 2])
def test_after_any_history_everything_verifies_and_folds_as_before(folder: Path, seed: int) -> None:
    chance = random.Random(seed)

    async def story() -> None:
        with opened(folder) as instance:
            await history(instance, folder, chance)
            names = [line.operation_id for line in instance.list()]
            bundles = [folder / f"{n}.rxb" for n in range(len(names))]
            for name, path in zip(names, bundles, strict=True):
                instance.export(name, Asked(path=path, with_outputs=True))
            folds = {name: fold(records(instance, name)) for name in names}
            ends = sorted(records(instance, name)[-1].record.at for name in names)
            cuts = sorted(chance.sample(ends, 2))
            for cut in (*cuts, None):
                now = instance.parts.world.clock.now()
                age = timedelta(0) if cut is None else now - cut
                before = instance.parts.ledger.size()
                view = collected(instance, replace(NOW, older_than=age))
                assert view.before is not None
                assert instance.parts.ledger.size() == before + (1 if view.outputs else 0)
                for name in names:
                    gone = folds[name].state in TERMINAL
                    gone = gone and records(instance, name)[-1].record.at < view.before
                    assert kept_of(instance, name) == (set() if gone else outputs_of(instance, name))
                    report = verified(instance, name)
                    assert report.findings == ()
                    missing = [one for one in report.not_checked if one.what.startswith("output ")]
                    assert len(missing) == (len(outputs_of(instance, name)) if gone else 0)
                    assert all(one.why == "erased by `alice` under `older than 0d`" for one in missing)
                    assert fold(records(instance, name)) == folds[name]
            assert instance.parts.ledger.compare_index(fold_row) == ()
            assert instance.log_verify()["verdict"] == "consistent"
            trust = trust_of(instance.parts.authority.enrolments())
            assert all(verify(path.read_bytes(), trust).findings == () for path in bundles)

    asyncio.run(story())


def test_what_is_only_looked_at_stays_and_what_is_taken_is_counted_alike(folder: Path) -> None:
    async def story() -> None:
        with opened(folder) as instance:
            name = [await _done(instance, folder) for _ in range(2)][-1]
            size = instance.parts.ledger.size()
            seen = Collector(instance, lambda done, total: None).look(timedelta(0))
            assert seen.operations == 2 and seen.outputs == 2 * len(outputs_of(instance, name)) > 0
            assert instance.parts.ledger.size() == size and kept_of(instance, name)

            told: list[tuple[int, int]] = []
            done = Collector(instance, lambda count, total: told.append((count, total))).apply(NOW)

            assert (done.operations, done.outputs, done.bytes) == (seen.operations, seen.outputs, seen.bytes)
            assert told[-1] == (2, 2) and done.cleared
            (record,) = [
                sealed.record
                for sealed in records(instance, instance.parts.ledger.instance_id)
                if isinstance(sealed.record, Retention)
            ]
            assert (record.n, record.by.person, record.reason) == (done.recorded, "alice", NOW.reason)
            assert (
                instance.evidence_record(name, an_outcome(instance, name))
                .blobs[0]
                .state.startswith("erased by alice under older than 0d at ")
            )
            again = collected(instance)
            assert (again.outputs, again.recorded) == (0, None)

    asyncio.run(story())


def an_outcome(instance: Instance, name: str) -> str:
    outcomes = [one.record for one in records(instance, name) if isinstance(one.record, Outcome)]
    return str(next(one.n for one in outcomes if one.blobs))


def raw(folder: Path, sql: str) -> list[tuple[object, ...]]:
    connection = apsw.Connection(str(folder / "root" / "ledger.sqlite"))
    found = list(connection.execute(sql))
    connection.close()
    return found


def test_outputs_kept_before_the_ledger_noted_whose_they_are_go_as_well(folder: Path) -> None:
    async def story() -> None:
        with opened(folder) as instance:
            await _done(instance, folder)
            placed = raw(folder, "SELECT commitment, op FROM blobs")
            raw(folder, "UPDATE blobs SET op=NULL")
            Collector(instance, lambda done, total: None).look(timedelta(0))
            assert raw(folder, "SELECT commitment, op FROM blobs") == placed != []

    asyncio.run(story())


def test_what_only_the_index_says_ended_long_ago_keeps_its_outputs(
    folder: Path,
) -> None:
    async def story() -> None:
        with opened(folder) as instance:
            name = await _done(instance, folder)
            ended = records(instance, name)[-1].record
            raw(folder, f"UPDATE operations SET updated=0 WHERE number={instance.parts.ledger.number(name)}")
            age = instance.parts.world.clock.now() - ended.at + timedelta(seconds=1)
            view = collected(instance, replace(NOW, older_than=age))
            assert view.outputs == 0 and kept_of(instance, name) == outputs_of(instance, name)

    asyncio.run(story())


@contextmanager
def waiting_rows(instance: Instance, folder: Path) -> Iterator[str]:
    """Lend a board on which one of each kind is of use and one is not."""
    store, now = instance.parts.ledger, instance.parts.world.clock.now()
    ended = asyncio.run(_done(instance, folder))
    waits = asyncio.run(instance.plan(replace(change(folder, "later"), observe=False))).operation_id
    instance.enqueue(waits)
    (entry,) = [body for name, body in store.posted(QUEUE) if name == waits]
    store.post(QUEUE, ended, entry)
    store.post(LEFT, ended, encode(Left(head=records(instance, ended)[-1].digest)))
    beat = encode(Beat(pid=1, since=now, seen=now))
    old = encode(Beat(pid=1, since=now, seen=now - timedelta(days=2)))
    for runner, body in ((f"{boot_id()}:1:1", beat), ("elsewhere:1:1", beat), ("silent:1:1", old)):
        store.post(WORKERS, runner, body)
    yield waits


def test_rows_of_workers_and_operations_that_are_gone_leave_the_board_and_others_stay(folder: Path) -> None:
    with opened(folder) as instance, waiting_rows(instance, folder) as waits:
        store = instance.parts.ledger
        assert Collector(instance, lambda done, total: None).look(None).board == 4

        assert collected(instance, None).board == 4

        assert [name for name, _ in store.posted(QUEUE)] == [waits]
        assert store.posted(LEFT) == []
        assert [name for name, _ in store.posted(WORKERS)] == ["elsewhere:1:1"]


def test_an_idempotency_key_is_forgotten_with_age_and_other_claims_never_are(folder: Path) -> None:
    async def story() -> None:
        with opened(folder) as instance:
            asking = replace(asked(folder, "host_facts", "read_only"), idempotency_key="one")
            first = (await instance.plan(asking)).operation_id
            assert collected(instance).keys == 0
            await instance.start(first)
            others = raw(folder, "SELECT * FROM claims WHERE space<>'idempotency'")
            assert (await instance.plan(asking)).operation_id == first

            assert collected(instance).keys == 1

            assert raw(folder, "SELECT * FROM claims") == others != []
            assert (await instance.plan(asking)).operation_id != first

    asyncio.run(story())


def test_the_file_gets_smaller_while_another_process_has_it_open(folder: Path) -> None:
    async def story() -> None:
        file = folder / "root" / "ledger.sqlite"
        with opened(folder) as instance, opened(folder) as other:
            (folder / "rexecop-hello" / "greeting.txt").write_text("hello\n" * 100_000)
            name = (await instance.plan(asked(folder, "show_greeting", "read_only"))).operation_id
            await instance.start(name)
            instance.parts.ledger.clear_wal()
            large = file.stat().st_size

            view = collected(other)

            assert view.free_bytes >= 65_536 and file.stat().st_size <= large - 50_000
            assert other.parts.ledger.free_bytes() == 0
            await _done(instance, folder)
            assert instance.log_verify()["verdict"] == "consistent"

    asyncio.run(story())
