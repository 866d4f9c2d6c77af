"""Components that turned: who is told once that one is not healthy, and once when it is again.

What stands told is on the board of the ledger, so that it outlives whoever told it. It is
written after the telling: a crash between the two tells twice rather than never.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rexecop.app.checks import FINE, TargetView
from rexecop.app.notices import Watch
from rexecop.operations.ports import Ledger, Store
from rexecop.proof.canonical import canonical_bytes, digest_of
from rexecop.proof.codec import decode, encode

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
        key = [self.group, self.environment, self.intent, self.target, self.component]
        return digest_of(canonical_bytes(key)).removeprefix("sha256:")


@dataclass(frozen=True, slots=True, kw_only=True)
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

    @property
    def about(self) -> str:
        """Return what makes a notice of it another one."""
        return ",".join(sorted(one.name for one in (*self.unwell, *self.well)))

    def post(self, store: Store) -> None:
        """Write on the board what now stands told."""
        for one in self.unwell:
            store.post(BOARD, one.name, encode(one))
        for one in self.well:
            store.post(BOARD, one.name, None)


def is_newest(store: Store, environment: str, intent: str, number: int) -> bool:
    """Return whether no newer operation told of these components, and note that this one does.

    What an older one found is history, whenever somebody looks at it.
    """
    name = digest_of(canonical_bytes([environment, intent])).removeprefix("sha256:")
    newest = max((int(body) for found, body in store.posted(NEWEST) if found == name), default=0)
    if number > newest:
        store.post(NEWEST, name, str(number).encode())
    return number >= newest


def standing(ledger: Ledger) -> tuple[Unwell, ...]:
    """Return everything that was told and is not well yet, the oldest first."""
    found = (decode(Unwell, body) for _, body in ledger.posted(BOARD))
    return tuple(sorted(found, key=lambda one: (one.since, one.target, one.component)))


def turned(
    watch: Watch,
    where: tuple[str, str, str],
    at: datetime,
    targets: Iterable[TargetView],
    told: Sequence[Unwell],
) -> Turned:
    """Return what turned for `watch`; `where` is environment, intent and operation of what found `targets`.

    What was told stays told while it is anything but well: a state that gets better, or worse, is no turn.
    """
    before = {one.name: one for one in told}
    now = list(_components(watch, where, at, targets))
    return Turned(
        unwell=tuple(one for one in now if one.name not in before and watch.concerns(one.state)),
        well=tuple(before[one.name] for one in now if one.name in before and one.state in FINE),
    )


def _components(
    watch: Watch, where: tuple[str, str, str], at: datetime, targets: Iterable[TargetView]
) -> Iterator[Unwell]:
    environment, intent, operation = where
    for target in targets:
        for component, state in target.components.items():
            yield Unwell(
                group=watch.group,
                environment=environment,
                intent=intent,
                target=target.target,
                component=component,
                state=state,
                since=at,
                operation=operation,
            )
