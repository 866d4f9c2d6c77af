"""Step 4: who signed, judged by the keys this verifier trusts and by no others."""

from __future__ import annotations

from collections.abc import Sequence

from rexecop.proof import dsse, note, sshsig
from rexecop.proof.chain import Sealed
from rexecop.proof.codec import encode
from rexecop.proof.delegation import Given, resting_on
from rexecop.proof.errors import (
    ProofError,
    SignatureUnsupported,
    SignatureUserAbsent,
    SignatureWrong,
    SignerUnknown,
)
from rexecop.proof.note import Note, NoteKey, SignatureType
from rexecop.proof.principal import Principal
from rexecop.proof.publickey import PublicKey
from rexecop.proof.receipts import PAYLOAD_TYPE, PUBLISHED, record_statement
from rexecop.proof.records import Approval, Intent, Receipt
from rexecop.proof.records.approval import APPROVAL_NAMESPACE
from rexecop.proof.records.delegation import DELEGATION_NAMESPACE
from rexecop.proof.records.intent import INTENT_NAMESPACE
from rexecop.proof.suites import ED25519
from rexecop.proof.trust import retired
from rexecop.proof.verify.evidence import Evidence, Notes, Opened, place
from rexecop.proof.verify.succession import Link, Speakers, Succession, succeeds
from rexecop.proof.verify.trusted import CHECKPOINTS, TrustedKey
from rexecop.proof.vocabulary import Established, Role


def check(evidence: Evidence, notes: Notes) -> None:
    """Step 4 for what people signed in one operation."""
    _approvals(evidence, notes)
    _intent(evidence, notes)


def check_bundle(opened: Opened, notes: Notes) -> None:
    """Step 4 for what the instance signed."""
    links = check_checkpoint(opened, notes)
    _envelopes(opened, links, notes)
    signed = {sealed.digest for sealed, _ in opened.of(Intent)}
    signed |= {sealed.digest for sealed in opened.instance if succeeds(sealed)}
    for digest in sorted(opened.contents.signatures.keys() - signed):
        notes.fault("E04g", f"a signature lies beside `{digest}`, which is nothing here that is signed so")


def check_checkpoint(opened: Opened, notes: Notes) -> Sequence[Link]:
    """Note the key that signed the checkpoint, or what is wrong with it, and its witnesses.

    The keys accepted for the instance are returned.
    """
    found, checkpoint = opened.note, opened.checkpoint
    instance = opened.trust.of(Role.INSTANCE)
    succession = Succession(instance, opened.instance, opened.contents.signatures)
    for sealed, text in succession.wrong:
        notes.when(True, "E04n", sealed, text)
    if found is None or checkpoint is None:
        return succession.links
    if not instance:
        notes.skip("the signature of the checkpoint", "no key is trusted for instances")
    else:
        for fingerprint, why in succession.lost:
            notes.skip(f"whether `{fingerprint}` follows a trusted key", why)
        _signer(found, checkpoint.origin, succession.links, opened, notes)
    _witnesses(found, opened, notes)
    return succession.links


def _signer(found: Note, origin: str, links: Sequence[Link], opened: Opened, notes: Notes) -> None:
    newest, known = opened.newest, opened.enrolments
    valid = [link for link in links if link.key.counts(CHECKPOINTS, newest)]
    keys = _note_keys([link.key for link in valid], origin, SignatureType.ED25519)
    try:
        signers = [entry.key.public.fingerprint for entry in note.verify(found, keys)]
    except SignerUnknown:
        within = "" if len(valid) == len(links) else " within its validity"
        notes.fault("E04a", f"the checkpoint is not signed by a key trusted for instances{within}")
        return
    except ProofError as error:
        notes.fault("E04b", f"the checkpoint: {error.message}")
        return
    standing = [one for one in signers if newest is None or not retired(known, Role.INSTANCE, one, newest)]
    if not standing:
        notes.fault("E04m", f"the checkpoint is signed by `{signers[0]}`, which had been retired under it")
        return
    notes.signer = standing[0]
    notes.signer_path = next(link.path for link in valid if link.path[-1] == standing[0])


def _witnesses(found: Note, opened: Opened, notes: Notes) -> None:
    # When it was signed is nobody's word; the newest record it covers says when at the earliest.
    trusted = [key for key in opened.trust.of(Role.WITNESS) if key.counts(CHECKPOINTS, opened.newest)]
    if not trusted:
        notes.skip("witnesses", "no key is trusted for witnesses")
        return
    keys = [key for one in trusted for key in _note_keys((one,), one.name, SignatureType.COSIGNATURE)]
    try:
        notes.witnesses = tuple(entry.key.name for entry in note.verify(found, keys))
    except SignerUnknown:
        notes.skip("witnesses", "no trusted witness has co-signed the checkpoint")
    except ProofError as error:
        notes.fault("E04k", f"a witness: {error.message}")


def _note_keys(trusted: Sequence[TrustedKey], name: str, kind: SignatureType) -> list[NoteKey]:
    """Return the keys as they sign notes under `name`, without those kept to another name."""
    found = []
    for key in trusted:
        wanted = name if kind is SignatureType.ED25519 else key.note_name or name
        if key.note_name in (None, wanted) and key.public.algorithm == ED25519:
            found.append(NoteKey(name=wanted, public=key.public, type=kind))
    return found


def _envelopes(opened: Opened, links: Sequence[Link], notes: Notes) -> None:
    records = {sealed.digest: sealed for sealed in opened.records}
    envelopes = opened.contents.envelopes
    if not links and envelopes:
        notes.skip("the signatures of receipts", "no key is trusted for instances")
    speakers = Speakers(links=links, signer=notes.signer, newest=opened.newest, enrolled=opened.enrolments)
    for digest, data in envelopes.items():
        sealed = records.get(digest)
        if sealed is None or not isinstance(sealed.record, PUBLISHED):
            notes.fault("E04g", f"an envelope lies beside `{digest}`, which is not published here")
        elif _envelope(data, sealed, speakers, notes):
            notes.signed.add(digest)
    for sealed, _ in opened.of(Receipt):
        notes.when(sealed.digest not in envelopes, "E04c", sealed, "has no envelope")


def _envelope(data: bytes, sealed: Sealed, speakers: Speakers, notes: Notes) -> bool:
    """Return whether a key that may do so published `sealed` in the envelope `data`."""
    try:
        envelope = dsse.decode(data)
    except ProofError as error:
        notes.when(True, "E04f", sealed, f"has an envelope that cannot be read: {error.message}")
        return False
    if envelope.payload_type != PAYLOAD_TYPE or envelope.payload != record_statement(sealed):
        notes.when(True, "E04f", sealed, "has an envelope that publishes something else")
        return False
    names = [entry.key_id for entry in envelope.signatures]
    repeated = len(set(names)) < len(names)
    notes.when(repeated, "E04p", sealed, "has an envelope with two signatures by one key")
    if repeated:
        return False
    code, text = "E04d", "has an envelope not signed by a trusted key"
    for name in names:
        try:
            key = speakers.key(name)
            if key is None:
                continue
            dsse.verify(envelope, key, payload_type=PAYLOAD_TYPE)
        except ProofError as error:
            notes.when(True, "E04e", sealed, f"has a wrong envelope: {error.message}")
            return False
        if speakers.retired(name, sealed.record.at):
            code, text = "E04m", f"has an envelope signed by `{name}`, which had been retired"
        elif speakers.may(name, sealed.record.at):
            return True
    within = " within its validity" if any(map(speakers.key, names)) and code == "E04d" else ""
    notes.when(speakers.links, code, sealed, f"{text}{within}")
    return False


def _approvals(evidence: Evidence, notes: Notes) -> None:
    own = evidence.bundle.trust.of(Role.APPROVER)
    for sealed, record in evidence.of(Approval):
        who = record.statement.approver
        if who.established is not Established.KEY:
            notes.skip(f"the signature of {place(sealed)}", f"the approver is known by {who.established}")
            continue
        data = encode(record.statement)
        public = _signed(sealed, record.signature, data, APPROVAL_NAMESPACE, who, "E04h", notes)
        keys = [key for key in own if key.speaks_for(who.person)]
        proved = _own(sealed, public, keys, APPROVAL_NAMESPACE, who, notes)
        if public is not None and record.statement.speaker is not None:
            # Whose vote it was, is shown by the key of who gave it and by no other.
            proved = _delegation(record, evidence, own, notes) and proved
        if proved:
            notes.approvals_own.add(sealed.digest)


def _delegation(record: Approval, evidence: Evidence, own: Sequence[TrustedKey], notes: Notes) -> bool:
    """Return whether the delegation that a vote rests on is signed by a key trusted for who gave it."""
    intent, plan, said = evidence.intent, evidence.plan, record.statement
    if intent is None or plan is None:
        return False
    chain = evidence.bundle.instance
    given = resting_on(said.approver.person, said.voter, intent, plan, chain, record.at)
    if not isinstance(given, Given):
        return False  # Step 8 says so.
    statement, name, who = given.record.statement, DELEGATION_NAMESPACE, given.record.statement.giver
    public = _signed(given.sealed, given.record.signature, encode(statement), name, who, "E04r", notes)
    keys = [key for key in own if key.speaks_for(who.person)]
    return _own(given.sealed, public, keys, name, who, notes)


def _intent(evidence: Evidence, notes: Notes) -> None:
    signatures = evidence.bundle.contents.signatures
    for sealed, record in evidence.of(Intent):
        armored, who = signatures.get(sealed.digest), record.by
        if who.established is not Established.KEY:
            notes.when(armored, "E04g", sealed, "is signed, but its requester is not known by a key")
            if armored is None:
                why = f"the requester is known by {who.established}, as the instance saw it"
                notes.skip("who asked", why)
        elif armored is None:
            notes.when(True, "E04i", sealed, "is by key and has no signature")
        else:
            text = armored.decode("ascii", "replace")
            public = _signed(sealed, text, sealed.body, INTENT_NAMESPACE, who, "E04j", notes)
            trust = evidence.bundle.trust
            known = (*trust.of(Role.REQUESTER), *trust.of(Role.APPROVER))
            own = [key for key in known if key.speaks_for(who.person)]
            # Whose key it is, is the instance's word unless the verifier knows the key too.
            notes.intent_proved |= _own(sealed, public, own, INTENT_NAMESPACE, who, notes)


def _signed(
    sealed: Sealed, armored: str, data: bytes, namespace: str, who: Principal, code: str, notes: Notes
) -> PublicKey | None:
    """Return the key of `who` that signed `data`, or None after noting why it is not shown to."""
    try:
        public = sshsig.verify(armored, data, namespace).public
        if public.fingerprint != who.credential:
            raise SignatureWrong("it is signed by another key than it names")
    except SignatureUnsupported as error:
        # Which key signs is settled by the record, and by which hash by the format: otherwise
        # naming what nobody can check would take a signature away.
        if "hash" in error.facts or sshsig.key_named(armored).fingerprint != who.credential:
            notes.when(True, code, sealed, f"has a wrong signature: {error.message}")
        else:
            notes.skip(f"the signature of {place(sealed)}", error.message)
    except SignatureUserAbsent as error:
        notes.when(True, "E04q", sealed, f"is signed without anybody there: {error.message}")
    except ProofError as error:
        notes.when(True, code, sealed, f"has a wrong signature: {error.message}")
    else:
        return public
    return None


def _own(
    sealed: Sealed,
    public: PublicKey | None,
    trusted: list[TrustedKey],
    namespace: str,
    who: Principal,
    notes: Notes,
) -> bool:
    """Return whether `public` is one of the keys `trusted` for `who`; note it where another one is."""
    known = [key for key in trusted if key.public == public]
    if any(key.counts(namespace, sealed.record.at) for key in known):
        return True
    why = "outside the validity it is trusted for" if known else "not trusted for them"
    wrong = public is not None and trusted
    notes.when(wrong, "E04l", sealed, f"speaks for `{who.person}` with a key {why}")
    return False
