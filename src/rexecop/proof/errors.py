"""Errors every layer derives from, and the root of proof's own tree.

RexecopError
└── ProofError
    ├── NotCanonical        bytes or values outside the canonical form
    ├── RecordMalformed     a record that does not fit its kind
    ├── KindUnknown         a kind nobody here can read
    ├── ChainBroken         records that do not follow one another
    └── TemplateMismatch    a call that its template does not yield
"""

from __future__ import annotations

from typing import ClassVar


class RexecopError(Exception):
    """A refusal or failure with a stable code, a message for operators and facts.

    `code` never changes once released; `facts` are what a program needs to act;
    `next_steps` are commands a person may try.
    """

    code: ClassVar[str] = "internal-error"

    def __init__(
        self,
        message: str,
        *,
        next_steps: tuple[str, ...] = (),
        **facts: str | int | None,
    ) -> None:
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


class TemplateMismatch(ProofError):
    """A filled call is not what its template and values yield."""

    code = "template-mismatch"
