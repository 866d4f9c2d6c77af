"""Step 4: who signed, judged by the keys this verifier trusts and by no others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rexecop.proof import dsse, note, sshsig
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.codec import encode
from rexecop.proof.dsse import Envelope
from rexecop.proof.errors import ProofError
from rexecop.proof.note import NoteKey, SignatureType
from rexecop.proof.receipts import PUBLISHED, record_statement
from rexecop.proof.records.approval import APPROVAL_NAMESPACE, Approval
from rexecop.proof.records.intent import INTENT_NAMESPACE, Intent
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.signature_errors import SignatureUnsupported, SignatureWrong, SignerUnknown
from rexecop.proof.statement import PAYLOAD_TYPE
from rexecop.proof.verify.evidence import Evidence, Notes, place
from rexecop.proof.verify.trusted import TrustedKey
from rexecop.proof.vocabulary import Established, Role

NUMBER: Final = 4


def check(evidence: Evidence, notes: Notes) -> None:
    """Step 4."""
    check_checkpoint(evidence, notes)
    _envelopes(evidence, notes)
    _approvals(evidence, notes)
    _intent(evidence, notes)


def check_checkpoint(evidence: Evidence, notes: Notes) -> None:
    """Note the trusted key that signed the checkpoint, or what is wrong with it, and its witnesses."""
    found, checkpoint = evidence.note, evidence.checkpoint
    if found is None or checkpoint is None:
        return
    instance = evidence.trust.of(Role.INSTANCE)
    if not instance:
        notes.skip("the signature of the checkpoint", "no key is trusted for instances")
    else:
        keys = _note_keys(instance, checkpoint.origin, SignatureType.ED25519)
        try:
            notes.signer = note.verify(found, keys)[0].key.public.fingerprint
        except SignerUnknown:
            notes.fault("E04a", "the checkpoint is not signed by a key trusted for instances")
        except ProofError as error:
            notes.fault("E04b", f"the checkpoint: {error.message}")
    _witnesses(evidence, notes)


def _witnesses(evidence: Evidence, notes: Notes) -> None:
    trusted = evidence.trust.of(Role.WITNESS)
    if evidence.note is None:
        return
    if not trusted:
        notes.skip("witnesses", "no key is trusted for witnesses")
        return
    keys = [key for one in trusted for key in _note_keys((one,), one.name, SignatureType.COSIGNATURE)]
    try:
        notes.witnesses = tuple(entry.key.name for entry in note.verify(evidence.note, keys))
    except SignerUnknown:
        notes.skip("witnesses", "no trusted witness has co-signed the checkpoint")
    except ProofError as error:
        notes.fault("E04k", f"a witness: {error.message}")


def _note_keys(trusted: Sequence[TrustedKey], name: str, kind: SignatureType) -> list[NoteKey]:
    """Return the keys as they sign notes under `name`, without those kept to another name."""
    found = []
    for key in trusted:
        wanted = name if kind is SignatureType.ED25519 else key.note_name or name
        if key.note_name in (None, wanted) and key.public.algorithm == "ssh-ed25519":
            found.append(NoteKey(name=wanted, public=key.public, type=kind))
    return found


def _envelopes(evidence: Evidence, notes: Notes) -> None:
    records = {sealed.digest: sealed for sealed in evidence.records}
    trusted = evidence.trust.of(Role.INSTANCE)
    if not trusted and evidence.contents.envelopes:
        notes.skip("the signatures of receipts", "no key is trusted for instances")
    signed: set[Digest] = set()
    for digest, data in evidence.contents.envelopes.items():
        sealed = records.get(digest)
        if sealed is None or not isinstance(sealed.record, PUBLISHED):
            notes.fault("E04g", f"an envelope lies beside `{digest}`, which is not published here")
        elif _envelope(data, sealed, trusted, notes):
            signed.add(digest)
    receipts = [sealed for sealed, _ in evidence.of(Receipt)]
    for sealed in receipts:
        if sealed.digest not in evidence.contents.envelopes:
            notes.fault("E04c", f"{place(sealed)} has no envelope", sealed)
    notes.receipts_signed = all(sealed.digest in signed for sealed in receipts)


def _envelope(data: bytes, sealed: Sealed, trusted: Sequence[TrustedKey], notes: Notes) -> bool:
    """Return whether a trusted key published `sealed` in the envelope `data`."""
    try:
        envelope = dsse.decode(data)
    except ProofError as error:
        notes.fault("E04f", f"{place(sealed)}: {error.message}", sealed)
        return False
    if envelope.payload_type != PAYLOAD_TYPE or envelope.payload != record_statement(sealed):
        notes.fault("E04f", f"the envelope of {place(sealed)} publishes something else", sealed)
        return False
    return bool(trusted) and _envelope_signed(envelope, sealed, trusted, notes)


def _envelope_signed(envelope: Envelope, sealed: Sealed, trusted: Sequence[TrustedKey], notes: Notes) -> bool:
    for key in trusted:
        try:
            dsse.verify(envelope, key.public, payload_type=PAYLOAD_TYPE)
        except SignerUnknown:
            continue
        except ProofError as error:
            notes.fault("E04e", f"the envelope of {place(sealed)}: {error.message}", sealed)
            return False
        return True
    notes.fault("E04d", f"the envelope of {place(sealed)} is not signed by a trusted key", sealed)
    return False


def _approvals(evidence: Evidence, notes: Notes) -> None:
    own = evidence.trust.of(Role.APPROVER)
    for sealed, record in evidence.of(Approval):
        approver = record.statement.approver
        if approver.established is not Established.KEY:
            notes.skip(
                f"the signature of {place(sealed)}", f"the approver is known by {approver.established}"
            )
            continue
        try:
            public = sshsig.verify(record.signature, encode(record.statement), APPROVAL_NAMESPACE)
        except SignatureUnsupported as error:
            notes.skip(f"the signature of {place(sealed)}", error.message)
            continue
        except ProofError as error:
            notes.fault("E04h", f"{place(sealed)}: {error.message}", sealed)
            continue
        if public.fingerprint != approver.credential:
            notes.fault("E04h", f"{place(sealed)} is signed by another key than it names", sealed)
        elif any(key.public == public and key.name == approver.person for key in own):
            notes.approvals_own.add(sealed.digest)
        elif any(key.name == approver.person for key in own):
            notes.fault(
                "E04l",
                f"{place(sealed)} speaks for `{approver.person}` with a key not trusted for them",
                sealed,
            )


def _intent(evidence: Evidence, notes: Notes) -> None:
    intents = {sealed.digest: (sealed, record) for sealed, record in evidence.of(Intent)}
    for digest in evidence.contents.signatures:
        if digest not in intents:
            notes.fault("E04g", f"a signature lies beside `{digest}`, which is not an intent here")
    for digest, (sealed, record) in intents.items():
        armored = evidence.contents.signatures.get(digest)
        if record.by.established is not Established.KEY:
            if armored is not None:
                notes.fault(
                    "E04g", f"{place(sealed)} is signed, but its requester is not known by a key", sealed
                )
            else:
                notes.skip(
                    "who asked", f"the requester is known by {record.by.established}, as the instance saw it"
                )
        elif armored is None:
            notes.fault("E04i", f"{place(sealed)} is by key and has no signature", sealed)
        else:
            _intent_signed(sealed, record, armored, evidence, notes)


def _intent_signed(sealed: Sealed, record: Intent, armored: bytes, evidence: Evidence, notes: Notes) -> None:
    try:
        public = sshsig.verify(armored.decode("ascii"), sealed.body, INTENT_NAMESPACE)
        if public.fingerprint != record.by.credential:
            raise SignatureWrong("it is signed by another key than it names")
    except SignatureUnsupported as error:
        notes.skip(f"the signature of {place(sealed)}", error.message)
    except (UnicodeDecodeError, ProofError) as error:
        notes.fault("E04j", f"{place(sealed)}: {error}", sealed)
    else:
        notes.intent_proved = True
        own = [key for key in evidence.trust.of(Role.REQUESTER) if key.name == record.by.person]
        if own and all(key.public != public for key in own):
            notes.fault(
                "E04l", f"{place(sealed)} speaks for `{record.by.person}` with a key not trusted", sealed
            )
