"""Lint: what a pack says and most likely does not mean.

An error is a forbid or requirement that a request escapes by leaving something out;
warnings are rules that never match and permits that nothing bounds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from functools import reduce
from typing import Final

from cedarpy import pst

from rexecop.governance.cedar import Rule
from rexecop.governance.entities import Entities
from rexecop.governance.pack import Pack
from rexecop.governance.schema import SCHEMA
from rexecop.proof.vocabulary import Established, Gate, Grade, Mode

SILENCED: Final = "policy-silenced-by-absence"
NEVER: Final = "policy-never-matches"
UNBOUNDED: Final = "policy-without-scope"
UNREACHABLE: Final = "policy-approval-unreachable"

_OPTIONAL: Final = frozenset(re.findall(r"^ +(\w+)\?:", SCHEMA, re.MULTILINE))
_WORDS: Final[dict[str, type[StrEnum]]] = {
    "mode": Mode,
    "gate": Gate,
    "grade": Grade,
    "principal_established": Established,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One problem of a pack: an `error` keeps it from being adopted, a `warning` does not."""

    severity: str
    code: str
    file: str
    line: int
    message: str


def lint(pack: Pack) -> tuple[Finding, ...]:
    """Return what is wrong or doubtful in a pack that could be read, in the order of its files."""
    found: list[Finding] = []
    members = pack.entities.members()
    granting = ((rule, not rule.forbids) for rule in pack.rules)
    for rule, grants in (*granting, *((rule, False) for rule in pack.requirements)):
        if not grants and rule.template.annotations.get("absent") is None:
            found += (_error(rule, guard) for guard in _silencing(rule.template))
        found += (_warning(rule, NEVER, words) for words in _never(rule, pack.entities, members))
        if grants and _unbounded(rule.template):
            words = "permits everybody everything: name a principal, an action or a resource"
            found.append(_warning(rule, UNBOUNDED, words))
        for asked in rule.approvals:
            there = len(members[asked.group])
            if there < asked.count:
                words = f"asks for {asked.count} of `{asked.group}`, which has {there} in it"
                found.append(_warning(rule, UNREACHABLE, words))
    return tuple(found)


def _error(rule: Rule, guard: str) -> Finding:
    words = (
        f"`{rule.id}` does not apply to a request without {guard}, so leaving it out escapes the rule; "
        'put the test into `unless`, so that absence applies, or annotate `@absent("permits")`'
    )
    return Finding(severity="error", code=SILENCED, file=rule.source, line=rule.line, message=words)


def _warning(rule: Rule, code: str, words: str) -> Finding:
    text = f"`{rule.id}` {words}"
    return Finding(severity="warning", code=code, file=rule.source, line=rule.line, message=text)


def _unbounded(template: pst.Template) -> bool:
    heads = (template.principal, template.action, template.resource)
    return not template.clauses and all(isinstance(head, pst.ScopeAny) for head in heads)


# --- what absence does ---


@dataclass(frozen=True, slots=True, kw_only=True)
class _Truth:
    """What is known of a condition, with one thing absent and with it present (None: either).

    `keeps`: where it is true with the thing, it is so without. `gains`: the other way round.
    """

    absent: bool | None
    present: bool | None
    keeps: bool
    gains: bool


def _truth(absent: bool | None, present: bool | None, keeps: bool, gains: bool) -> _Truth:
    return _Truth(
        absent=absent,
        present=present,
        keeps=keeps or absent is True or present is False,
        gains=gains or absent is False or present is True,
    )


def _silencing(template: pst.Template) -> Iterator[str]:
    """Yield in words everything whose absence may turn a match of the rule into none."""
    guards = {node: words for node in _walk(template.clauses) if (words := _guarded(node)) is not None}
    for guard, words in guards.items():
        if not _clauses(template, guard).keeps:
            yield words


def _guarded(node: object) -> str | None:
    """Return what `node` asks the presence of, in words, where it can be absent at all."""
    if isinstance(node, pst.BinaryOp) and node.op == "has_tag":
        name = node.right.value if isinstance(node.right, pst.StringLit) else "..."
        return f"the parameter `{name}`"
    if not isinstance(node, pst.HasAttr):
        return None
    owner, name = node.base.name if isinstance(node.base, pst.Var) else "...", node.attrs[-1]
    there = owner == "resource" or (owner == "context" and name not in _OPTIONAL)
    return None if there else f"`{owner}.{name}`"


def _clauses(template: pst.Template, guard: object) -> _Truth:
    true = _truth(True, True, keeps=True, gains=True)
    parts = (
        _of(clause.expr, guard) if isinstance(clause, pst.When) else _not(_of(clause.expr, guard))
        for clause in template.clauses
    )
    return reduce(_and, parts, true)


def _of(expr: object, guard: object) -> _Truth:
    if expr == guard:
        return _truth(False, True, keeps=False, gains=True)
    match expr:
        case pst.BoolLit(value):
            return _truth(value, value, keeps=True, gains=True)
        case pst.UnaryOp("not", arg):
            return _not(_of(arg, guard))
        case pst.BinaryOp("and", left, right):
            return _and(_of(left, guard), _of(right, guard))
        case pst.BinaryOp("or", left, right):
            return _or(_of(left, guard), _of(right, guard))
        case pst.IfThenElse(cond, then, otherwise):
            asked = _of(cond, guard)
            return _or(_and(asked, _of(then, guard)), _and(_not(asked), _of(otherwise, guard)))
    steady = all(node != guard for node in _walk(expr))
    return _truth(None, None, keeps=steady, gains=steady)


def _not(one: _Truth) -> _Truth:
    absent, present = (None if value is None else not value for value in (one.absent, one.present))
    return _truth(absent, present, one.gains, one.keeps)


def _and(one: _Truth, other: _Truth) -> _Truth:
    return _truth(
        _both(one.absent, other.absent),
        _both(one.present, other.present),
        one.keeps and other.keeps,
        one.gains and other.gains,
    )


def _or(one: _Truth, other: _Truth) -> _Truth:
    return _not(_and(_not(one), _not(other)))


def _both(one: bool | None, other: bool | None) -> bool | None:
    return False if one is False or other is False else True if one and other else None


# --- rules that never match ---


def _never(rule: Rule, entities: Entities, members: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """Yield in words why `rule` never matches, or which of its comparisons never holds."""
    template = rule.template
    if _clauses(template, None).absent is False:
        yield "never matches: its condition is always false"
    kinds = {"User": entities.people, "Agent": entities.agents, "Service": entities.services}
    head = template.principal
    if isinstance(head, pst.ScopeIs | pst.ScopeIsIn):
        kind = head.entity_type.basename
        if not kinds.get(kind, (kind,)):
            yield f"never matches: entities.yaml names no {kind.lower()}"
    for kind, name in sorted(rule.names):
        if kind == "Group" and not members[name]:
            yield f'names `Group::"{name}"`, and nobody is in that group'
    for name, word in _compared(template):
        if name in _WORDS and word not in tuple(_WORDS[name]):
            allowed = ", ".join(_WORDS[name])
            yield f"compares `context.{name}` with `{word:.40}`, which it never is; it is one of {allowed}"


def _compared(template: pst.Template) -> Iterator[tuple[str, str]]:
    """Yield each word that an attribute of the context is compared with."""
    for node in _walk(template.clauses):
        match node:
            case pst.BinaryOp("eq" | "not_eq", pst.GetAttr(pst.Var("context"), name), pst.StringLit(word)):
                yield name, word
            case pst.BinaryOp("eq" | "not_eq", pst.StringLit(word), pst.GetAttr(pst.Var("context"), name)):
                yield name, word
            case pst.BinaryOp("contains", pst.Set(elements), pst.GetAttr(pst.Var("context"), name)):
                yield from ((name, word.value) for word in elements if isinstance(word, pst.StringLit))


def _walk(node: object) -> Iterator[object]:
    """Yield `node` and everything below it."""
    yield node
    below: tuple[object, ...] = node if isinstance(node, tuple) else ()
    if is_dataclass(node):
        below = tuple(getattr(node, field.name) for field in fields(node))
    for part in below:
        yield from _walk(part)
