"""From a request to a bundle: a real authority stamps a checkpoint, and whoever trusts it can tell when."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from rexecop.app.evidence import Asked
from rexecop.app.instance import Instance
from rexecop.keys import load_signer
from rexecop.proof import note
from rexecop.proof.checkpoint import parse
from rexecop.proof.errors import ProofError, RexecopError
from rexecop.proof.publickey import PublicKey
from rexecop.proof.verify import Report, Rung, TrustedKey, TrustedKeys, verify
from rexecop.proof.vocabulary import Role
from tests.app.support import asked, made, opened, scratch
from tests.needs import needs
from tests.proof.authority import IS_AUTHORITY, STAMPS, answer, certify, info, new_key, token

pytestmark = needs("openssl")

ROOT: Final = certify("the root", IS_AUTHORITY, key=new_key("rsa2048"))
CLOCK: Final = certify("the clock", STAMPS, by=ROOT, key=new_key("rsa2048", 1))
LOCAL: Final = certify("by hand", STAMPS, by=ROOT, key=new_key("p256", 1))


def seen(bundle: Path, key: PublicKey) -> Report:
    keys = (TrustedKey(role=Role.INSTANCE, name="x", public=key),)
    return verify(bundle.read_bytes(), TrustedKeys(keys=keys, authorities=(ROOT.trusted("the house clock"),)))


async def a_read(instance: Instance, folder: Path) -> str:
    view = await instance.plan(asked(folder, "host_facts", "read_only"))
    return (await instance.start(view.operation_id)).operation_id


async def taken(instance: Instance, folder: Path, data: bytes) -> object:
    (folder / "a.tsr").write_bytes(data)
    return await instance.stamp_add(folder / "a.tsr")


def text_of(instance: Instance) -> bytes:
    return note.parse(instance.log_checkpoint().encode()).text.encode()


def test_a_stamp_asked_for_and_taken_in_is_in_the_bundle_and_believed() -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            with opened(folder) as instance:
                key = load_signer(folder / "root" / "keys" / "instance").public
                operation = await a_read(instance, folder)
                size, query = await instance.stamp_request()
                view = await instance.stamp_add(_file(folder, answer(b"", CLOCK, query=query)))
                assert (view.checkpoint_size, view.authority) == (size, "the clock")
                exported = instance.export(operation, Asked(path=folder / "now.rxb"))
                assert (exported.stamps, exported.checkpoint_size) == (1, size)
                report = seen(folder / "now.rxb", key)
                assert report.findings == () and report.holds(Rung.LOGGED)
                (claim,) = report.claims.stamped
                assert claim.authority == "the house clock"
                assert abs(claim.at - datetime.now(UTC)) < timedelta(minutes=5)

                # The log goes on: the newest checkpoint has no stamp, the newest stamped one has.
                later = await a_read(instance, folder)
                assert instance.export(operation, Asked(path=folder / "bare.rxb")).stamps == 0
                stamped = instance.export(operation, Asked(path=folder / "stamped.rxb", stamped=True))
                assert (stamped.stamps, stamped.checkpoint_size) == (1, size)
                assert seen(folder / "stamped.rxb", key).claims.stamped == report.claims.stamped
                with pytest.raises(RexecopError) as none:
                    instance.export(later, Asked(path=folder / "none.rxb", stamped=True))
                assert none.value.code == "not-yet" and not (folder / "none.rxb").exists()

    asyncio.run(story())


def _file(folder: Path, data: bytes) -> Path:
    (folder / "a.tsr").write_bytes(data)
    return folder / "a.tsr"


def test_a_stamp_outlives_the_checkpoint_that_the_log_drops_and_the_key_that_signed_it() -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            with opened(folder) as instance:
                first = load_signer(folder / "root" / "keys" / "instance").public
                operation = await a_read(instance, folder)
                size, query = await instance.stamp_request()
                data = answer(b"", CLOCK, query=query)
                await a_read(instance, folder)
                await instance.key_rotate()
                await a_read(instance, folder)
                kept = instance.parts.world.store.kept_checkpoint(size)  # type: ignore[attr-defined]
                assert kept.size > size
                await taken(instance, folder, data)
                instance.export(operation, Asked(path=folder / "old.rxb", stamped=True))
                report = seen(folder / "old.rxb", first)
                assert report.findings == () and report.holds(Rung.LOGGED) and report.claims.stamped
                assert report.signer == first.fingerprint
                # Asked again now: the new key's checkpoint, whom the old key's owner can follow.
                size, query = await instance.stamp_request()
                await taken(instance, folder, answer(b"", CLOCK, query=query))
                assert (
                    instance.export(operation, Asked(path=folder / "new.rxb", stamped=True)).checkpoint_size
                    == size
                )
                assert seen(folder / "new.rxb", first).claims.stamped

    asyncio.run(story())


def test_what_is_no_answer_to_a_request_of_ours_is_not_taken() -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            with opened(folder) as instance:
                _, query = await instance.stamp_request()
                text, good = text_of(instance), answer(b"", CLOCK, query=query)
                assert parse(text.decode()).size
                spoilt = bytearray(good)
                spoilt[-1] ^= 1
                for data, code in (
                    (answer(b"something else", CLOCK), "stamp-refused"),
                    (answer(text, CLOCK), "stamp-refused"),  # openssl's own query has another nonce
                    (bytes(spoilt), "signature-wrong"),
                    (b"<html>", "der-malformed"),
                    (b"\x30\x05\x30\x03\x02\x01\x02", "stamp-wrong"),
                    (bytes(70_000), "file-refused"),
                ):
                    with pytest.raises(RexecopError) as refused:
                        await taken(instance, folder, data)
                    assert refused.value.code == code
                operation = await a_read(instance, folder)
                with pytest.raises(RexecopError):
                    instance.export(operation, Asked(path=folder / "x.rxb", stamped=True))

    asyncio.run(story())


def test_a_stamp_without_a_nonce_over_a_longer_hash_is_taken_once() -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            with opened(folder) as instance:
                await instance.stamp_request()
                data = token(info(text_of(instance), hash_name="sha512"), LOCAL)
                first, again = await taken(instance, folder, data), await taken(instance, folder, data)
                assert first == again
                operation = await a_read(instance, folder)
                with pytest.raises(RexecopError):
                    instance.export(operation, Asked(path=folder / "x.rxb", stamped=True))
                await instance.stamp_request()
                for second in range(10):
                    at = datetime.now(UTC) + timedelta(seconds=second)
                    await taken(instance, folder, token(info(text_of(instance), at=at), LOCAL))
                # A bundle has room for eight: the newest go along.
                assert instance.export(operation, Asked(path=folder / "x.rxb")).stamps == 8
                key = load_signer(folder / "root" / "keys" / "instance").public
                assert len(seen(folder / "x.rxb", key).claims.stamped) == 8

    asyncio.run(story())


def test_a_ledger_with_stamps_is_as_sound_as_one_without() -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            with opened(folder) as instance:
                before = instance.log_verify()
                _, query = await instance.stamp_request()
                await taken(instance, folder, answer(b"", CLOCK, query=query))
                assert instance.log_verify() == before
                assert instance.check().status != "failed"

    asyncio.run(story())


def test_a_stamp_signed_by_what_cannot_be_checked_is_not_taken_unchecked() -> None:
    async def story() -> None:
        with scratch() as folder:
            await made(folder)
            with opened(folder) as instance:
                await instance.stamp_request()
                data = token(info(text_of(instance)), LOCAL, algorithm="rsa_pss")
                with pytest.raises(ProofError) as refused:
                    await taken(instance, folder, data)
                assert refused.value.code == "signature-unsupported"

    asyncio.run(story())
