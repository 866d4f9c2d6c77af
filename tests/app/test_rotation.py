"""The key of an instance is replaced: at once, cut off anywhere, while others run, and followed by all."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from rexecop.app.clock import SystemClock
from rexecop.app.instance import Instance
from rexecop.keys import create_key, load_signer
from rexecop.operations.errors import StoreUnavailable
from rexecop.proof import dsse
from rexecop.proof.errors import RexecopError
from rexecop.proof.publickey import PublicKey
from rexecop.proof.records.instance import Note, Trust
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.verify import Report, Rung, TrustedKey, TrustedKeys, verify
from rexecop.proof.vocabulary import Role
from rexecop.store.sqlite import SqliteStore
from tests.app.support import asked, bob, change, greeting, made, opened, records, scratch, verified
from tests.forked import Forked


def story(work: Callable[[Path], Awaitable[None]]) -> None:
    """Run `work` on a new root."""

    async def run() -> None:
        with scratch() as folder:
            await made(folder)
            await work(folder)

    asyncio.run(run())


def key_file(folder: Path, name: str = "instance") -> Path:
    return folder / "root" / "keys" / name


def public(folder: Path, name: str = "instance") -> PublicKey:
    return load_signer(key_file(folder, name)).public


def standing(instance: Instance) -> list[str]:
    return [k.fingerprint for k in instance.trusted_keys() if (k.role, k.state) == ("instance", "standing")]


def by(*keys: PublicKey) -> TrustedKeys:
    return TrustedKeys(keys=tuple(TrustedKey(role=Role.INSTANCE, name="x", public=key) for key in keys))


def seen(instance: Instance, operation: str, *keys: PublicKey) -> Report:
    """Return what a stranger says of the operation who trusts `keys` only."""
    return verify(instance.parts.evidence.bundle(operation, with_outputs=True), by(*keys))


async def a_read(instance: Instance, folder: Path) -> str:
    view = await instance.plan(asked(folder, "host_facts", "read_only"))
    assert (await instance.start(view.operation_id)).state == "completed"
    return view.operation_id


def test_after_a_rotation_old_and_new_evidence_is_believed_under_the_old_key_and_the_new() -> None:
    async def work(folder: Path) -> None:
        with opened(folder) as instance:
            first, before = public(folder), await a_read(instance, folder)
            waiting = (await instance.plan(change(folder))).operation_id
            old_bundle = instance.parts.evidence.bundle(before)
            view = await instance.key_rotate(reason="once a year")
            after = await a_read(instance, folder)
            second = public(folder)
            await instance.approve(waiting, key=bob(folder))
            assert (await instance.start(waiting)).state == "completed"
            assert view.fingerprint == second.fingerprint != first.fingerprint
            assert standing(instance) == [second.fingerprint]
            for operation in (before, after, waiting):
                for pinned in (first, second):
                    report = seen(instance, operation, pinned)
                    assert report.findings == () and report.holds(Rung.LOGGED), report.findings
                    assert report.signer == second.fingerprint
                assert verified(instance, operation).findings == ()
            # What was cut before needs no new key, and gets no other verdict.
            assert verify(old_bundle, by(first)).holds(Rung.LOGGED)
            assert verify(old_bundle, by(second)).findings
        with opened(folder) as instance:
            assert instance.check().status != "failed"
            assert seen(instance, after, first).holds(Rung.LOGGED)

    story(work)


def test_a_rotation_is_one_batch_and_says_why() -> None:
    async def work(folder: Path) -> None:
        with opened(folder) as instance:
            first = public(folder).fingerprint
            await instance.key_rotate(reason="once a year")
            chain = instance.parts.authority.trust_records()
            enrolled, revoked, why = (sealed.record for sealed in chain[-3:])
            assert isinstance(enrolled, Trust) and isinstance(revoked, Trust) and isinstance(why, Note)
            assert (enrolled.role, enrolled.revoked) == (Role.INSTANCE, False)
            assert (revoked.fingerprint, revoked.revoked) == (first, True)
            assert why.text == "once a year"
            leaves = [instance.parts.world.store.leaf_of(s.record.operation, s.record.n) for s in chain[-3:]]  # type: ignore[attr-defined]
            assert leaves == list(range(leaves[0], leaves[0] + 3))

    story(work)


@pytest.mark.parametrize("forget", [False, True])
def test_the_old_private_key_is_kept_for_its_owner_alone_or_gone(forget: bool) -> None:
    async def work(folder: Path) -> None:
        with opened(folder) as instance:
            for n in (1, 2):
                old = public(folder)
                view = await instance.key_rotate(forget=forget)
                kept = key_file(folder, f"instance.retired-{n if not forget else 1}")
                assert (view.path is None) == forget and kept.exists() != forget
                if not forget:
                    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
                    assert load_signer(kept).public == old
                written = key_file(folder, "instance.pub").read_text()
                assert PublicKey.from_line(written) == public(folder) != old
                assert not key_file(folder, "instance.next").exists()
            states = [key.state for key in instance.trusted_keys() if key.role == "instance"]
            assert states == ["retired", "retired", "standing"]

    story(work)


# --- cut off ---


@contextmanager
def killed_at(place: int) -> Iterator[None]:
    """Let this process be killed the `place`-th time that it would do something to a file or the ledger."""
    count = 0

    def step(*_: object) -> None:
        nonlocal count
        count += 1
        if count == place:
            os.kill(os.getpid(), signal.SIGKILL)

    append = SqliteStore.append

    async def counted(self: SqliteStore, batch: object) -> object:
        step()
        done = await append(self, batch)  # type: ignore[arg-type]
        step()
        return done

    SqliteStore.append = counted  # type: ignore[method-assign,assignment]
    sys.addaudithook(lambda event, _: step() if event.startswith(("os.", "open", "fcntl.")) else None)
    yield


def rotate(folder: Path, place: int | None) -> None:
    """Rotate; where a `place` is given, be killed there."""

    async def run() -> None:
        with opened(folder) as instance, killed_at(place) if place else nullcontext():
            await instance.key_rotate()

    asyncio.run(run())


def rotate_and_die(folder: Path, place: int) -> bool:
    """Rotate in another process that is killed at `place`; return whether it lived to the end."""
    status, said = Forked(rotate, folder, place).ended()
    assert status in (0, -signal.SIGKILL), said
    return status == 0


def test_a_rotation_killed_anywhere_leaves_one_key_in_force_and_its_file_in_place() -> None:
    outcomes = set()
    with scratch() as folder:
        asyncio.run(made(folder))
        place, lived = 0, False
        while not lived:
            place += 2
            before = public(folder)
            lived = rotate_and_die(folder, place)
            with opened(folder) as instance:
                now = public(folder)
                assert standing(instance) == [now.fingerprint]
                assert PublicKey.from_line(key_file(folder, "instance.pub").read_text()) == now
                assert next(c for c in instance.check().checks if c.name == "keys").status != "failed"
                operation = asyncio.run(a_read(instance, folder))
                for pinned in {before, now}:
                    assert seen(instance, operation, pinned).holds(Rung.LOGGED), place
                outcomes.add((lived, now == before))
            retired = [k for k in range(1, place + 2) if key_file(folder, f"instance.retired-{k}").exists()]
            with opened(folder) as instance:
                ended = [
                    key for key in instance.trusted_keys() if (key.role, key.revoked) == ("instance", True)
                ]
                assert {public(folder, f"instance.retired-{k}").fingerprint for k in retired} == {
                    key.fingerprint for key in ended
                }
    assert place > 10
    assert outcomes == {(False, True), (False, False), (True, False)}


def test_a_rotation_whose_write_fails_changes_nothing_and_the_next_one_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def work(folder: Path) -> None:
        async def refuse(*_: object) -> None:
            raise StoreUnavailable("the disk is full")

        with opened(folder) as instance:
            before = public(folder)
            with monkeypatch.context() as patched:
                patched.setattr(SqliteStore, "append", refuse)
                with pytest.raises(StoreUnavailable):
                    await instance.key_rotate()
            assert standing(instance) == [before.fingerprint] == [public(folder).fingerprint]
            assert seen(instance, await a_read(instance, folder), before).holds(Rung.LOGGED)
            await instance.key_rotate()
            assert standing(instance) == [public(folder).fingerprint] != [before.fingerprint]

    story(work)


# --- others run meanwhile ---


def test_who_had_the_root_open_signs_with_the_new_key_from_then_on() -> None:
    async def work(folder: Path) -> None:
        with opened(folder) as service:
            first, before = public(folder), await a_read(service, folder)
            with opened(folder) as other:
                await other.key_rotate()
            second = public(folder)
            after = await a_read(service, folder)
            assert service.parts.world.signer.public == second
            for operation in (before, after):
                assert seen(service, operation, first).holds(Rung.LOGGED)
            (receipt,) = [s for s in records(service, after) if isinstance(s.record, Receipt)]
            (kept,) = service.parts.world.store.signatures(receipt.digest)
            assert [one.key_id for one in dsse.decode(kept.data).signatures] == [second.fingerprint]

    story(work)


def test_a_receipt_signed_with_the_old_key_while_it_was_replaced_is_published_by_the_new_one() -> None:
    async def work(folder: Path) -> None:
        with opened(folder) as slow:
            first = load_signer(key_file(folder))
            world = replace(slow.parts.world, signing=lambda: first)
            late = Instance(replace(slow.parts, world=world))
            late = late.driven_by(lambda _: type(slow.parts.lifecycle._driver)(world))
            view = await slow.plan(asked(folder, "host_facts", "read_only"))
            with opened(folder) as other:
                await other.key_rotate()
            assert (await late.start(view.operation_id)).state == "completed"
            for pinned in (first.public, public(folder)):
                report = seen(slow, view.operation_id, pinned)
                assert report.findings == () and report.holds(Rung.LOGGED)

    story(work)


def test_two_rotations_at_once_are_one_after_the_other() -> None:
    with scratch() as folder:
        asyncio.run(made(folder))
        first = public(folder)
        children = [Forked(rotate, folder, None) for _ in range(4)]
        assert [child.ended() for child in children] == [(0, "")] * 4
        with opened(folder) as instance:
            assert standing(instance) == [public(folder).fingerprint]
            assert len([k for k in instance.trusted_keys() if k.role == "instance"]) == 5
            assert seen(instance, asyncio.run(a_read(instance, folder)), first).holds(Rung.LOGGED)


def test_a_key_file_that_the_ledger_does_not_name_signs_nothing() -> None:
    async def work(folder: Path) -> None:
        with opened(folder) as instance:
            operation = await a_read(instance, folder)
        for name in ("instance", "instance.pub"):
            key_file(folder, name).unlink()
        create_key(key_file(folder), "a foreign key")
        with opened(folder) as instance:
            assert instance.status(operation).state == "completed"
            assert next(c for c in instance.check().checks if c.name == "keys").status == "failed"
            changing = (await instance.plan(replace(change(folder), observe=False))).operation_id
            await instance.approve(changing, key=bob(folder))
            with pytest.raises(RexecopError) as unsigned:
                await instance.start(changing)
            assert unsigned.value.code == "instance-key-missing"
            assert instance.status(changing).state == "approved" and greeting(folder) == "hello\n"
            with pytest.raises(RexecopError) as missing:
                await a_read(instance, folder)
            assert missing.value.code == "instance-key-missing"
            with pytest.raises(RexecopError) as rotated:
                await instance.key_rotate()
            assert rotated.value.code == "instance-key-missing"

    story(work)


# --- keys that end ---


class Later(SystemClock):
    """The clock of somebody who waited."""

    ahead = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.ahead


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> type[Later]:
    monkeypatch.setattr("rexecop.app.build.SystemClock", Later)
    Later.ahead = timedelta(0)
    return Later


def in_days(days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%d")


def test_an_expired_instance_key_lets_nothing_change_until_it_is_replaced(later: type[Later]) -> None:
    async def work(folder: Path) -> None:
        with opened(folder) as instance:
            await instance.key_rotate(expires=in_days(40))
            second = public(folder)
            keys = next(c for c in instance.check().checks if c.name == "keys")
            assert "expires" not in keys.message
            later.ahead = timedelta(days=20)
            keys = next(c for c in instance.check().checks if c.name == "keys")
            assert keys.status == "warning" and "instance key of instance expires" in keys.message
            later.ahead = timedelta(days=41)
            keys = next(c for c in instance.check().checks if c.name == "keys")
            assert keys.status == "failed" and "rexecop keys rotate" in keys.message
            operation = (await instance.plan(change(folder))).operation_id
            await instance.approve(operation, key=bob(folder))
            with pytest.raises(RexecopError) as refused:
                await instance.start(operation)
            assert refused.value.code == "instance-key-expired"
            assert refused.value.next_steps == ("rexecop keys rotate",)
            assert instance.status(operation).state == "approved"
            read = await a_read(instance, folder)
            assert {f.code for f in seen(instance, read, second).findings} == {"E04m"}
            await instance.key_rotate()
            assert (await instance.start(operation)).state == "completed"
            for one in (operation, read):
                assert seen(instance, one, public(folder)).holds(Rung.LOGGED)
                # Nobody vouches for a key after their own has ended.
                assert "E04a" in {f.code for f in seen(instance, one, second).findings}
            states = [k.state for k in instance.trusted_keys() if k.role == "instance"]
            assert states == ["retired", "retired", "standing"]

    story(work)


def test_an_expired_persons_key_asks_for_nothing_and_a_new_one_takes_its_place(later: type[Later]) -> None:
    async def work(folder: Path) -> None:
        with opened(folder) as operator:
            await operator.key_revoke(load_signer(folder / "alice").public.fingerprint)
            view = await operator.key_new("alice", "requester", folder / "alice2", expires=in_days(3))
            assert view.expires is not None and view.expires.strftime("%Y-%m-%d") == in_days(3)
            create_key(folder / "alice3", "alice")
        with opened(folder, identity="alice2") as instance:
            assert (await instance.plan(change(folder))).requester == "alice"
            later.ahead = timedelta(days=4)
            with pytest.raises(RexecopError) as refused:
                await instance.plan(change(folder))
            assert refused.value.code == "identity-refused" and "expired" in refused.value.message
            states = [k.state for k in instance.trusted_keys() if k.person == "alice"]
            assert states == ["revoked", "expired"]
            await instance.key_replace(str(folder / "alice3.pub"), "alice", "requester")
        with opened(folder, identity="alice3") as instance:
            assert (await instance.plan(change(folder))).requester == "alice"

    story(work)


@pytest.mark.parametrize(
    "text",
    [
        "2020-01-01",
        "yesterday",
        "2030-13-01",
        "2030-1-1",
        "20300101",
        "2030-W01-1",
        "2030-01-01T00:00:00",
        "",
        "9999-12-31",
    ],
)
def test_an_expiry_that_is_no_time_to_come_is_refused_before_anything_is_made(text: str) -> None:
    async def work(folder: Path) -> None:
        with opened(folder) as instance:
            before = instance.trusted_keys()
            line = create_key(folder / "spare", "spare").public.line
            for refused in (
                instance.key_new("dora", "approver", folder / "dora", expires=text),
                instance.key_trust(line, "dora", "approver", expires=text),
                instance.key_rotate(expires=text),
                instance.key_replace(line, "bob", "approver", expires=text),
            ):
                with pytest.raises(RexecopError) as error:
                    await refused
                assert error.value.code == "expiry-refused"
            assert instance.trusted_keys() == before
            assert not (folder / "dora").exists()

    story(work)


def test_a_time_with_a_zone_is_the_moment_it_names() -> None:
    async def work(folder: Path) -> None:
        with opened(folder) as instance:
            view = await instance.key_rotate(expires="2090-01-31T10:00:00.5+02:00")
            assert view.expires == datetime(2090, 1, 31, 8, 0, 0, 500_000, tzinfo=UTC)

    story(work)


def test_a_persons_key_is_replaced_in_one_batch_and_only_by_another_of_theirs() -> None:
    async def work(folder: Path) -> None:
        spare = create_key(folder / "spare", "bob")
        with opened(folder) as instance:
            old = load_signer(bob(folder)).public
            alice = load_signer(folder / "alice").public
            operation = (await instance.plan(change(folder))).operation_id
            for person, role, line in (
                ("nobody", "approver", spare.public.line),
                ("bob", "requester", spare.public.line),
                ("bob", "approver", old.line),
                ("bob", "approver", alice.line),
                ("instance", "instance", spare.public.line),
            ):
                with pytest.raises(RexecopError) as refused:
                    await instance.key_replace(line, person, role)
                assert refused.value.code == "identity-refused"
            view = await instance.key_replace(str(folder / "spare.pub"), "bob", "approver", "lost laptop")
            assert (view.fingerprint, view.state) == (spare.public.fingerprint, "standing")
            mine = {k.fingerprint: k.state for k in instance.trusted_keys() if k.person == "bob"}
            assert mine == {old.fingerprint: "revoked", spare.public.fingerprint: "standing"}
            with pytest.raises(RexecopError) as stale:
                await instance.approve(operation, key=bob(folder))
            assert stale.value.code == "approver-unknown"
            # It was enrolled after the plan; for the next one it counts.
            later = (await instance.plan(change(folder))).operation_id
            assert (await instance.approve(later, key=folder / "spare")).state == "approved"

    story(work)


def test_the_only_key_of_an_instance_cannot_be_taken_away() -> None:
    async def work(folder: Path) -> None:
        with opened(folder) as instance:
            with pytest.raises(RexecopError) as refused:
                await instance.key_revoke(public(folder).fingerprint)
            assert refused.value.code == "identity-refused"
            assert refused.value.next_steps == ("rexecop keys rotate",)
            assert standing(instance) == [public(folder).fingerprint]

    story(work)
