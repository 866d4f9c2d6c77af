"""Keys are replaced and checkpoints stamped from the command line, as the pages say it."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rexecop.cli.exits import Exit
from rexecop.proof.base64text import decode_base64
from tests.cli.conftest import Ended, Rexecop
from tests.needs import needs
from tests.proof.authority import IS_AUTHORITY, STAMPS, answer, certify, new_key


@pytest.fixture
def do(rexecop: Rexecop, alone: Path) -> Rexecop:
    """Run command lines in a folder with a root and one operation that ended."""
    for line in ("init -q", "plan --intent host_facts --mode read_only -q", "start @ -q"):
        ended = rexecop(*shlex.split(line))
        assert ended.code in {0, 1}, ended.err

    def call(line: str, *_: str) -> Ended:
        return rexecop(*shlex.split(line))

    return call


def keys_of(do: Rexecop, role: str) -> list[dict[str, object]]:
    found = do("keys list --json").found["keys"]
    assert isinstance(found, list)
    return [key for key in found if key["role"] == role]


def test_an_auditor_who_pinned_the_first_key_still_believes_after_it_was_replaced(
    do: Rexecop, alone: Path
) -> None:
    (alone / "pinned").mkdir()
    (alone / "pinned" / "instance.pub").write_bytes((alone / ".rexecop/keys/instance.pub").read_bytes())

    rotated = do("keys rotate --reason 'once a year' --json")
    do("export @ --output op.rxb -q")
    checked = do("verify op.rxb --trust pinned --json")

    assert rotated.code == 0 and "kept as" in rotated.err
    assert checked.code == 0, checked.out
    claims = checked.found["claims"]
    assert isinstance(claims, dict)
    assert claims["signer_path"] == [key["fingerprint"] for key in keys_of(do, "instance")]
    assert [key["state"] for key in keys_of(do, "instance")] == ["retired", "standing"]
    page = do("verify op.rxb --trust pinned").out
    assert f"trusted by {keys_of(do, 'instance')[0]['fingerprint']}" in " ".join(page.split())


def test_forgetting_the_old_key_says_so(do: Rexecop, alone: Path) -> None:
    ended = do("keys rotate --forget")

    assert ended.code == 0 and "the old private key was deleted" in ended.err
    assert not list((alone / ".rexecop/keys").glob("instance.retired-?"))


@pytest.mark.parametrize(
    "line",
    [
        "keys rotate --key x.pub",
        "keys rotate --role approver",
        "keys rotate --person bob",
        "keys rotate --person bob --key x.pub --forget",
        "keys rotate --person bob --key x.pub --role instance",
        "keys rotate --expires yesterday",
        "keys new x.key --person bob --expires 2001-01-01",
    ],
)
def test_a_replacement_that_says_two_things_or_nothing_is_refused(
    do: Rexecop, alone: Path, line: str
) -> None:
    before = keys_of(do, "instance")

    ended = do(line)

    assert ended.code == Exit.USAGE and ended.err.startswith("rexecop: error[")
    assert keys_of(do, "instance") == before and not (alone / "x.key").exists()


@needs("ssh-keygen")
def test_a_persons_key_is_replaced_and_both_stay_listed(do: Rexecop) -> None:
    do("keys new bob.key --person bob --role approver -q")
    do("keys new other.key --person someone --role requester -q")

    refused = do("keys rotate --person bob --key other.key.pub")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "fresh"], check=True)
    ended = do("keys rotate --person bob --key fresh.pub --expires 2090-01-01 --json")

    assert refused.code == Exit.UNAVAILABLE
    assert ended.code == 0 and ended.found["expires"] == "2090-01-01T00:00:00.000Z"
    states = [key["state"] for key in keys_of(do, "approver") if key["person"] == "bob"]
    assert states == ["revoked", "standing"]


@needs("openssl")
def test_a_checkpoint_is_stamped_and_the_bundle_says_when(do: Rexecop, alone: Path) -> None:
    root = certify("the root", IS_AUTHORITY, key=new_key("rsa2048"))
    clock = certify("the clock", STAMPS, by=root, key=new_key("rsa2048", 1))
    (alone / "trust").mkdir()
    (alone / "trust" / "tsa-eu.pem").write_bytes(root.pem)
    (alone / "trust" / "instance.pub").write_bytes((alone / ".rexecop/keys/instance.pub").read_bytes())

    asked = subprocess.run(
        [sys.executable, "-m", "rexecop", "log", "stamp", "request"], capture_output=True, check=True
    )
    (alone / "a.tsr").write_bytes(answer(b"", clock, query=asked.stdout))
    taken = do("log stamp add a.tsr")
    exported = do("export @ --output op.rxb --stamped")
    checked = do("verify op.rxb --trust trust")

    assert b"rexecop log stamp add" in asked.stderr
    assert taken.code == 0 and "by the clock" in taken.out
    assert exported.code == 0 and "stamps     1" in exported.out
    assert checked.code == 0 and "says eu" in checked.out
    again = decode_base64(str(do("log stamp request --json").found["request"]))
    assert again != asked.stdout and len(again) > 60
    assert do("log stamp add missing.tsr").code == Exit.USAGE
    (alone / "bad.tsr").write_bytes(b"not a stamp")
    assert "error[der-malformed]" in do("log stamp add bad.tsr").err
