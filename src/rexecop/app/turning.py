"""Components that turned: who is told once that one is not healthy, and once when it is again.

What stands told is on the board of the ledger, so that it outlives whoever told it. It is
written after the telling: a crash between the two tells twice rather than never.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from rexecop.app.checks import FINE, TargetView
from rexecop.app.notices import Watch
from rexecop.operations.ports import Ledger, Store
from rexecop.proof.canonical import canonical_bytes, digest_of
from rexecop.proof.codec import decode, encode

Where: TypeAlias = tuple[str, str, str]
"""An environment, an intent and an operation."""

BOARD: Final = "unwell"
NEWEST: Final = "unwell-newest"
NAMED_MAX: Final = 10  # Of one notice, which is one line; the report has all.


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwell:
    """What `group` was told at `since` of a component, as `operation` found it; it was not well since."""

    group: str
    environment: str
    intent: str
    target: str
    component: str
    state: str
    since: datetime
    operation: str

    @property
    def name(self) -> str:
        """The name it goes by on the board."""
        return _name(self.group, self.environment, self.intent, self.target, self.component)


@dataclass(frozen=True, slots=True)
class Turned:
    """What one check changed of what stands told."""

    unwell: tuple[Unwell, ...]
    well: tuple[Unwell, ...]

    @property
    def words(self) -> str:
        """Return it in one line, the first of many by name."""
        told = [f"{one.target} {one.component} is {one.state}" for one in self.unwell]
        told += [f"{one.target} {one.component} is well again" for one in self.well]
        more = f", and {len(told) - NAMED_MAX} more" if len(told) > NAMED_MAX else ""
        return ", ".join(told[:NAMED_MAX]) + more

    def post(self, store: Store) -> None:
        """Write on the board what now stands told."""
        for one in self.unwell:
            store.post(BOARD, one.name, encode(one))
        for one in self.well:
            store.post(BOARD, one.name, None)


def _name(*key: str) -> str:
    return digest_of(canonical_bytes(list(key))).removeprefix("sha256:")


def is_newest(store: Store, environment: str, intent: str, number: int) -> bool:
    """Return whether no newer operation told of these components, and note that this one does.

    What an older one found is history, whenever somebody looks at it.
    """
    name = _name(environment, intent)
    newest = int(dict(store.posted(NEWEST)).get(name, b"0"))
    store.post(NEWEST, name, str(max(number, newest)).encode())
    return number >= newest


def standing(ledger: Ledger) -> tuple[Unwell, ...]:
    """Return everything that was told and is not well yet, the oldest first."""
    found = (decode(Unwell, body) for _, body in ledger.posted(BOARD))
    return tuple(sorted(found, key=lambda one: (one.since, one.target, one.component)))


def turned(
    watch: Watch, where: Where, at: datetime, targets: Iterable[TargetView], told: Sequence[Unwell]
) -> Turned:
    """Return what turned for `watch` in `targets`, as they were found `where`, beside what it was `told`.

    What was told stays told while it is anything but well: a state that gets better, or worse, is no turn.
    """
    before = {one.name: one for one in told}
    now = {
        _name(watch.group, *where[:2], one.target, component): (one.target, component, state)
        for one in targets
        for component, state in one.components.items()
    }
    new = (found for name, found in now.items() if name not in before and watch.concerns(found[2]))
    unwell = (
        Unwell(group=watch.group, environment=where[0], intent=where[1], operation=where[2], since=at,
               target=target, component=component, state=state)
        for target, component, state in new
    )  # fmt: skip
    return Turned(tuple(unwell), tuple(before[n] for n in now if n in before and now[n][2] in FINE))
