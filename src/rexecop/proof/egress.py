"""Which hosts a call can reach: whether what its step plans keeps to what is allowed.

An entry is `host:port` in lower case, an IPv6 address in brackets. What is allowed may
leave the port out: then every port of that host is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from rexecop.proof.call import ProcessRequest, Request, reaches_only
from rexecop.proof.records.plan import CallStep
from rexecop.proof.vocabulary import CONFINING, PRIVATE_NETWORK, Grade, Isolation

_ENTRY: Final = re.compile(
    r"(?:([a-z0-9_](?:[a-z0-9._-]{0,251}[a-z0-9])?)|\[([0-9a-f:.]{2,45})\]):([1-9][0-9]{0,4})"
)


def split(entry: str) -> tuple[str, int]:
    """Return host, without brackets, and port of `entry`.

    Raises:
        ValueError: it is not `host:port` in lower case.
    """
    found = _ENTRY.fullmatch(entry)
    if found is None or int(found[3]) > 65_535 or ".." in entry:
        raise ValueError(f"`{entry:.80}` is not `host:port` in lower case")
    return found[1] or found[2], int(found[3])


def keeps_to(step: CallStep, allowed: Sequence[str]) -> bool:
    """Return whether no call of `step` can reach another host than those in `allowed`.

    A contained read reaches none, unless it says that it does.
    """
    request = step.call.request
    if step.grade is Grade.CONTAINED and not (isinstance(request, ProcessRequest) and request.egress):
        return True
    calls = (step.call, step.undo, step.probe.call if step.probe is not None else None)
    return all(_kept(call.request, step.isolation, allowed) for call in calls if call is not None)


def within(egress: Iterable[str], allowed: Sequence[str]) -> bool:
    """Return whether each `host:port` of `egress` is among `allowed`."""
    return all(entry in allowed or entry.rpartition(":")[0] in allowed for entry in egress)


def _kept(request: Request, isolation: Isolation, allowed: Sequence[str]) -> bool:
    if isinstance(request, ProcessRequest):
        egress = request.egress
        return egress is not None and holds_egress(isolation, egress) and within(egress, allowed)
    # Nobody measures that an exchange has no network, so no list at all is not kept by it.
    return bool(allowed) and reaches_only(request, allowed)


def holds_egress(isolation: Isolation, egress: Sequence[str]) -> bool:
    """Return whether class `isolation` can keep a program to the hosts in `egress`."""
    return isolation in (PRIVATE_NETWORK if egress else CONFINING)
