"""Standing approvals: made from a plan that was looked at, told in words, bounded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from rexecop.governance.errors import StandingRefused
from rexecop.proof.canonical import Json
from rexecop.proof.message import Scalar
from rexecop.proof.plaintext import in_quotes, quote
from rexecop.proof.principal import Principal
from rexecop.proof.records.approval import ApprovalStatement, Coverage, ParameterRange
from rexecop.proof.records.decision import Terms, terms_digest
from rexecop.proof.records.intent import Intent
from rexecop.proof.records.plan import Plan
from rexecop.proof.standing import coverage_digest
from rexecop.proof.times import format_time
from rexecop.proof.vocabulary import Verdict

STANDING_VALID_MAX: Final = timedelta(days=366)  # A standard change is looked at again once a year.
USES_MAX: Final = 1000  # Three a day for a year; what is done more often is for policy to allow.
VALUES_MAX: Final = 64  # More values than this nobody reads before signing.

_RANGE: Final = re.compile(r"(-?[0-9]{1,15})?\.\.(-?[0-9]{1,15})?")


def coverage(
    asked: Intent, planned: Plan, *, allow: Mapping[str, str], targets: tuple[str, ...], uses: int
) -> Coverage:
    """Return what a standing approval like this plan covers.

    Each parameter is what it was, or with `allow` as wide as `1..10` or `a|b|c` says; the
    targets are those of the plan and `targets`.

    Raises:
        StandingRefused: `uses` is out of range, or a parameter cannot be bounded like that.
    """
    if not 1 <= uses <= USES_MAX:
        raise StandingRefused(
            f"a standing approval is for 1 to {USES_MAX} uses, not `{uses}`", limit=USES_MAX
        )
    given = asked.parameters or {}
    for name in sorted(allow.keys() - given.keys()):
        known = ", ".join(f"`{one}`" for one in sorted(given)) or "none"
        raise StandingRefused(f"the plan has no parameter `{name:.64}`; it has {known}", field=name)
    return Coverage(
        profile=planned.profile,
        environment=planned.environment,
        intent=asked.intent,
        mode=asked.mode,
        targets=tuple(sorted({asked.target, *(one.id for one in planned.targets), *targets})),
        parameters=tuple(_range(name, given[name], allow.get(name)) for name in sorted(given)),
        uses=uses,
    )


def standing_statement(
    covers: Coverage,
    terms: Terms,
    *,
    instance: str,
    approver: Principal,
    nonce: str,
    now: datetime,
    until: datetime,
    reason: str | None,
) -> ApprovalStatement:
    """Return the statement to sign: a yes, until `until`, to plans within `covers` decided on `terms`.

    Raises:
        StandingRefused: the plan needs no approval, or `until` is past or more than a year away.
    """
    if terms.verdict is not Verdict.APPROVAL_REQUIRED:
        raise StandingRefused(f"the plan is `{terms.verdict}`; there is nothing to approve")
    if not now < until <= now + STANDING_VALID_MAX:
        limit = STANDING_VALID_MAX.days
        raise StandingRefused(f"it must end within {limit} days, not at {format_time(until)}", limit=limit)
    named = coverage_digest(covers)
    return ApprovalStatement(
        operation=instance,
        plan=named,
        terms=terms_digest(terms),
        preview=named,
        approves=True,
        nonce=nonce,
        expires=until,
        approver=approver,
        reason=reason,
        covers=covers,
    )


def coverage_in_words(covers: Coverage) -> str:
    """Return everything `covers` says, as lines of plain text."""
    fields = [
        ("intent", f"{quote(covers.intent)} in mode {covers.mode}"),
        ("profile", covers.profile),
        ("environment", covers.environment),
        ("targets", ", ".join(map(quote, covers.targets))),
        *((f"  {quote(one.parameter)}", _range_in_words(one)) for one in covers.parameters),
        ("uses", str(covers.uses)),
    ]
    return "".join(f"  {label:<13}{text}\n" for label, text in fields)


def _range(name: str, value: Json, wide: str | None) -> ParameterRange:
    if not isinstance(value, str | int | bool):
        raise StandingRefused(f"parameter `{name:.64}` is no text, integer or truth value", field=name)
    if wide is None:
        return ParameterRange(parameter=name, one_of=(value,))
    found = _RANGE.fullmatch(wide)
    if found is not None and type(value) is int and (found[1] or found[2]):
        low, high = (int(one) if one else None for one in found.groups())
        return ParameterRange(parameter=name, at_least=low, at_most=high)
    values = wide.split("|")
    if found is not None or type(value) is not str or not all(values) or len(values) > VALUES_MAX:
        words = "`1..10` for an integer, `a|b|c` for a text"
        raise StandingRefused(
            f"`{wide:.64}` bounds no parameter `{name:.64}`; allowed are {words}", field=name
        )
    return ParameterRange(parameter=name, one_of=tuple(values))


def _range_in_words(one: ParameterRange) -> str:
    if one.one_of:
        return "one of " + ", ".join(map(_scalar, one.one_of))
    return f"from {one.at_least} to {one.at_most}".replace("None", "any")


def _scalar(value: Scalar) -> str:
    return in_quotes(value) if isinstance(value, str) else str(value).lower()
