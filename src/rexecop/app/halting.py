"""Halting and lifting: `halt` records on the instance's own chain, which every permit is held to.

Whoever can write the root may halt: stopping harms less than waiting for somebody
entitled. Who halted may take that back; lifting what somebody else halted is for the
groups that the operator's packs name under `lift_halt`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import partial
from typing import Final

from rexecop.app.door import ServiceScope
from rexecop.app.errors import HaltRefused, LiftRefused
from rexecop.app.own_chain import next_records
from rexecop.app.views import HaltView
from rexecop.engines.world import World
from rexecop.operations.errors import AppendConflict
from rexecop.proof.principal import Principal
from rexecop.proof.records.instance import Halt
from rexecop.proof.vocabulary import HaltScope
from rexecop.store.ledger import LedgerStore

REASON_LENGTH_MAX: Final = 1000  # A line for whoever finds things stopped, not a document.
TRIES_MAX: Final = 8  # Others may write to the same chain at that moment; a halt does not give way.
ALL: Final = "all"
_NAME: Final = re.compile(r"[A-Za-z0-9_@][A-Za-z0-9_.:/@ -]{0,127}")


class Halting:
    """Halts and lifts in one instance."""

    def __init__(self, world: World, store: LedgerStore) -> None:
        self._world = world
        self._store = store

    def standing(self) -> tuple[HaltView, ...]:
        """Return the halts that stand, oldest first."""
        return tuple(map(halt_view, self._world.authority.halts()))

    def lifters(self) -> tuple[str, ...]:
        """Return who may lift what others halted; nobody while the packs deny everything."""
        policy = self._world.authority.policy()
        if policy.problem_at(self._world.clock.now()) is not None:
            return ()
        people = policy.entities.people.items()
        return tuple(sorted(one for one, groups in people if not groups.isdisjoint(policy.lift_halt)))

    def halt(self, scope: str, reason: str, by: Principal) -> tuple[HaltView, ...]:
        """Record that nothing in `scope` goes on; return what stands then.

        Raises:
            HaltRefused: `scope` is none, or the reason says nothing.
        """
        return self._record(*_scope(scope), reason, by, lifted=False)

    def lift(self, scope: str, reason: str, by: Principal) -> tuple[HaltView, ...]:
        """Record that the halts of exactly `scope` are over; return what still stands.

        Raises:
            HaltRefused: no halt of that scope stands. LiftRefused: `by` may not lift it.
        """
        kind, name = _scope(scope)
        halts = self._world.authority.halts()
        standing = [text(one) for one in halts]
        if scope not in standing:
            found = ", ".join(f"`{one}`" for one in standing) or "none"
            raise HaltRefused(
                f"no halt of `{scope}` stands; there stand: {found}",
                found=scope,
                allowed=found,
                next_steps=tuple(f"rexecop halt --lift --scope {one} --reason TEXT" for one in standing[:3]),
            )
        # Whoever could not take back their own word would think twice before halting in doubt.
        own = {one.by.person for one in halts if text(one) == scope} == {by.person}
        if not own and by.person not in self.lifters():
            policy = self._world.authority.policy()
            may = ", ".join(f"`{group}`" for group in policy.lift_halt)
            raise LiftRefused(
                policy.problem_at(self._world.clock.now())
                or f"`{by.person}` may not lift what others halted; a person of {may or 'no group'} may",
                person=by.person,
                allowed=may,
                next_steps=("name groups under `lift_halt` in windows.yaml of a pack in the root's policy",),
            )
        return self._record(kind, name, reason, by, lifted=True)

    def _record(
        self, scope: HaltScope, name: str | None, reason: str, by: Principal, *, lifted: bool
    ) -> tuple[HaltView, ...]:
        if not 0 < len(reason.strip()) <= REASON_LENGTH_MAX:
            raise HaltRefused(f"the reason is recorded: 1 to {REASON_LENGTH_MAX} letters")
        make = partial(Halt, scope=scope, name=name, lifted=lifted, reason=reason)
        for left in reversed(range(TRIES_MAX)):
            try:
                self._store.append_sync(next_records(self._store, self._world.clock, by, [make]))
                break
            except AppendConflict:
                if not left:
                    raise
        return self.standing()


def text(halt: Halt) -> str:
    """Return the scope of `halt` as it is typed."""
    return str(halt.scope) if halt.name is None else f"{halt.scope}:{halt.name}"


def halt_view(halt: Halt) -> HaltView:
    """Return a halt as people and programs see it."""
    return HaltView(scope=text(halt), by=halt.by.person, at=halt.at, reason=halt.reason)


def halts_within(scope: ServiceScope, found: Iterable[HaltView]) -> tuple[HaltView, ...]:
    """Return the halts of everything, and of names that `scope` lets somebody know of."""
    by = {"target": scope.targets, "environment": scope.environments, "intent": scope.intents}

    def known(one: HaltView) -> bool:
        kind, _, name = one.scope.partition(":")
        bounds: Iterable[str] = by.get(kind, ("*",))
        if kind == "intent" and "/" not in name:  # A halt names an intent alone, or with its profile.
            bounds = [each.rpartition("/")[2] for each in bounds]
        return any(fnmatchcase(name, pattern) for pattern in bounds)

    return tuple(one for one in found if known(one))


def _scope(typed: str) -> tuple[HaltScope, str | None]:
    kind, colon, name = typed.partition(":")
    named = [str(one) for one in HaltScope if one is not HaltScope.ALL]
    if typed == ALL:
        return HaltScope.ALL, None
    if kind not in named or not colon or not _NAME.fullmatch(name):
        allowed = ", ".join((ALL, *(f"{one}:NAME" for one in named)))
        raise HaltRefused(f"`{typed:.60}` is no scope; allowed: {allowed}", found=typed[:60], allowed=allowed)
    return HaltScope(kind), name
