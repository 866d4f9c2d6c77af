"""One seeded life of one operation: faults for a while, and people who do what the state asks for."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

from rexecop.engines.errors import RunnerBusy
from rexecop.engines.session import Session
from rexecop.operations.errors import OperationUnknown, StoreUnavailable, StoreUncertain
from rexecop.operations.fold import Operation, fold
from rexecop.operations.machine import TERMINAL
from rexecop.operations.recover import settle_after
from rexecop.proof.records.command import Verb
from rexecop.proof.records.plan import CalledIntent, Guard, Rollout
from rexecop.proof.vocabulary import Effect, Phase, State
from tests.sim.oracles import check, check_ended, stuck
from tests.sim.plans import DRAIN, Wanted, change, derive, drafted, read
from tests.sim.world import ALICE, MARGIN, Crash, House

TURNS_MAX = 60  # What people and restarts need at most for a plan of four steps, and some more.
STORE_FAULTS = ("not persisted", "persisted anyway", "crash before", "crash after")
READ_FATES = ("retryable", "failed", "lost before", "crash before", "crash after")
# What people are told now and then; a clock that was set back is set right again.
REFUSALS = ("nothing-to-settle", "illegal-move", "ticket-expired", "clock-stepped-back")
CHANGE_FATES = ("retryable", "failed", "lost before", "lost after", "crash before", "crash after")


class Scenario:
    """Everything the seed decides, and nothing else does."""

    def __init__(self, house: House, seed: int) -> None:
        self.house = house
        self.random = random.Random(seed)
        self.faults_left = self.random.choice((0, 1, 2, 3, 5))
        self.rate = self.random.choice((0.1, 0.3, 0.6))
        self.asked: list[Verb] = []
        self.told: list[str] = []

    # --- what goes wrong ---

    def _falls(self) -> bool:
        if self.faults_left and self.random.random() < self.rate:
            self.faults_left -= 1
            return True
        return False

    def _store_fate(self) -> str:
        return self.random.choice(STORE_FAULTS) if self._falls() else ""

    def _lane_fate(self, step: str, phase: Phase, effect: Effect) -> str:
        if not self._falls():
            return "ok"
        return self.random.choice(READ_FATES if effect is Effect.READ else CHANGE_FATES)

    def _time_passes(self) -> None:
        step = self.random.choice((0, 0, 0, 400, 5_000, 40_000, -3_000))
        self.house.clock.move(timedelta(milliseconds=step))

    # --- what is asked ---

    def plan(self) -> list[Wanted]:
        """Return one to four steps."""
        wanted: list[Wanted] = []
        for number in range(self.random.randint(1, 4)):
            target = self.random.choice(("web", "db"))
            tries, tolerated = self.random.choice((1, 1, 2, 3)), self.random.random() < 0.2
            kind = self.random.choice(("read", "change", "change", "derive"))
            if kind == "derive" and wanted and wanted[-1].effect is not None:
                wanted.append(derive(f"s{number}"))
            elif kind == "change":
                wanted.append(
                    change(
                        f"s{number}",
                        target=target,
                        tries=tries,
                        tolerated=tolerated,
                        probe=self.random.random() < 0.7,
                        undo=self.random.random() < 0.7,
                    )
                )
            else:
                wanted.append(read(f"s{number}", target=target, tries=tries, tolerated=tolerated))
        return wanted

    async def run(self) -> str:
        """Run to the end and check everything on the way; return the operation's id."""
        house = self.house
        house.clock.move(timedelta(minutes=1))
        house.store.fault, house.lane.fate = self._store_fate, self._lane_fate
        operation = await self._planned()
        for _ in range(TURNS_MAX):
            op = fold(house.store.journal(operation).records)
            check(house, operation)
            act = self._choose(op)
            if act is None:
                break
            self.told.append(act)
            await self._living(self._act(operation, op, act))
        else:
            left = fold(house.store.journal(operation).records)
            raise AssertionError(f"stuck: {stuck(left)} after {self.told}")
        check_ended(house, operation)
        return operation

    async def _planned(self) -> str:
        while True:
            session = self._drafted()
            await self._living(session.flush())
            try:
                return self.house.store.journal(session.id).operation
            except OperationUnknown:
                continue

    def _drafted(self) -> Session:
        return drafted(self.house, self.plan(), good=self.random.random() < 0.85)

    def _choose(self, op: Operation) -> str | None:
        """Return what people do about an operation that is as it is; None to leave it at that."""
        chance = self.random.random()
        if op.in_flight or op.receipt_due:
            return "start"
        if op.state in TERMINAL:
            return self._about_the_end(op, chance)
        if op.state is State.INDETERMINATE:
            return "reconcile" if chance < 0.95 else "escalate"
        if op.state is State.PAUSED:
            return "resume" if chance < 0.9 else "cancel"
        if chance < 0.05 and op.state in (State.APPROVED, State.RUNNING):
            return "cancel"
        return "start"

    def _about_the_end(self, op: Operation, chance: float) -> str | None:
        if len(self.asked) >= 3:
            return None
        if op.state is State.FAILED and chance < 0.7:
            undo = "undo" if op.to_undo() else "escalate"
            return self.random.choice(("retry", undo)) if self._retries(op) else undo
        if op.state in (State.COMPLETED, State.CANCELLED) and chance < 0.3 and op.to_undo():
            return "undo"
        return None

    @staticmethod
    def _retries(op: Operation) -> bool:
        return any(not progress.settled for progress in op.steps.values()) and not op.undo

    async def _act(self, operation: str, op: Operation, act: str) -> None:
        lifecycle = self.house.lifecycle
        self._time_passes()
        if act == "start":
            await lifecycle.start(operation)
        elif act == "reconcile":
            await self._reconcile(operation, op)
        else:
            self.asked.append(Verb(act))
            await lifecycle.command(operation, Verb(act), ALICE, "because")

    async def _reconcile(self, operation: str, op: Operation) -> None:
        house = self.house
        quiet = settle_after(op, MARGIN)
        now = house.clock.now()
        if quiet is not None and now < quiet:
            house.clock.move(quiet - now)
        progress = next(iter(op.unknown.values()))
        step = progress.step.id
        probes = getattr(progress.step, "probe", None) is not None
        if probes and self.random.random() < 0.8:
            await house.lifecycle.reconcile(
                operation, ALICE, probe=True, happened=None, reason=None, step=step
            )
            return
        stands = (operation, step) in house.reality.stands
        happened = stands if progress.phase is Phase.DO else not stands
        await house.lifecycle.reconcile(
            operation, ALICE, probe=False, happened=happened, reason="looked", step=step
        )

    async def _living(self, work: object) -> None:
        """Do `work`; whoever dies of it, or may not write any more, is followed by a new runner."""
        try:
            await work  # type: ignore[misc]
        except (Crash, StoreUncertain):
            self.house.life()
        except (StoreUnavailable, RunnerBusy):
            pass
        except Exception as error:
            if getattr(error, "code", "") not in REFUSALS:
                raise
            self.told.append(f"refused: {error}")
            self.house.clock.move(timedelta(seconds=10))


TARGETS = ("a", "b", "c", "d", "e")


class Wide(Scenario):
    """A life whose steps go side by side: a graph on one target, or waves over several."""

    def __init__(self, house: House, seed: int) -> None:
        super().__init__(house, seed)
        house.lane.turns = lambda: self.random.choice((0, 0, 1, 3, 9))
        # A guarded step is done where this says so, and left out elsewhere.
        house.lane.says = {
            f"look{end}": self.random.choice(("go", "stay")) for end in ("", *map("@{}".format, TARGETS))
        }

    def _drafted(self) -> Session:
        good = self.random.random() < 0.85
        nested = self.random.random() < 0.4
        if self.random.random() < 0.5:
            alone, called = within(self._steps("web", ""), ("web",), nested=nested)
            parallel = self.random.choice((2, 3, 8))
            return drafted(self.house, alone, good=good, parallel=parallel, called=called)
        targets = TARGETS[: self.random.randint(2, 5)]
        first = self.random.randint(1, len(targets))
        check = self.random.random() < 0.5
        rollout = Rollout(
            waves=(first, len(targets) - first) if first < len(targets) else (first,),
            targets_max=self.random.randint(1, 4),
            stop_after=self.random.randint(1, len(targets)),
            canary=self.random.random() < 0.3,
            check="check" if check else None,
            undo=self.random.random() < 0.6,
        )
        parallel, shape = self.random.choice((1, 2)), self.random.random()
        wanted: list[Wanted] = []
        for target in targets:
            wanted += self._steps(target, f"@{target}", random.Random(shape))
            wanted += [read(f"check@{target}", target=target)] if check else []
        wanted, called = within(wanted, targets, nested=nested)
        return drafted(self.house, wanted, good=good, parallel=parallel, rollout=rollout, called=called)

    def _steps(self, target: str, end: str, chance: random.Random | None = None) -> list[Wanted]:
        chance = chance or self.random
        wanted = [read(f"look{end}", target=target)]
        if chance.random() < 0.3:
            wanted.append(Wanted(id=f"sum{end}", effect=None, target=target))
        for number in range(chance.randint(1, 4)):
            above = [one.id for one in wanted]
            needs = chance.sample(above, chance.randint(0, min(2, len(above))))
            guard = Guard(step=f"look{end}", fact="line", among=("stay",), other=True)
            guarded = chance.random() < 0.3
            needs += [f"look{end}"] if guarded and f"look{end}" not in needs else []
            wanted.append(
                change(
                    f"s{number}{end}",
                    target=target,
                    tries=chance.choice((1, 1, 2)),
                    needs=tuple(needs),
                    when=(guard,) if guarded else (),
                    goes_on=chance.random() < 0.5,
                    undo=chance.random() < 0.8,
                )
            )
        return wanted


def within(
    wanted: list[Wanted], targets: tuple[str, ...], *, nested: bool
) -> tuple[list[Wanted], tuple[CalledIntent, ...]]:
    """Return the steps with all changes in the course of another intent, and what is called, if `nested`."""
    names = {one.id: f"{DRAIN.prefix}/{one.id}" for one in wanted if nested and one.effect is Effect.CHANGE}
    renamed = [
        replace(one, id=names.get(one.id, one.id), needs=tuple(names.get(need, need) for need in one.needs))
        for one in wanted
    ]
    return renamed, (replace(DRAIN, targets=targets),) if names else ()
