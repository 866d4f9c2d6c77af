"""A second folder as witness, over the command line: the whole round trip, and what is not taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from rexecop.keys import create_key
from rexecop.proof import note
from tests.cli.conftest import Ended, Rexecop
from tests.proof.logs import LOG


@pytest.fixture
def site(rexecop: Rexecop, alone: Path, tmp_path: Path) -> Path:
    """A root with one ended operation, a witness enrolled in it, and the keys of both for a stranger."""
    create_key(tmp_path / "w1.key", "w1")
    trust, logs = alone / "trust", alone / "logs"
    trust.mkdir()
    logs.mkdir()
    for words in (
        ("init",),
        ("run", "host_facts", "--mode", "read_only", "--yes"),
        ("keys", "trust", str(tmp_path / "w1.key.pub"), "--person", "w1", "--role", "witness"),
    ):
        assert rexecop(*words).code == 0, words
    public = Path(".rexecop/keys/instance.pub").read_text()
    for folder in (trust, logs):
        (folder / "instance.pub").write_text(public)
    key = rexecop("keys", "list", "--json").found["keys"]
    assert isinstance(key, list)
    (trust / "witness.vkey").write_text(str(key[-1]["vkey"]) + "\n")
    return alone


def asked(rexecop: Rexecop, tmp_path: Path, *words: str) -> Ended:
    """Ask for a request and have it signed by the witness; nothing is kept yet."""
    Path("request").write_text(rexecop("log", "witness", "request", *words).out)
    options = ("--key", str(tmp_path / "w1.key"), "--name", "w1", "--state", str(tmp_path / "seen"))
    return rexecop("log", "witness", "sign", "request", *options, "--trust", "logs")


def add(rexecop: Rexecop, answer: Ended) -> Ended:
    Path("answer").write_text(answer.out)
    return rexecop("log", "witness", "add", "answer", "--json")


def test_a_bundle_reaches_witnessed_by_way_of_a_second_folder(
    rexecop: Rexecop, site: Path, tmp_path: Path
) -> None:
    early = rexecop("export", "@", "--output", "early.rxb", "--witnessed")
    assert early.code == 2 and "error[not-yet]: witnesses cosigned nothing" in early.err
    assert rexecop("verify", "early.rxb", "--trust", "trust").code == 2

    answer = asked(rexecop, tmp_path)
    kept = add(rexecop, answer)

    assert kept.found["witnesses"] == ["w1"]
    assert answer.out in rexecop("log", "checkpoint").out
    assert rexecop("log", "export", "--tiles", "log").code == 0
    assert answer.out in (site / "log" / "checkpoint").read_text()
    assert rexecop("export", "@", "--output", "now.rxb").code == 0
    # More is recorded; a bundle of the first operation can still be cut where the witness was.
    assert rexecop("run", "host_facts", "--mode", "read_only", "--yes").code == 0
    assert rexecop("export", "1", "--output", "later.rxb", "--witnessed").code == 0
    for bundle in ("now.rxb", "later.rxb"):
        verified = rexecop("verify", bundle, "--trust", "trust", "--require", "witnessed", "--json")
        assert verified.code == 0 and verified.found["rungs"] == [
            "consistent",
            "signed",
            "logged",
            "witnessed",
        ]
    window = rexecop("export", "--all", "--witnessed")
    assert window.code == 2 and "error[format-refused]" in window.err
    uncovered = rexecop("export", "2", "--output", "no.rxb", "--witnessed")
    assert uncovered.code == 2 and "rexecop log witness request" in uncovered.err
    assert not (site / "no.rxb").exists()


def test_the_next_request_starts_where_the_witness_is_and_a_lost_answer_is_found_again(
    rexecop: Rexecop, site: Path, tmp_path: Path
) -> None:
    first = asked(rexecop, tmp_path)
    assert first.code == 0
    rexecop("run", "host_facts", "--mode", "read_only", "--yes")
    # The answer was lost, so the instance asks from the beginning, and hears where the witness is.
    stale = asked(rexecop, tmp_path)
    assert stale.code == 7 and "error[witness-stale]" in stale.err
    second = asked(rexecop, tmp_path, "--since", stale.out.strip())
    assert second.code == 0 and add(rexecop, second).code == 0
    # The older answer turns up after all: its checkpoint is still there.
    assert add(rexecop, first).found["size"] == int(stale.out)
    rexecop("run", "host_facts", "--mode", "read_only", "--yes")
    third = asked(rexecop, tmp_path)

    newest = int(str(add(rexecop, second).found["size"]))
    assert third.code == 0 and Path("request").read_text().startswith(f"old {newest}\n")


def test_lines_by_nobody_enrolled_or_for_nothing_here_are_refused(
    rexecop: Rexecop, site: Path, tmp_path: Path
) -> None:
    answer = asked(rexecop, tmp_path)
    text = note.parse(Path("request").read_bytes().partition(b"\n\n")[2]).text
    stranger = note.cosign(text, "w2", LOG, at_seconds=1).encode()
    other = note.cosign(text.replace("rexecop/", "rexecop/x"), "w1", LOG, at_seconds=1)
    found = note.parse_lines(answer.out)[0]
    forged = note.NoteSignature(name="w1", key_id=found.key_id, signature=other.signature).encode()

    for lines, code in (
        (stranger, "signer-unknown"),
        (forged, "cosignature-unmatched"),
        ("nothing\n", "note-malformed"),
        ("", "note-malformed"),
        (answer.out * 2, "note-signature-repeated"),
    ):
        Path("answer").write_text(lines)
        ended = rexecop("log", "witness", "add", "answer")
        assert ended.code == 7 and f"error[{code}]" in ended.err, ended.err
    assert add(rexecop, Ended(code=0, out=stranger + answer.out, err="")).found["witnesses"] == ["w1"]
    kept = note.parse(rexecop("log", "checkpoint").out.encode())
    assert [line.name for line in kept.signatures][1:] == ["w1"]


def test_a_witness_that_is_trusted_no_more_adds_nothing(rexecop: Rexecop, site: Path, tmp_path: Path) -> None:
    answer = asked(rexecop, tmp_path)
    keys = rexecop("keys", "list", "--json").found["keys"]
    assert isinstance(keys, list)
    rexecop("keys", "revoke", str(keys[-1]["fingerprint"]))

    assert '"code": "signer-unknown"' in add(rexecop, answer).err


def test_a_witness_key_is_shown_as_verifiers_take_it_and_its_name_must_do(
    rexecop: Rexecop, alone: Path
) -> None:
    rexecop("init")
    made = rexecop("keys", "new", "w.key", "--person", "w.example/1", "--role", "witness")
    refused = rexecop("keys", "new", "x.key", "--person", "two words", "--role", "witness")
    approver = rexecop("keys", "new", "a.key", "--person", "two words", "--role", "approver", "--json")

    assert "vkey       w.example/1+" in made.out
    assert refused.code == 7 and "error[note-malformed]" in refused.err
    assert approver.found["vkey"] is None
    early = rexecop("log", "witness", "request", "--since", "9999")
    assert early.code == 2 and "error[size-refused]" in early.err
