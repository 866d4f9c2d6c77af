"""What callers of the service may do there: a pack that comes with the program, decided by the same engine.

It speaks of other things than the operator's packs do: of roles and acts of a service, not of who may
change what. So it has a schema of its own, and it grants nothing that those packs deny: an operation that
is planned through the service is decided about by them as any other is.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Final

import cedarpy

from rexecop.proof.canonical import Json, trusted_bytes

ANSWERS_MAX: Final = 4096  # More than there are sets of roles, times acts, times two.

SCHEMA: Final = """\
entity Role;
entity Caller in [Role];
entity Service;
type Context = { in_scope: Bool };  // what it is about is within what the caller's acts may be about
action "view", "plan", "run", "approve", "evidence", "tell", "decide", "administer", "metrics"
  appliesTo { principal: [Caller], resource: [Service], context: Context };
"""

RULES: Final = """\
@id("viewer")
permit (principal in Role::"viewer", action == Action::"view", resource);
@id("operator")
permit (
    principal in Role::"operator",
    action in [Action::"view", Action::"plan", Action::"run", Action::"tell"],
    resource
);
@id("approver")
permit (
    principal in Role::"approver", action in [Action::"view", Action::"approve", Action::"evidence"], resource
);
@id("auditor")
permit (
    principal in Role::"auditor", action in [Action::"view", Action::"evidence", Action::"metrics"], resource
);
@id("admin")
permit (
    principal in Role::"admin",
    action in [
        Action::"view", Action::"plan", Action::"run", Action::"evidence", Action::"tell", Action::"decide",
        Action::"administer", Action::"metrics"
    ],
    resource
);
@id("agent")
permit (
    principal in Role::"agent",
    action in [Action::"view", Action::"plan", Action::"run", Action::"tell"],
    resource
);
@id("gateway")
permit (principal in Role::"gateway", action in [Action::"tell", Action::"decide"], resource);

@id("no-agent-says-yes")
forbid (
    principal in Role::"agent", action in [Action::"approve", Action::"administer"], resource
);
@id("within-scope")
forbid (principal, action, resource) unless { context.in_scope };
"""

_CALLER: Final = {"type": "Caller", "id": "caller"}
_SERVICE: Final = {"type": "Service", "id": "service"}


def allows(roles: Iterable[str], act: str, *, in_scope: bool) -> bool:
    """Return whether who has `roles` may do `act`; a role or an act that no rule names is a no."""
    return _allows(frozenset(roles), act, in_scope)


@lru_cache(ANSWERS_MAX)
def _allows(roles: frozenset[str], act: str, in_scope: bool) -> bool:
    parents: list[Json] = [{"type": "Role", "id": role} for role in sorted(roles)]
    nothing: dict[str, Json] = {"attrs": {}, "parents": []}
    entities: list[Json] = [
        {"uid": _CALLER, "attrs": {}, "parents": parents},
        *({"uid": role, **nothing} for role in parents),
        {"uid": _SERVICE, **nothing},
    ]
    question: dict[str, dict[str, str] | str] = {
        "principal": _CALLER,
        "action": {"type": "Action", "id": act},
        "resource": _SERVICE,
        "context": trusted_bytes({"in_scope": in_scope}).decode(),
    }
    (found,) = cedarpy.is_authorized_batch(
        [question], _policies(), trusted_bytes(entities).decode(), _schema()
    )
    return found.decision is cedarpy.Decision.Allow and not found.diagnostics.errors


@cache
def _policies() -> cedarpy.PolicySet:
    return cedarpy.PolicySet.from_str(RULES)


@cache
def _schema() -> cedarpy.Schema:
    return cedarpy.Schema.from_str(SCHEMA)
