"""What the conditions of a policy look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Final

from cedarpy import pst

from rexecop.governance.slicing import Uid, uid_of

WHOLE_CONTEXT: Final = "context"  # Stands for all attributes; none has this name.

# To be compared, or be what something is in, an entity needs no facts of its own.
_BY_NAME: Final = ("eq", "not_eq", "contains", "in")


@dataclass(frozen=True, slots=True)
class Sight:
    """The attributes of the context that conditions read, and the entities whose own facts they need.

    `action` says whether they look at what the action is in.
    """

    context: frozenset[str]
    entities: frozenset[Uid]
    action: bool


def sight_of(clauses: Sequence[pst.Clause]) -> Sight:
    """Return what `clauses` look at, rather too much than too little."""
    context: set[str] = set()
    entities: set[Uid] = set()
    action = False
    waiting: list[object] = list(clauses)
    while waiting:
        node = waiting.pop()
        below = list(_below(node))
        if isinstance(node, pst.GetAttr | pst.HasAttr):
            context.update((node.attr,) if isinstance(node, pst.GetAttr) else node.attrs)
            below = [part for part in below if not isinstance(part, pst.Var)]
        elif isinstance(node, pst.Var) and node.name == "context":
            context.add(WHOLE_CONTEXT)
        elif isinstance(node, pst.Var) and node.name == "action":
            action = True
        elif isinstance(node, pst.EntityLit):
            entities.add(uid_of(node.value))
        elif isinstance(node, pst.BinaryOp) and node.op in _BY_NAME:
            needed = node.left if node.op == "in" else None
            below = [part for part in below if part is needed or not _only_names(part)]
        waiting += below
    return Sight(frozenset(context), frozenset(entities), action)


def _only_names(node: object) -> bool:
    parts = node.elements if isinstance(node, pst.Set) else (node,)
    return all(isinstance(part, pst.EntityLit) for part in parts)


def _below(node: object) -> Iterator[object]:
    """Yield the parts of a node of the syntax tree."""
    if isinstance(node, tuple):
        yield from node
    elif isinstance(node, Mapping):
        yield from node.values()
    elif is_dataclass(node):
        yield from (getattr(node, field.name) for field in fields(node))
