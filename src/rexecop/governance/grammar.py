"""The grammar of annotations: one key, one list, understood at load or refused.

`@approvals("1 of approvers, 2 of sre, at_most 1 of payments, no_peers of payments,
sponsor_may_approve, session_may_approve")`, `@obligations("output_bytes<=8192, timeout<=10s,
steps<=20, targets<=5, isolation>=bubblewrap, no_network, receipt, output_digest, wave<=2, signed_profile,
egress=db.example|mail.example:25, redaction=secrets, notify=oncall, review<=24h,
budget(intent)<=5/1h")`, `@reason("...")`, `@break_glass("1 of oncall, review<=4h")`,
`@escalate("sre-leads after 4h")` on what asks for approvals, and
`@absent("permits")` on what may stay silent where an attribute it guards is absent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from rexecop.governance.obligations import (
    DURATIONS,
    ISOLATION_ORDER,
    merge_limits,
    merge_obligations,
)
from rexecop.proof.canonical import INTEGER_MAX
from rexecop.proof.records.decision import ApprovalLimit, ApprovalRule, Budget, Obligations
from rexecop.proof.steps import merge_approvals

KNOWN: Final = frozenset({"id", "reason", "absent", "approvals", "obligations", "break_glass", "escalate"})
ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
GROUP: Final = ID
REASON_LENGTH_MAX: Final = 200  # One line of words for a person, not a document.
APPROVERS_MAX: Final = 16  # More people than this do not read a plan, they wave it through.

_APPROVAL: Final = re.compile(r"(?:(at_most )?([1-9][0-9]{0,2})|no_peers) of (\S+)")
_LIMIT: Final = re.compile(r"(output_bytes|steps|targets|wave)<=([1-9][0-9]{0,15})")
_NAMED: Final = re.compile(r"(redaction|notify)=(\S+)")
_EGRESS: Final = re.compile(r"egress=(\S+)")
_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,252}[a-z0-9])?(:[1-9][0-9]{0,4})?")
_REVIEW: Final = re.compile(r"review<=([1-9][0-9]{0,5})([smhd])")
_BUDGET: Final = re.compile(
    r"budget\((principal|agent|intent)\)<=([1-9][0-9]{0,3})/([1-9][0-9]{0,5})([smhd])"
)
_LIMITED: Final[Mapping[str, Callable[[int], Obligations]]] = {
    "output_bytes": lambda most: Obligations(output_bytes=most),
    "steps": lambda most: Obligations(steps_max=most),
    "targets": lambda most: Obligations(targets_max=most),
    "wave": lambda most: Obligations(wave_max=most),
}
_TIMEOUT: Final = re.compile(r"timeout<=([1-9][0-9]{0,8})(ms|s|m)")
_ESCALATION: Final = re.compile(r"(\S+) after ([1-9][0-9]{0,5})([smhd])")
_ISOLATION: Final = re.compile(r"isolation>=([a-z-]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Whose approval is asked, and who may not give it.

    `limits` bound how many of a group count, `no_peers` are groups of which nobody does
    where who asks is in them; `sponsor` lets the sponsor of an agent approve, `session` whom an
    identity provider vouches for, unsigned.
    """

    rules: tuple[ApprovalRule, ...] = ()
    limits: tuple[ApprovalLimit, ...] = ()
    no_peers: tuple[str, ...] = ()
    sponsor: bool = False
    session: bool = False

    @property
    def groups(self) -> tuple[str, ...]:
        """Every group that is named."""
        rules, limits = (one.group for one in self.rules), (one.group for one in self.limits)
        return (*rules, *limits, *self.no_peers)


NOBODY_ASKED: Final = Asked()


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation:
    """Who waits for approval for `after` or longer is told of to everybody in `group`."""

    after: timedelta
    group: str


def read_approvals(text: str) -> Asked:
    """Return the approvals that `text` asks for.

    Raises:
        ValueError: `text` is not a list like `1 of approvers, 2 of sre`, naming the wrong entry.
    """
    found = [_approval(entry) for entry in _entries(text)]
    return Asked(
        rules=merge_approvals(one.rules for one in found),
        limits=merge_limits(one.limits for one in found),
        no_peers=tuple(sorted({group for one in found for group in one.no_peers})),
        sponsor=any(one.sponsor for one in found),
        session=any(one.session for one in found),
    )


def read_obligations(text: str) -> Obligations:
    """Return the obligations that `text` lists.

    Raises:
        ValueError: an entry is not an obligation anybody here can keep, naming it.
    """
    return merge_obligations([_obligation(entry) for entry in _entries(text)])


def _entries(text: str) -> Iterable[str]:
    entries = [entry.strip() for entry in text.split(",")]
    if not all(entries):
        raise ValueError("it holds an empty entry")
    return entries


def _approval(entry: str) -> Asked:
    if entry == "sponsor_may_approve":
        return Asked(sponsor=True)
    if entry == "session_may_approve":
        return Asked(session=True)
    found = _APPROVAL.fullmatch(entry)
    if found is None or not GROUP.fullmatch(found[3]):
        words = "`sponsor_may_approve` or `session_may_approve`"
        known = f"`at_most 1 of payments`, `no_peers of payments`, {words}"
        raise ValueError(f"`{entry:.60}` is not like `2 of approvers`, {known}")
    if found[2] is None:
        return Asked(no_peers=(found[3],))
    if int(found[2]) > APPROVERS_MAX:
        raise ValueError(f"`{entry:.60}` asks for more than {APPROVERS_MAX} people")
    if found[1] is not None:
        return Asked(limits=(ApprovalLimit(at_most=int(found[2]), group=found[3]),))
    return Asked(rules=(ApprovalRule(count=int(found[2]), group=found[3]),))


def read_rules(text: str) -> tuple[ApprovalRule, ...]:
    """Return whose approval `text` asks for and nothing else, nobody's for an empty one.

    Raises:
        ValueError: as `read_approvals`, or it says more than that.
    """
    asked = read_approvals(text) if text else NOBODY_ASKED
    if asked.limits or asked.no_peers or asked.sponsor or asked.session:
        raise ValueError(f"`{text:.60}` says more than whose approval is asked")
    return asked.rules


def read_break_glass(text: str) -> tuple[tuple[ApprovalRule, ...], Obligations]:
    """Return what stands in the place of a rule's approvals in an emergency: others, a review, or both.

    Raises:
        ValueError: `text` is not a list like `1 of oncall, review<=4h`, naming the wrong entry.
    """
    entries = list(_entries(text))
    reviews = [entry for entry in entries if entry.startswith("review")]
    rules = read_rules(", ".join(entry for entry in entries if entry not in reviews))
    return rules, merge_obligations([_obligation(entry) for entry in reviews])


def read_escalations(text: str) -> tuple[Escalation, ...]:
    """Return to whom what waits is escalated, and when.

    Raises:
        ValueError: `text` is not a list like `sre-leads after 4h`, naming the wrong entry.
    """
    found: list[Escalation] = []
    for entry in _entries(text):
        match = _ESCALATION.fullmatch(entry)
        if match is None or not GROUP.fullmatch(match[1]):
            raise ValueError(f"`{entry:.60}` is not like `sre-leads after 4h`")
        after = timedelta(milliseconds=int(match[2]) * DURATIONS[match[3]])
        found.append(Escalation(after=after, group=match[1]))
    return tuple(found)


def _obligation(entry: str) -> Obligations:
    if entry in ("no_network", "receipt", "output_digest", "signed_profile"):
        return Obligations(
            no_network=entry == "no_network",
            receipt=entry == "receipt",
            output_digest=entry == "output_digest",
            signed_profile=entry == "signed_profile",
        )
    if (found := _TIMEOUT.fullmatch(entry)) is not None:
        return Obligations(timeout_ms=int(found[1]) * DURATIONS[found[2]])
    if (found := _ISOLATION.fullmatch(entry)) is not None:
        if found[1] not in ISOLATION_ORDER:
            raise ValueError(f"`{found[1]:.40}` is not one of {', '.join(ISOLATION_ORDER)}")
        return Obligations(isolation=found[1])
    if (found := _LIMIT.fullmatch(entry)) is not None and int(found[2]) <= INTEGER_MAX:
        return _LIMITED[found[1]](int(found[2]))
    return _further(entry)


def _further(entry: str) -> Obligations:
    if (found := _NAMED.fullmatch(entry)) is not None and GROUP.fullmatch(found[2]):
        name = (found[2],)
        return Obligations(redaction=name) if found[1] == "redaction" else Obligations(notify=name)
    if (found := _EGRESS.fullmatch(entry)) is not None:
        hosts = found[1].split("|")
        wrong = next((host for host in hosts if not _HOST.fullmatch(host)), None)
        if wrong is not None:
            raise ValueError(f"`{wrong:.60}` is no host like `db.example` or `mail.example:25`")
        return Obligations(egress=tuple(sorted(set(hosts))))
    if (found := _REVIEW.fullmatch(entry)) is not None:
        return Obligations(review_ms=int(found[1]) * DURATIONS[found[2]])
    if (found := _BUDGET.fullmatch(entry)) is not None:
        per = int(found[3]) * DURATIONS[found[4]]
        return Obligations(budgets=(Budget(scope=found[1], count=int(found[2]), per_ms=per),))
    raise ValueError(f"`{entry:.60}` is not an obligation known here")
