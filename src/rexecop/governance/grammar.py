"""The grammar of annotations: one key, one list, understood at load or refused.

`@approvals("1 of approvers, 2 of sre, at_most 1 of payments, no_peers of payments,
sponsor_may_approve")`, `@obligations("output_bytes<=8192, timeout<=10s,
steps<=20, targets<=5, isolation>=bubblewrap, no_network, receipt")`, `@reason("...")`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from rexecop.governance.obligations import ISOLATION_ORDER, merge_approvals, merge_limits, merge_obligations
from rexecop.proof.canonical import INTEGER_MAX
from rexecop.proof.records.decision import ApprovalLimit, ApprovalRule, Obligations

KNOWN: Final = frozenset({"id", "reason", "approvals", "obligations"})
ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
GROUP: Final = ID
REASON_LENGTH_MAX: Final = 200  # One line of words for a person, not a document.
APPROVERS_MAX: Final = 16  # More people than this do not read a plan, they wave it through.

_APPROVAL: Final = re.compile(r"(?:(at_most )?([1-9][0-9]{0,2})|no_peers) of (\S+)")
_LIMIT: Final = re.compile(r"(output_bytes|steps|targets)<=([1-9][0-9]{0,15})")
_TIMEOUT: Final = re.compile(r"timeout<=([1-9][0-9]{0,8})(ms|s|m)")
_ISOLATION: Final = re.compile(r"isolation>=([a-z-]+)")
_MILLISECONDS: Final = {"ms": 1, "s": 1000, "m": 60_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Whose approval is asked, and who may not give it.

    `limits` bound how many of a group count, `no_peers` are groups of which nobody does
    where who asks is in them; `sponsor` lets the sponsor of an agent approve.
    """

    rules: tuple[ApprovalRule, ...] = ()
    limits: tuple[ApprovalLimit, ...] = ()
    no_peers: tuple[str, ...] = ()
    sponsor: bool = False

    @property
    def groups(self) -> tuple[str, ...]:
        """Every group that is named."""
        rules, limits = (one.group for one in self.rules), (one.group for one in self.limits)
        return (*rules, *limits, *self.no_peers)


NOBODY_ASKED: Final = Asked()


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
    found = _APPROVAL.fullmatch(entry)
    if found is None or not GROUP.fullmatch(found[3]):
        known = "`at_most 1 of payments`, `no_peers of payments` or `sponsor_may_approve`"
        raise ValueError(f"`{entry:.60}` is not like `2 of approvers`, {known}")
    if found[2] is None:
        return Asked(no_peers=(found[3],))
    if int(found[2]) > APPROVERS_MAX:
        raise ValueError(f"`{entry:.60}` asks for more than {APPROVERS_MAX} people")
    if found[1] is not None:
        return Asked(limits=(ApprovalLimit(at_most=int(found[2]), group=found[3]),))
    return Asked(rules=(ApprovalRule(count=int(found[2]), group=found[3]),))


def _obligation(entry: str) -> Obligations:
    if entry in ("no_network", "receipt"):
        return Obligations(no_network=entry == "no_network", receipt=entry == "receipt")
    if (found := _TIMEOUT.fullmatch(entry)) is not None:
        return Obligations(timeout_ms=int(found[1]) * _MILLISECONDS[found[2]])
    if (found := _ISOLATION.fullmatch(entry)) is not None:
        if found[1] not in ISOLATION_ORDER:
            raise ValueError(f"`{found[1]:.40}` is not one of {', '.join(ISOLATION_ORDER)}")
        return Obligations(isolation=found[1])
    found = _LIMIT.fullmatch(entry)
    if found is None or int(found[2]) > INTEGER_MAX:
        raise ValueError(f"`{entry:.60}` is not an obligation known here")
    limit = int(found[2])
    if found[1] == "output_bytes":
        return Obligations(output_bytes=limit)
    return Obligations(steps_max=limit) if found[1] == "steps" else Obligations(targets_max=limit)
