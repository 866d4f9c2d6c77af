"""What a witness is asked and what it agrees to (C2SP tlog-witness)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.proof import note
from rexecop.proof.checkpoint import Checkpoint
from rexecop.proof.errors import LogError, ProofError
from rexecop.proof.merkle import consistency_proof, node_reader
from rexecop.proof.witness import Request, judge, with_lines
from tests.proof.logs import STRANGER, at, bodies, cosigned, leaves, log_keys, signed

RECORDS = bodies(13)
OTHERS = bodies(13, text="another")
ROWS = [b"".join(leaf.kept(k) or b"" for k in range(8)) for leaf in leaves(RECORDS)]

# The request body shown in the specification.
EXAMPLE = """\
old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
"""  # noqa: E501


def request(old: int, new: int = 13) -> Request:
    proof = consistency_proof(old, new, node_reader(ROWS.__getitem__))
    return Request(old=old, proof=proof, note=signed(RECORDS[:new]))


def refused(asked: Request, held: Checkpoint | None) -> str:
    with pytest.raises(ProofError) as caught:
        judge(asked, held, log_keys)
    return caught.value.code


def test_the_specifications_example_is_read_and_written_the_same() -> None:
    found = Request.parse(EXAMPLE.encode())

    assert (found.old, len(found.proof)) == (20852014, 4)
    assert note.parse(found.note).text.startswith("example.com/behind-the-sofa\n20852163\n")
    assert found.encode() == EXAMPLE.encode()


@given(st.integers(0, 13), st.integers(0, 13))
def test_a_log_that_grew_is_cosigned_from_whatever_was_seen(old: int, new: int) -> None:
    old, new = sorted((old, new))
    held = at(RECORDS[:old]) if old else None
    asked = Request.parse(request(old, new).encode())

    assert judge(asked, held, log_keys).checkpoint == at(RECORDS[:new])


def test_a_request_from_another_size_is_stale_and_hears_where_the_witness_is() -> None:
    for old in (0, 4, 6, 13):
        with pytest.raises(LogError) as caught:
            judge(request(old), at(RECORDS[:5]), log_keys)
        assert (caught.value.code, caught.value.facts["size"]) == ("witness-stale", 5)
    assert refused(request(5), None) == "witness-stale"


def test_a_fork_a_rewind_and_a_rewritten_log_are_refused() -> None:
    assert refused(request(13), at(OTHERS)) == "log-forked"
    assert refused(request(5), at(OTHERS[:5])) == "consistency-proof-wrong"
    shorter = Request(old=13, proof=(), note=signed(RECORDS[:5]))
    assert refused(shorter, at(RECORDS)) == "witness-request-malformed"


def test_a_proof_that_is_missing_or_too_long_is_refused() -> None:
    asked = request(5)

    assert refused(Request(old=5, proof=(), note=asked.note), at(RECORDS[:5])) == "log-proof-empty"
    longer = Request(old=5, proof=(*asked.proof, bytes(32)), note=asked.note)
    assert refused(longer, at(RECORDS[:5])) == "log-proof-malformed"
    assert refused(Request(old=0, proof=(bytes(32),), note=asked.note), None) == "log-proof-malformed"


def test_a_checkpoint_by_nobody_known_is_refused() -> None:
    unsigned = Request(old=0, proof=(), note=signed(RECORDS, STRANGER))
    unknown = Request(old=0, proof=(), note=signed(RECORDS, origin="rexecop/attic/1"))

    assert refused(unsigned, None) == "checkpoint-unsigned"
    assert refused(unknown, None) == "checkpoint-foreign"


@pytest.mark.parametrize(
    "head",
    [
        *("", "old\n", "old -1\n", "old 01\n", "old 1 \n", "new 1\n", "old 99999999999999999\n"),
        *("old 1\nnot base64\n", "old 1\n" + "AAAA\n" * 64, "\u00f6ld 1\n", "old 1\r\n"),
    ],
)
def test_what_is_no_request_is_malformed(head: str) -> None:
    with pytest.raises(LogError) as caught:
        Request.parse(f"{head}\n".encode() + signed(RECORDS))
    assert caught.value.code == "witness-request-malformed"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_an_error_of_ours(data: bytes) -> None:
    try:
        found = Request.parse(data)
    except LogError:
        return
    assert found.encode() == data or not found.note


def test_lines_of_a_witness_join_the_note_and_a_newer_one_takes_the_place_of_an_older() -> None:
    bare = note.parse(signed(RECORDS))
    first, second = (note.parse(cosigned(signed(RECORDS), at)) for at in (1, 2))

    merged = with_lines(with_lines(bare, first.signatures), second.signatures)

    assert merged == second and len(merged.signatures) == 2


def test_a_file_of_several_notes_gives_each_of_them_back() -> None:
    kept = tuple(signed(RECORDS[:size]) for size in (1, 5, 13))
    data = note.join(kept)

    assert note.split(data) == kept
    assert note.split(b"rexecop/lab/1\n4" + b"\n\n" + data) == kept
    assert note.split(data[:-40])[:2] == kept[:2]
    assert note.split(b"") == ()
