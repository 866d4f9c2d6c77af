"""The schedules of a root at work: what is due is planned, each moment once, by whichever worker is first."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final

from rexecop.app.errors import RequestConflict, SchedulesRefused, ScheduleUnknown
from rexecop.app.files import read_file, require_private
from rexecop.app.instance import Instance
from rexecop.app.planner import PlanInput
from rexecop.app.queueing import AGAIN, WAITS
from rexecop.app.root import Root
from rexecop.app.triggering import Inbox, event_of, trigger
from rexecop.app.unattended import from_root, profile_from_root, root_schedules
from rexecop.app.views import OperationView
from rexecop.governance.windows import zone
from rexecop.operations.errors import ClaimTaken, StoreUnavailable, StoreUncertain
from rexecop.operations.machine import TERMINAL
from rexecop.operations.reading import Finding, Place, Problems
from rexecop.operations.requests import Request
from rexecop.operations.scheduling import Passed, Progress, Scheduled, judge, read_schedules
from rexecop.operations.turns import last_turn, turn
from rexecop.proof.codec import decode, encode
from rexecop.proof.errors import ProofError, RexecopError

CHANNEL: Final = "schedule"
PROGRESS: Final = "schedule"  # The kind of the rows beside the ledger; losing them plans nothing twice.
NEVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleView:
    """One schedule, the moment it is due next and what became of the last ones."""

    name: str
    recurrence: str
    zone: str
    overlap: str
    missed: str
    intent: str
    target: str
    mode: str
    start: bool
    enabled: bool
    next: datetime | None
    operation: str | None
    number: int | None
    waits: tuple[datetime, ...]
    passed: Passed | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Coming:
    """A moment of a schedule, when it is due with its jitter, and what clocks show then where it is meant."""

    name: str
    moment: datetime
    due: datetime
    local: str


@dataclass(slots=True)
class Schedules:
    """`schedules.yaml` of one root. A worker keeps one, so that it need not count to the next moment anew."""

    instance: Instance
    _stamp: tuple[int, ...] = ()
    _found: Mapping[str, Scheduled] = field(default_factory=dict)
    _wake: dict[str, datetime] = field(default_factory=dict)

    @property
    def _path(self) -> Path:
        return Root(self.instance.settings.root).schedules

    def all(self) -> Mapping[str, Scheduled]:
        """Return the schedules by name, none where there is no file; it is read again when it changed.

        Raises:
            RootUnsafe: others could change the file. SchedulesRefused: it is not what it should be.
        """
        try:
            status = os.lstat(self._path)
        except FileNotFoundError:
            return {}
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode, status.st_uid)
        if stamp != self._stamp:
            found = root_schedules(Root(self.instance.settings.root))
            self._found, self._stamp, self._wake = found, stamp, {}
        return self._found

    def named(self, name: str | None) -> Mapping[str, Scheduled]:
        """Return the schedule `name`, or all of them.

        Raises:
            ScheduleUnknown: there is none of that name. As `all`.
        """
        found = self.all()
        if name is not None and name not in found:
            words = f"no schedule is called `{name:.60}`; there are: {', '.join(found) or 'none'}"
            raise ScheduleUnknown(words, found=name[:60], next_steps=("rexecop schedule list",))
        return found if name is None else {name: found[name]}

    # --- planning what is due ---

    def due(self) -> bool:
        """Return whether a schedule is worth a look now; none is while the file cannot be followed."""
        now = self.instance.parts.world.clock.now()
        try:
            return any(self._wake.get(name, now) <= now for name in self.all())
        except (RexecopError, OSError):
            return False

    async def take(self) -> None:
        """Plan what is due. What cannot be planned becomes a dead letter.

        Raises:
            StoreUnavailable, StoreUncertain: the ledger cannot be written; nothing is lost by that.
        """
        world = self.instance.parts.world
        rows = dict(world.store.posted(PROGRESS))
        for name in rows.keys() - self.all().keys():
            world.store.post(PROGRESS, name, None)
        for name, one in self.all().items():
            now = world.clock.now()
            if self._wake.get(name, now) <= now and not self.instance.parts.lifecycle.driver.leaving:
                await self._judge(one, _progress(rows.get(name)), now)

    async def _judge(self, one: Scheduled, known: Progress | None, now: datetime) -> None:
        # One that nobody saw before has missed nothing.
        moments, came = judge(
            one, self._caught_up(one, known or Progress(seen=now)), now, lambda: self._busy(one)
        )
        for moment in moments:
            operation = await self._plan(one, moment)
            if operation is None:
                self._wake[one.name] = now + AGAIN
                return  # Somebody planned another moment meanwhile: judged again at the next look.
            came = replace(came, operation=operation or came.operation)
        if came != known:
            self.instance.parts.world.store.post(PROGRESS, one.name, encode(came))
        following = next(one.recurrence.after(came.seen), None)
        coming = NEVER if following is None else one.due_at(following)
        self._wake[one.name] = now + AGAIN if came.waits else coming

    def _caught_up(self, one: Scheduled, known: Progress) -> Progress:
        """Return how far the schedule came, also where whoever planned last died before it said so."""
        _, last = last_turn(self.instance.parts.world.store, one.chain)
        if last is None:
            return known
        moment = one.moment_of(self.instance.operation(last).the_intent.idempotency_key or "")
        if moment is None or (moment <= known.seen and moment not in known.waits):
            return known
        self._enqueue(one, last)
        waits = tuple(each for each in known.waits if each > moment)
        return replace(known, seen=max(known.seen, moment), waits=waits, operation=last)

    def _enqueue(self, one: Scheduled, operation: str) -> None:
        if one.request.start and self.instance.parts.world.store.row(operation)[1].state in WAITS:
            self.instance.enqueue(operation)

    def _busy(self, one: Scheduled) -> bool:
        """Return whether the operation planned last may go on, or start by itself."""
        store = self.instance.parts.world.store
        _, last = last_turn(store, one.chain)
        state = None if last is None else store.row(last)[1].state
        return state is not None and state not in TERMINAL and (one.request.start or state not in WAITS)

    async def _plan(self, one: Scheduled, moment: datetime) -> str | None:
        """Plan `moment` where nobody did; return its operation, "" where it is none, None for another try."""
        store, claim = self.instance.parts.world.store, one.claim(moment)
        asked = self.request(one, moment)
        if store.claimed(claim) is None:
            place, _ = last_turn(store, one.chain)
            try:
                claims = (claim, turn(one.chain, place + 1))
                planned = replace(asked, start=False)
                await trigger(self.instance, planned, channel=CHANNEL, event=event_of(asked), claims=claims)
            except (StoreUnavailable, StoreUncertain):
                raise
            except (ClaimTaken, RequestConflict) as error:
                if isinstance(error, ClaimTaken) and store.claimed(claim) is None:
                    return None
            except RexecopError as error:
                Inbox(self.instance).bury(one.key(moment), encode(asked), error)
                return ""
        operation = store.claimed(claim)
        if operation is not None:
            self._enqueue(one, operation)
        return operation or ""

    def request(self, one: Scheduled, moment: datetime) -> Request:
        """Return what `one` asks for at `moment`; its paths are from the root."""
        root = self.instance.settings.root
        profile, env = profile_from_root(root, one.request.profile), from_root(root, one.request.env)
        return replace(one.request, profile=profile, env=env, idempotency_key=one.key(moment))

    # --- for people ---

    async def run(self, name: str) -> OperationView:
        """Plan now what the schedule `name` asks for, whatever its moments, and start it if it says so.

        Raises:
            ScheduleUnknown: there is none. As `all` and `trigger`.
        """
        one = self.named(name)[name]
        return await trigger(
            self.instance, self.request(one, self.instance.parts.world.clock.now()), channel=CHANNEL
        )

    def views(self) -> tuple[ScheduleView, ...]:
        """Return every schedule and how it stands. Raises as `all`."""
        world = self.instance.parts.world
        rows, now = dict(world.store.posted(PROGRESS)), world.clock.now()
        found = []
        for name, one in self.all().items():
            known = _progress(rows.get(name)) or Progress(seen=now)
            coming = next(one.recurrence.after(max(known.seen, now)), None) if one.enabled else None
            asked = one.request
            found.append(
                ScheduleView(
                    name=name,
                    recurrence=one.written,
                    zone=one.recurrence.zone,
                    overlap=one.overlap,
                    missed=one.missed,
                    intent=asked.intent,
                    target=asked.target,
                    mode=asked.mode,
                    start=asked.start,
                    enabled=one.enabled,
                    next=None if coming is None else one.due_at(coming),
                    operation=known.operation,
                    number=None if known.operation is None else world.store.number(known.operation),
                    waits=known.waits,
                    passed=known.passed,
                )
            )
        return tuple(found)

    def coming(self, name: str | None, count: int) -> tuple[Coming, ...]:
        """Return the next moments of the schedule `name`, or of all that are enabled. Raises as `named`."""
        now = self.instance.parts.world.clock.now()
        found = [
            Coming(
                name=one.name,
                moment=moment,
                due=one.due_at(moment),
                local=f"{moment.astimezone(zone(one.recurrence.zone)):%a %Y-%m-%d %H:%M %Z}",
            )
            for one in self.named(name).values()
            if one.enabled or name is not None
            for moment in islice(one.recurrence.after(now), count)
        ]
        return tuple(sorted(found, key=lambda one: (one.due, one.name))[:count])

    def lint(self) -> tuple[Finding, ...]:
        """Return all that is wrong in the file, and with what its schedules ask for."""
        problems = Problems(SchedulesRefused.code)
        require_private(self._path)
        found = read_schedules(read_file(self._path), self._path.name, problems)
        now = self.instance.parts.world.clock.now()
        for one in found.values() if not problems.findings else ():
            asked = self.request(one, now)
            try:
                self.instance.parts.planner.prepare(
                    PlanInput(
                        profile=asked.profile,
                        env=asked.env,
                        intent=asked.intent,
                        target=asked.target,
                        mode=asked.mode,
                        parameters=asked.parameters,
                    )
                )
            except RexecopError as error:
                words, place = f"`{one.name}` cannot be planned: {error.message}", Place(self._path.name)
                problems.add(words, place, field=f"schedules.{one.name}", code=error.code)
        return tuple(problems.findings)


def _progress(body: bytes | None) -> Progress | None:
    with suppress(ProofError):
        return None if body is None else decode(Progress, body)
    return None
