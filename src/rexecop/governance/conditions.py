"""What the conditions of a policy look at, and whether something left unsaid would silence it."""

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
    """The attributes of the context that conditions read, and the entities whose own facts they need."""

    context: frozenset[str]
    entities: frozenset[Uid]


def sight_of(clauses: Sequence[pst.Clause]) -> Sight:
    """Return what `clauses` look at, rather too much than too little."""
    context: set[str] = set()
    entities: set[Uid] = set()
    waiting: list[object] = list(clauses)
    while waiting:
        node = waiting.pop()
        below = list(_below(node))
        if isinstance(node, pst.GetAttr | pst.HasAttr):
            context.update((node.attr,) if isinstance(node, pst.GetAttr) else node.attrs)
            below = [part for part in below if not isinstance(part, pst.Var)]
        elif isinstance(node, pst.Var) and node.name == "context":
            context.add(WHOLE_CONTEXT)
        elif isinstance(node, pst.EntityLit):
            entities.add(uid_of(node.value))
        elif isinstance(node, pst.BinaryOp) and node.op in _BY_NAME:
            needed = node.left if node.op == "in" else None
            below = [part for part in below if part is needed or not _only_names(part)]
        waiting += below
    return Sight(frozenset(context), frozenset(entities))


def silenced_by(clauses: Sequence[pst.Clause]) -> str | None:
    """Return which `has` makes `clauses` not hold where its attribute is absent, in words, or None.

    Each guarded attribute is taken away by itself, and then all of them together.
    """
    guards: dict[pst.Expr, str] = {}
    waiting: list[object] = list(clauses)
    while waiting:
        node = waiting.pop()
        waiting += _below(node)
        if isinstance(node, pst.HasAttr):
            guards[node] = node.attrs[0]
        elif isinstance(node, pst.BinaryOp) and node.op == "has_tag":
            guards[node] = node.right.value if isinstance(node.right, pst.StringLit) else "a tag"
    for absent in ({guard: name} for guard, name in guards.items()):
        if _holds(clauses, absent) is False:
            return f"`{absent.popitem()[1]}` is"
    return "all it asks for by `has` are" if _holds(clauses, guards) is False else None


def _holds(clauses: Sequence[pst.Clause], absent: Mapping[pst.Expr, str]) -> bool | None:
    """Return whether all `clauses` hold without `absent`; None where other facts decide."""
    values = [(isinstance(clause, pst.When), _value(clause.expr, absent)) for clause in clauses]
    return _all([value if wanted else _not(value) for wanted, value in values])


def _value(expr: pst.Expr, absent: Mapping[pst.Expr, str]) -> bool | None:
    if expr in absent:
        return False
    match expr:
        case pst.BoolLit(value=value):
            return value
        case pst.UnaryOp(op="not", arg=arg):
            return _not(_value(arg, absent))
        case pst.BinaryOp(op="and", left=left, right=right):
            return _all([_value(left, absent), _value(right, absent)])
        case pst.BinaryOp(op="or", left=left, right=right):
            return _not(_all([_not(_value(left, absent)), _not(_value(right, absent))]))
        case pst.BinaryOp(op="eq" | "not_eq" as op, left=left, right=right):
            one, other = _value(left, absent), _value(right, absent)
            return None if one is None or other is None else (one is other) == (op == "eq")
        case pst.IfThenElse(cond=cond, then_expr=then_expr, else_expr=else_expr):
            chosen = _value(cond, absent)
            one, other = _value(then_expr, absent), _value(else_expr, absent)
            return one if chosen is True or one is other else other if chosen is False else None
    return None


def _not(value: bool | None) -> bool | None:
    return None if value is None else not value


def _all(values: Sequence[bool | None]) -> bool | None:
    if False in values:
        return False
    return None if None in values else True


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
