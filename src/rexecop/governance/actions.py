"""Actions: what a request asks for, the groups that is in, and what a policy says of it.

read, change, destroy                  what an operation does
intent:PROFILE/INTENT                  an operation; in the group of what it does
call:read, call:change, call:destroy   what a call does by itself
call:PROFILE/CONNECTOR/ACTION          a call; in its intent, and in the group of what it does by itself

At plan and ticket the action is the intent, at a call the call. No part of a name holds a
`/`, and a group holds none at all, so no two of them are ever the same. To be an action is
to be in it: `action == X` and `action in X` say the same, so a rule about a group or an
intent is one about all that is in it, at every gate.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Final, TypeAlias, cast

from cedarpy import pst

from rexecop.governance.slicing import Heads, Uid, heads_of, uid_of
from rexecop.proof.records.decision import PolicyRequest, RequestCall
from rexecop.proof.vocabulary import EFFECT_ORDER, Effect

Listing: TypeAlias = Mapping[str, Mapping[str, Effect]]  # `intent:PROFILE` or `call:PROFILE` to what it has.

KEPT_MAX: Final = 1024  # Intents and calls that a busy instance sees; beyond it the oldest are made anew.
CALL: Final = "call:"
INTENT: Final = "intent:"
REST: Final = "*"  # In a listing: all of the profile that are not named.

_PART: Final = r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}"
_NAMED: Final = re.compile(rf"intent:{_PART}/{_PART}|call:{_PART}/{_PART}/{_PART}")
LISTED: Final = re.compile(rf"{_NAMED.pattern}|(?:intent|call):{_PART}/\*")


@dataclass(frozen=True, slots=True)
class Action:
    """The action of a request, what it is in, and by which heads a policy about it is found.

    `named` are the intent, and the call if it is one, each with what it does. `wrong` says
    why no schema could have it.
    """

    name: str
    wrong: str | None
    named: Mapping[str, Effect]
    parents: Mapping[Uid, Sequence[Uid]]
    heads: Heads


def action_of(request: PolicyRequest) -> Action:
    """Return the action of `request`."""
    return _action(request.profile, request.intent, request.effect, request.call)


@lru_cache(KEPT_MAX)
def _action(profile: str, intent: str, effect: Effect, call: RequestCall | None) -> Action:
    name = f"{INTENT}{profile}/{intent}"
    named, parents = {name: effect}, {_uid(name): [_uid(effect)]}
    if call is not None:
        above = [_uid(name), _uid(f"{CALL}{call.effect}")]
        name = f"{CALL}{profile}/{call.connector}/{call.action}"
        named[name], parents[_uid(name)] = call.effect, above
    return Action(name, _wrong(named), named, parents, heads_of(_uid(name), parents))


def _uid(name: str) -> Uid:
    return ("Action", str(name))


def _wrong(named: Mapping[str, Effect]) -> str | None:
    for name, effect in named.items():
        if str(effect) not in tuple(Effect):
            return f"no policy can speak about `{effect}`"
        if not _NAMED.fullmatch(name):
            return f"`{name:.100}` is no action that a policy could name"
    return None


def unknown(request: PolicyRequest, listings: Iterable[Listing]) -> str | None:
    """Return in words why the action of `request` is in no schema, or None where it is in that of every pack.

    A pack that lists no intents of a profile takes those that a plan of the profile is
    made for; one that lists some knows these and no others. So it is for calls.
    """
    action = action_of(request)
    if action.wrong is not None:
        return action.wrong
    for listing, (name, effect) in product(listings, action.named.items()):
        scope, _, rest = name.partition("/")
        if (known := listing.get(scope)) is None:
            continue
        most = known.get(rest, known.get(REST))
        if most is None:
            return f"a policy pack in force lists `actions` of `{scope}`, and `{name}` is not among them"
        if EFFECT_ORDER.index(effect) > EFFECT_ORDER.index(most):
            return f"action `{name}` is listed as `{most}`, and this would {effect}"
    return None


def most_of(name: str, listing: Listing) -> Effect | None:
    """Return the most that `listing` says the action `name` may do, None where it does not have it."""
    scope, _, rest = name.partition("/")
    return None if rest == REST else listing.get(scope, {}).get(rest)


def widened(template: pst.Template) -> pst.Template:
    """Return `template` with every comparison of its action made one that what is in an action passes, too.

    Raises:
        ValueError: a condition uses `action` in a way that cannot be followed.
    """
    scope = template.action
    head = pst.ActionIn((scope.entity,)) if isinstance(scope, pst.ActionEq) else scope
    return replace(template, action=head, clauses=cast(tuple[pst.Clause, ...], _widened(template.clauses)))


def _widened(node: object) -> object:
    match node:
        case pst.BinaryOp("in" | "eq", pst.Var("action"), other):
            return _is_in(other)
        case pst.BinaryOp("eq" | "contains", other, pst.Var("action")):
            return _is_in(other)
        case pst.BinaryOp("not_eq", pst.Var("action"), other) | pst.BinaryOp(
            "not_eq", other, pst.Var("action")
        ):
            return pst.UnaryOp("not", _is_in(other))
        case pst.Var("action") | pst.EntityUid(pst.EntityType("Action")):
            raise ValueError('of an action a condition says `action in Action::"..."` or in a list of them')
        case dict():
            return pst.FrozenMap({name: _widened(part) for name, part in node.items()})
        case tuple():
            return tuple(map(_widened, node))
    if not is_dataclass(node) or isinstance(node, type):
        return node
    return replace(node, **{field.name: _widened(getattr(node, field.name)) for field in fields(node)})


def _is_in(actions: pst.Expr) -> pst.Expr:
    for one in actions.elements if isinstance(actions, pst.Set) else (actions,):
        if not (isinstance(one, pst.EntityLit) and uid_of(one.value)[0] == "Action"):
            raise ValueError('what `action` is compared with is `Action::"..."`, or a list of them')
    return pst.BinaryOp("in", pst.Var("action"), actions)


def speaks_of_calls(names: Iterable[Uid]) -> bool:
    """Return whether a call, or a group of calls, is among `names`."""
    return any(kind == "Action" and name.startswith(CALL) for kind, name in names)
