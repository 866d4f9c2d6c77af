"""Slicing: of all policies, those whose scope matches a request.

A scope has three heads: principal, action, resource. Each is open, a type, one entity, or
all that is in one entity. A policy is found under its heads, never by its conditions, and
exactly where its scope matches; so the sets that are asked say nothing of scopes any more.
The engine looks at conditions only where the whole scope matches: what is left out could
neither match nor fail, and the answer over a slice is the answer over all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from math import prod
from operator import contains
from typing import Final, TypeAlias

import cedarpy
from cedarpy import pst

Uid: TypeAlias = tuple[str, str]
Head: TypeAlias = str | tuple[str, ...]  # `OPEN`, a type, a `Uid` and what is in it, with `ITSELF` only it.
Heads: TypeAlias = frozenset[Head]
Reach: TypeAlias = tuple[Heads, Heads, Heads]  # What principal, action and resource are found by.
Cell: TypeAlias = tuple[Head, ...]  # One head of each.

OPEN: Final = ""
ITSELF: Final = "=="
CELL_MERGED_MAX: Final = 64  # To ask about more takes longer than to ask twice, and copies would fill memory.
POLICIES_KEPT_MAX: Final = 20_000  # A prepared policy takes some 4 KiB.

_ANY: Final = pst.ScopeAny()


def uid_of(entity: pst.EntityOrSlot) -> Uid:
    """Return type and id of `entity`."""
    assert isinstance(entity, pst.EntityUid)  # Packs hold no templates, so there are no slots.
    return str(entity.type), entity.id


def heads_of(uid: Uid, parents: Mapping[Uid, Iterable[Uid]]) -> Heads:
    """Return the heads a scope can have that matches `uid`: open, its type, itself, all it is in."""
    found: set[Head] = {OPEN, uid[0], uid, (*uid, ITSELF)}
    waiting = [uid]
    while waiting:
        more = set(parents.get(waiting.pop(), ())) - found
        found |= more
        waiting += more
    return frozenset(found)


class Index:
    """`policies` by the heads of their scopes, and the sets of them that were asked lately."""

    def __init__(self, policies: Mapping[str, pst.Template]) -> None:
        self._policies = policies
        self._cells: dict[Cell, list[str]] = {}
        for name, policy in policies.items():
            for action in _action_heads(policy.action):
                cell = (_head(policy.principal), action, _head(policy.resource))
                self._cells.setdefault(cell, []).append(name)
        self._heads = [frozenset(cell[place] for cell in self._cells) for place in range(3)]
        self._large: dict[Cell, cedarpy.PolicySet] = {}
        self._kept: dict[Reach, tuple[cedarpy.PolicySet, ...]] = {}
        self._kept_policies = 0

    def slice(self, reach: Reach) -> tuple[cedarpy.PolicySet, ...]:
        """Return all policies whose scope matches at `reach`, in as few sets as pays."""
        principals, actions, resources = self._heads
        key = (principals & reach[0], actions & reach[1], resources & reach[2])
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = self._sliced(key)
        return found

    def _sliced(self, key: Reach) -> tuple[cedarpy.PolicySet, ...]:
        # Somebody in many groups has more combinations of heads than there are policies.
        few = prod(map(len, key)) <= len(self._cells)
        cells = product(*key) if few else (cell for cell in self._cells if all(map(contains, key, cell)))
        small: set[str] = set()
        sets: list[cedarpy.PolicySet] = []
        for cell in cells:
            names = self._cells.get(cell, ())
            if len(names) <= CELL_MERGED_MAX:
                small.update(names)
                continue
            if cell not in self._large:
                self._large[cell] = self._prepared(names)
            sets.append(self._large[cell])
        if self._kept_policies + len(small) > POLICIES_KEPT_MAX:
            self._kept.clear()
            self._kept_policies = 0
        # Counts itself as well, so that empty slices come to an end too.
        self._kept_policies += len(small) + 1
        return (*sets, self._prepared(sorted(small))) if small else tuple(sets)

    def _prepared(self, names: Iterable[str]) -> cedarpy.PolicySet:
        named = pst.FrozenMap({name: _found(self._policies[name], name) for name in names})
        return cedarpy.PolicySet.from_pst(
            pst.PolicySet(templates=pst.FrozenMap({}), static_policies=named, template_links=())
        )


def _head(scope: pst.PrincipalOrResourceConstraint) -> Head:
    if isinstance(scope, pst.ScopeAny):
        return OPEN
    if isinstance(scope, pst.ScopeIs):
        return str(scope.entity_type)
    uid = uid_of(scope.entity)
    return (*uid, ITSELF) if isinstance(scope, pst.ScopeEq) else uid


def _action_heads(scope: pst.ActionConstraint) -> Iterable[Head]:
    if isinstance(scope, pst.ScopeAny):
        return (OPEN,)
    if isinstance(scope, pst.ActionEq):
        return ((*uid_of(scope.entity), ITSELF),)
    return dict.fromkeys(map(uid_of, scope.entities))


def _found(policy: pst.Template, name: str) -> pst.Template:
    """Return `policy` as it is asked where its scope matches, under its full name."""
    return pst.Template(
        id=name,
        effect=policy.effect,
        principal=_rest(policy.principal),
        action=_ANY,
        resource=_rest(policy.resource),
        clauses=policy.clauses,
        annotations=pst.FrozenMap({}),
    )


def _rest(scope: pst.PrincipalOrResourceConstraint) -> pst.PrincipalOrResourceConstraint:
    """Return what finding a policy does not say of its scope: of `is T in E` it says only `in E`."""
    return scope if isinstance(scope, pst.ScopeIsIn) else _ANY
