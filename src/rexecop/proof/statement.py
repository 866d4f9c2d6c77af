"""in-toto Statements (v1): the form in which records are published to other tools."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rexecop.proof.canonical import Digest, Json, canonical_bytes, is_digest, parse_json
from rexecop.proof.errors import RecordMalformed

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
PREDICATE_PREFIX: Final = "https://rexecop.dev/predicate/"

STATEMENT_BYTES_MAX: Final = 320 * 1024  # A record of 256 KiB and what surrounds it.
SUBJECTS_MAX: Final = 1024
NAME_LENGTH_MAX: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a statement is about: something with a name and a digest."""

    name: str
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """That `predicate`, which has the type `predicate_type`, holds of `subjects`."""

    subjects: tuple[Subject, ...]
    predicate_type: str
    predicate: Json


def encode(statement: Statement) -> bytes:
    """Return the canonical JSON of `statement`, the payload of its envelope.

    Raises:
        NotCanonical: the predicate holds something evidence may not.
    """
    return canonical_bytes(
        {
            "_type": STATEMENT_TYPE,
            "subject": [_subject_json(subject) for subject in statement.subjects],
            "predicateType": statement.predicate_type,
            "predicate": statement.predicate,
        }
    )


def decode(data: bytes) -> Statement:
    """Return the statement that `data` is the canonical form of.

    Raises:
        NotCanonical: not strict JSON within limits.
        RecordMalformed: another shape, type or spelling.
    """
    value = parse_json(data, bytes_max=STATEMENT_BYTES_MAX)
    if not isinstance(value, dict) or value.keys() != {"_type", "subject", "predicateType", "predicate"}:
        raise RecordMalformed("statement is not an object with just _type, subject, predicateType, predicate")
    if value["_type"] != STATEMENT_TYPE:
        raise RecordMalformed(f"statement `_type` is not `{STATEMENT_TYPE}`", field="_type")
    subjects, predicate_type = value["subject"], value["predicateType"]
    if not isinstance(subjects, list) or not 0 < len(subjects) <= SUBJECTS_MAX:
        raise RecordMalformed(f"statement `subject` is not a list of 1 to {SUBJECTS_MAX}", field="subject")
    if not isinstance(predicate_type, str):
        raise RecordMalformed("statement `predicateType` is not text", field="predicateType")
    statement = Statement(
        subjects=tuple(_subject(entry, f"subject[{n}]") for n, entry in enumerate(subjects)),
        predicate_type=predicate_type,
        predicate=value["predicate"],
    )
    if encode(statement) != data:
        raise RecordMalformed("bytes are not the canonical form of this statement")
    return statement


def _subject_json(subject: Subject) -> dict[str, Json]:
    return {"name": subject.name, "digest": {"sha256": subject.digest.removeprefix("sha256:")}}


def _subject(value: Json, path: str) -> Subject:
    if not isinstance(value, dict) or value.keys() != {"name", "digest"}:
        raise RecordMalformed(f"`{path}` is not an object with just name and digest", field=path)
    name, digests = value["name"], value["digest"]
    if not isinstance(name, str) or not 0 < len(name) <= NAME_LENGTH_MAX:
        raise RecordMalformed(
            f"`{path}.name` is not text of 1 to {NAME_LENGTH_MAX} letters", field=f"{path}.name"
        )
    found = digests.get("sha256") if isinstance(digests, dict) and len(digests) == 1 else None
    if not isinstance(found, str) or not is_digest(f"sha256:{found}"):
        raise RecordMalformed(f"`{path}.digest` is not one sha256 of 64 hex digits", field=f"{path}.digest")
    return Subject(name=name, digest=Digest(f"sha256:{found}"))
