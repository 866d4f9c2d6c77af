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

_PACK: Final = """\
# A policy pack is this folder. Its digest stands in every decision.
id: starter
version: "1"
description: reads allowed; changes need one approval, destroying needs two
"""

_RULES: Final = """\
// Who may do what. Nothing is allowed unless a permit says so, and a forbid beats every permit.

@id("people-may-read")
permit (principal is User, action == Action::"read", resource);

// What else these need is written in requirements/approvals.cedar.
@id("people-may-change")
permit (principal is User, action == Action::"change", resource);

@id("people-may-destroy")
permit (principal is User, action == Action::"destroy", resource);
"""

_REQUIREMENTS: Final = """\
// What a request that is allowed needs on top. `permit` here means: this applies.
// A dry run and scripted connectors touch nothing, so nobody is asked about them.

@id("a-change-needs-one")
@approvals("1 of approvers")
permit (principal, action == Action::"change", resource)
unless { context.simulated || context.mode == "dry_run" };

@id("destroying-needs-two")
@approvals("2 of approvers")
permit (principal, action == Action::"destroy", resource)
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


def _quoted(name: str) -> str:
    if not is_name(name):
        raise EntitiesWrong(f"{name[:60]!a} cannot be a person's name", source="entities.yaml")
    return "'" + name.replace("'", "''") + "'"
