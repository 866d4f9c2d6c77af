"""Signed notes, checkpoints and cosignatures, against published examples."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.memory_signer import MemorySigner
from rexecop.proof import checkpoint, note
from rexecop.proof.checkpoint import Checkpoint
from rexecop.proof.errors import (
    CheckpointForeign,
    CheckpointMalformed,
    CheckpointUnsigned,
    LogError,
    NoteMalformed,
    NoteSignatureRepeated,
    ProofError,
    PublicKeyMalformed,
    SignatureRepeated,
    SignatureUnsupported,
    SignatureWrong,
    SignerUnknown,
)
from rexecop.proof.merkle import leaf_hash
from rexecop.proof.note import Note, NoteKey, NoteSignature, SignatureType

# The example of the reference implementation (golang.org/x/mod/sumdb/note), with its private key.
NEUMANN_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NEUMANN_TEXT = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
)
NEUMANN_LINE = (
    "\u2014 PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
# The examples of the C2SP pages on notes, checkpoints and cosignatures (no keys are published for them).
QUASIMODO = (
    "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned \u00e8 subito sera.\n\n"
    "\u2014 quasimodo.example/salvatore "
    "NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
)
SOFA = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "\u2014 example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "\u2014 witness.example.com/w1 "
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)

LOG = MemorySigner(1)
WITNESS = MemorySigner(2)
ORIGIN = "rexecop/lab/1"
LOG_KEY = NoteKey(name=ORIGIN, public=LOG.public, type=SignatureType.ED25519)
WITNESS_KEY = NoteKey(name="witness.example/w", public=WITNESS.public, type=SignatureType.COSIGNATURE)
CHECKPOINT = Checkpoint(origin=ORIGIN, size=7, root=leaf_hash(b"x"))


def known(origin: str) -> list[NoteKey]:
    """The keys that may sign for the log at `origin`."""
    return [LOG_KEY] if origin == ORIGIN else []


def cosigned(at_seconds: int = 1_700_000_000) -> bytes:
    """The checkpoint, signed by its log and cosigned by the witness."""
    found = note.parse(checkpoint.sign(CHECKPOINT, LOG))
    line = note.cosign(found.text, WITNESS_KEY.name, WITNESS, at_seconds=at_seconds)
    return replace(found, signatures=(*found.signatures, line)).encode()


def test_the_reference_implementations_note_verifies_and_is_written_the_same() -> None:
    data = (NEUMANN_TEXT + "\n" + NEUMANN_LINE).encode()
    key = NoteKey.decode(NEUMANN_KEY)
    found = note.parse(data)

    assert [entry.key for entry in note.verify(found, [key])] == [key]
    assert found.encode() == data
    assert key.encode() == NEUMANN_KEY
    with pytest.raises(SignatureWrong):
        note.verify(replace(found, text=found.text.replace("is", "was")), [key])


@pytest.mark.parametrize("text", [QUASIMODO, SOFA])
def test_the_specifications_examples_read_and_are_written_the_same(text: str) -> None:
    assert note.parse(text.encode()).encode() == text.encode()


def test_the_specifications_checkpoint_says_what_it_says() -> None:
    found = note.parse(SOFA.encode())

    assert checkpoint.parse(found.text).origin == "example.com/behind-the-sofa"
    assert checkpoint.parse(found.text).size == 20852163
    assert int.from_bytes(found.signatures[1].signature[:8], "big") == 1679315147


def test_a_checkpoint_by_its_log_and_a_witness_verifies() -> None:
    found = checkpoint.verify(cosigned(), known, [WITNESS_KEY])

    assert found.checkpoint == CHECKPOINT
    assert [(entry.key, entry.at_seconds) for entry in found.witnesses] == [(WITNESS_KEY, 1_700_000_000)]


def test_a_witness_that_nobody_asked_for_is_ignored() -> None:
    assert checkpoint.verify(cosigned(), known).witnesses == ()


def test_a_witness_cannot_stand_in_for_the_log() -> None:
    text = CHECKPOINT.text()
    line = note.cosign(text, WITNESS_KEY.name, WITNESS, at_seconds=1)

    with pytest.raises(CheckpointUnsigned):
        checkpoint.verify(Note(text=text, signatures=(line,)).encode(), known, [WITNESS_KEY])


def test_a_key_trusted_as_witness_is_not_trusted_to_sign_as_log() -> None:
    as_log = NoteKey(name=ORIGIN, public=WITNESS.public, type=SignatureType.COSIGNATURE)
    data = checkpoint.sign(CHECKPOINT, WITNESS)

    with pytest.raises(CheckpointUnsigned):
        checkpoint.verify(data, known, [as_log])


def test_a_checkpoint_of_another_log_is_refused_even_by_the_same_key() -> None:
    data = checkpoint.sign(replace(CHECKPOINT, origin="rexecop/lab/2"), LOG)

    with pytest.raises(CheckpointForeign):
        checkpoint.verify(data, known)


def test_a_checkpoint_of_another_log_is_refused_even_under_the_trusted_name() -> None:
    text = replace(CHECKPOINT, origin="rexecop/lab/2").text()
    data = Note(text=text, signatures=(note.sign(text, ORIGIN, LOG),)).encode()

    with pytest.raises(CheckpointForeign):
        checkpoint.verify(data, known)


def test_a_cosignature_with_its_time_changed_is_wrong() -> None:
    found = note.parse(cosigned())
    line = found.signatures[1]
    later = replace(line, signature=(2**33).to_bytes(8, "big") + line.signature[8:])
    data = replace(found, signatures=(found.signatures[0], later)).encode()

    with pytest.raises(SignatureWrong):
        checkpoint.verify(data, known, [WITNESS_KEY])


def test_a_bad_line_by_a_known_key_spoils_the_note() -> None:
    found = note.parse(cosigned())
    bad = replace(found.signatures[0], signature=bytes(64))

    with pytest.raises(ProofError):
        note.verify(replace(found, signatures=(bad, found.signatures[1])), [LOG_KEY, WITNESS_KEY])


def test_a_note_that_no_known_key_signed_is_refused() -> None:
    with pytest.raises(SignerUnknown):
        note.verify(note.parse(QUASIMODO.encode()), [LOG_KEY])


def test_a_line_with_the_right_name_and_another_id_is_by_another_key() -> None:
    other = NoteKey(name=ORIGIN, public=WITNESS.public, type=SignatureType.ED25519)
    data = checkpoint.sign(CHECKPOINT, LOG)

    with pytest.raises(SignerUnknown):
        note.verify(note.parse(data), [other])


def test_one_key_with_two_lines_is_refused() -> None:
    found = note.parse(cosigned())

    with pytest.raises(NoteSignatureRepeated):
        note.parse(replace(found, signatures=found.signatures + found.signatures[:1]).encode())


@given(st.data())
def test_a_changed_byte_never_verifies(data: st.DataObject) -> None:
    signed = bytearray(cosigned())
    signed[data.draw(st.integers(0, len(signed) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = checkpoint.verify(bytes(signed), known, [WITNESS_KEY])
    except ProofError:
        return
    # A change to the witness's name or id makes the line a stranger's, which costs the witness alone.
    assert found.checkpoint == CHECKPOINT and found.witnesses == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "text\n",
        "text\n\n",
        "text\n\nname AAAAAAAAAAA=\n",
        "\n\n\u2014 name AAAAAAAAAAA=\n",
        "text\n\n\u2014 name AAAAAAAAAAA=",
        "text\n\n\u2014 name AAAAAA==\n",
        "text\n\n\u2014 name AAAAAAAAAAA\n",
        "text\n\n\u2014 na+me AAAAAAAAAAA=\n",
        "text\n\n\u2014 na\u00a0me AAAAAAAAAAA=\n",
        "text\n\n\u2014  AAAAAAAAAAA=\n",
        "text\n\n\u2014 name AAAAAAAAAAA= \n",
        "te\rxt\n\n\u2014 name AAAAAAAAAAA=\n",
        "text\n\n\u2014 name AAAAAAAAAAA=\r\n",
        "text\n\n- name AAAAAAAAAAA=\n",
        "text\n\n" + "".join(f"\u2014 name{n} AAAAAAAAAAA=\n" for n in range(65)),
        "text\n\n\u2014 " + "n" * 300 + " AAAAAAAAAAA=\n",
        "t" * 300_000 + "\n\n\u2014 name AAAAAAAAAAA=\n",
    ],
    ids=range(19),
)
def test_what_breaks_the_format_is_not_a_note(text: str) -> None:
    with pytest.raises(NoteMalformed):
        note.parse(text.encode())


def test_the_well_formed_kin_of_the_broken_notes_above_is_one() -> None:
    text = "text\n\n" + "".join(f"\u2014 name{n} AAAAAAAAAAA=\n" for n in range(64))

    assert len(note.parse(text.encode()).signatures) == 64
    with pytest.raises(NoteMalformed):
        note.parse(text.encode("utf-16"))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_note_or_an_error_of_ours(data: bytes) -> None:
    try:
        found = note.parse(data)
    except (LogError, SignatureRepeated):
        return
    assert found.encode() == data


ROOT = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="


@pytest.mark.parametrize(
    "text",
    [
        "",
        "origin\n1\n",
        f"\n1\n{ROOT}\n",
        f"origin\n01\n{ROOT}\n",
        f"origin\n-1\n{ROOT}\n",
        f"origin\n+1\n{ROOT}\n",
        f"origin\n\u0661\n{ROOT}\n",
        f"origin\n99999999999999999\n{ROOT}\n",
        f"origin\n9999999999999999\n{ROOT}\n",
        f"origin\n1\n{ROOT[:-4]}\n",
        f"origin\n1\n{ROOT[:-2]}J=\n",
        f"origin\n1\n{ROOT}",
        f"origin\n1\n{ROOT}\n\nextension\n",
        f"origin\n1\n{ROOT}\n" + "extension\n" * 17,
    ],
    ids=range(14),
)
def test_text_of_another_form_is_no_checkpoint(text: str) -> None:
    with pytest.raises(CheckpointMalformed):
        checkpoint.parse(text)


def test_a_checkpoint_that_would_read_as_another_is_never_signed() -> None:
    for wrong in (
        replace(CHECKPOINT, origin="rexecop\n9"),
        replace(CHECKPOINT, size=-1),
        replace(CHECKPOINT, root=b"short"),
        replace(CHECKPOINT, extensions=("",)),
    ):
        with pytest.raises(CheckpointMalformed):
            checkpoint.sign(wrong, LOG)
    with pytest.raises(NoteMalformed):
        checkpoint.sign(replace(CHECKPOINT, origin="two words"), LOG)


@given(st.integers(0, 2**53), st.binary(min_size=32, max_size=32), st.lists(st.just("ext line"), max_size=3))
def test_every_checkpoint_reads_back(size: int, root: bytes, extensions: list[str]) -> None:
    value = Checkpoint(origin=ORIGIN, size=size, root=root, extensions=tuple(extensions))

    assert checkpoint.verify(checkpoint.sign(value, LOG), known).checkpoint == value


@pytest.mark.parametrize("type_", list(SignatureType))
def test_a_note_key_reads_back(type_: SignatureType) -> None:
    key = NoteKey(name="log.example/a", public=LOG.public, type=type_)

    assert NoteKey.decode(key.encode()) == key


def test_a_note_key_that_was_tampered_with_is_malformed() -> None:
    for wrong in (
        "",
        "name",
        "a+b",
        NEUMANN_KEY[:-1],
        NEUMANN_KEY.replace("c74f", "c74e"),
        "x" + NEUMANN_KEY,
    ):
        with pytest.raises(PublicKeyMalformed):
            NoteKey.decode(wrong)
    with pytest.raises(SignatureUnsupported):
        NoteKey.decode("name+01234567+Bhpc2Qc=")


def test_a_name_that_no_reader_would_take_is_not_written() -> None:
    for name in ("", "two words", "a+b", "a\x00b"):
        with pytest.raises(NoteMalformed):
            Note(
                text="text\n", signatures=(NoteSignature(name=name, key_id=bytes(4), signature=b"x"),)
            ).encode()


def test_the_reference_private_key_signs_the_reference_line() -> None:
    signer = MemorySigner(int("810a1402d5146c8d84f2443330f54080ebf98ee17d9c74f6252fc5d5c7283173", 16))
    line = note.sign(NEUMANN_TEXT, "PeterNeumann", signer)

    assert Note(text=NEUMANN_TEXT, signatures=(line,)).encode().decode() == f"{NEUMANN_TEXT}\n{NEUMANN_LINE}"
