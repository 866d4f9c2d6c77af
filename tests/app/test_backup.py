"""A backup proves itself, or is refused; a restored root is there whole, or not at all."""

from __future__ import annotations

import asyncio
import random
import shutil
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from rexecop.app.archive import read_archive, write_archive
from rexecop.app.backup import (
    LEDGER,
    NEWER,
    UNKNOWN_KEY,
    BackupManifest,
    create_backup,
    restore_backup,
    verify_backup,
)
from rexecop.app.build import open_instance
from rexecop.app.sealed import ENVELOPE, MANIFEST, seal_manifest
from rexecop.app.verifying import trusted_keys
from rexecop.keys import create_key, load_signer
from rexecop.proof.canonical import digest_of
from rexecop.proof.codec import decode, encode
from rexecop.proof.errors import RexecopError
from rexecop.proof.signer import Signer
from rexecop.proof.verify import NO_KEYS, Rung, TrustedKey, TrustedKeys, trust_of, verify
from rexecop.proof.vocabulary import Role
from tests.app import killed as killing
from tests.app.support import bob, change, made, opened, scratch, settings
from tests.forked import Forked

PLACES = 3  # How many of the places where a command touches a file it is killed at.


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A root with one finished change and one that waits."""

    async def story(folder: Path) -> None:
        await made(folder)
        with opened(folder) as instance:
            done = await instance.plan(change(folder))
            await instance.approve(done.operation_id, key=bob(folder))
            assert (await instance.start(done.operation_id)).state == "completed"
            await instance.plan(replace(change(folder, "later"), observe=False, idempotency_key="once"))

    with scratch() as folder:
        asyncio.run(story(folder))
        yield folder


@pytest.fixture(scope="module")
def backup(folder: Path) -> Path:
    create_backup(settings(folder), folder / "backup", with_keys=True)
    return folder / "backup"


def own_keys(folder: Path) -> TrustedKeys:
    return trusted_keys(None, folder / "root")


def repacked(backup: Path, folder: Path, name: str, data: bytes, signer: Signer | None = None) -> Path:
    """Return the backup with another member, and with `signer` a manifest that says so."""
    inside = folder / "inside"
    shutil.rmtree(inside, ignore_errors=True)
    inside.mkdir()
    names = list(read_archive(backup, inside))
    (inside / name).write_bytes(data)
    if signer is not None:
        manifest = decode(BackupManifest, (inside / MANIFEST).read_bytes(), bytes_max=1 << 22)
        members = {**manifest.members, name: digest_of(data)}
        text = encode(replace(manifest, members=members))
        (inside / MANIFEST).write_bytes(text)
        (inside / ENVELOPE).write_bytes(seal_manifest(text, signer))
    if name not in names:
        names.append(name)
    write_archive(folder / "repacked", {each: inside / each for each in names})
    return folder / "repacked"


# --- making and looking ---


def test_a_backup_is_whole_private_and_the_same_bytes_each_time(folder: Path, backup: Path) -> None:
    view = verify_backup(backup, own_keys(folder))

    assert (view.verdict, view.wrong, view.not_checked) == ("whole", None, (NEWER,))
    assert backup.stat().st_mode & 0o777 == 0o600
    create_backup(settings(folder), folder / "again", with_keys=True)
    assert (folder / "again").read_bytes() == backup.read_bytes()
    assert not list(folder.glob(".*part"))


def test_without_a_trusted_key_it_says_that_the_signer_is_not_known(backup: Path) -> None:
    view = verify_backup(backup, NO_KEYS)

    assert view.verdict == "whole" and view.signer is not None
    assert view.not_checked == (UNKNOWN_KEY, NEWER)


def test_another_trusted_key_refuses(folder: Path, backup: Path) -> None:
    stranger = create_key(folder / "stranger", "stranger").public
    key = TrustedKey(role=Role.INSTANCE, name="instance", public=stranger)

    assert verify_backup(backup, TrustedKeys(keys=(key,))).verdict == "refused"


def test_private_keys_and_whatever_is_called_secret_stay_at_home(folder: Path) -> None:
    secrets = folder / "root" / "secrets.toml"
    secrets.write_text("token = 'canary-in-a-secrets-file'")
    view = create_backup(settings(folder), folder / "bare", with_keys=False)
    data = (folder / "bare").read_bytes()
    secrets.unlink()

    assert view.manifest is not None and not view.manifest.private_keys
    assert {"keys/instance", "keys/approver", "secrets.toml"} <= set(view.manifest.left_out)
    assert b"canary" not in data and b"PRIVATE KEY" not in data
    assert "root/keys/instance.pub" in view.manifest.members


def test_nothing_is_overwritten(folder: Path) -> None:
    (folder / "taken").write_text("mine")
    with pytest.raises(RexecopError) as refused:
        create_backup(settings(folder), folder / "taken", with_keys=False)

    assert refused.value.code == "file-refused"
    assert (folder / "taken").read_text() == "mine"


def test_a_backup_taken_while_others_write_is_one_moment(folder: Path) -> None:
    async def work() -> None:
        with opened(folder) as instance:
            while not done.is_set():
                await instance.plan(replace(change(folder, "busy"), observe=False))

    done = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    try:
        for number in range(4):
            create_backup(settings(folder), folder / f"busy-{number}", with_keys=False)
    finally:
        done.set()
        thread.join()
    sizes = []
    for number in range(4):
        view = verify_backup(folder / f"busy-{number}", own_keys(folder))
        assert view.verdict == "whole", view.wrong
        assert view.size is not None
        sizes.append(view.size)
    assert sizes == sorted(sizes)


def test_a_damaged_ledger_is_not_vouched_for(folder: Path) -> None:
    with scratch() as other:
        shutil.copytree(folder / "root", other / "root")
        from rexecop.app.recovering import recover

        recover(settings(other), backup=None, new_epoch="copied")
        connection = apsw.Connection(str(other / "root" / "ledger.sqlite"))
        connection.execute("UPDATE records SET body=zeroblob(9) WHERE leaf=4")
        connection.close()
        with pytest.raises(RexecopError) as refused:
            create_backup(settings(other), other / "backup", with_keys=True)
        assert refused.value.code == "backup-refused" and refused.value.next_steps == (
            "rexecop recover --full",
        )
        assert not (other / "backup").exists()

        recover(settings(other), backup=None, new_epoch=None)
        create_backup(settings(other), other / "backup", with_keys=True)
        view = verify_backup(other / "backup", own_keys(other))
        assert (view.verdict, view.quarantined) == ("whole", 1)


@pytest.mark.parametrize("seed", range(3))
def test_any_byte_changed_anywhere_is_refused(folder: Path, backup: Path, seed: int) -> None:
    chance, whole, altered = random.Random(seed), bytearray(backup.read_bytes()), folder / f"altered-{seed}"
    for _ in range(25):
        place = chance.randrange(len(whole))
        data = bytearray(whole)
        data[place] ^= 1 << chance.randrange(8)
        altered.write_bytes(data)
        assert verify_backup(altered, own_keys(folder)).verdict == "refused", place
    for cut in (0, 1, 511, 512, 5000, len(whole) - 1024, len(whole) - 1):
        altered.write_bytes(whole[:cut])
        assert verify_backup(altered, own_keys(folder)).verdict == "refused", cut
    altered.write_bytes(whole + b"x")
    assert verify_backup(altered, own_keys(folder)).verdict == "refused"


@pytest.mark.parametrize(
    "name", ["../escaped", "/tmp/escaped", "root/../../escaped", "root//x", "a" * 101, "é"]
)
def test_a_name_that_leads_out_is_neither_written_nor_read(folder: Path, backup: Path, name: str) -> None:
    evil = tarfile.TarInfo(name)
    block = evil.tobuf(tarfile.GNU_FORMAT, "utf-8")[:512]
    path = folder / "evil"
    path.write_bytes(block + bytes(1024))

    assert verify_backup(path, NO_KEYS).verdict == "refused"
    with pytest.raises(RexecopError):
        write_archive(folder / "evil-too", {name: backup})
    assert not (folder.parent / "escaped").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [("mtime", 1), ("mode", 0o644), ("uid", 1), ("gid", 1), ("uname", "root"), ("gname", "root")],
)
def test_a_header_has_one_spelling(folder: Path, backup: Path, field: str, value: int | str) -> None:
    whole = backup.read_bytes()
    info = tarfile.TarInfo.frombuf(whole[:512], "ascii", "strict")
    setattr(info, field, value)
    (folder / "respelled").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + whole[512:])

    with tarfile.open(folder / "respelled") as archive:
        assert archive.getnames()[0] == "manifest.json"
    assert verify_backup(folder / "respelled", own_keys(folder)).verdict == "refused"


def test_links_devices_and_members_nobody_named_are_refused(folder: Path, backup: Path) -> None:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE):
        info = tarfile.TarInfo("manifest.json")
        info.type, info.linkname, info.mode = kind, "x", 0o600
        (folder / "evil").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
        assert verify_backup(folder / "evil", NO_KEYS).verdict == "refused"

    extra = repacked(
        backup, folder, "root/policy/starter/more.cedar", b"permit(principal, action, resource);"
    )
    assert "more.cedar" in str(verify_backup(extra, own_keys(folder)).wrong)
    other = repacked(
        backup, folder, "root/policy/starter/rules.cedar", b"permit(principal, action, resource);"
    )
    assert "rules.cedar" in str(verify_backup(other, own_keys(folder)).wrong)


def test_a_manifest_signed_anew_by_somebody_else_is_refused(folder: Path, backup: Path) -> None:
    thief = create_key(folder / "thief", "thief")
    forged = repacked(
        backup, folder, "root/policy/starter/rules.cedar", b"permit(principal, action, resource);", thief
    )

    assert verify_backup(forged, own_keys(folder)).verdict == "refused"
    assert verify_backup(forged, NO_KEYS).verdict == "refused"


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE records SET body=zeroblob(9) WHERE leaf=3",
        "DELETE FROM records WHERE leaf>=9",
        "DELETE FROM records WHERE leaf>=9; DELETE FROM checkpoints",
        "UPDATE blobs SET key=zeroblob(32)",
        "UPDATE inputs SET data=x'00'",
        "UPDATE meta SET value='in_other' WHERE name='instance'",
        "CREATE TRIGGER t AFTER INSERT ON records BEGIN DELETE FROM records; END",
        "CREATE VIEW v AS SELECT 1",
    ],
)
def test_whoever_holds_the_key_cannot_pass_a_ledger_off_for_whole(
    folder: Path, backup: Path, sql: str
) -> None:
    inside = folder / "taken-apart"
    shutil.rmtree(inside, ignore_errors=True)
    inside.mkdir()
    read_archive(backup, inside)
    connection = apsw.Connection(str(inside / LEDGER))
    connection.execute(sql)
    connection.close()
    signer = load_signer(folder / "root" / "keys" / "instance")
    forged = repacked(backup, folder, LEDGER, (inside / LEDGER).read_bytes(), signer)

    assert verify_backup(forged, own_keys(folder)).verdict == "refused"


# --- restoring ---


def test_a_restored_root_goes_on_where_the_backup_ended_and_remembers_what_was_used(
    folder: Path, backup: Path
) -> None:
    async def story() -> None:
        with scratch() as place:
            shutil.copytree(folder / "rexecop-hello", place / "rexecop-hello")
            shutil.copy(folder / "alice", place / "alice")
            view = restore_backup(backup, place / "root", own_keys(folder), reason="the disk died", key=None)
            assert (view.epoch, view.reason, view.key_is_new) == (2, "the disk died", False)
            assert view.not_checked == (NEWER,)
            with opened(place) as instance:
                assert instance.parts.ledger.doubt is None
                assert {line.state for line in instance.list()} == {"completed", "waiting_for_approval"}
                waiting = next(line for line in instance.list() if line.state == "waiting_for_approval")
                again = await instance.plan(
                    replace(change(folder, "later"), observe=False, idempotency_key="once")
                )
                assert again.operation_id == waiting.operation_id
                await instance.approve(waiting.operation_id, key=bob(place))
                assert (await instance.start(waiting.operation_id)).state == "completed"
                bundle = instance.parts.evidence.bundle(waiting.operation_id, with_outputs=True)
                trust = trust_of(instance.parts.authority.enrolments())
                records = instance.parts.ledger.journal(instance.parts.ledger.instance_id).records
                epoch = next(sealed.record for sealed in records if sealed.record.kind == "epoch/1")
                assert epoch.by.person and getattr(epoch, "reason", "") == "the disk died"
            assert verify(bundle, trust).holds(Rung.LOGGED)

    asyncio.run(story())


def test_without_private_keys_the_instances_own_key_or_a_new_one_is_needed(folder: Path) -> None:
    create_backup(settings(folder), folder / "keyless", with_keys=False)
    with scratch() as place:
        with pytest.raises(RexecopError) as refused:
            restore_backup(folder / "keyless", place / "root", NO_KEYS, reason=None, key=None)
        assert refused.value.code == "restore-refused" and "--instance-key" in refused.value.message
        assert list(place.iterdir()) == []

        own = restore_backup(
            folder / "keyless",
            place / "root",
            NO_KEYS,
            reason=None,
            key=folder / "root" / "keys" / "instance",
        )
        assert not own.key_is_new and own.not_checked == (UNKNOWN_KEY, NEWER)

        create_key(place / "new", "instance")
        view = restore_backup(folder / "keyless", place / "other", NO_KEYS, reason=None, key=place / "new")
        assert view.key_is_new
        assert f"rexecop keys revoke {own.instance_key}" in view.next
        with open_instance(replace(settings(place), root=place / "other")) as instance:
            operation = instance.list()[-1].operation_id
            bundle = instance.parts.evidence.bundle(operation)
            enrolled = instance.parts.authority.enrolments()
            assert instance.check().status != "failed"
        assert verify(bundle, trust_of(enrolled)).holds(Rung.LOGGED)
        lost = tuple(item for item in enrolled if item.fingerprint != view.instance_key)
        assert "E04a" in {finding.code for finding in verify(bundle, trust_of(lost)).findings}


def test_a_place_that_is_taken_is_left_as_it_is(folder: Path, backup: Path) -> None:
    with scratch() as place:
        (place / "root").mkdir()
        (place / "root" / "mine").write_text("mine")
        for target in (place / "root", place / "root" / "mine"):
            with pytest.raises(RexecopError) as refused:
                restore_backup(backup, target, NO_KEYS, reason=None, key=None)
            assert refused.value.code == "restore-refused"
        (place / "root" / "mine").unlink()
        assert restore_backup(backup, place / "root", NO_KEYS, reason=None, key=None).epoch == 2
        assert [item.name for item in place.iterdir()] == ["root"]
        assert all(item.stat().st_mode & 0o077 == 0 for item in (place / "root").rglob("*"))


def test_a_backup_that_is_refused_is_not_restored(folder: Path, backup: Path) -> None:
    data = bytearray(backup.read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "altered").write_bytes(data)
    with scratch() as place:
        with pytest.raises(RexecopError) as refused:
            restore_backup(folder / "altered", place / "root", NO_KEYS, reason=None, key=None)
        assert refused.value.code == "backup-refused"
        assert list(place.iterdir()) == []


# --- killed in the middle ---


def killed(place: int, *words: str) -> tuple[int, str]:
    """Return how a process with the command ended that was killed at `place`, and what it said."""
    return Forked(killing.main, place, words).ended()


def places(words: tuple[str, ...], *, made: Path) -> list[int]:
    """Return places to kill the command at, spread over its whole run, the last one and the end."""
    code, said = killed(0, *words)
    assert code == 0, said
    count = int(said.splitlines()[-1])
    shutil.rmtree(made) if made.is_dir() else made.unlink()
    return sorted({*range(1, count, max(1, count // PLACES)), *range(max(1, count - 1), count + 1)})


def test_a_backup_that_is_killed_leaves_no_file_or_a_whole_one(folder: Path) -> None:
    with scratch() as place:
        target = place / "backup"
        words = ("backup", "create", str(target), "--root", str(folder / "root"), "--with-keys")
        met = set()
        for number in places(words, made=target):
            code, _ = killed(number, *words)
            there = target.exists()
            met.add((code, there))
            if there:
                assert verify_backup(target, own_keys(folder)).verdict == "whole"
                target.unlink()
        assert (-9, False) in met
        assert killed(0, *words)[0] == 0


def test_a_restore_that_is_killed_leaves_no_root_or_a_whole_one(backup: Path) -> None:
    with scratch() as place:
        target = place / "root"
        words = ("backup", "restore", str(backup), "--root", str(target))
        met = set()
        for number in places(words, made=target):
            code, _ = killed(number, *words)
            there = target.exists()
            met.add((code, there))
            if there:
                with open_instance(settings(place)) as instance:
                    assert instance.parts.ledger.doubt is None
                    assert instance.log_verify()["verdict"] == "consistent"
                    assert instance.parts.ledger.epoch == 2
                shutil.rmtree(target)
        assert (-9, False) in met
        assert killed(0, *words)[0] == 0
