"""What a witness remembers: before it speaks, for each log, and against whoever asks at once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier, BrokenBarrierError

import pytest

from rexecop.app import witness
from rexecop.app.witness import cosign
from rexecop.keys import create_key
from rexecop.proof import checkpoint as checkpoints
from rexecop.proof import note
from rexecop.proof.checkpoint import Checkpoint, LogKeys, Witnessed
from rexecop.proof.errors import RexecopError
from rexecop.proof.merkle import consistency_proof, node_reader
from rexecop.proof.witness import Request, judge
from tests.proof.logs import TRUST, bodies, leaves, signed

RECORDS, OTHERS = bodies(13), bodies(13, text="another")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    create_key(tmp_path / "w1.key", "w1")
    return tmp_path / "w1.key"


def request(records: Sequence[bytes], old: int, new: int) -> bytes:
    rows = [b"".join(leaf.kept(k) or b"" for k in range(8)) for leaf in leaves(records)]
    proof = consistency_proof(old, new, node_reader(rows.__getitem__))
    return Request(old=old, proof=proof, note=signed(records[:new])).encode()


def test_a_witness_remembers_before_it_speaks_and_says_nothing_it_cannot_remember(
    key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "seen"
    line = cosign(request(RECORDS, 0, 5), key=key, name="w1", state=state, trust=TRUST)
    (kept,) = note.split(state.read_bytes())
    assert kept == signed(RECORDS[:5]) + line.encode()
    assert state.stat().st_mode & 0o777 == 0o600

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(witness, "replace_file", full)
    with pytest.raises(RexecopError) as caught:
        cosign(request(RECORDS, 5, 13), key=key, name="w1", state=state, trust=TRUST)

    assert caught.value.code == "file-refused"
    assert note.split(state.read_bytes()) == (kept,)


def test_a_witness_keeps_one_note_for_each_log_and_never_goes_back(key: Path, tmp_path: Path) -> None:
    state = tmp_path / "seen"

    def ask(records: Sequence[bytes], old: int, new: int) -> str | None:
        try:
            cosign(request(records, old, new), key=key, name="w1", state=state, trust=TRUST)
        except RexecopError as error:
            return error.code
        return None

    assert [ask(RECORDS, 0, 5), ask(RECORDS, 5, 13), ask(RECORDS, 13, 13)] == [None] * 3
    before = state.read_bytes()
    assert ask(RECORDS, 5, 13) == ask(RECORDS, 0, 5) == ask(RECORDS, 5, 5) == "witness-stale"
    assert ask(OTHERS, 13, 13) == "log-forked"
    assert state.read_bytes() == before
    second = Request(old=0, proof=(), note=signed(OTHERS, origin="rexecop/attic/1")).encode()
    cosign(second, key=key, name="w1", state=state, trust=TRUST)
    assert [checkpoints.parse(note.parse(kept).text).origin for kept in note.split(state.read_bytes())] == [
        "rexecop/attic/1",
        "rexecop/lab/1",
    ]


@pytest.mark.parametrize("damage", [b"x", b"", b"\n", b"\n\n\xe2\x80\x94 w1 AAAA\n\n"])
def test_a_witness_that_cannot_read_what_it_saw_signs_nothing(
    key: Path, tmp_path: Path, damage: bytes
) -> None:
    state = tmp_path / "seen"
    cosign(request(RECORDS, 0, 5), key=key, name="w1", state=state, trust=TRUST)
    whole = state.read_bytes()
    state.write_bytes(whole + (damage or whole))

    with pytest.raises(RexecopError) as caught:
        cosign(request(RECORDS, 5, 13), key=key, name="w1", state=state, trust=TRUST)

    assert caught.value.code == "witness-state-damaged"


def test_of_two_forks_asked_at_once_a_witness_signs_one(
    key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting = Barrier(2)

    def judged(asked: Request, held: Checkpoint | None, log_keys: LogKeys) -> Witnessed:
        found = judge(asked, held, log_keys)
        # Whoever may look at the state while another does meets it here; nobody may.
        with suppress(BrokenBarrierError):
            meeting.wait(timeout=0.5)
        return found

    def ask(records: Sequence[bytes]) -> str:
        try:
            return cosign(request(records, 0, 13), key=key, name="w1", state=tmp_path / "seen", trust=TRUST)
        except RexecopError as error:
            return error.code

    monkeypatch.setattr(witness, "judge", judged)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(ask, (RECORDS, OTHERS)))

    assert meeting.broken and answers.count("witness-stale") == 1
    assert len(note.split((tmp_path / "seen").read_bytes())) == 1
