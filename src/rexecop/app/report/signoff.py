"""The sheet of a check that may be shown to anybody: counts, digests, and by which keys it was signed off.

It names no target, address, person or environment. What a profile calls its components and reasons is
shown, except where it holds such a name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from rexecop.app.checks import FINE, CheckReport, SignedOff
from rexecop.app.describe import counted
from rexecop.app.report.check import (
    SOON_DAYS,
    component_table,
    in_words,
    is_soon_full,
    of_components,
    signed_table,
    verdict,
    whole,
)
from rexecop.app.report.markup import table, tag, terms
from rexecop.app.report.words import plain, strong, when
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.records import Intent, Plan, Receipt, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """How a check came out, in counts; whoever may see the bundle can compare its digest."""

    kind: ClassVar[str] = "sign-off/1"

    operation: str
    intent: str
    began: datetime
    ended: datetime
    state: str
    holds: bool
    targets: int
    states: Mapping[str, int]
    components: Mapping[str, Mapping[str, int]]
    findings: Mapping[str, int]
    soon_full: int
    bundle: Digest
    receipt: Digest | None
    signed_off: tuple[SignedOff, ...]


def sheet_of(found: CheckReport, records: Sequence[Sealed]) -> Sheet:
    """Return what of `found`, made from `records`, may be shown to anybody."""
    names = frozenset(map(_words, {name for one in records for name in _names(one.record)}))
    components: dict[str, Counter[str]] = {}
    for name, counts in of_components(found).items():
        components.setdefault(_public(name, names), Counter()).update(counts)
    reasons = (one.reason for target in found.targets for one in target.findings if one.state not in FINE)
    return Sheet(
        operation=found.operation,
        intent=_public(found.intent, names),
        began=found.began,
        ended=found.ended,
        state=found.state,
        holds=found.holds,
        targets=len(found.targets),
        states=Counter(one.state for one in found.targets),
        components=components,
        findings=Counter(_public(reason, names) for reason in reasons),
        soon_full=sum(map(is_soon_full, found.trends)),
        bundle=found.bundle,
        receipt=next((one.digest for one in reversed(records) if isinstance(one.record, Receipt)), None),
        signed_off=found.signed_off,
    )


def _names(record: Record) -> Iterator[str]:
    """Yield every name of somebody or something of the site that `record` says."""
    yield record.by.person
    if isinstance(record, Intent):
        yield from (record.target, record.environment.id, record.sponsor or "")
    if isinstance(record, Plan):
        yield from (name for target in record.targets for name in (target.id, *target.groups))


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[^\W_]+", text.lower()))


def _public(label: str, names: frozenset[tuple[str, ...]]) -> str:
    """Return `label`, or that it is withheld where a name stands in it."""
    words = _words(label)
    parts = (words[begin:end] for begin in range(len(words)) for end in range(begin + 1, len(words) + 1))
    return "withheld" if any(part in names for part in parts) else label


def page(found: Sheet, style: str) -> bytes:
    """Return the sheet as a page, dressed in `style`."""
    digests = {"Operation": found.operation, "Bundle": found.bundle, "Receipt": found.receipt or "none yet"}
    reasons = [(plain(reason), count) for reason, count in found.findings.items()]
    main = tag(
        "main",
        tag("h1", f"Sign-off: {found.intent}"),
        tag("p", "Names no host, address or person. UTC. Checked by the instance's own keys.", class_="of"),
        tag("p", strong(f"{counted(found.targets, 'target')}: {in_words(found.states)}."), class_="sentence"),
        verdict(found.holds, "Its evidence holds." if found.holds else "Its evidence does NOT hold."),
        terms(
            ("Ran", f"{when(found.began)} to {when(found.ended)}, {plain(found.state)}"),
            (f"Full within {SOON_DAYS} days", counted(found.soon_full, "figure")),
            *((name, tag("code", digest)) for name, digest in digests.items()),
        ),
        *(component_table(found.components), table("Findings by reason", ("reason", "times"), reasons)),
        signed_table(found.signed_off),
    )
    return whole(f"Sign-off: {found.intent}", style, main)
