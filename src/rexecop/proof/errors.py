"""Errors every layer derives from, and the root of proof's own tree.

RexecopError
└── ProofError
    ├── NotCanonical                bytes or values outside the canonical form
    ├── RecordMalformed             a record that does not fit its kind
    ├── KindUnknown                 a kind nobody here can read
    ├── ChainBroken                 records that do not follow one another
    │   ├── ChainPlaceRepeated      two records claim one place
    │   └── ChainTimeReversed       a record dated further back than any clock may step
    ├── TemplateMismatch            a call that its template does not yield
    ├── ContainerMalformed          bytes that are not a container, or break a limit
    ├── BundleMalformed             a container whose members do not make up a bundle
    ├── TrustFileMalformed          a file of a trust folder that names no key and role
    ├── AllowedSignersMalformed     a text that is no allowed_signers file we can hold to
    ├── DerMalformed                bytes that are not DER, or not of the structure they should be
    ├── StampError                  a time stamp that shows nothing
    │   ├── StampWrong              it contradicts itself, what it should be of, or its certificate
    │   └── StampUntrusted          its certificate leads to none that is trusted
    ├── LogError                    the log does not show what it should
    │   ├── LogProofMalformed       a proof that fits no such place or size
    │   │   └── LogProofEmpty       no proof where one is needed
    │   ├── InclusionProofWrong     a proof that leads to another root
    │   ├── ConsistencyProofWrong   a proof that does not join the two roots
    │   ├── NodeMissing             a tree node the store should hold and does not
    │   ├── HeadsProofWrong         a map of target heads that is not what its root says
    │   ├── LogLeafUnreadable       a leaf, or the tile it should be in, is not there or cannot be read
    │   ├── LogRecordAltered        a record whose bytes are not those that were logged
    │   ├── LogNodeWrong            a kept tree node that is not the one of its leaves
    │   ├── LogTruncated            the log is shorter than a checkpoint of it
    │   ├── LogRewound              the log was cut back behind a checkpoint and grew again
    │   ├── LogForked               two logs of one size
    │   ├── NoteMalformed           text that is no signed note
    │   │   └── NoteSignatureRepeated   a note that one key signs twice
    │   ├── CheckpointMalformed     a note that is no checkpoint
    │   ├── CheckpointForged        a checkpoint whose size or root is not that of its log
    │   ├── CheckpointForeign       a checkpoint of another log
    │   ├── WitnessRequestMalformed bytes that are no request to a witness
    │   ├── WitnessStale            a request from another size than the witness last saw
    │   └── CosignatureUnmatched    lines that cosign no checkpoint known here
    └── SignatureError              something that should be signed is not shown to be
        ├── PublicKeyMalformed      bytes that are no usable public key
        ├── SignatureMalformed      bytes that are no signature, or break a limit
        ├── SignatureUnsupported    an algorithm nobody here can check: never a pass
        ├── SignatureWrong          the key did not sign this
        ├── SignatureUserAbsent     a security key signed, and nobody touched it
        ├── SignatureNamespaceMismatch  signed for another purpose
        ├── SignatureRepeated       one key counted twice
        └── SignerUnknown           no signature by the key that was asked for
            └── CheckpointUnsigned  a checkpoint that no trusted key of its log signed
"""

from __future__ import annotations

from typing import ClassVar


class RexecopError(Exception):
    """A refusal or failure with a stable code, a message for operators and facts.

    `code` never changes once released; `facts` are what a program needs to act;
    `next_steps` are commands a person may try.
    """

    code: ClassVar[str] = "internal-error"

    def __init__(self, message: str, *, next_steps: tuple[str, ...] = (), **facts: str | int | None) -> None:
        super().__init__(message)
        self.message = message
        self.next_steps = next_steps
        self.facts: dict[str, str | int] = {key: value for key, value in facts.items() if value is not None}


class ProofError(RexecopError):
    """Something that should be provable is not."""

    code = "proof-error"


class NotCanonical(ProofError):
    """A value or byte string has no canonical form, or is not in it."""

    code = "not-canonical"


class RecordMalformed(ProofError):
    """A record has a missing, unknown or wrongly typed field."""

    code = "record-malformed"


class KindUnknown(ProofError):
    """The `kind` of an object is not one this version reads."""

    code = "kind-unknown"


class ChainBroken(ProofError):
    """Records of one operation do not follow one another."""

    code = "chain-broken"


class ChainPlaceRepeated(ChainBroken):
    """Two records claim one place of an operation."""

    code = "chain-place-repeated"


class ChainTimeReversed(ChainBroken):
    """A record is dated further before the one it follows than a clock may step back."""

    code = "chain-time-reversed"


class TemplateMismatch(ProofError):
    """A filled call is not what its template and values yield."""

    code = "template-mismatch"


class ContainerMalformed(ProofError):
    """The file is not a container, or breaks a limit; nothing in it can be read."""

    code = "container-malformed"


class BundleMalformed(ProofError):
    """The members of a container do not make up a bundle."""

    code = "bundle-malformed"


class TrustFileMalformed(ProofError):
    """A file of a trust folder does not say which key is trusted for what."""

    code = "trust-file-malformed"


class AllowedSignersMalformed(ProofError):
    """A line of an allowed_signers file cannot be read, or asks for what we cannot check."""

    code = "allowed-signers-malformed"


class DerMalformed(ProofError):
    """Bytes are not DER, or not of the structure they should be."""

    code = "der-malformed"


class StampError(ProofError):
    """A time stamp shows nothing."""

    code = "stamp-error"


class StampWrong(StampError):
    """A time stamp is of something else, not signed by its certificate, or that is none for time stamps."""

    code = "stamp-wrong"


class StampUntrusted(StampError):
    """The certificate of a time stamp leads to none that is trusted."""

    code = "stamp-untrusted"


class LogError(ProofError):
    """The log does not show what it should."""

    code = "log-error"


class LogProofMalformed(LogError):
    """A Merkle proof has the wrong shape for the place and sizes it is given for."""

    code = "log-proof-malformed"


class LogProofEmpty(LogProofMalformed):
    """There is no proof at all where only a proof can show it."""

    code = "log-proof-empty"


class InclusionProofWrong(LogError):
    """The leaf is not at that place under that root."""

    code = "inclusion-proof-wrong"


class ConsistencyProofWrong(LogError):
    """The newer tree is not shown to continue the older one."""

    code = "consistency-proof-wrong"


class NodeMissing(LogError):
    """A node that a leaf completed is not in that leaf's row."""

    code = "log-node-missing"


class HeadsProofWrong(LogError):
    """A map of target heads is not shown to be the one under its root."""

    code = "heads-proof-wrong"


class LogLeafUnreadable(LogError):
    """A leaf, or the tile or bundle it should be in, is missing or cannot be read."""

    code = "log-leaf-unreadable"


class LogRecordAltered(LogError):
    """The bytes of a record are not those that were logged."""

    code = "log-record-altered"


class LogNodeWrong(LogError):
    """A tree node that was kept is not the one of the leaves below it."""

    code = "log-node-wrong"


class LogTruncated(LogError):
    """The log is shorter than a checkpoint of it."""

    code = "log-truncated"


class LogRewound(LogError):
    """The log does not continue a checkpoint of it: it was cut back and grew again."""

    code = "log-rewound"


class LogForked(LogError):
    """There are two logs of one size with different roots."""

    code = "log-forked"


class NoteMalformed(LogError):
    """A signed note breaks its format or a limit."""

    code = "note-malformed"


class NoteSignatureRepeated(NoteMalformed):
    """A signed note has two signatures by one key."""

    code = "note-signature-repeated"


class CheckpointMalformed(LogError):
    """The text of a note is not a checkpoint."""

    code = "checkpoint-malformed"


class CheckpointForged(LogError):
    """The size or the root that a checkpoint states is not that of its log."""

    code = "checkpoint-forged"


class CheckpointForeign(LogError):
    """A checkpoint is of another log."""

    code = "checkpoint-foreign"


class WitnessRequestMalformed(LogError):
    """A request to a witness breaks its format or a limit."""

    code = "witness-request-malformed"


class WitnessStale(LogError):
    """A request to a witness starts from another size than the one it last cosigned."""

    code = "witness-stale"


class CosignatureUnmatched(LogError):
    """Signature lines cosign no checkpoint that was given to a witness here."""

    code = "cosignature-unmatched"


class SignatureError(ProofError):
    """Something that should be signed is not shown to be."""

    code = "signature-error"


class PublicKeyMalformed(SignatureError):
    """A public key cannot be read, or is one that signatures prove nothing under."""

    code = "public-key-malformed"


class SignatureMalformed(SignatureError):
    """A signature or the envelope around it breaks its format or a limit."""

    code = "signature-malformed"


class SignatureUnsupported(SignatureError):
    """The algorithm cannot be checked here, so nothing is shown."""

    code = "signature-unsupported"


class SignatureWrong(SignatureError):
    """The key did not sign these bytes."""

    code = "signature-wrong"


class SignatureUserAbsent(SignatureError):
    """The security key does not show that its user was present."""

    code = "signature-user-absent"


class SignatureNamespaceMismatch(SignatureError):
    """The signature was made for another purpose."""

    code = "signature-namespace-mismatch"


class SignatureRepeated(SignatureError):
    """The same key signs the same thing more than once."""

    code = "signature-repeated"


class SignerUnknown(SignatureError):
    """None of the signatures is by the key that was asked for."""

    code = "signer-unknown"


class CheckpointUnsigned(SignerUnknown):
    """No trusted key of its log signed a checkpoint."""

    code = "checkpoint-unsigned"
