"""Verification of bundles: one entry, `verify`, and the types it speaks in.

Eleven numbered steps; step k fails with a code `Ekk` and a letter (`codes`). The
verdict is a ladder, claims, and what was not checked and why (`report`).
"""

from __future__ import annotations

from rexecop.proof.verify.codes import CODES, STEPS
from rexecop.proof.verify.evidence import Beside, Evaluate, Members
from rexecop.proof.verify.report import Claims, Finding, NotChecked, Report, Rung, Stamp
from rexecop.proof.verify.run import verify
from rexecop.proof.verify.trusted import NO_KEYS, TrustedKey, TrustedKeys, parse_trust, trust_of

__all__ = [
    "CODES",
    "NO_KEYS",
    "STEPS",
    "Beside",
    "Claims",
    "Evaluate",
    "Finding",
    "Members",
    "NotChecked",
    "Report",
    "Rung",
    "Stamp",
    "TrustedKey",
    "TrustedKeys",
    "parse_trust",
    "trust_of",
    "verify",
]
