"""The Cedar schema every pack is checked against, and every request is put in.

Its actions are the groups that all others are in (`governance.actions`). The schema in
force for a pack has those that the pack lists as well; for a decision it has what the
plan is made of. Parameters are tags, all as text: `context.parameters.hasTag("service") &&
context.parameters.getTag("service") == "cache"`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import cedarpy

from rexecop.governance.actions import CALL, Listing, most_of
from rexecop.governance.slicing import Uid
from rexecop.proof.canonical import Digest
from rexecop.proof.vocabulary import Effect

SCHEMAS_MAX: Final = 256  # Each takes milliseconds; few policies name many actions.

_APPLIES: Final = """ appliesTo {
    principal: [User, Agent, Service],
    resource: [Target],
    context: Context,
};
"""
SCHEMA: Final = """\
entity Group;
entity User in [Group];
entity Agent = { sponsor: User };
entity Service;
entity TargetGroup;
entity Target in [TargetGroup] = { kind: String, criticality: String };
entity Parameters tags String;

type Context = {
    gate: String,            // plan | ticket | call
    mode: String,            // dry_run | read_only | observe | emergency_readonly | apply | recovery
    risk: String,
    profile: String,
    intent: String,          // profile/intent
    environment: String,
    simulated: Bool,         // every call of the plan is scripted and cannot do I/O
    pinned: Bool,            // observed facts back the plan
    origin: String,          // cli | api | mcp | trigger | schedule | reaction | recheck
    principal_established: String,  // key | oidc | token | os-user | engine
    now: datetime,
    override_window: Bool,   // it asks to be held to no maintenance window and no freeze
    parameters: Parameters,
    break_glass: Bool,       // asked for by the rules for emergencies
    recent: {                // other operations that changed something in the last hour and day
        same_hour: Long, same_day: Long,            // this intent on one of these targets
        intent_hour: Long, intent_day: Long,        // this intent anywhere
        target_hour: Long, target_day: Long,        // anything on one of these targets
        principal_hour: Long, principal_day: Long,  // anything, asked for by this principal
    },
    grade?: String,          // contained | method | shape: how well a read is known to be one
    sponsor?: String,
    step?: String,
};

// What an operation does: each of its intents and calls is in one of these.
action "read", "change", "destroy"{applies}
// What a call does by itself.
action "call:read", "call:change", "call:destroy"{applies}""".replace("{applies}", _APPLIES)

# Shipped before; a pack that has one of these for its editors means the same by it.
EARLIER: Final = frozenset(
    {Digest("sha256:bc7a78ac533a9bae8146526fe8c12873dc1c4da541065bcf4222a4ef109f6d20")}
)


def schema(listing: Listing | None = None, names: Iterable[Uid] = ()) -> cedarpy.Schema:
    """Return the schema in force, with those of `names` that `listing` has.

    To check a policy takes time for every action there is, so it sees the ones it names.
    """
    named = ((name, most_of(name, listing or {})) for kind, name in names if kind == "Action")
    return _schema(frozenset((name, most) for name, most in named if most is not None))


@lru_cache(SCHEMAS_MAX)
def _schema(named: frozenset[tuple[str, Effect]]) -> cedarpy.Schema:
    more: list[str] = []
    for name, effect in sorted(named):
        groups = f'"{effect}", "{CALL}{effect}"' if name.startswith(CALL) else f'"{effect}"'
        more.append(f'action "{name}" in [{groups}]{_APPLIES}')
    return cedarpy.Schema.from_str(SCHEMA + "".join(more))
