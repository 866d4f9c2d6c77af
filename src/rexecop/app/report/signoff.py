"""The sheet of a check that may be shown to anybody: counts, digests, and by which keys it was signed off.

It names no target, address, person or environment. What a profile calls its components and reasons is
shown, except where it holds such a name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final

from rexecop.app.checks import FINE, CheckReport, SignedOff
from rexecop.app.describe import counted
from rexecop.app.report.check import SOON_DAYS, component_table, in_words, of_components, signed_table
from rexecop.app.report.markup import document, style_allowed, table, tag, terms
from rexecop.app.report.words import plain, strong, when
from rexecop.proof.bundle import BundleContents
from rexecop.proof.canonical import Digest, Json
from rexecop.proof.chain import unseal
from rexecop.proof.records import Intent, Plan, Receipt

WITHHELD: Final = "withheld"

_WORDS: Final = re.compile(r"[^\W_]+")


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
    records: int
    targets: int
    states: Mapping[str, int]
    components: Mapping[str, Mapping[str, int]]
    findings: Mapping[str, int]
    soon_full: int
    bundle: Digest
    receipt: Digest | None
    signed_off: tuple[SignedOff, ...]


def sheet_of(found: CheckReport, contents: BundleContents) -> Sheet:
    """Return what of `found`, made from `contents`, may be shown to anybody."""
    sealed = tuple(map(unseal, contents.records))
    names = frozenset(_tokens(name) for one in sealed for name in _names(one.record))
    components: dict[str, Counter[str]] = {}
    for name, counts in of_components(found).items():
        components.setdefault(_public(name, names), Counter()).update(counts)
    findings = Counter(
        _public(one.reason, names)
        for target in found.targets
        for one in target.findings
        if one.state not in FINE
    )
    receipt = next((one.digest for one in reversed(sealed) if isinstance(one.record, Receipt)), None)
    return Sheet(
        operation=found.operation,
        intent=_public(found.intent, names),
        began=found.began,
        ended=found.ended,
        state=found.state,
        holds=found.holds,
        records=len(sealed),
        targets=len(found.targets),
        states=Counter(one.state for one in found.targets),
        components=components,
        findings=findings,
        soon_full=sum(one.days_to_full is not None and one.days_to_full <= SOON_DAYS for one in found.trends),
        bundle=found.bundle,
        receipt=receipt,
        signed_off=found.signed_off,
    )


def _names(record: object) -> Iterator[str]:
    """Yield every name of somebody or something of the site that `record` says."""
    by = getattr(record, "by", None)
    if by is not None:
        yield by.person
    if isinstance(record, Intent):
        yield from (record.target, record.environment.id, record.sponsor or "")
        yield from _texts(record.parameters)
    if isinstance(record, Plan):
        yield from (name for target in record.targets for name in (target.id, *target.groups))


def _texts(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def _tokens(text: str) -> tuple[str, ...]:
    return tuple(_WORDS.findall(text.lower()))


def _public(label: str, names: frozenset[tuple[str, ...]]) -> str:
    """Return `label`, or that it is withheld where a name stands in it."""
    words = _tokens(label)
    parts = (words[begin:end] for begin in range(len(words)) for end in range(begin + 1, len(words) + 1))
    return WITHHELD if any(part in names for part in parts) else label


def page(found: Sheet, style: str) -> bytes:
    """Return the sheet as a page, dressed in `style`."""
    title = f"Sign-off: {found.intent}"
    evidence = (
        "The evidence holds by the instance's own keys." if found.holds else "The evidence does NOT hold."
    )
    main = tag(
        "main",
        tag("h1", title),
        tag("p", "No host, address or person is named here. All times are UTC.", class_="of"),
        tag("p", strong(f"{counted(found.targets, 'target')}: {in_words(found.states)}."), class_="sentence"),
        tag("p", strong(evidence), class_="verdict" if found.holds else "verdict odd"),
        terms(
            ("Began", when(found.began)),
            ("Ended", f"{when(found.ended)}, {plain(found.state)}"),
            (f"Full within {SOON_DAYS} days", counted(found.soon_full, "figure")),
            ("Operation", tag("code", found.operation)),
            ("Records", found.records),
            ("Bundle", tag("code", found.bundle)),
            ("Receipt", tag("code", found.receipt) if found.receipt else "none yet"),
        ),
        tag("h2", "Components"),
        component_table(found.components),
        tag("h2", "Findings"),
        table(
            "Findings by reason", ("reason", "times"), [(plain(one), n) for one, n in found.findings.items()]
        ),
        tag("h2", "Signed off"),
        signed_table(found.signed_off),
    )
    return document(title, style, f"default-src 'none'; {style_allowed(style)}; base-uri 'none'", main)
