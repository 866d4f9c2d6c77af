"""The Cedar schema every pack is checked against, and every request is put in.

Actions are the effect classes; what exactly is asked stands in the context. Parameters
are tags, all as text: `context.parameters.hasTag("service") &&
context.parameters.getTag("service") == "cache"`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Final

import cedarpy

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

action "read", "change", "destroy" appliesTo {
    principal: [User, Agent, Service],
    resource: [Target],
    context: Context,
};
"""


@cache
def schema() -> cedarpy.Schema:
    """Return the parsed schema."""
    return cedarpy.Schema.from_str(SCHEMA)


@cache
def actions() -> Mapping[tuple[str, str], tuple[tuple[str, str], ...]]:
    """Return each action the schema has with the groups it is directly in, as the engine sees them."""
    listed = json.loads(str(cedarpy.Entities.from_json_str("[]", schema())))
    return {
        (entry["uid"]["type"], entry["uid"]["id"]): tuple(
            (parent["type"], parent["id"]) for parent in entry["parents"]
        )
        for entry in listed
    }
