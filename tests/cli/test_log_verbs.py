"""`rexecop log` on a real root: what it prints, and the exit codes by which scripts tell attacks."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rexecop.cli.exits import Exit
from rexecop.cli.session import Session
from rexecop.keys import load_signer
from rexecop.proof.checkpoint import Checkpoint, sign
from tests.cli.conftest import Ended, Rexecop
from tests.proof.logs import LOG

READ = ("run", "host_facts", "--mode", "read_only", "--yes")


@pytest.fixture
def root(rexecop: Rexecop, alone: Path) -> Path:
    """A root with one ended operation, and its public key in a folder of its own."""
    assert rexecop("init").code == 0
    assert rexecop(*READ).code == 0
    (alone / "trust").mkdir()
    shutil.copy(".rexecop/keys/instance.pub", "trust/instance.pub")
    return alone


def refused(ended: Ended, code: str) -> bool:
    return ended.code == Exit.EVIDENCE and f"error[{code}]" in ended.err


def test_a_log_checks_out_by_its_own_keys_and_by_a_strangers(rexecop: Rexecop, root: Path) -> None:
    own = rexecop("log", "verify", "--json")
    assert rexecop("log", "export", "--tiles", "log", "--quiet").out == "log\n"
    tiles = rexecop("log", "verify", "--tiles", "log", "--trust", "trust", "--json")
    shutil.rmtree(root / ".rexecop")
    alone = rexecop("log", "verify", "--tiles", "log", "--trust", "trust")
    nobody = rexecop("log", "verify", "--tiles", "log")

    assert (own.code, tiles.code, alone.code, nobody.code) == (0, 0, 0, Exit.EVIDENCE)
    assert own.found["verdict"] == tiles.found["verdict"] == "consistent"
    assert own.found["root"] == tiles.found["root"] and str(tiles.found["signer"]).startswith("SHA256:")
    assert "not verified: no trusted key" in nobody.out


def test_a_key_is_not_needed_to_verify_the_log(rexecop: Rexecop, root: Path) -> None:
    (root / ".rexecop/keys/instance").unlink()

    assert rexecop("log", "verify").code == 0


def test_a_checkpoint_kept_tells_what_became_of_the_log(rexecop: Rexecop, root: Path) -> None:
    shutil.copytree(".rexecop", "old")
    rexecop(*READ)
    (root / "kept").write_text(rexecop("log", "checkpoint").out)
    good = rexecop("log", "verify", "--checkpoint", "kept")
    shutil.rmtree(".rexecop")
    shutil.copytree("old", ".rexecop")
    cut = rexecop("log", "verify", "--checkpoint", "kept", "--json")
    for _ in range(3):
        rexecop(*READ)
    again = rexecop("log", "verify", "--checkpoint", "kept", "--json")

    assert good.code == 0 and cut.code == again.code == Exit.EVIDENCE
    found = [ended.found["bad"] for ended in (cut, again)]
    assert [bad["code"] for bad in found if isinstance(bad, dict)] == ["log-truncated", "log-rewound"]
    assert "bad" in rexecop("log", "verify", "--checkpoint", "kept").out
    for origin, signer, code in (
        ("rexecop/attic/1", LOG, "checkpoint-unsigned"),
        ((root / "kept").read_text().split("\n")[0], LOG, "checkpoint-unsigned"),
        ("rexecop/attic/1", load_signer(root / ".rexecop/keys/instance"), "checkpoint-foreign"),
    ):
        (root / "other").write_bytes(sign(Checkpoint(origin=origin, size=1, root=bytes(32)), signer))
        assert refused(rexecop("log", "verify", "--checkpoint", "other"), code)
    assert rexecop("log", "verify", "--checkpoint", "nowhere").code == Exit.USAGE
    assert refused(rexecop("log", "verify", "--checkpoint", "rexecop.toml"), "note-malformed")


def test_a_root_whose_checkpoints_another_key_signed_is_refused(rexecop: Rexecop, root: Path) -> None:
    (root / "others").mkdir()
    rexecop("keys", "new", "o.key", "--person", "o")
    shutil.copy("o.key.pub", "others/instance.pub")

    assert refused(rexecop("log", "verify", "--trust", "others"), "checkpoint-unsigned")
    rexecop("log", "export", "--tiles", "log")
    assert refused(rexecop("log", "verify", "--tiles", "log", "--trust", "others"), "checkpoint-unsigned")


def test_what_prove_and_consistency_print_convinces_a_stranger(rexecop: Rexecop, root: Path) -> None:
    (root / "first").write_text(rexecop("log", "checkpoint").out)
    size = int((root / "first").read_text().split("\n")[1])
    rexecop(*READ)
    (root / "prove.json").write_text(rexecop("log", "prove", "1", "3", "--json").out)
    (root / "grew.json").write_text(rexecop("log", "consistency", str(size), "--json").out)
    (root / "part.json").write_text(rexecop("log", "consistency", "2", str(size), "--json").out)
    shutil.rmtree(root / ".rexecop")

    for file in ("prove.json", "grew.json", "part.json"):
        checked = rexecop("log", "check", file, "--trust", "trust", "--json")
        assert (checked.code, checked.found["verdict"]) == (0, "proved"), file
        assert rexecop("log", "check", file).code == Exit.EVIDENCE
    held = rexecop("log", "check", "grew.json", "--trust", "trust", "--checkpoint", "first", "--json")
    assert held.code == 0 and held.found["not_checked"] == []
    forged = (root / "grew.json").read_text().replace(f'"old": {size}', f'"old": {size + 1}')
    (root / "forged.json").write_text(forged)
    assert refused(rexecop("log", "check", "forged.json", "--trust", "trust"), "log-proof-malformed")
    assert rexecop("log", "check", "nowhere.json").code == Exit.USAGE
    assert rexecop("log", "check", "rexecop.toml").code == Exit.USAGE


def test_sinks_named_at_init_hold_a_checkpoint_at_once_and_a_lost_one_is_said(
    rexecop: Rexecop, alone: Path
) -> None:
    made = rexecop("init", "--sink", f"file:{alone}/kept")
    assert made.code == 0 and "nobody would see it" not in made.out
    first = (alone / "kept").read_text()
    assert rexecop(*READ).err == ""
    assert (alone / "kept").read_text().startswith(first)
    assert rexecop("log", "publish", "--json").found["sinks"] == [
        {
            "name": f"file {alone}/kept",
            "status": "ok",
            "message": f"checkpoint of {int(rexecop('log', 'checkpoint').out.split()[1])} records",
            "facts": None,
        }
    ]
    (alone / "kept").unlink()
    (alone / "kept").mkdir()
    lost = rexecop(*READ)
    assert lost.code == 0 and "the newest checkpoint was not published: file" in lost.err
    assert rexecop("log", "publish").code == Exit.FAILED


def test_a_bare_init_says_that_nobody_would_see_a_rewind(rexecop: Rexecop, alone: Path) -> None:
    made = " ".join(rexecop("init").out.split())

    assert "nobody would see it" in made and "rexecop init --sink file:" in made
    assert "no sinks" in rexecop("log", "publish").out
    unreachable = rexecop("init", "--sink", "file:/nowhere/at/all/kept")
    assert unreachable.code == 0 and "does not take checkpoints yet" in unreachable.err


def test_a_terminal_sees_how_far_an_export_is(
    rexecop: Rexecop, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "at_terminal", lambda self: True)

    assert rexecop("log", "export", "--tiles", "log").code == 0
    assert rexecop("log", "verify", "--tiles", "log", "--trust", "trust").code == 0
