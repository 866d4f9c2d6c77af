"""Every record kind reads back as what was written, and as nothing else."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.worlds import APPROVER_KEY, INSTANCE_KEY, OPERATIONS, a_change, a_read
from rexecop.proof import dsse
from rexecop.proof.canonical import canonical_bytes, parse_json
from rexecop.proof.chain import check_chain, seal, unseal
from rexecop.proof.codec import RECORD_BYTES_MAX, encode
from rexecop.proof.errors import ChainBroken, KindUnknown, ProofError, RecordMalformed, SignatureError
from rexecop.proof.receipts import PAYLOAD_TYPE, record_envelope, record_statement
from rexecop.proof.records import KINDS, Record, read_record
from rexecop.proof.records.instance import Note
from rexecop.proof.records.plan import CallStep
from tests.proof.strategies import records, values


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_records_of_every_kind_round_trip(kind: str) -> None:
    @given(values(KINDS[kind]))
    def holds(record: Record) -> None:
        body = encode(record)

        assert read_record(body) == record
        assert encode(read_record(body)) == body
        assert canonical_bytes(parse_json(body, bytes_max=len(body))) == body

    holds()


@given(records(), st.data())
def test_a_record_with_a_member_dropped_or_added_is_never_read_as_the_same(
    record: Record, data: st.DataObject
) -> None:
    value = parse_json(encode(record), bytes_max=RECORD_BYTES_MAX)
    assert isinstance(value, dict)
    name = data.draw(st.sampled_from(sorted(value)))
    less = {key: item for key, item in value.items() if key != name}

    for changed in (less, {**value, "zz": 1}):
        with contextlib.suppress(ProofError):
            assert read_record(canonical_bytes(changed)) != record


def test_no_record_gives_a_field_that_carries_authority_a_default() -> None:
    authority = {
        *("ticket", "permit", "plan", "decision", "terms", "approvals", "scope", "undo_scope", "expires"),
        *("not_before", "call", "template", "statement", "signature", "by", "fence", "effect", "isolation"),
        *("limits", "mode", "verdict", "role", "revoked", "state", "head"),
    }
    offending = [
        f"{cls.__name__}.{field.name}"
        for cls in (*KINDS.values(), CallStep)
        for field in dataclasses.fields(cls)
        if field.name in authority and field.default is not dataclasses.MISSING
    ]

    # A key may be enrolled without an end; that it never expires is what is meant.
    assert offending == ["Trust.expires"]


def test_a_record_that_is_too_large_or_of_no_kind_is_refused() -> None:
    note = a_read().records[0].record
    big = Note(operation="op", n=0, prev=None, at=note.at, by=note.by, topic="t", text="x" * RECORD_BYTES_MAX)

    with pytest.raises(RecordMalformed):
        seal(big)
    with pytest.raises(KindUnknown):
        read_record(b'{"kind":"intent/2"}')
    for body in (b"[]", b'{"kind":1}', b"{}"):
        with pytest.raises(RecordMalformed):
            read_record(body)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_chain_holds_as_written_and_breaks_when_anything_moves(name: str) -> None:
    chain = OPERATIONS[name]().records
    check_chain(chain)

    for index in range(len(chain) - 1):
        with pytest.raises(ChainBroken):
            check_chain(chain[:index] + chain[index + 1 :])
        with pytest.raises(ChainBroken):
            check_chain([*chain[:index], chain[index + 1], chain[index], *chain[index + 2 :]])


def test_a_clock_may_step_back_a_little_and_no_more() -> None:
    chain = a_read().records
    last = chain[-1].record
    before = chain[-2].record.at

    for back, breaks in ((timedelta(seconds=5), False), (timedelta(seconds=5, milliseconds=1), True)):
        changed = [*chain[:-1], seal(dataclasses.replace(last, at=before - back))]
        if breaks:
            with pytest.raises(ChainBroken):
                check_chain(changed)
        else:
            check_chain(changed)


def test_a_record_reads_back_under_the_same_digest() -> None:
    for sealed in a_change().records:
        assert unseal(sealed.body) == sealed


def test_a_published_record_is_bound_to_its_digest_its_type_and_its_signer() -> None:
    receipt, other = a_change().records[-1], a_read().records[-1]
    envelope = dsse.decode(record_envelope(receipt, INSTANCE_KEY))

    assert dsse.verify(envelope, INSTANCE_KEY.public, payload_type=PAYLOAD_TYPE) == record_statement(receipt)
    with pytest.raises(SignatureError):
        dsse.verify(envelope, APPROVER_KEY.public, payload_type=PAYLOAD_TYPE)
    assert envelope.payload != record_statement(other)


def test_a_statement_is_spelled_as_in_toto_asks() -> None:
    receipt = a_change().records[-1]

    assert json.loads(record_statement(receipt)) == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {
                "name": f"{receipt.record.operation}/{receipt.record.n}",
                "digest": {"sha256": receipt.digest[7:]},
            }
        ],
        "predicateType": "https://rexecop.dev/predicate/receipt/1",
        "predicate": json.loads(receipt.body),
    }


def test_only_plans_approvals_and_receipts_are_published() -> None:
    for sealed in a_change().records:
        kind = sealed.record.kind
        if kind in ("plan/1", "approval/1", "receipt/1"):
            assert record_envelope(sealed, INSTANCE_KEY)
        else:
            with pytest.raises(RecordMalformed):
                record_envelope(sealed, INSTANCE_KEY)
