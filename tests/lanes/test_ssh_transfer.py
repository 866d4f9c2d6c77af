"""Files over SSH: put whole or not at all, got whole or not at all; against a real server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from rexecop.lanes.failures import Failure
from rexecop.proof.canonical import digest_of
from rexecop.proof.vocabulary import Ended
from tests.lanes.ssh_calls import lane_for, result, transfer
from tests.lanes.sshd import Sshd, sshd
from tests.lanes.support import LIMITS
from tests.needs import needs

pytestmark = needs("sshd", "ssh-keygen")

OLD = "port 22\n"
NEW = "port 2222\n# grüße\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("ssh") / "server") as running:
        yield running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "files" / "app.conf"
    path.parent.mkdir()
    path.write_text(OLD)
    path.chmod(0o640)
    return path


def beside(file: Path) -> list[str]:
    return sorted(path.name for path in file.parent.iterdir())


def test_a_put_replaces_a_file_and_keeps_its_permission(server: Sshd, file: Path) -> None:
    before = file.stat().st_ino
    call = transfer(server, "put", file, content=NEW, before=str(digest_of(OLD.encode())))

    found = result(lane_for(server), call)

    assert (found.ended, file.read_text(), beside(file)) == (Ended.OK, NEW, ["app.conf"])
    assert file.stat().st_ino != before and file.stat().st_mode & 0o777 == 0o640
    assert found.data is not None and found.data["digest"] == digest_of(NEW.encode())


def test_the_bytes_of_a_file_are_put_as_they_are(server: Sshd, file: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 4_000)
    call = transfer(server, "put", file, file=str(source), digest=str(digest_of(source.read_bytes())))

    found = result(lane_for(server), call)

    assert (found.ended, file.read_bytes(), beside(file)) == (Ended.OK, source.read_bytes(), ["app.conf"])
    assert found.data is not None and found.data["bytes"] == 1_024_000


@pytest.mark.parametrize(
    ("name", "failure"),
    [("source", Failure.DRIFTED), ("nothing", Failure.NOT_FOUND), ("", Failure.NOT_FOUND)],
)
def test_a_file_that_is_not_the_planned_one_is_not_put(
    server: Sshd, file: Path, tmp_path: Path, name: str, failure: Failure
) -> None:
    (tmp_path / "source").write_text("another")
    call = transfer(server, "put", file, file=str(tmp_path / name), digest=str(digest_of(NEW.encode())))

    found = result(lane_for(server), call)

    assert (found.ended, found.failure, file.read_text()) == (Ended.REFUSED, failure, OLD)


def test_a_file_that_somebody_overwrites_at_once_is_not_said_to_be_put(
    server: Sshd, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = asyncssh.SFTPClient.posix_rename

    async def rename_and_meddle(sftp: asyncssh.SFTPClient, old: str, new: str) -> None:
        await rename(sftp, old, new)
        file.write_text("theirs")

    monkeypatch.setattr(asyncssh.SFTPClient, "posix_rename", rename_and_meddle)

    found = result(lane_for(server), transfer(server, "put", file, content=NEW))

    assert (found.ended, found.failure) == (Ended.UNKNOWN, Failure.VALIDATION_FAILED)


@needs("root")
def test_a_put_keeps_the_owner(server: Sshd, file: Path) -> None:
    os.chown(file, 12_345, 12_346)

    found = result(lane_for(server), transfer(server, "put", file, content=NEW))

    assert (found.ended, file.stat().st_uid, file.stat().st_gid) == (Ended.OK, 12_345, 12_346)


def test_a_new_file_is_private_unless_the_call_says_otherwise(server: Sshd, file: Path) -> None:
    lane = lane_for(server)
    for name, asked, mode in (("one", "", 0o600), ("two", "0644", 0o644)):
        path = file.with_name(name)
        found = result(lane, transfer(server, "put", path, content=NEW, before="absent", mode=asked))

        assert (found.ended, path.stat().st_mode & 0o777) == (Ended.OK, mode)


@pytest.mark.parametrize("before", ["absent", "sha256:" + "0" * 64])
def test_a_put_on_another_file_than_expected_changes_nothing(server: Sshd, file: Path, before: str) -> None:
    found = result(lane_for(server), transfer(server, "put", file, content=NEW, before=before))

    assert (found.ended, found.failure) == (Ended.FAILED, Failure.DRIFTED)
    assert (file.read_text(), beside(file)) == (OLD, ["app.conf"])


def test_only_a_regular_file_is_replaced(server: Sshd, file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file)

    found = result(lane_for(server), transfer(server, "put", link, content=NEW))

    assert (found.ended, found.failure) == (Ended.FAILED, Failure.UNSUPPORTED)
    assert link.is_symlink() and file.read_text() == OLD


def test_a_put_into_no_folder_failed_and_did_not_happen(server: Sshd, file: Path) -> None:
    found = result(lane_for(server), transfer(server, "put", file.parent / "none" / "x", content=NEW))

    assert (found.ended, found.failure) == (Ended.FAILED, Failure.NOT_FOUND)


def test_a_place_that_cannot_be_replaced_leaves_no_part_beside_it(server: Sshd, file: Path) -> None:
    folder = file.with_name("folder")
    folder.mkdir()

    found = result(lane_for(server), transfer(server, "put", folder, content=NEW))

    assert found.ended is Ended.FAILED
    assert beside(file) == ["app.conf", "folder"]


def test_a_host_without_transfers_is_told_nothing(file: Path, tmp_path: Path) -> None:
    with sshd(tmp_path / "server", sftp="/bin/false") as server:
        found = result(lane_for(server), transfer(server, "put", file, content=NEW))

    assert found.ended is Ended.FAILED
    assert file.read_text() == OLD


def test_a_get_yields_the_file_and_its_digest(server: Sshd, file: Path) -> None:
    file.write_bytes(bytes(range(256)) * 1_000)

    found = result(lane_for(server), transfer(server, "get", file), replace(LIMITS, output_bytes=1 << 20))

    assert (found.ended, found.stdout) == (Ended.OK, file.read_bytes())
    assert found.data == {"digest": digest_of(file.read_bytes()), "bytes": 256_000, "mode": "0640"}


def test_a_file_past_the_limit_is_not_got_in_part(server: Sshd, file: Path) -> None:
    found = result(lane_for(server), transfer(server, "get", file), replace(LIMITS, output_bytes=4))

    assert (found.ended, found.failure, found.stdout) == (Ended.FAILED, Failure.OUTPUT_LIMIT, b"")


def test_a_secret_in_a_file_does_not_come_out_and_has_no_digest(server: Sshd, file: Path) -> None:
    file.write_text(server.key.read_text())

    found = result(lane_for(server), transfer(server, "get", file))

    assert found.redactions > 0 and found.data is not None and "digest" not in found.data


@pytest.mark.parametrize("path", ["relative", "/", "/a/../b", "/a//b", "/a/"])
def test_a_path_that_is_no_plain_one_is_refused(server: Sshd, path: str) -> None:
    found = result(lane_for(server), transfer(server, "get", path))

    assert (found.ended, found.failure) == (Ended.REFUSED, Failure.REQUEST_INVALID)
