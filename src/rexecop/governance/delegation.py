"""Delegations: what a person signs who gives their vote away, told in words, bounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rexecop.governance.errors import DelegationRefused
from rexecop.proof.delegation import DELEGATION_VALID_MAX
from rexecop.proof.kinship import person_key
from rexecop.proof.plaintext import quote
from rexecop.proof.principal import Principal
from rexecop.proof.records.delegation import DelegationStatement
from rexecop.proof.times import format_time
from rexecop.proof.vocabulary import Effect

REASON_LENGTH_MAX: Final = 1000  # A line for whoever reads later why somebody else voted.
SCOPES_MAX: Final = 64  # More than this nobody reads before signing.

_FIELDS: Final[Mapping[str, str]] = {"environment": "environments", "intent": "intents", "effect": "effects"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DelegationScope:
    """What a delegation is for: what is in all of these that are not empty."""

    environments: tuple[str, ...] = ()
    intents: tuple[str, ...] = ()
    effects: tuple[Effect, ...] = ()


def read_scope(typed: Sequence[str]) -> DelegationScope:
    """Return the scope that `environment:prod`, `intent:restart` and `effect:change` add up to.

    Raises:
        DelegationRefused: one of them is no scope.
    """
    found: dict[str, list[str]] = {kind: [] for kind in _FIELDS}
    for one in typed:
        kind, _, name = one.partition(":")
        if kind not in found or not name or len(typed) > SCOPES_MAX or not _known(kind, name):
            allowed = f"environment:NAME, intent:NAME, {', '.join(f'effect:{effect}' for effect in Effect)}"
            raise _refused(
                f"`{one:.60}` is no scope; allowed are at most {SCOPES_MAX} of: {allowed}",
                found=one[:60],
                allowed=allowed,
            )
        found[kind].append(name)
    return DelegationScope(
        environments=tuple(dict.fromkeys(found["environment"])),
        intents=tuple(dict.fromkeys(found["intent"])),
        effects=tuple(effect for effect in Effect if effect in found["effect"]),
    )


def delegation_statement(
    *,
    instance: str,
    giver: Principal,
    delegate: str,
    scope: DelegationScope,
    nonce: str,
    now: datetime,
    until: datetime,
    reason: str,
) -> DelegationStatement:
    """Return the statement to sign: until `until`, `delegate` has the vote of `giver`.

    Raises:
        DelegationRefused: it ends never, too late or before it begins, has no reason, or is to oneself.
    """
    if person_key(delegate) == person_key(giver.person):
        raise _refused(f"`{delegate:.64}` has that vote already", person=delegate)
    if not now < until <= now + DELEGATION_VALID_MAX:
        limit = DELEGATION_VALID_MAX.days
        raise _refused(f"it must end within {limit} days, not at {format_time(until)}", limit=limit)
    require_reason(reason)
    return DelegationStatement(
        instance=instance,
        giver=giver,
        delegate=delegate,
        until=until,
        nonce=nonce,
        reason=reason,
        environments=scope.environments,
        intents=scope.intents,
        effects=scope.effects,
    )


def require_reason(reason: str) -> None:
    """Return only if `reason` says something in a line.

    Raises:
        DelegationRefused: it does not.
    """
    if not 0 < len(reason.strip()) <= REASON_LENGTH_MAX:
        raise _refused(f"the reason is recorded: 1 to {REASON_LENGTH_MAX} letters")


def scope_in_words(said: DelegationStatement) -> str:
    """Return what `said` is for, as it is typed, in one line."""
    parts = ([f"{kind}:{quote(name)}" for name in getattr(said, field)] for kind, field in _FIELDS.items())
    return " and ".join(" or ".join(names) for names in parts if names) or "everything"


def signed_in_words(said: DelegationStatement) -> str:
    """Return everything that is signed, as lines of plain text."""
    fields = (
        ("gives to", f"{quote(said.delegate)}, to say yes or no in your place"),
        ("of instance", quote(said.instance)),
        ("for", scope_in_words(said)),
        ("until", format_time(said.until)),
        ("reason", quote(said.reason)),
        ("as", f"{quote(said.giver.person)} with key {said.giver.credential}"),
        ("nonce", quote(said.nonce)),
    )
    return "".join(f"  {label:<13}{text}\n" for label, text in fields)


def _known(kind: str, name: str) -> bool:
    return kind != "effect" or name in tuple(Effect)


def _refused(what: str, **facts: str | int) -> DelegationRefused:
    return DelegationRefused(what, next_steps=("rexecop delegate --help",), **facts)
