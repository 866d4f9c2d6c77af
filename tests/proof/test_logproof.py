"""Proofs in one file: what shows something, and every way in which one may be forged."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from rexecop.proof import note
from rexecop.proof.canonical import Json, parse_json
from rexecop.proof.chain import unseal
from rexecop.proof.checkpoint import Checkpoint
from rexecop.proof.codec import to_json
from rexecop.proof.errors import ProofError
from rexecop.proof.logproof import (
    PROOF_BYTES_MAX,
    ConsistencyProof,
    InclusionProof,
    open_checkpoint,
    read_proof,
    require_held,
)
from rexecop.proof.merkle import consistency_proof, inclusion_proof, node_reader
from rexecop.proof.note import Note
from rexecop.proof.verify import NO_KEYS, TrustedKeys
from tests.proof.logs import LOG, ORIGIN, STRANGER, TRUST, at, bodies, leaves, signed

RECORDS = bodies(13)
OTHERS = bodies(13, text="another")
LEAF = 6


def rows(records: list[bytes]) -> list[bytes]:
    return [b"".join(leaf.kept(k) or b"" for k in range(8)) for leaf in leaves(records)]


NODES = node_reader(rows(RECORDS).__getitem__)


def inclusion(leaf: int = LEAF) -> dict[str, Json]:
    sealed = unseal(RECORDS[leaf])
    return dict(
        to_json(
            InclusionProof(
                operation_id=sealed.record.operation,
                n=sealed.record.n,
                leaf=leaf,
                size=13,
                digest=sealed.digest,
                record=to_json(sealed.record),
                path=tuple(item.hex() for item in inclusion_proof(leaf, 13, NODES)),
                checkpoint=signed(RECORDS).decode(),
            )
        )
    )


def consistency(old: int = 5) -> dict[str, Json]:
    return dict(
        to_json(
            ConsistencyProof(
                old=old,
                new=13,
                old_root=at(RECORDS[:old]).root.hex(),
                new_root=at(RECORDS).root.hex(),
                path=tuple(item.hex() for item in consistency_proof(old, 13, NODES)),
                checkpoint=signed(RECORDS).decode(),
            )
        )
    )


def checked(
    value: Mapping[str, Json], trust: TrustedKeys = TRUST, held: Checkpoint | None = None
) -> str | None:
    """Read and check the proof `value`; return who signed it."""
    proof = read_proof(json.dumps(value, indent=2).encode())
    found, signer = open_checkpoint(proof.checkpoint.encode(), trust)
    proof.require(found)
    if held is not None:
        require_held(proof, found, held)
    return signer


def refused(value: Mapping[str, Json], trust: TrustedKeys = TRUST, held: Checkpoint | None = None) -> str:
    with pytest.raises(ProofError) as caught:
        checked(value, trust, held)
    return caught.value.code


def test_every_record_and_every_size_is_proved_by_its_file_alone() -> None:
    for leaf in range(13):
        assert checked(inclusion(leaf)) == LOG.public.fingerprint
    for old in range(1, 14):
        assert checked(consistency(old)) == LOG.public.fingerprint


def test_without_a_trusted_key_nobody_signed() -> None:
    assert checked(inclusion(), NO_KEYS) is None


def test_a_checkpoint_held_is_the_one_the_proof_starts_from() -> None:
    assert checked(consistency(5), held=at(RECORDS[:5]))
    assert checked(inclusion(), held=at(RECORDS))
    assert refused(consistency(5), held=at(OTHERS[:5])) == "log-forked"
    assert refused(consistency(5), held=at(RECORDS[:6])) == "log-proof-malformed"
    assert refused(inclusion(), held=at(RECORDS[:6])) == "log-proof-malformed"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"size": 12}, "checkpoint-forged"),
        ({"size": 14}, "checkpoint-forged"),
        ({"path": []}, "log-proof-empty"),
        ({"leaf": LEAF + 1}, "inclusion-proof-wrong"),
        ({"leaf": 13}, "log-proof-malformed"),
        ({"leaf": -1}, "log-proof-malformed"),
        ({"n": 9}, "log-proof-malformed"),
        ({"operation_id": "op_" + "0" * 32}, "log-proof-malformed"),
        ({"digest": "sha256:" + "0" * 64}, "log-proof-malformed"),
        ({"record": {}}, "record-malformed"),
        ({"record": to_json(unseal(RECORDS[7]).record)}, "log-proof-malformed"),
        ({"path": ["zz"] * 4}, "log-proof-malformed"),
        ({"checkpoint": signed(OTHERS).decode()}, "inclusion-proof-wrong"),
        ({"checkpoint": signed(RECORDS, STRANGER).decode()}, "checkpoint-unsigned"),
        ({"checkpoint": "no note"}, "note-malformed"),
        ({"kind": "log-inclusion/2"}, "kind-unknown"),
        ({"more": 1}, "record-malformed"),
        ({"leaf": None}, "record-malformed"),
    ],
)
def test_a_forged_inclusion_proof_is_refused_by_name(change: dict[str, Json], code: str) -> None:
    assert refused({**inclusion(), **change}) == code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"new": 12}, "checkpoint-forged"),
        ({"new_root": "00" * 32}, "checkpoint-forged"),
        ({"old_root": "00" * 32}, "consistency-proof-wrong"),
        ({"old": 6}, "log-proof-malformed"),
        ({"old": 14}, "log-proof-malformed"),
        ({"path": []}, "log-proof-empty"),
        ({"path": ["00" * 32] * 5}, "consistency-proof-wrong"),
        ({"checkpoint": signed(OTHERS).decode()}, "checkpoint-forged"),
        ({"old_root": "0"}, "log-proof-malformed"),
    ],
)
def test_a_forged_consistency_proof_is_refused_by_name(change: dict[str, Json], code: str) -> None:
    value = {**consistency(), **change}
    assert len(consistency_proof(5, 13, NODES)) == 5

    assert refused(value) == code


def test_a_record_changed_with_its_digest_is_not_in_the_log() -> None:
    value = inclusion()
    record = value["record"]
    assert isinstance(record, dict)
    changed = {**record, "text": "otherwise"}
    digest = unseal(json.dumps(changed, sort_keys=True, separators=(",", ":")).encode()).digest

    assert refused({**value, "record": changed, "digest": digest}) == "inclusion-proof-wrong"


def test_a_size_or_root_changed_in_the_checkpoint_costs_its_signature() -> None:
    text = signed(RECORDS).decode()
    for forged in (text.replace("\n13\n", "\n14\n"), text.replace("\n13\n", "\n12\n")):
        with pytest.raises(ProofError) as caught:
            open_checkpoint(forged.encode(), TRUST)
        assert caught.value.code == "signature-wrong"


def test_a_checkpoint_with_two_signatures_of_one_key_is_refused() -> None:
    found = note.parse(signed(RECORDS))
    twice = Note(text=found.text, signatures=found.signatures * 2).encode()

    with pytest.raises(ProofError) as caught:
        open_checkpoint(twice, TRUST)
    assert caught.value.code == "note-signature-repeated"


def test_a_checkpoint_of_another_log_is_foreign_and_one_of_another_epoch_is_not() -> None:
    other, epoch = (signed(RECORDS, origin=origin) for origin in ("rexecop/attic/1", "rexecop/lab/2"))

    assert open_checkpoint(epoch, TRUST, "rexecop/lab")[0].origin == "rexecop/lab/2"
    with pytest.raises(ProofError) as caught:
        open_checkpoint(other, TRUST, ORIGIN.rpartition("/")[0])
    assert caught.value.code == "checkpoint-foreign"


def test_what_is_no_proof_is_one_error() -> None:
    for data in (
        b"",
        b"[]",
        b"{}",
        b'"x"',
        b'{"kind":1}',
        b"\xff",
        b"{" * 5000,
        b"1" * (PROOF_BYTES_MAX + 1),
    ):
        with pytest.raises(ProofError):
            read_proof(data)
    assert parse_json(json.dumps(inclusion()), bytes_max=PROOF_BYTES_MAX) == inclusion()
