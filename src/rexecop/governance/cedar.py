"""Cedar text, policy by policy: split, bounded, parsed, annotated, checked against the schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import cedarpy
from cedarpy import pst

from rexecop.governance import grammar
from rexecop.governance.actions import Listing, most_of, widened
from rexecop.governance.conditions import Sight, sight_of
from rexecop.governance.errors import (
    AnnotationWrong,
    PackRefused,
    PackTooLarge,
    PolicyInvalid,
    PolicyMalformed,
)
from rexecop.governance.obligations import NO_OBLIGATIONS
from rexecop.governance.schema import schema
from rexecop.governance.slicing import Uid, uid_of
from rexecop.proof.canonical import Digest, digest_of
from rexecop.proof.records.decision import ApprovalRule, Obligations

STATEMENT_LENGTH_MAX: Final = 16 * 1024  # A policy longer than some screens is read by nobody.
BRACKETS_DEPTH_MAX: Final = 32  # The parser below recurses on brackets and would exhaust the stack.

CHAINED_MAX: Final = 500  # So does it on `a.b.c` and `1 + 2 + 3`, which need no brackets to be deep.

_CHAINING: Final = frozenset(".+-*[&|")
_OPENING: Final = frozenset("([{")
_CLOSING: Final = frozenset(")]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One policy. `id` is its own, `digest` that of its text."""

    id: str
    source: str
    line: int
    digest: Digest
    forbids: bool
    asked: grammar.Asked
    obligations: Obligations
    break_glass: tuple[tuple[ApprovalRule, ...], Obligations] | None
    escalations: tuple[grammar.Escalation, ...]
    reason: str | None
    template: pst.Template
    names: frozenset[Uid]
    sight: Sight


@dataclass(frozen=True, slots=True)
class Statement:
    """The text of one policy, without the comments before it, and the file and line it begins on."""

    text: str
    source: str
    line: int

    def refused(self, refusal: type[PackRefused], what: str) -> PackRefused:
        """Return `refusal` of this policy."""
        return refusal(what, source=self.source, line=self.line)


def read_rules(text: str, *, source: str, requirement: bool, listing: Listing) -> tuple[Rule, ...]:
    """Return the policies of the Cedar file `text`, which name no actions but groups and those of `listing`.

    Raises:
        PolicyMalformed, PolicyInvalid, AnnotationWrong, PackTooLarge: naming the line of the policy.
    """
    return tuple(_rule(statement, requirement, listing) for statement in split(text, source=source))


def split(text: str, *, source: str) -> Iterator[Statement]:
    """Yield the statements of `text`; comments and strings are seen for what they are.

    Raises:
        PolicyMalformed: a string, bracket or statement is not closed, or nesting is too deep.
        PackTooLarge: a statement is longer than `STATEMENT_LENGTH_MAX`.
    """
    begin, depth, at, chained, line, seen = -1, 0, 0, 0, 1, 0
    while at < len(text):
        char = text[at]
        if char.isspace():
            at += 1
            continue
        if text.startswith("//", at):
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
            continue
        begin = at if begin < 0 else begin
        if char == '"':
            at = _after_string(text, at, source)
            continue
        chained += char in _CHAINING
        if chained > CHAINED_MAX:
            what = f"more than {CHAINED_MAX} dots and operators in one policy"
            raise PolicyMalformed(what, source=source, line=_line(text, at))
        depth += (char in _OPENING) - (char in _CLOSING)
        if not 0 <= depth <= BRACKETS_DEPTH_MAX:
            deep = f"brackets are nested deeper than {BRACKETS_DEPTH_MAX}"
            what = deep if depth > 0 else "no bracket is open"
            raise PolicyMalformed(what, source=source, line=_line(text, at))
        at += 1
        if char == ";" and depth == 0:
            line, seen = line + text.count("\n", seen, begin), begin
            statement = Statement(text[begin:at], source, line)
            if at - begin > STATEMENT_LENGTH_MAX:
                what = f"policy has {at - begin} characters, at most {STATEMENT_LENGTH_MAX} are read"
                raise statement.refused(PackTooLarge, what)
            yield statement
            begin, chained = -1, 0
    if begin >= 0:
        what = "a policy begins here and does not end with `;`"
        raise PolicyMalformed(what, source=source, line=_line(text, begin))


def _after_string(text: str, at: int, source: str) -> int:
    end = at + 1
    while end < len(text) and text[end] != '"':
        end += 2 if text[end] == "\\" else 1
    if end >= len(text):
        raise PolicyMalformed("a string begins here and does not end", source=source, line=_line(text, at))
    return end + 1


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _rule(statement: Statement, requirement: bool, listing: Listing) -> Rule:
    template = _template(statement)
    forbids = template.effect == "forbid"
    if requirement and forbids:
        what = "a requirement is written as `permit`: it says when it applies"
        raise statement.refused(PolicyMalformed, what)
    annotations = dict(template.annotations)
    rule_id, reason = _annotated(annotations, statement, forbids=forbids, requirement=requirement)
    try:
        asked, kept_to = annotations.get("approvals"), annotations.get("obligations")
        approvals = grammar.NOBODY_ASKED if asked is None else grammar.read_approvals(asked)
        obligations = NO_OBLIGATIONS if kept_to is None else grammar.read_obligations(kept_to)
        emergency = annotations.get("break_glass")
        break_glass = None if emergency is None else grammar.read_break_glass(emergency)
        late = annotations.get("escalate")
        escalations = () if late is None else grammar.read_escalations(late)
    except ValueError as error:
        raise statement.refused(AnnotationWrong, f"policy `{rule_id}`: {error}") from error
    names = frozenset(map(uid_of, pst.entity_uids(template)))
    for kind, name in sorted(names):
        if kind == "Action" and "/" in name and most_of(name, listing) is None:
            what = f'names `Action::"{name:.200}"`, which `actions` of entities.yaml does not list'
            raise statement.refused(PolicyInvalid, f"policy `{rule_id}` {what}")
    checked = cedarpy.validate_policies(statement.text, schema(listing, names))
    if not checked.validation_passed:
        words = _one_line("; ".join(found.error for found in checked.errors))
        raise statement.refused(PolicyInvalid, f"policy `{rule_id}`: {words}")
    try:
        template = widened(template)
    except ValueError as error:
        raise statement.refused(PolicyInvalid, f"policy `{rule_id}`: {error}") from error
    return Rule(
        id=rule_id,
        source=statement.source,
        line=statement.line,
        digest=digest_of(statement.text.encode()),
        forbids=forbids,
        asked=approvals,
        obligations=obligations,
        break_glass=break_glass,
        escalations=escalations,
        reason=reason,
        template=template,
        names=names,
        sight=sight_of(template.clauses),
    )


def _template(statement: Statement) -> pst.Template:
    try:
        parsed = cedarpy.policies_to_pst(statement.text)
    except ValueError as error:
        raise statement.refused(PolicyMalformed, f"not a policy: {_one_line(str(error))}") from error
    if parsed.templates or parsed.template_links or len(parsed.static_policies) != 1:
        what = "templates with slots are not allowed; write the entity out"
        raise statement.refused(PolicyMalformed, what)
    return next(iter(parsed.static_policies.values()))


def _annotated(
    found: Mapping[str, str], statement: Statement, *, forbids: bool, requirement: bool
) -> tuple[str, str | None]:
    """Return id and reason of a policy whose annotations go with what it is."""
    rule_id, reason = found.get("id", ""), found.get("reason")
    unknown = sorted(found.keys() - grammar.KNOWN)
    terms = found.keys() & {"approvals", "obligations", "break_glass", "escalate"}
    what: str | None = None
    if not grammar.ID.fullmatch(rule_id):
        what = 'every policy has an `@id("...")` of letters, digits, `_`, `.` and `-`'
    elif unknown:
        known = ", ".join(sorted(grammar.KNOWN))
        what = f"policy `{rule_id}` has an unknown annotation `@{unknown[0]}`; known are {known}"
    elif terms and forbids:
        what = f"policy `{rule_id}` forbids, so nothing can be asked on top of it"
    elif "escalate" in terms and "approvals" not in terms:
        what = f"policy `{rule_id}` asks nobody for approval, so there is nothing to escalate"
    elif requirement and not terms - {"break_glass"}:
        what = f"requirement `{rule_id}` asks for nothing: it has neither approvals nor obligations"
    elif reason is not None and not (0 < len(reason) <= grammar.REASON_LENGTH_MAX and reason.isprintable()):
        what = f"policy `{rule_id}`: a reason is one line of {grammar.REASON_LENGTH_MAX} characters"
    elif "absent" in found and (found["absent"] != "permits" or not (forbids or requirement)):
        what = '`@absent("permits")` is all that can be said, and of a forbid or a requirement only'
    if what is not None:
        raise statement.refused(AnnotationWrong, what)
    return rule_id, reason


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
