"""One way, at least, to earn each code: what somebody might change, and what the verifier calls it.

Those above act on the finished file. Those below are made by whoever holds the instance's own
key and writes a false history with it: nothing but the fit of the records gives them away.
"""

# ruff: noqa: ANN401 - see worlds

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any, Final

from conformance.epoch_worlds import SECOND, restored, without_epoch
from conformance.memory_signer import MemorySigner
from conformance.policies import PEOPLE, POLICY, decided_change, input_of, pack_of, with_policy
from conformance.signers import SK_ECDSA, SK_ED25519, SecurityKey
from conformance.succession import AFTER, BEFORE, SECOND_KEY, THIRD_KEY, rotated
from conformance.worlds import (
    APPROVER_KEY,
    COVERED,
    ENROLMENTS,
    FURTHER,
    INSTANCE,
    INSTANCE_KEY,
    JAN,
    LOOKS,
    MARA,
    NODE_KEY,
    NODE_TRUSTED,
    ORIGIN,
    OTTO,
    PATHS,
    PINNED,
    REQUESTER_KEY,
    SECOND_APPROVER_KEY,
    START,
    STRANGER_KEY,
    TRUSTED,
    VALUES,
    WITNESS_KEY,
    Book,
    Made,
    a_bound_read,
    a_broken_glass,
    a_change,
    a_read,
    a_refusal,
    a_stream,
    approved_change,
    attested,
    change_step,
    cut,
    enrol,
    enrolled_with,
    erasing,
    first_wave,
    halting,
    instance_chain,
    on_a_node,
    paused_change,
    pinned_change,
    planned_change,
    process,
    read_step,
    recorded,
    resumed_change,
    rolled_out,
    standing,
    used_change,
)
from rexecop.app.verifying import Packs
from rexecop.proof import checkpoint, dsse, sshsig
from rexecop.proof.bundle import BundleBlob, BundleInput, Inclusion, expected_manifest
from rexecop.proof.canonical import Digest, canonical_bytes, digest_of
from rexecop.proof.chain import seal
from rexecop.proof.checkpoint import Checkpoint
from rexecop.proof.codec import encode
from rexecop.proof.container import pack, unpack
from rexecop.proof.principal import Principal
from rexecop.proof.receipts import PAYLOAD_TYPE, record_envelope
from rexecop.proof.records.approval import APPROVAL_NAMESPACE, Approval
from rexecop.proof.records.command import Command, Verb
from rexecop.proof.records.decision import (
    ApprovalLimit,
    ApprovalRule,
    Decision,
    Obligations,
    Opinion,
    RequestCall,
)
from rexecop.proof.records.instance import Epoch, Note, Trust
from rexecop.proof.records.intent import INTENT_NAMESPACE
from rexecop.proof.records.outcome import Measured
from rexecop.proof.records.receipt import ObligationMet, Receipt
from rexecop.proof.records.reconciliation import Reconciliation
from rexecop.proof.records.ticket import BudgetUse
from rexecop.proof.records.validation import RuleVerdict
from rexecop.proof.verify import Beside, Rung, TrustedKey, TrustedKeys
from rexecop.proof.vocabulary import (
    Effect,
    Ended,
    Established,
    HaltScope,
    Isolation,
    Mode,
    Phase,
    Role,
    State,
    Verdict,
)


@dataclass(frozen=True)
class Case:
    """A bundle to verify, what the verifier has beside it, and the rung it must reach.

    `files` are the trust folder, where it is not simply one with the keys of `trust`.
    """

    bundle: bytes
    trust: TrustedKeys = TRUSTED
    more: Mapping[str, Any] | None = None
    require: Rung = Rung.LOGGED
    files: Mapping[str, bytes] | None = None


REPLACED: Final = (AFTER, INSTANCE_KEY, SECOND_KEY)

Tampering = Callable[[], Case]
TABLE: Final[list[tuple[str, str, Tampering]]] = []


def earns(code: str) -> Callable[[Tampering], Tampering]:
    def listed(make: Tampering) -> Tampering:
        TABLE.append((code, make.__name__, make))
        return make

    return listed


def of(made: Made, **changes: Any) -> Case:
    return Case(bundle=replace_contents(made, **changes).bundle())


def replace_contents(made: Made, **changes: Any) -> Made:
    return replace(made, contents=replace(made.contents, **changes))


def members(made: Made) -> dict[str, bytes]:
    return dict(unpack(made.bundle()).members)


def cutting(book: Book, **more: Any) -> Case:
    return Case(bundle=cut(book, **more).bundle())


# --- step 1: the file ---


@earns("E01a")
def a_file_that_is_no_zip() -> Case:
    return Case(bundle=b"not a bundle")


@earns("E01a")
def a_member_that_stands_there_twice() -> Case:
    whole = cut(a_read()).bundle()
    directory = whole.index(b"PK\x01\x02")
    again = pack({"checkpoint.txt": b"x"})
    return Case(bundle=whole[:directory] + again[: again.index(b"PK\x01\x02")] + whole[directory:])


@earns("E01a")
def a_compressed_member() -> Case:
    whole = bytearray(cut(a_read()).bundle())
    whole[8] = 8
    return Case(bundle=bytes(whole))


@earns("E01b")
def a_member_edited_in_place() -> Case:
    whole = cut(a_read()).bundle()
    return Case(bundle=whole.replace(b"set_line", b"cat_line"))


@earns("E01c")
def bytes_behind_the_end() -> Case:
    return Case(bundle=cut(a_read()).bundle() + b"\n")


@earns("E01c")
def another_date_in_the_directory() -> Case:
    whole = bytearray(cut(a_read()).bundle())
    whole[whole.index(b"PK\x01\x02") + 13] = 9
    return Case(bundle=bytes(whole))


@earns("E01d")
def a_member_with_a_path_out_of_the_folder() -> Case:
    return Case(bundle=pack({**members(cut(a_read())), "../evil": b"x"}))


@earns("E01d")
def a_member_left_out() -> Case:
    found = members(cut(a_read()))
    del found["proofs.json"]
    return Case(bundle=pack(found))


@earns("E01d")
def an_input_under_another_digest() -> Case:
    found = {name.replace("a342618e", "b342618e"): data for name, data in members(cut(a_read())).items()}
    return Case(bundle=pack(found))


@earns("E01e")
def a_manifest_of_another_count() -> Case:
    made = cut(a_read())
    manifest = replace(expected_manifest(made.contents), records=8)
    return Case(bundle=pack({**members(made), "manifest.json": encode(manifest)}))


def _beside(**changed: bytes) -> Case:
    """A bundle that yields a note of its own, and a folder in which somebody put other files."""
    bundle = cut(a_read()).bundle()
    expected = {"op_read.rxb": bundle, "note": b"made from it"}
    found = {name: data for name, data in (expected | changed).items() if data}
    return Case(bundle=bundle, more={"beside": Beside(found=found, expected=expected)})


@earns("E01f")
def a_file_beside_the_bundle_that_was_edited() -> Case:
    return _beside(note=b"made from it, and more")


@earns("E01f")
def a_file_beside_the_bundle_that_was_taken_away() -> Case:
    return _beside(note=b"")


@earns("E01f")
def a_file_beside_the_bundle_that_nothing_yields() -> Case:
    return _beside(more=b"trust me")


# --- step 2: the records ---


def _line(made: Made, number: int, line: bytes) -> Case:
    lines = list(made.contents.records)
    lines[number] = line
    return of(made, records=tuple(lines))


@earns("E02a")
def a_record_with_a_space() -> Case:
    made = cut(a_read())
    return _line(made, 0, made.contents.records[0].replace(b'":"', b'": "', 1))


@earns("E02a")
def a_record_with_a_key_twice() -> Case:
    made = cut(a_read())
    return _line(made, 0, made.contents.records[0].replace(b'{"at"', b'{"at":"x","at"', 1))


@earns("E02b")
def a_record_with_a_field_too_many() -> Case:
    made = cut(a_read())
    return _line(made, 0, made.contents.records[0].replace(b'{"at"', b'{"aa":1,"at"', 1))


@earns("E02b")
def a_ticket_whose_expiry_was_dropped() -> Case:
    made = cut(a_read())
    line = made.contents.records[3]
    start = line.index(b'"expires"')
    return _line(made, 3, line[:start] + line[line.index(b",", start) + 1 :])


@earns("E02c")
def a_record_of_a_kind_nobody_knows() -> Case:
    made = cut(a_read())
    return _line(made, 0, made.contents.records[0].replace(b'"intent/1"', b'"intent/9"'))


# --- step 3: the chains ---


def _without(number: int) -> Case:
    made = cut(a_read())
    contents = made.contents
    proofs = replace(
        contents.proofs,
        operation=tuple(p for i, p in enumerate(contents.proofs.operation) if i != number),
    )
    return of(made, records=tuple(r for i, r in enumerate(contents.records) if i != number), proofs=proofs)


@earns("E03a")
def a_record_taken_out() -> Case:
    return _without(5)


@earns("E03a")
def an_instance_record_put_before_another() -> Case:
    made = cut(a_read())
    lines, proofs = made.contents.instance_records, made.contents.proofs
    return of(made, instance_records=lines[::-1], proofs=replace(proofs, instance=proofs.instance[::-1]))


@earns("E03b")
def a_record_that_names_no_record_before_it() -> Case:
    book = a_read()
    book.records[4] = seal(replace(book.records[4].record, prev=digest_of(b"elsewhere")))
    return cutting(book)


@earns("E03b")
def an_instance_record_that_hangs_loose() -> Case:
    chain = instance_chain()
    chain[1] = seal(replace(chain[1].record, prev=digest_of(b"elsewhere")))
    return cutting(a_read(), instance=chain)


@earns("E03c")
def a_record_of_another_operation() -> Case:
    book = a_read()
    book.records[-1] = seal(replace(book.records[-1].record, operation="op_other"))
    return cutting(book)


@earns("E03d")
def a_record_dated_back() -> Case:
    book = a_read()
    book.records[-1] = seal(replace(book.records[-1].record, at=START))
    return cutting(book)


@earns("E03e")
def a_chain_without_its_intent() -> Case:
    return _without(0)


@earns("E03e")
def a_second_plan() -> Case:
    book, look, _ = planned_change()
    book.plan((look,), Effect.READ)
    return cutting(book)


@earns("E03f")
def a_key_enrolled_inside_an_operation() -> Case:
    book = a_read()
    trust = enrol("jan", Role.APPROVER, REQUESTER_KEY)(0, None)
    book.add(Trust, person="jan", role=trust.role, public=trust.public, fingerprint="x", revoked=False)
    return cutting(book)


@earns("E03g")
def a_receipt_with_another_head() -> Case:
    book = a_refusal()
    book.records.pop()
    book.receipt(State.BLOCKED, head=digest_of(b"elsewhere"))
    return cutting(book)


@earns("E03g")
def two_receipts_for_one_end() -> Case:
    book = a_read()
    book.receipt(State.COMPLETED)
    return cutting(book)


@earns("E03h")
def a_history_from_the_future() -> Case:
    return Case(bundle=cut(a_read()).bundle(), more={"now": START})


# --- step 4: signatures ---


@earns("E04a")
def a_log_signed_by_a_stranger() -> Case:
    made = cut(a_read())
    return of(made, checkpoint=made.log.checkpoint(STRANGER_KEY))


@earns("E04b")
def a_checkpoint_of_another_size_under_the_old_signature() -> Case:
    made = cut(a_read())
    size = len(made.log.rows)
    return of(made, checkpoint=made.contents.checkpoint.replace(b"\n%d\n" % size, b"\n%d\n" % (size + 1)))


@earns("E04c")
def a_receipt_without_its_envelope() -> Case:
    return of(cut(a_read()), envelopes={})


def _envelopes(made: Made, change: Callable[[Digest, bytes], bytes]) -> Case:
    return of(
        made, envelopes={digest: change(digest, data) for digest, data in made.contents.envelopes.items()}
    )


@earns("E04d")
def a_receipt_signed_by_a_stranger() -> Case:
    book = a_read()
    return _envelopes(cut(book), lambda digest, data: record_envelope(book.records[-1], STRANGER_KEY))


@earns("E04e")
def a_receipt_under_a_signature_of_something_else() -> Case:
    def changed(digest: Digest, data: bytes) -> bytes:
        envelope = dsse.decode(data)
        other = dsse.sign(INSTANCE_KEY, PAYLOAD_TYPE, b"something else")
        return dsse.encode(replace(envelope, signatures=other.signatures))

    return _envelopes(cut(a_read()), changed)


@earns("E04f")
def an_envelope_that_publishes_another_receipt() -> Case:
    other = a_refusal().records[-1]
    return _envelopes(cut(a_read()), lambda digest, data: record_envelope(other, INSTANCE_KEY))


@earns("E04f")
def an_envelope_of_another_type() -> Case:
    return _envelopes(
        cut(a_read()), lambda digest, data: data.replace(b"application/vnd.in-toto+json", b"text/plain")
    )


@earns("E04g")
def a_signature_beside_nothing() -> Case:
    made = cut(a_read())
    return of(made, signatures={**made.contents.signatures, digest_of(b"x"): b"y"})


@earns("E04g")
def an_envelope_beside_nothing() -> Case:
    made = cut(a_read())
    other = a_refusal().records[-1]
    return of(made, envelopes={**made.contents.envelopes, other.digest: record_envelope(other, INSTANCE_KEY)})


@earns("E04h")
def an_approval_signed_by_another_key_than_it_names() -> Case:
    book, _, _ = planned_change()
    book.approve(MARA, STRANGER_KEY)
    return cutting(book)


@earns("E04h")
def an_approval_whose_reason_was_edited() -> Case:
    book, _, _ = planned_change()
    sealed = book.approve(MARA, APPROVER_KEY)
    record = sealed.record
    assert isinstance(record, Approval)
    book.records[-1] = seal(replace(record, statement=replace(record.statement, reason="edited")))
    return cutting(book)


@earns("E04h")
def an_intent_signature_shown_as_an_approval() -> Case:
    book, _, _ = planned_change()
    record = book.approve(MARA, APPROVER_KEY).record
    assert isinstance(record, Approval)
    armored = sshsig.sign(APPROVER_KEY, INTENT_NAMESPACE, encode(record.statement))
    book.records[-1] = seal(replace(record, signature=armored))
    return cutting(book)


@earns("E04i")
def an_intent_whose_signature_was_taken_away() -> Case:
    return of(cut(a_read()), signatures={})


@earns("E04j")
def an_intent_under_the_signature_of_another() -> Case:
    made, other = cut(a_read()), cut(a_refusal())
    (digest,), (armored,) = made.contents.signatures.keys(), other.contents.signatures.values()
    return of(made, signatures={digest: armored})


@earns("E04j")
def an_intent_signature_that_names_an_algorithm_its_key_has_not() -> Case:
    made = cut(a_read())
    ((digest, armored),) = made.contents.signatures.items()
    found = sshsig.decode(armored.decode())
    renamed = replace(found, signature=found.signature.replace(b"ssh-ed25519", b"ssh-ed2u519", 1))
    return of(made, signatures={digest: sshsig.encode(renamed).encode()})


def _resealed(changed: Callable[[bytes], bytes]) -> Case:
    """An intent whose signature, taken out of its armor, was changed and put back."""
    made = cut(a_read())
    ((digest, armored),) = made.contents.signatures.items()
    begin, *lines, end = armored.decode().strip().split("\n")
    text = base64.b64encode(changed(base64.b64decode("".join(lines)))).decode()
    return of(made, signatures={digest: "\n".join((begin, text, end, "")).encode()})


@earns("E04j")
def a_signature_said_to_be_over_a_hash_that_nobody_takes() -> Case:
    return _resealed(lambda blob: blob.replace(b"sha512", b"sha999"))


@earns("E04j")
def a_signature_said_to_be_by_a_key_that_nobody_can_check() -> Case:
    return _resealed(lambda blob: blob.replace(b"ssh-ed25519", b"ssh-ed25520"))


@earns("E04k")
def a_witness_that_saw_another_log() -> Case:
    from rexecop.proof import note

    made = cut(a_read())
    found = note.parse(made.contents.checkpoint)
    seen = note.cosign("another log\n1\nAAAA\n", "witness.example", WITNESS_KEY, at_seconds=1)
    data = replace(found, signatures=(*found.signatures, seen)).encode()
    witness = TrustedKey(role=Role.WITNESS, name="witness.example", public=WITNESS_KEY.public)
    trust = TrustedKeys(keys=(*TRUSTED.keys, witness))
    return replace(of(made, checkpoint=data), trust=trust)


@earns("E04l")
def a_new_key_for_an_approver_the_verifier_knows() -> Case:
    book, _, _ = planned_change()
    book.approve(replace(MARA, credential=STRANGER_KEY.key_id), STRANGER_KEY)
    return cutting(book)


@earns("E04l")
def a_new_key_for_a_requester_the_verifier_knows() -> Case:
    jan = TrustedKey(role=Role.REQUESTER, name="jan", public=STRANGER_KEY.public)
    others = tuple(key for key in TRUSTED.keys if key.role is not Role.REQUESTER)
    return Case(bundle=cut(a_read()).bundle(), trust=TrustedKeys(keys=(*others, jan)))


@earns("E04m")
def a_checkpoint_by_a_key_that_had_been_replaced() -> Case:
    return Case(bundle=rotated(a_read(), REPLACED, key=INSTANCE_KEY).bundle())


@earns("E04m")
def a_receipt_by_a_key_that_had_been_replaced() -> Case:
    return Case(bundle=rotated(a_read(), (BEFORE, INSTANCE_KEY, SECOND_KEY), key=SECOND_KEY).bundle())


@earns("E04n")
def a_new_key_that_a_stranger_vouches_for() -> Case:
    return Case(bundle=rotated(a_read(), REPLACED, (AFTER, STRANGER_KEY, THIRD_KEY), key=SECOND_KEY).bundle())


@earns("E04o")
def a_time_stamp_that_is_none() -> Case:
    return of(cut(a_read()), stamps=(b"\x30\x03\x02\x01\x00",))


@earns("E04p")
def a_receipt_signed_twice_by_one_key() -> Case:
    def changed(digest: Digest, data: bytes) -> bytes:
        envelope = dsse.decode(data)
        return dsse.encode(replace(envelope, signatures=envelope.signatures * 2))

    return _envelopes(cut(a_read()), changed)


@earns("E04p")
def a_checkpoint_signed_twice_by_one_key() -> Case:
    made = cut(a_read())
    text, _, line = made.contents.checkpoint.rpartition(b"\n\n")
    return of(made, checkpoint=text + b"\n\n" + line * 2)


@earns("E04q")
def an_approval_by_a_security_key_nobody_touched() -> Case:
    key = SecurityKey(SK_ED25519, 8, flags=0)
    mara = TrustedKey(role=Role.APPROVER, name="mara", public=key.public)
    bundle = cut(a_change(key), instance=enrolled_with(key)).bundle()
    return Case(bundle=bundle, trust=TrustedKeys(keys=(TRUSTED.keys[0], mara)))


@earns("E04q")
def an_intent_by_a_security_key_nobody_touched() -> Case:
    key = SecurityKey(SK_ECDSA, 8, flags=0)
    book = Book("op_intent")
    sealed = book.intent(by=replace(JAN, credential=key.public.fingerprint))
    book.signatures[sealed.digest] = sshsig.sign(key, INTENT_NAMESPACE, sealed.body).encode()
    return cutting(book)


# --- steps 5 and 6: the log ---


@earns("E05a")
def a_checkpoint_that_is_none() -> Case:
    return of(cut(a_read()), checkpoint=b"hello\n")


@earns("E05b")
def a_proof_too_few() -> Case:
    made = cut(a_read())
    proofs = made.contents.proofs
    return of(made, proofs=replace(proofs, operation=proofs.operation[:-1]))


@earns("E05b")
def empty_proofs() -> Case:
    made = cut(a_read())
    proofs = made.contents.proofs
    return of(made, proofs=replace(proofs, operation=tuple(replace(p, path=()) for p in proofs.operation)))


@earns("E05b")
def a_proof_that_names_a_node_that_is_not_there() -> Case:
    made = cut(a_read())
    proofs = made.contents.proofs
    bad = Inclusion(leaf=proofs.operation[0].leaf, path=(-1, *proofs.operation[0].path[1:]))
    return of(made, proofs=replace(proofs, operation=(bad, *proofs.operation[1:])))


@earns("E05c")
def a_history_that_was_never_logged() -> Case:
    made, book = cut(a_read()), a_read()
    record = book.records[-1].record
    assert isinstance(record, Receipt)
    forged = seal(replace(record, reason="forged"))
    return of(
        made,
        records=(*made.contents.records[:-1], forged.body),
        envelopes={forged.digest: record_envelope(forged, INSTANCE_KEY)},
    )


@earns("E05d")
def records_that_claim_one_leaf() -> Case:
    made = cut(a_read())
    proofs = made.contents.proofs
    return of(made, proofs=replace(proofs, operation=(proofs.operation[0], *proofs.operation[:-1])))


@earns("E05e")
def a_checkpoint_of_another_instance() -> Case:
    made = cut(a_read())
    return of(made, checkpoint=made.log.checkpoint(origin="rexecop/inst_other/1"))


@earns("E05f")
def an_epoch_that_no_record_begins() -> Case:
    made = cut(a_read())
    return of(made, checkpoint=made.log.checkpoint(origin=SECOND))


@earns("E05f")
def a_restore_hidden_by_leaving_its_record_out() -> Case:
    return Case(bundle=without_epoch(restored().made).bundle())


@earns("E05f")
def a_checkpoint_of_the_epoch_that_is_over() -> Case:
    return Case(bundle=restored(origin=ORIGIN).made.bundle())


@earns("E05f")
def an_origin_without_an_epoch() -> Case:
    made = cut(a_read())
    return of(made, checkpoint=made.log.checkpoint(origin=f"rexecop/{INSTANCE}/one"))


@earns("E06a")
def a_forked_log() -> Case:
    made = cut(a_read())
    fork = Checkpoint(origin=ORIGIN, size=len(made.log.rows), root=b"\x11" * 32)
    return replace(of(made), more={"checkpoint": checkpoint.sign(fork, INSTANCE_KEY)})


@earns("E06b")
def a_rewritten_log() -> Case:
    made, other = cut(a_read()), cut(a_change())
    held = other.held
    size = int(made.held.split(b"\n")[1])
    rewritten = Checkpoint(origin=ORIGIN, size=size, root=b"\x22" * 32)
    assert held
    return replace(of(made), more={"checkpoint": checkpoint.sign(rewritten, INSTANCE_KEY)})


@earns("E06c")
def a_checkpoint_held_of_another_log() -> Case:
    made = cut(a_read())
    return replace(of(made), more={"checkpoint": made.log.checkpoint(origin="rexecop/elsewhere/1")})


@earns("E06d")
def a_checkpoint_held_that_is_junk() -> Case:
    return Case(bundle=cut(a_read()).bundle(), more={"checkpoint": b"junk"})


@earns("E06f")
def a_log_restored_to_before_what_was_held() -> Case:
    world = restored()
    return Case(bundle=world.made.bundle(), more={"checkpoint": world.lost})


@earns("E06g")
def an_epoch_that_names_another_root() -> Case:
    def other(record: Epoch) -> Epoch:
        return replace(record, continues=replace(record.continues, root="11" * 32))

    return Case(bundle=restored(change=other).made.bundle())


@earns("E06g")
def an_epoch_that_begins_later_than_it_says() -> Case:
    return Case(bundle=restored(late=True).made.bundle())


@earns("E06g")
def an_epoch_that_skips_a_number() -> Case:
    return Case(bundle=restored(change=lambda record: replace(record, epoch=3)).made.bundle())


@earns("E06g")
def an_epoch_that_continues_another_instance() -> Case:
    def other(record: Epoch) -> Epoch:
        return replace(record, continues=replace(record.continues, origin="rexecop/inst_other/1"))

    return Case(bundle=restored(change=other).made.bundle())


# --- step 7: a false history under the instance's own key ---


@earns("E07a")
def a_plan_of_another_intent() -> Case:
    book = Book("op_x")
    book.intent()
    sealed = book.plan((read_step(),), Effect.READ)
    book.records[-1] = seal(replace(sealed.record, intent=digest_of(b"another intent")))  # type: ignore[call-arg]
    return cutting(book)


@earns("E07b")
def a_plan_that_calls_itself_a_read() -> Case:
    book = Book("op_x")
    book.intent()
    book.plan((read_step(), change_step()), Effect.READ)
    return cutting(book)


@earns("E07b")
def a_step_that_calls_another_target() -> Case:
    book = Book("op_x")
    book.intent()
    look = read_step()
    book.plan((replace(look, call=replace(look.call, target="host-2")),), Effect.READ)
    return cutting(book)


@earns("E07c")
def a_decision_on_a_smaller_request() -> Case:
    book, _, _ = planned_change()
    record = book.records[-1].record
    assert isinstance(record, Decision)
    book.records[-1] = seal(replace(record, request=replace(record.request, effect=Effect.READ)))
    return cutting(book)


@earns("E07c")
def a_decision_about_somebody_else() -> Case:
    book, _, _ = planned_change()
    record = book.records[-1].record
    assert isinstance(record, Decision)
    book.records[-1] = seal(replace(record, request=replace(record.request, principal=MARA)))
    return cutting(book)


@earns("E07c")
def a_decision_that_lets_windows_be_set_aside_unasked() -> Case:
    book, _, _ = planned_change()
    record = book.records[-1].record
    assert isinstance(record, Decision)
    book.records[-1] = seal(replace(record, request=replace(record.request, override_window=True)))
    return cutting(book)


@earns("E07c")
def a_decision_about_a_call_that_no_step_makes() -> Case:
    book, _, _ = planned_change()
    record = book.records[-1].record
    assert isinstance(record, Decision)
    call = RequestCall(connector="shell", action="run", effect=Effect.READ)
    book.records[-1] = seal(replace(record, request=replace(record.request, call=call)))
    return cutting(book)


@earns("E07d")
def an_approval_of_another_plan() -> Case:
    book, _, _ = planned_change()
    book.approve(MARA, APPROVER_KEY, plan=digest_of(b"another plan"))
    return cutting(book)


@earns("E07e")
def a_ticket_on_other_terms() -> Case:
    book, _, _ = planned_change()
    book.approve(MARA, APPROVER_KEY)
    book.ticket(terms=digest_of(b"softer terms"))
    return cutting(book)


@earns("E07f")
def a_ticket_with_an_approval_from_nowhere() -> Case:
    book, _, _ = planned_change()
    book.ticket(approvals=(digest_of(b"an approval"),))
    return cutting(book)


@earns("E07g")
def a_ticket_with_a_wider_scope() -> Case:
    book, _, _ = planned_change()
    book.approve(MARA, APPROVER_KEY)
    book.ticket(scope=digest_of(b"everything"))
    return cutting(book)


@earns("E07h")
def a_dry_run_ticket_used_live() -> Case:
    book, look, _ = planned_change()
    book.approve(MARA, APPROVER_KEY)
    book.ticket(mode=Mode.DRY_RUN)
    book.run(look)
    return cutting(book)


@earns("E07i")
def a_ticket_used_after_it_expired() -> Case:
    book, look, _ = approved_change()
    book.at += timedelta(hours=2)
    book.run(look)
    return cutting(book)


@earns("E07i")
def a_ticket_that_was_never_valid() -> Case:
    book, _, _ = planned_change()
    book.approve(MARA, APPROVER_KEY)
    book.ticket(expires=START)
    return cutting(book)


@earns("E07j")
def a_call_without_a_ticket() -> Case:
    book, look, _ = approved_change()
    book.attempt(look, permit={"ticket": digest_of(b"no ticket")})
    return cutting(book)


@earns("E07k")
def a_call_of_a_step_nobody_planned() -> Case:
    book, look, _ = approved_change()
    book.run(replace(look, id="extra"))
    return cutting(book)


@earns("E07k")
def a_call_on_a_target_nobody_planned() -> Case:
    book, look, _ = approved_change()
    book.attempt(look, target="host-2")
    return cutting(book)


@earns("E07l")
def a_call_from_another_template() -> Case:
    book, look, _ = approved_change()
    book.attempt(look, process(Effect.READ, "/usr/bin/rm", "-rf", "/"))
    return cutting(book)


@earns("E07m")
def a_slot_filled_outside_its_pattern() -> Case:
    book, look, change = approved_change()
    book.run(look, facts={"path": "/etc/shadow"})
    book.attempt(change, values={"path": "/etc/shadow"})
    return cutting(book)


@earns("E07m")
def a_slot_filled_with_something_no_step_found() -> Case:
    book, look, change = approved_change()
    book.run(look, facts=PATHS)
    book.attempt(change, values={"path": "/srv/other"})
    return cutting(book)


@earns("E07m")
def a_slot_that_is_not_there() -> Case:
    book, look, _ = approved_change()
    book.attempt(look, values={"path": "/srv/line"})
    return cutting(book)


@earns("E07n")
def a_permit_for_an_edited_call() -> Case:
    book, look, _ = approved_change()
    book.attempt(look, permit={"call": digest_of(b"another call")})
    return cutting(book)


@earns("E07o")
def a_permit_that_lasts_an_hour() -> Case:
    book, look, _ = approved_change()
    book.attempt(look, permit={"expires": book.at + timedelta(minutes=30)})
    return cutting(book)


@earns("E07o")
def a_permit_that_had_expired() -> Case:
    book, look, _ = approved_change()
    book.attempt(look, permit={"expires": book.at})
    return cutting(book)


@earns("E07p")
def an_attempt_that_skips_a_number() -> Case:
    book, look, _ = approved_change()
    book.attempt(look, number=2)
    return cutting(book)


@earns("E07p")
def a_lost_change_that_was_just_tried_again() -> Case:
    book, look, change = approved_change()
    book.run(look, facts=PATHS)
    book.outcome("set", book.attempt(change, values=VALUES), Ended.UNKNOWN)
    book.attempt(change, values=VALUES, number=2)
    return cutting(book)


@earns("E07q")
def a_change_made_twice() -> Case:
    book, look, change = approved_change()
    book.run(look, facts=PATHS)
    book.outcome("set", book.attempt(change, values=VALUES))
    book.outcome("set", book.attempt(change, values=VALUES, number=2))
    return cutting(book)


@earns("E07r")
def a_change_in_a_read_mode() -> Case:
    book = Book("op_x")
    look, change = read_step(), change_step()
    book.intent(mode=Mode.READ_ONLY)
    book.plan((look, change), Effect.CHANGE)
    book.decision(Verdict.ALLOWED)
    book.ticket()
    book.run(look, facts=PATHS)
    book.attempt(change, values=VALUES)
    return cutting(book)


@earns("E07s")
def a_second_outcome_for_one_attempt() -> Case:
    book, look, _ = approved_change()
    attempt = book.attempt(look)
    book.outcome("look", attempt, Ended.FAILED)
    book.outcome("look", attempt, Ended.OK)
    return cutting(book)


@earns("E07s")
def a_call_that_went_well_without_an_attempt() -> Case:
    book, _, _ = approved_change()
    book.outcome("look", None)
    return cutting(book)


@earns("E07t")
def an_outcome_of_a_step_nobody_planned() -> Case:
    book, _, _ = approved_change()
    book.outcome("extra", None)
    return cutting(book)


@earns("E07u")
def a_call_with_less_isolation_than_planned() -> Case:
    book, look, _ = approved_change()
    book.attempt(look, isolation=Isolation.NONE)
    return cutting(book)


@earns("E07v")
def a_reconciliation_of_nothing() -> Case:
    book, look, _ = approved_change()
    attempt = book.attempt(look)
    book.outcome("look", attempt)
    book.add(Reconciliation, by=JAN, attempt=attempt.digest, happened=True, reason="so I say")
    return cutting(book)


@earns("E07v")
def a_reconciliation_by_a_probe_that_was_never_made() -> Case:
    book, look, change = approved_change()
    book.run(look, facts=PATHS)
    lost = book.attempt(change, values=VALUES)
    book.outcome("set", lost, Ended.UNKNOWN)
    book.add(
        Reconciliation, by=JAN, attempt=lost.digest, happened=True, reason="seen", probe=digest_of(b"probe")
    )
    return cutting(book)


@earns("E07w")
def a_policy_pack_nobody_decided_by() -> Case:
    made = cut(a_read())
    other = BundleInput(role="policy-pack", data=canonical_bytes({"kind": "policy-pack/1", "groups": {}}))
    return of(made, inputs=(*made.contents.inputs, other))


@earns("E07x")
def a_call_after_the_receipt() -> Case:
    book = a_read()
    look = read_step()
    book.add(Note, topic="t", text="nothing to see")
    book.run(look, ended=Ended.FAILED)
    return cutting(book)


@earns("E07y")
def a_call_by_a_runner_that_lost_the_operation() -> Case:
    book, look, _ = approved_change()
    book.outcome("look", book.attempt(look, permit={"fence": 4}), Ended.FAILED)
    book.attempt(look, number=2, permit={"fence": 3})
    return cutting(book)


# --- step 8: governance ---


def _approved_by(by: Principal, key: Any, chain: Any = None, **more: Any) -> Case:
    book, _, _ = planned_change()
    book.approve(by, key, **more)
    book.ticket()
    return cutting(book, instance=chain)


ROOT_CHAIN: Final = (
    enrol("instance", Role.INSTANCE, INSTANCE_KEY),
    enrol("mara", Role.APPROVER, APPROVER_KEY),
)


@earns("E07z")
def a_change_on_other_facts_than_were_pinned() -> Case:
    book, change = pinned_change()
    other = replace(PINNED, facts=digest_of(b"what is there now"))
    book.outcome("set", book.attempt(change, values=VALUES, target_n=1, observed=other))
    book.validation()
    book.receipt(State.COMPLETED)
    return of(cut(book))


@earns("E07b")
def a_plan_of_more_waves_than_targets() -> Case:
    book, _ = rolled_out(waves=(1, 3))
    return of(cut(book))


@earns("E07aa")
def a_step_that_did_not_wait_for_what_it_needs() -> Case:
    book, steps = rolled_out()
    look = book.attempt(steps["look@host-1"])
    book.outcome("set@host-1", book.attempt(steps["set@host-1"], target_n=1))
    book.outcome("look@host-1", look, facts=LOOKS)
    return of(cut(book))


@earns("E07ab")
def more_targets_under_way_than_planned() -> Case:
    book, steps = rolled_out(waves=(3,))
    for host in ("host-1", "host-2", "host-3"):
        book.run(steps[f"look@{host}"], facts=LOOKS)
    return of(cut(book))


@earns("E07ab")
def a_call_asked_for_by_one_that_had_ended() -> Case:
    book = Book("op_beside")
    looks = [read_step("look"), read_step("look_again")]
    book.intent(mode=Mode.READ_ONLY)
    book.plan(looks, Effect.READ)
    book.decision(Verdict.ALLOWED)
    book.ticket()
    outer = book.attempt(looks[0])
    book.outcome("look", outer)
    book.outcome("look_again", book.attempt(looks[1], within=outer.digest))
    return of(cut(book))


@earns("E07ab")
def two_steps_side_by_side_that_were_to_follow_each_other() -> Case:
    book = Book("op_beside")
    looks = [read_step("look"), read_step("look_again")]
    book.intent(mode=Mode.READ_ONLY)
    book.plan(looks, Effect.READ)
    book.decision(Verdict.ALLOWED)
    book.ticket()
    for look, attempt in [(look, book.attempt(look)) for look in looks]:
        book.outcome(look.id, attempt)
    return of(cut(book))


@earns("E07ac")
def a_change_that_its_guard_did_not_let() -> Case:
    book, steps = rolled_out()
    book.run(steps["look@host-1"], facts={"line": "new"})
    book.outcome("set@host-1", book.attempt(steps["set@host-1"], target_n=1))
    return of(cut(book))


@earns("E07ac")
def a_change_left_out_that_was_to_be_made() -> Case:
    book, steps = rolled_out()
    book.run(steps["look@host-1"], facts=LOOKS)
    book.outcome("set@host-1", None, Ended.SKIPPED, message="not to be done")
    return of(cut(book))


@earns("E07ad")
def a_wave_before_the_check_of_the_one_before() -> Case:
    book, steps = rolled_out()
    book.run(steps["look@host-1"], facts={"line": "new"})
    book.outcome("set@host-1", None, Ended.SKIPPED, message="not to be done")
    book.run(steps["look@host-2"], facts=LOOKS)
    return of(cut(book))


@earns("E07ae")
def a_wave_after_a_check_that_failed() -> Case:
    book, steps = rolled_out()
    book.run(steps["look@host-1"], facts={"line": "new"})
    book.outcome("set@host-1", None, Ended.SKIPPED, message="not to be done")
    check = book.attempt(steps["check@host-1"])
    book.outcome("check@host-1", check, Ended.FAILED, error_class="validation_failed")
    book.run(steps["look@host-2"], facts=LOOKS)
    return of(cut(book))


def _stopped_in_the_second_wave() -> tuple[Book, Mapping[str, Any]]:
    book, steps = rolled_out(undo=True)
    first_wave(book, steps)
    book.outcome("set@host-2", book.attempt(steps["set@host-2"], target_n=1))
    book.outcome("set@host-3", None, Ended.SKIPPED, message="not to be done")
    check = book.attempt(steps["check@host-2"])
    book.outcome("check@host-2", check, Ended.FAILED, error_class="validation_failed")
    return book, steps


@earns("E07af")
def an_undo_beyond_the_wave_that_stopped() -> Case:
    book, steps = _stopped_in_the_second_wave()
    book.add(Command, verb=Verb.UNDO, reason="wave 2 stopped")
    step = steps["set@host-1"]
    book.outcome("set@host-1", book.attempt(step, step.undo, phase=Phase.UNDO, target_n=2))
    return of(cut(book))


@earns("E07af")
def a_wave_that_stopped_and_was_left_as_it_was() -> Case:
    book, _ = _stopped_in_the_second_wave()
    book.receipt(State.FAILED)
    return of(cut(book))


@earns("E08a")
def a_requester_who_approves() -> Case:
    chain = instance_chain((*ROOT_CHAIN, enrol("jan", Role.APPROVER, REQUESTER_KEY)))
    return _approved_by(JAN, REQUESTER_KEY, chain)


@earns("E08a")
def a_requester_who_approves_under_another_spelling() -> Case:
    chain = instance_chain((*ROOT_CHAIN, enrol("JAN ", Role.APPROVER, STRANGER_KEY)))
    other = Principal(person="JAN ", established=Established.KEY, credential=STRANGER_KEY.key_id)
    return _approved_by(other, STRANGER_KEY, chain)


@earns("E08b")
def an_approver_nobody_enrolled() -> Case:
    other = Principal(person="eve", established=Established.KEY, credential=STRANGER_KEY.key_id)
    return _approved_by(other, STRANGER_KEY)


@earns("E08b")
def an_approver_enrolled_after_the_plan() -> Case:
    late = enrol("eve", Role.APPROVER, STRANGER_KEY, at=START + timedelta(hours=2))
    other = Principal(person="eve", established=Established.KEY, credential=STRANGER_KEY.key_id)
    return _approved_by(other, STRANGER_KEY, instance_chain((*ROOT_CHAIN, late)))


@earns("E08b")
def an_approver_whose_key_was_revoked() -> Case:
    revoked = enrol("mara", Role.APPROVER, APPROVER_KEY, at=START + timedelta(minutes=5), revoked=True)
    return _approved_by(MARA, APPROVER_KEY, instance_chain((*ROOT_CHAIN, revoked)))


@earns("E08b")
def an_approver_whose_key_only_issues_packs() -> Case:
    issuer = enrol("eve", Role.ISSUER, STRANGER_KEY)
    other = Principal(person="eve", established=Established.KEY, credential=STRANGER_KEY.key_id)
    return _approved_by(other, STRANGER_KEY, instance_chain((*ROOT_CHAIN, issuer)))


@earns("E08b")
def an_approval_with_the_enrolments_left_out() -> Case:
    return _approved_by(MARA, APPROVER_KEY, [])


@earns("E08c")
def a_ticket_without_approval() -> Case:
    book, _, _ = planned_change()
    book.ticket()
    return cutting(book)


@earns("E08c")
def one_approval_where_two_are_asked() -> Case:
    book = Book("op_x")
    book.intent()
    book.plan((read_step(),), Effect.READ)
    book.decision(Verdict.APPROVAL_REQUIRED, ApprovalRule(count=2, group="ops"))
    book.approve(MARA, APPROVER_KEY)
    book.ticket()
    return cutting(book)


@earns("E08d")
def a_ticket_for_what_policy_blocked() -> Case:
    book = Book("op_x")
    book.intent()
    book.plan((read_step(),), Effect.READ)
    book.decision(Verdict.BLOCKED)
    book.ticket()
    return cutting(book)


@earns("E08e")
def an_approval_that_had_expired() -> Case:
    return _approved_by(MARA, APPROVER_KEY, expires=START)


@earns("E08e")
def an_approval_of_another_preview() -> Case:
    return _approved_by(MARA, APPROVER_KEY, preview=digest_of(b"a kinder text"))


@earns("E08f")
def a_ticket_beyond_the_window() -> Case:
    book, _, _ = planned_change(not_after=START + timedelta(hours=1, minutes=5))
    book.approve(MARA, APPROVER_KEY)
    book.ticket()
    return cutting(book)


@earns("E08g")
def a_ticket_over_a_no() -> Case:
    book, _, _ = planned_change()
    book.approve(OTTO, SECOND_APPROVER_KEY, approves=False)
    book.approve(MARA, APPROVER_KEY)
    book.ticket()
    return cutting(book)


@earns("E08h")
def an_approver_outside_the_group() -> Case:
    chain = instance_chain((*ROOT_CHAIN, enrol("eve", Role.APPROVER, STRANGER_KEY)))
    other = Principal(person="eve", established=Established.KEY, credential=STRANGER_KEY.key_id)
    return _approved_by(other, STRANGER_KEY, chain)


@earns("E08h")
def an_approver_whom_the_policy_puts_in_no_group() -> Case:
    pack = pack_of(PEOPLE.replace(b"mara: {groups: [ops]}", b"mara: {}"))
    book, _, _ = decided_change(pack)
    book.approve(MARA, APPROVER_KEY)
    book.ticket(packs=(input_of(pack).digest,))
    return Case(bundle=with_policy(book, pack).bundle(), more={"members": Packs().members})


@earns("E08i")
def a_decision_its_policy_does_not_make() -> Case:
    book, look, _ = decided_change()
    record = book.records[-1].record
    assert isinstance(record, Decision)
    softer = replace(record.terms, verdict=Verdict.ALLOWED, approvals=())
    book.records[-1] = seal(replace(record, terms=softer))
    book.ticket(packs=(POLICY.digest,))
    book.run(look, facts=PATHS)
    return Case(bundle=with_policy(book).bundle(), more={"evaluate": Packs().evaluate})


@earns("E08j")
def a_policy_error_that_let_through() -> Case:
    book, _, _ = planned_change()
    record = book.records[-1].record
    assert isinstance(record, Decision)
    book.records[-1] = seal(replace(record, errors=("rule r1 failed",)))
    return cutting(book)


@earns("E08j")
def an_outside_no_that_let_through() -> Case:
    book, _, _ = planned_change()
    record = book.records[-1].record
    assert isinstance(record, Decision)
    no = Opinion(
        source="https://pdp.example", allowed=False, reason="no to `host-1`", answer=digest_of(b"no")
    )
    book.records[-1] = seal(replace(record, opinion=no))
    return cutting(book)


@earns("E08k")
def an_approver_the_requester_enrolled() -> Case:
    chain = instance_chain((*ROOT_CHAIN, enrol("eve", Role.APPROVER, STRANGER_KEY, by=JAN)))
    other = Principal(person="eve", established=Established.KEY, credential=STRANGER_KEY.key_id)
    return _approved_by(other, STRANGER_KEY, chain)


@earns("E08l")
def one_person_counted_twice() -> Case:
    book = Book("op_x")
    book.intent()
    book.plan((read_step(),), Effect.READ)
    book.decision(Verdict.APPROVAL_REQUIRED, ApprovalRule(count=2, group="ops"))
    book.approve(MARA, APPROVER_KEY)
    book.approve(MARA, APPROVER_KEY)
    book.ticket()
    return cutting(book)


@earns("E08m")
def a_ticket_that_does_not_say_who_approved() -> Case:
    book, _, _ = planned_change()
    book.approve(MARA, APPROVER_KEY)
    book.ticket(approvals=())
    return cutting(book)


@earns("E08o")
def an_approval_that_had_been_taken_back() -> Case:
    book, _, _ = planned_change()
    yes = book.approve(MARA, APPROVER_KEY)
    book.approve(MARA, APPROVER_KEY, approves=False, withdraws=yes.digest)
    book.ticket()
    return cutting(book)


@earns("E08g")
def a_no_that_somebody_else_took_back() -> Case:
    book, _, _ = planned_change()
    no = book.approve(OTTO, SECOND_APPROVER_KEY, approves=False)
    book.approve(MARA, APPROVER_KEY, approves=False, withdraws=no.digest)
    book.approve(MARA, APPROVER_KEY)
    book.ticket()
    return cutting(book)


@earns("E08r")
def a_call_while_everything_was_halted() -> Case:
    return cutting(a_change(), instance=instance_chain((*ENROLMENTS, halting())))


@earns("E08r")
def a_call_while_its_target_was_halted_and_another_was_lifted() -> Case:
    here, other = (partial(halting, scope=HaltScope.TARGET, name=name) for name in ("host-1", "host-2"))
    chain = instance_chain((*ENROLMENTS, here(), other(), other(lifted=True)))
    return cutting(a_change(), instance=chain)


@earns("E03g")
def a_yes_after_somebody_had_said_no() -> Case:
    book, _, _ = planned_change()
    book.approve(OTTO, SECOND_APPROVER_KEY, approves=False)
    book.receipt(State.BLOCKED)
    book.approve(MARA, APPROVER_KEY)
    return cutting(book)


@earns("E08a")
def a_sponsor_who_approves_unasked() -> Case:
    book = Book("op_agent")
    book.intent(by=replace(JAN, person="robot"), sponsor="mara")
    book.plan((read_step(),), Effect.READ)
    book.decision(Verdict.APPROVAL_REQUIRED, ApprovalRule(count=1, group="ops"))
    book.approve(MARA, APPROVER_KEY)
    book.ticket()
    return cutting(book)


@earns("E08k")
def a_key_that_the_sponsor_enrolled_for_another() -> Case:
    chain = instance_chain((*ROOT_CHAIN, enrol("otto", Role.APPROVER, SECOND_APPROVER_KEY, by=MARA)))
    book = Book("op_agent")
    book.intent(by=replace(JAN, person="robot"), sponsor="mara")
    book.plan((read_step(),), Effect.READ)
    book.decision(Verdict.APPROVAL_REQUIRED, ApprovalRule(count=1, group="ops"), sponsor_may_approve=True)
    book.approve(OTTO, SECOND_APPROVER_KEY)
    book.ticket()
    return cutting(book, instance=chain)


@earns("E08p")
def an_approver_with_a_conflict_of_interest() -> Case:
    book, _, _ = planned_change(approval_limits=(ApprovalLimit(at_most=0, group="ops"),))
    book.approve(MARA, APPROVER_KEY)
    book.ticket()
    return cutting(book)


@earns("E08s")
def a_step_that_nobody_approved() -> Case:
    book, step, _ = paused_change()
    resumed_change(book, step)
    return cutting(book)


@earns("E08s")
def a_step_whose_plan_asks_and_whose_terms_do_not() -> Case:
    book = Book("op_step")
    look = read_step(asks=(ApprovalRule(count=1, group="ops"),))
    book.intent()
    book.plan((look,), Effect.READ)
    book.decision(Verdict.ALLOWED)
    book.ticket()
    book.run(look, facts=PATHS)
    return cutting(book)


@earns("E08s")
def a_step_approved_for_another_call() -> Case:
    book, step, _ = paused_change()
    book.approve(MARA, APPROVER_KEY, step="set", call=digest_of(b"another call"))
    resumed_change(book, step)
    return cutting(book)


@earns("E08s")
def a_step_whose_approval_was_taken_back() -> Case:
    book, step, call = paused_change()
    yes = book.approve(MARA, APPROVER_KEY, step="set", call=call)
    book.approve(MARA, APPROVER_KEY, approves=False, step="set", call=call, withdraws=yes.digest)
    resumed_change(book, step)
    return cutting(book)


@earns("E08s")
def a_step_that_somebody_refused() -> Case:
    book, step, call = paused_change()
    book.approve(OTTO, SECOND_APPROVER_KEY, approves=False, step="set", call=call)
    book.approve(MARA, APPROVER_KEY, step="set", call=call)
    resumed_change(book, step)
    return cutting(book)


@earns("E08s")
def a_step_approved_after_it_was_attempted() -> Case:
    book, step, call = paused_change()
    resumed_change(book, step)
    book.approve(MARA, APPROVER_KEY, step="set", call=call)
    return cutting(book)


@earns("E08s")
def a_step_approved_by_who_asked() -> Case:
    chain = instance_chain((*ENROLMENTS, enrol("jan", Role.APPROVER, REQUESTER_KEY)))
    book, step, call = paused_change()
    book.approve(JAN, REQUESTER_KEY, step="set", call=call)
    resumed_change(book, step)
    return cutting(book, instance=chain)


@earns("E08s")
def a_ticket_by_the_approval_of_a_step() -> Case:
    book, _, _ = planned_change()
    book.approve(MARA, APPROVER_KEY, step="set", call=digest_of(b"a call"))
    book.ticket()
    return cutting(book)


def _used(*more: Any, **asked: Any) -> Case:
    book, _ = used_change(**asked)
    said = standing(book, asked.get("covers", COVERED))
    return cutting(book, instance=instance_chain((*ENROLMENTS, recorded(*said), *more)))


@earns("E08q")
def a_standing_approval_that_nobody_gave() -> Case:
    return cutting(used_change()[0])


@earns("E08q")
def a_standing_approval_that_had_been_taken_back() -> Case:
    book, _ = used_change()
    given = recorded(*standing(book))
    digest = instance_chain((*ENROLMENTS, given))[-1].digest
    said = replace(standing(book)[0], approves=False, withdraws=digest, covers=None, nonce="back")
    signature = sshsig.sign(APPROVER_KEY, APPROVAL_NAMESPACE, encode(said))
    return cutting(book, instance=instance_chain((*ENROLMENTS, given, recorded(said, signature))))


@earns("E08q")
def a_use_beyond_those_that_were_approved() -> Case:
    return _used(use=3)


@earns("E08q")
def a_use_for_a_parameter_outside_its_range() -> Case:
    return _used(parameters={"line": "older"})


@earns("E08q")
def a_use_for_another_target() -> Case:
    return _used(covers=replace(COVERED, targets=("host-2",)))


@earns("E08e")
def a_use_on_other_terms_than_were_approved() -> Case:
    book = Book("op_change")
    book.intent(parameters={"line": "new"})
    book.plan((read_step(),), Effect.READ)
    book.decision(Verdict.APPROVAL_REQUIRED, ApprovalRule(count=1, group="ops"))
    said, signature = standing(book)
    book.decision(Verdict.APPROVAL_REQUIRED, ApprovalRule(count=1, group="ops"), sponsor_may_approve=True)
    book.add(Approval, statement=said, signature=signature, groups=("ops",), use=1)
    book.ticket()
    return cutting(book, instance=instance_chain((*ENROLMENTS, recorded(said, signature))))


@earns("E07d")
def a_use_that_somebody_wrote_themselves() -> Case:
    book, used = used_change()
    book.records = book.records[:3]
    assert isinstance(used.record, Approval)
    book.records.append(seal(replace(used.record, by=JAN)))
    book.ticket()
    return cutting(book, instance=instance_chain((*ENROLMENTS, recorded(*standing(book)))))


@earns("E03f")
def a_yes_to_one_plan_in_the_instances_chain() -> Case:
    book, _, _ = approved_change()
    yes = next(sealed.record for sealed in book.records if isinstance(sealed.record, Approval))
    chain = instance_chain((*ENROLMENTS, recorded(yes.statement, yes.signature)))
    return cutting(book, instance=chain)


# --- step 9: the receipt ---


def _rewritten_end(**more: Any) -> Case:
    book = a_read()
    book.records.pop()
    book.receipt(State.COMPLETED, **more)
    return cutting(book)


@earns("E09a")
def a_receipt_over_a_step_that_never_ran() -> Case:
    book, look, _ = approved_change()
    book.run(look, facts=PATHS)
    book.validation()
    book.receipt(State.COMPLETED)
    return cutting(book)


@earns("E09a")
def a_receipt_over_a_failed_step() -> Case:
    book, look, change = approved_change()
    book.run(look, facts=PATHS)
    book.outcome("set", book.attempt(change, values=VALUES), Ended.FAILED)
    book.validation()
    book.receipt(State.COMPLETED)
    return cutting(book)


@earns("E09a")
def a_receipt_over_a_failed_validation() -> Case:
    book = a_read()
    del book.records[-2:]
    book.validation(RuleVerdict.FAILED)
    book.receipt(State.COMPLETED)
    return cutting(book)


@earns("E09b")
def a_receipt_that_counts_fewer_attempts() -> Case:
    return _rewritten_end(attempts=0)


@earns("E09b")
def a_receipt_that_counts_other_ends() -> Case:
    return _rewritten_end(outcomes={"ok": 3})


@earns("E09c")
def an_attempt_left_out_of_the_end() -> Case:
    book, look, change = approved_change()
    book.run(look, facts=PATHS)
    book.attempt(change, values=VALUES)
    book.add(Command, by=JAN, verb=Verb.CANCEL)
    book.receipt(State.CANCELLED)
    return cutting(book)


@earns("E09d")
def an_unknown_outcome_forgotten() -> Case:
    book, look, change = approved_change()
    book.run(look, facts=PATHS)
    book.outcome("set", book.attempt(change, values=VALUES), Ended.UNKNOWN)
    book.receipt(State.FAILED)
    return cutting(book)


@earns("E09e")
def a_validation_that_passes_over_a_failed_rule() -> Case:
    book = a_read()
    rules = book.records[-2].record.rules  # type: ignore[attr-defined]
    del book.records[-2:]
    book.validation(rules=(replace(rules[0], verdict=RuleVerdict.FAILED),))
    book.receipt(State.COMPLETED)
    return cutting(book)


@earns("E09e")
def a_validation_without_any_rule() -> Case:
    book = a_read()
    del book.records[-2:]
    book.validation(rules=())
    book.receipt(State.COMPLETED)
    return cutting(book)


@earns("E09f")
def a_receipt_with_other_facts() -> Case:
    return _rewritten_end(facts=digest_of(b"nicer facts"))


@earns("E09g")
def a_dry_run_that_made_its_call() -> Case:
    book = Book("op_x")
    look = read_step()
    book.intent(mode=Mode.DRY_RUN)
    book.plan((look,), Effect.READ)
    book.decision(Verdict.ALLOWED)
    book.ticket()
    book.run(look)
    return cutting(book)


@earns("E09g")
def a_preview_passed_off_as_a_run() -> Case:
    book, look, _ = approved_change()
    book.run(look, ended=Ended.PREVIEWED)
    return cutting(book)


@earns("E09h")
def changes_of_more_targets_at_one_time_than_a_wave_has() -> Case:
    change = change_step(slots=None, call=process(Effect.CHANGE, "/usr/bin/true"), undo=None, probe=None)
    other = replace(change, target="host-2", call=replace(change.call, target="host-2"))
    book = Book("op_wave")
    book.intent()
    book.plan((change, other), Effect.CHANGE)
    book.decision(Verdict.ALLOWED, obligations=Obligations(wave_max=1))
    book.ticket()
    both = [book.attempt(step, target_n=1) for step in (change, other)]
    for attempt in both:
        book.outcome("set", attempt)
    book.validation()
    book.receipt(State.COMPLETED, obligations=(ObligationMet(name="wave", met=True, how="kept"),))
    return of(cut(book))


def _obliged(obligations: Obligations, **outcome: Any) -> Book:
    book = Book("op_x")
    look = read_step(isolation=Isolation.RLIMITS, grade=None)
    book.intent(mode=Mode.READ_ONLY)
    book.plan((look,), Effect.READ)
    book.decision(Verdict.ALLOWED, obligations=obligations)
    book.ticket()
    book.run(look, **outcome)
    book.validation()
    return book


@earns("E09h")
def a_ticket_that_claims_another_budget() -> Case:
    return of(cut(a_bound_read(FURTHER, BudgetUse(scope="intent", subject="hello/other", n=1))))


@earns("E09h")
def a_step_that_no_list_of_hosts_can_hold() -> Case:
    book = _obliged(Obligations(egress=("db.example",)))
    book.receipt(State.COMPLETED, obligations=(ObligationMet(name="egress", met=True, how="kept"),))
    return of(cut(book))


@earns("E08n")
def a_glass_broken_in_silence() -> Case:
    return of(cut(a_broken_glass(by=MARA, said=False)))


@earns("E08n")
def a_review_by_who_asked() -> Case:
    return of(cut(a_broken_glass(by=JAN)))


@earns("E09h")
def isolation_below_what_policy_asked() -> Case:
    return cutting(_obliged(Obligations(isolation="bubblewrap")))


@earns("E09h")
def more_output_than_policy_allowed() -> Case:
    return cutting(_obliged(Obligations(output_bytes=4), output=b"too much"))


@earns("E09h")
def a_receipt_silent_about_an_obligation() -> Case:
    book = _obliged(Obligations(steps_max=5))
    book.receipt(State.COMPLETED)
    return cutting(book)


@earns("E09h")
def completed_with_an_obligation_unmet() -> Case:
    book = _obliged(Obligations(steps_max=5))
    book.receipt(State.COMPLETED, obligations=(ObligationMet(name="steps", met=False, how="no"),))
    return cutting(book)


@earns("E09i")
def a_failure_that_nothing_shows() -> Case:
    book = a_read()
    book.records.pop()
    book.receipt(State.FAILED)
    return cutting(book)


@earns("E09i")
def a_refusal_after_the_work() -> Case:
    book = a_read()
    book.records.pop()
    book.receipt(State.BLOCKED)
    return cutting(book)


@earns("E09i")
def an_undoing_that_was_not_done() -> Case:
    book = a_change()
    while not isinstance(book.records[-1].record, Command):
        book.records.pop()
    book.receipt(State.UNDONE)
    return cutting(book)


@earns("E09j")
def an_ok_without_the_isolation_it_needed() -> Case:
    book, look, _ = approved_change()
    book.run(look, measured=Measured(isolation="none", network="host", protection="none"))
    return cutting(book)


@earns("E09l")
def a_call_on_a_target_attested_otherwise() -> Case:
    return cutting(attested("guest-socket"))


@earns("E09l")
def a_call_on_a_target_not_attested() -> Case:
    return cutting(attested(None))


def _stated(key: MemorySigner = NODE_KEY, **changes: Any) -> Case:
    return replace(cutting(on_a_node(key, **changes)), trust=NODE_TRUSTED)


@earns("E09m")
def an_ok_that_its_node_did_not_sign() -> Case:
    return replace(cutting(on_a_node(None)), trust=NODE_TRUSTED)


@earns("E09m")
def a_statement_of_a_stranger() -> Case:
    return _stated(STRANGER_KEY)


@earns("E09m")
def a_statement_that_a_call_failed_that_is_recorded_as_ok() -> Case:
    return _stated(ended=Ended.FAILED, status=1)


@earns("E09m")
def a_statement_about_another_call() -> Case:
    return _stated(permit=None)


@earns("E09m")
def a_statement_about_another_output() -> Case:
    return _stated(outputs={"stdout": digest_of(b"another")})


# --- steps 10 and 11 ---


def _blob(change: Callable[[BundleBlob], BundleBlob]) -> Case:
    made = cut(a_read())
    return of(made, blobs={name: change(blob) for name, blob in made.contents.blobs.items()})


@earns("E10a")
def an_output_edited() -> Case:
    return _blob(lambda blob: replace(blob, data=b"new line\n"))


@earns("E10a")
def an_output_under_another_key() -> Case:
    return _blob(lambda blob: replace(blob, key=b"k" * 32))


@earns("E10b")
def an_output_nobody_had() -> Case:
    made = cut(a_read())
    return of(made, blobs={**made.contents.blobs, digest_of(b"x"): BundleBlob(key=b"k" * 32, data=b"x")})


@earns("E09k")
def a_stretch_after_its_call() -> Case:
    return cutting(a_stream(b"one\n", late=True))


@earns("E09k")
def a_stretch_left_out() -> Case:
    return cutting(a_stream(b"two\n", start=4))


@earns("E09k")
def a_stretch_of_more_than_was_kept() -> Case:
    return cutting(a_stream(b"one\n", b"two\n", b"three\n"))


@earns("E09k")
def a_stretch_of_nothing() -> Case:
    return cutting(a_stream(b""))


@earns("E10d")
def a_stretch_of_other_output() -> Case:
    return cutting(a_stream(b"one\n", b"2wo\n"))


@earns("E10c")
def an_output_that_should_be_gone() -> Case:
    book = a_read()
    (commitment,) = book.blobs

    return cutting(book, instance=instance_chain((*ROOT_CHAIN, erasing(commitment))))


@earns("E11a")
def a_change_counted_backwards() -> Case:
    book, look, change = approved_change()
    book.run(look, facts=PATHS)
    first = book.attempt(change, values=VALUES, target_n=7, target_prev=digest_of(b"six"))
    book.outcome("set", first, Ended.FAILED)
    book.attempt(change, values=VALUES, number=2, target_n=6, target_prev=first.digest)
    return cutting(book)


@earns("E11a")
def a_change_that_denies_the_one_before() -> Case:
    book, look, change = approved_change()
    book.run(look, facts=PATHS)
    book.attempt(change, values=VALUES, target_n=7)
    return cutting(book)


@earns("E02d")
def a_ticket_too_many() -> Case:
    book, _, _ = approved_change()
    for _ in range(16):
        book.ticket()
    return cutting(book)


@earns("E07m")
def a_slot_of_another_type_whose_pattern_cannot_be_tried() -> Case:
    book = Book("op_x")
    look, change = read_step(), change_step()
    slots = {"path": replace((change.slots or {})["path"], pattern="+")}
    broken = replace(change, slots=slots)
    book.intent()
    book.plan((look, broken), Effect.CHANGE)
    book.decision(Verdict.ALLOWED)
    book.ticket()
    book.run(look, facts={"path": 7})
    book.attempt(broken, values={"path": 7}, target_n=1)
    return cutting(book)
