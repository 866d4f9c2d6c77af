"""The pack a new root begins with, readable in a minute.

Reads are allowed; a change needs one approval by somebody else; destroying needs two;
scripted connectors, which cannot touch anything, are free. Agents and services may
nothing until a rule says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rexecop.governance.entities import is_name
from rexecop.governance.errors import EntitiesWrong
from rexecop.governance.schema import SCHEMA

_PACK: Final = """\
# A policy pack is this folder. Its digest stands in every decision.
id: starter
version: "1"
description: reads allowed; changes need one approval, destroying needs two
"""

_RULES: Final = """\
// Who may do what. Nothing is allowed unless a permit says so, and a forbid beats every permit.

@id("people-may-read")
permit (principal is User, action in Action::"read", resource);

// What else these need is written in requirements/approvals.cedar.
@id("people-may-change")
permit (principal is User, action in Action::"change", resource);

@id("people-may-destroy")
permit (principal is User, action in Action::"destroy", resource);
"""

_REQUIREMENTS: Final = """\
// What a request that is allowed needs on top. `permit` here means: this applies.
// A dry run and scripted connectors touch nothing, so nobody is asked about them.

@id("a-change-needs-one")
@approvals("1 of approvers")
permit (principal, action in Action::"change", resource)
unless { context.simulated || context.mode == "dry_run" };

@id("destroying-needs-two")
@approvals("2 of approvers")
permit (principal, action in Action::"destroy", resource)
unless { context.simulated || context.mode == "dry_run" };

@id("every-operation-leaves-a-receipt")
@obligations("receipt")
permit (principal, action, resource);
"""

_ENTITIES_HEAD: Final = """\
# Who is who. Nobody approves his own operation, so a change needs a second person here
# whose key is enrolled by somebody other than the one who asks.
groups: [approvers]
people:
"""


_WINDOWS: Final = """\
# When changes may run: maintenance_windows and freezes, like
#   - {name: nights, timezone: Europe/Berlin, days: [mon, tue], start: "22:00", end: "02:00"}
# `override` would name the groups that may ask to be held to none of them.

# The people who may lift what `rexecop halt` stopped.
lift_halt: [approvers]
"""


def files(person: str, others: Sequence[str] = ()) -> dict[str, bytes]:
    """Return the starter pack for `person` and `others`, all of them approvers of each other's work.

    Raises:
        EntitiesWrong: a name is empty, too long, or not printable.
    """
    entities = _ENTITIES_HEAD + "".join(
        f"  {_quoted(name)}: {{groups: [approvers]}}\n" for name in dict.fromkeys((person, *others))
    )
    texts = {
        "pack.yaml": _PACK,
        "rules.cedar": _RULES,
        "requirements/approvals.cedar": _REQUIREMENTS,
        "entities.yaml": entities,
        "windows.yaml": _WINDOWS,
    }
    return {path: text.encode() for path, text in texts.items()}


_README: Final = """\
# Policy pack `{id}`

Who may do what, as Cedar policies: `rules.cedar` grants and forbids, `requirements/` says what is needed
on top, `entities.yaml` who is who, `tests/` which answer belongs to which request.

    rexecop policy check .       is it a pack, and does it mean what it seems to?
    rexecop policy test .        does it answer as its cases say?
    rexecop policy replay .      what would it have answered to everything asked so far?
    rexecop policy adopt .       put it in force
"""

_CASES: Final = """\
# A request, and the answer that belongs to it. What a request leaves out is usual: one host of low
# criticality, real calls, nothing observed beforehand, gate `plan`.
cases:
  people-read-freely:
    request: {{person: {person}, effect: read, mode: read_only}}
    verdict: allowed
    rules: [people-may-read, every-operation-leaves-a-receipt]
  a-change-needs-somebody-else:
    request: {{person: {person}, effect: change, mode: apply, targets: [{{id: web-1, criticality: high}}]}}
    verdict: approval_required
    approvals: 1 of approvers
    obligations: receipt
  a-dry-run-asks-nobody:
    request: {{person: {person}, effect: change, mode: dry_run}}
    verdict: allowed
    approvals: none
  a-stranger-may-nothing:
    request: {{person: somebody-else, effect: read, mode: read_only}}
    verdict: blocked
"""

_MORE: Final = """
// More to begin with; take away the slashes and change the names. Groups, and intents and calls by
// their names, have to be listed in entities.yaml, like
//     actions: {intent:hello/set_greeting: change, intent:hello/*: read}
//
// @id("sre-may-restart")
// @obligations("timeout<=30s, targets<=5")
// permit (
//     principal in Group::"sre",
//     action in Action::"intent:hello/set_greeting",
//     resource in TargetGroup::"web"
// );
//
// @id("nothing-critical-without-observation")
// @reason("look before you change what is critical")
// forbid (principal, action in [Action::"change", Action::"destroy"], resource)
// when { resource.criticality == "high" && !context.pinned };
"""


def commented_files(name: str, person: str) -> dict[str, bytes]:
    """Return a pack called `name` to begin with: the starter pack, with golden cases, hints and the schema.

    Raises:
        EntitiesWrong: `person` cannot be a person's name.
    """
    found = files(person)
    told = {"pack.yaml": _PACK.replace("id: starter", f"id: {name}"), "rules.cedar": _RULES + _MORE}
    told |= {
        "README.md": _README.format(id=name),
        "schema.cedarschema": SCHEMA,
        "tests/cases.yaml": _CASES.format(person=_quoted(person)),
    }
    return found | {path: text.encode() for path, text in told.items()}


def _quoted(name: str) -> str:
    if not is_name(name):
        raise EntitiesWrong(f"{name[:60]!a} cannot be a person's name", source="entities.yaml")
    return "'" + name.replace("'", "''") + "'"
