"""A world to run operations in: a clock one can move, a ledger and a lane that fail as told.

The ledger is the real one. Effects happen in `Reality`, which remembers every one of them, and checks at
that very moment that the attempt behind it is durable.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from conformance.memory_signer import MemorySigner
from rexecop.app.cutting import Cutter
from rexecop.app.evidence import Evidence
from rexecop.app.heads import HeadsKeeper
from rexecop.app.keyring import Keyring
from rexecop.app.lifecycle import Lifecycle
from rexecop.engines.asking import Opinions
from rexecop.engines.driver import Driver
from rexecop.engines.runner import boot_id
from rexecop.engines.session import Session
from rexecop.engines.telling import Notices
from rexecop.engines.world import World
from rexecop.governance.admission import Policy
from rexecop.governance.pack import Pack
from rexecop.governance.starter import files as starter_files
from rexecop.governance.windows import Schedule
from rexecop.lanes.failures import Failure
from rexecop.lanes.port import Capabilities, Clearance, LaneEvent, LaneResult
from rexecop.lanes.simulated import SIMULATED
from rexecop.operations.errors import StoreUnavailable, StoreUncertain
from rexecop.operations.gathering import ANYWHERE, Site
from rexecop.operations.ports import Appended, Batch, Lease
from rexecop.operations.profile import load_profile
from rexecop.operations.profile_model import Profile
from rexecop.operations.validation import Rule, own_id
from rexecop.proof.call import Call, Limits, ScriptedReply, ScriptedRequest, call_digest
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.checkpoint import Checkpoint, sign
from rexecop.proof.halts import standing
from rexecop.proof.principal import Principal
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.instance import Halt
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.reconciliation import Reconciliation
from rexecop.proof.trust import Enrolment, enrolments
from rexecop.proof.vocabulary import Effect, Ended, Established, Grade, Isolation, Phase, Role
from rexecop.store.errors import StoreExists
from rexecop.store.ledger import LedgerStore
from rexecop.store.postgres import PostgresStore
from rexecop.store.postgres_connection import Server
from rexecop.store.sqlite import SqliteStore
from tests.operations.folders import HELLO, folder

START: Final = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
ALICE: Final = Principal(person="alice", established=Established.OS_USER, credential="uid:1000")
ROOT: Final = Principal(person="root", established=Established.OS_USER, credential="uid:0")
INSTANCE: Final = "in_00000000000070008000000000000001"
SIGNER: Final = MemorySigner(7)
KEYS: Final[Mapping[str, MemorySigner]] = {
    name: MemorySigner(number) for number, name in enumerate(("bob", "carol", "dora"), 20)
}
MARGIN: Final = timedelta(seconds=2)


class Crash(BaseException):
    """The runner is dead from here on: nothing it would still do happens."""


class FakeClock:
    """Each look costs a millisecond; `move` steps it, backwards too. The boot clock only goes on."""

    def __init__(self) -> None:
        self._now = START
        self._boot = 1_000_000

    def now(self) -> datetime:
        self._now += timedelta(milliseconds=1)
        self._boot += 1
        return self._now

    def boot_ms(self) -> int:
        return self._boot

    def move(self, by: timedelta) -> None:
        self._now += by
        self._boot += max(0, int(by.total_seconds() * 1000))


class FakeIds:
    """Ids and keys that are the same in every run."""

    def __init__(self) -> None:
        self._count = 0

    def _next(self, what: str) -> bytes:
        self._count += 1
        return hashlib.sha256(f"{what}{self._count}".encode()).digest()

    def operation(self) -> str:
        self._count += 1
        return f"op_{0x0198_0000_0000_7000_8000_0000_0000_0000 + self._count:032x}"

    def nonce(self) -> str:
        return self._next("nonce").hex()[:32]

    def key(self) -> bytes:
        return self._next("key")


class Flaky(LedgerStore):
    """The real ledger, on a disk that may say no: `fault` names each append's fate."""

    fault: Callable[[], str] = staticmethod(lambda: "")
    dead: bool = False
    uncertain: bool = False
    appends: int = 0

    async def append(self, batch: Batch) -> Appended:
        self._alive()
        if self.uncertain:
            raise StoreUncertain("this process stopped appending")
        self.appends += 1
        fate = self.fault()
        if fate == "not persisted":
            raise StoreUnavailable("the ledger cannot be written: the disk is full")
        if fate == "crash before":
            self.die()
        appended = await super().append(batch)
        if fate == "crash after":
            self.die()
        if fate == "persisted anyway":
            self.uncertain = True
            raise StoreUncertain("the flush failed, and what is on the disk cannot be known")
        return appended

    def acquire(self, operation: str, runner: str, until: datetime, now: datetime) -> Lease | None:
        self._alive()
        return super().acquire(operation, runner, until, now)

    def release(self, lease: Lease) -> None:
        self._alive()
        if not self.uncertain:
            super().release(lease)

    def die(self) -> None:
        self.dead = True
        raise Crash

    def revive(self) -> None:
        """A new process opens the ledger."""
        self.dead = self.uncertain = False

    def _alive(self) -> None:
        if self.dead:
            raise Crash


class FlakyStore(Flaky, SqliteStore):
    """The ledger in a file."""


class FlakyServerStore(Flaky, PostgresStore):
    """The ledger in PostgreSQL."""


@dataclass
class Reality:
    """What really happened out there: every effect in order, and what stands."""

    store: Flaky
    effects: list[tuple[str, str, Phase]] = field(default_factory=list)
    stands: set[tuple[str, str]] = field(default_factory=set)
    calls: list[tuple[str, str, Phase]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def happen(self, operation: str, step: str, phase: Phase, call: Call, attempt: int) -> None:
        """Take the effect of one call, whose attempt must be durable and without an outcome."""
        records = self.store.journal(operation).records
        answered = {s.record.attempt for s in records if isinstance(s.record, Outcome | Reconciliation)}
        durable = [
            s
            for s in records
            if isinstance(s.record, Attempt)
            and (s.record.phase, s.record.permit.step, s.record.permit.attempt) == (phase, step, attempt)
            and s.record.permit.call == call_digest(call)
            and s.digest not in answered
        ]
        if len(durable) != 1:
            self.broken.append(f"{phase} {step} try {attempt}: {len(durable)} durable attempts behind it")
        self.effects.append((operation, step, phase))
        if phase is Phase.DO:
            self.stands.add((operation, step))
        else:
            self.stands.discard((operation, step))

    def stands_of(self, operation: str) -> list[str]:
        return [step for of, step in self.stands if of == operation]

    def times(self, operation: str, step: str, phase: Phase) -> int:
        return self.effects.count((operation, step, phase))


class ScriptLane:
    """Acts on `Reality` as `fate` says: ok, retryable, failed, lost before/after, crash before/after."""

    name = "script"

    def __init__(self, reality: Reality) -> None:
        self._reality = reality
        self.fate: Callable[[str, Phase, Effect], str] = lambda step, phase, effect: "ok"
        self.before: Callable[[], Awaitable[None]] | None = None
        self.says: dict[str, str] = {}
        self.turns: Callable[[], int] = lambda: 0  # How often others go first, before a call and in it.
        self.calling: list[tuple[str, str]] = []
        self.during: Callable[[], Awaitable[None]] | None = None

    @property
    def beside(self) -> set[str]:
        """The steps whose calls are under way."""
        return {step for _, step in self.calling}

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            requests=frozenset({ScriptedRequest.kind}),
            simulated=True,
            isolation=frozenset({Isolation.NOT_APPLICABLE}),
            grades=frozenset(Grade),
        )

    async def open(
        self, call: Call, limits: Limits, isolation: Isolation, attempt: int, clearance: Clearance
    ) -> AsyncIterator[LaneEvent]:
        assert isinstance(call.request, ScriptedRequest)
        told = call.request.arguments
        operation, step, phase = str(told["operation"]), str(told["step"]), Phase(str(told["phase"]))
        for _ in range(self.turns()):
            await asyncio.sleep(0)
        if self.before is not None:
            await self.before()
        clearance()
        self._reality.calls.append((operation, step, phase))
        fate = self.fate(step, phase, call.effect)
        self.calling.append((call.target, step))
        try:
            for _ in range(self.turns()):
                await asyncio.sleep(0)
            if self.during is not None:
                await self.during()
        finally:
            self.calling.remove((call.target, step))
        if fate == "crash before":
            self._reality.store.die()
        acts = call.effect is not Effect.READ and fate in ("ok", "lost after", "crash after")
        if acts:
            self._reality.happen(operation, step, phase, call, attempt)
        if fate == "crash after":
            self._reality.store.die()
        if fate in ("lost before", "lost after"):
            yield _end(Ended.UNKNOWN, Failure.UNKNOWN_OUTCOME)
        elif fate == "retryable":
            yield _end(Ended.FAILED, Failure.TRANSIENT_CONNECTOR_ERROR)
        elif fate == "failed":
            yield _end(Ended.FAILED, Failure.VALIDATION_FAILED)
        else:
            applied = "yes" if (operation, step) in self._reality.stands else "no"
            text = f"{applied if phase is Phase.PROBE else self.says.get(step, step)}\n".encode()
            kept = text[: limits.output_bytes]
            yield LaneResult(
                ended=Ended.OK, duration_ms=3, measured=SIMULATED, stdout=kept, stdout_bytes=len(text)
            )


def _end(ended: Ended, failure: Failure) -> LaneResult:
    return LaneResult(ended=ended, duration_ms=1, measured=SIMULATED, failure=failure)


class FakeAuthority:
    """Policy and keys as the test says."""

    instance = INSTANCE

    def __init__(self, keyring: Callable[[], tuple[Enrolment, ...]]) -> None:
        self.packs: tuple[Pack, ...] = (STARTER,)
        self._keyring = keyring
        self.standing: Callable[[], tuple[Halt, ...]] = lambda: ()

    def policy(self, profile: Digest | None = None, environment: Digest | None = None) -> Policy:
        return _policy(self.packs)

    def enrolments(self) -> tuple[Enrolment, ...]:
        return self._keyring()

    def approver_keys(self) -> frozenset[str]:
        return frozenset(one.fingerprint for one in self._keyring() if one.role is Role.APPROVER)

    def halts(self, size: int | None = None) -> tuple[Halt, ...]:
        return self.standing()

    def trust_records(self) -> tuple[Sealed, ...]:
        return ()


STARTER_FILES: Final[Mapping[str, bytes]] = starter_files("alice", ("bob", "carol", "dora"))
STARTER: Final = Pack.parse(STARTER_FILES)
_POLICIES: Final[dict[tuple[Digest, ...], Policy]] = {}


def _policy(packs: Sequence[Pack]) -> Policy:
    key = tuple(pack.ref.digest for pack in packs)
    if key not in _POLICIES:
        _POLICIES[key] = Policy(packs)
    return _POLICIES[key]


def pack(requirements: str = "", rules: str = "", actions: str = "") -> Pack:
    """Return the starter pack with other requirements, more `rules`, or `actions` that it knows."""
    files = dict(STARTER_FILES)
    files["entities.yaml"] += actions.encode()
    if requirements:
        files["requirements/approvals.cedar"] = requirements.encode()
    files["rules.cedar"] += rules.encode()
    return Pack.parse(files)


EVERYTHING: Final = '@obligations("receipt")\npermit (principal, action, resource);\n'
NEEDS_ONE: Final = pack(f'@id("one")\n@approvals("1 of approvers")\n{EVERYTHING}')
NEEDS_TWO: Final = pack(f'@id("two")\n@approvals("2 of approvers")\n{EVERYTHING}')
WITHIN: Final = '(principal, action in Action::"intent:sim/drain", resource);\n'
KNOWN: Final = "actions: {'intent:sim/*': destroy, 'intent:sim/drain': change}\n"
TWO_WITHIN: Final = pack(
    f'@id("one")\n@approvals("1 of approvers")\n{EVERYTHING}'
    f'@id("two-within")\n@approvals("2 of approvers")\npermit {WITHIN}',
    actions=KNOWN,
)
NONE_WITHIN: Final = pack(
    f'@id("one")\n@approvals("1 of approvers")\n{EVERYTHING}',
    rules=f'@id("none-within")\nforbid {WITHIN}',
    actions=KNOWN,
)
UNSIGNED: Final = pack(f'@id("one")\n@approvals("1 of approvers, session_may_approve")\n{EVERYTHING}')
TWO_UNSIGNED: Final = pack(f'@id("two")\n@approvals("2 of approvers, session_may_approve")\n{EVERYTHING}')
NO_CHANGES: Final = pack(
    rules='@id("no-changes")\nforbid (principal, action == Action::"change", resource);\n'
)


class FakeContents:
    """One profile for every plan: the greeting's normalizer, and a rule on a parameter."""

    def __init__(self) -> None:
        rule = Rule(
            test="equals",
            path="parameters.good",
            value=True,
            value_from=None,
            pass_rule="sim.good",
            fail_rule="sim.good",
            details={},
            fail_details={},
            details_from=None,
        )
        self.limit: int | None = None
        within = replace(rule, test="truthy_path", path="target")
        rules = {"sim": (rule,), "drain": (within,)}
        self._profile = replace(load_profile(folder(HELLO)), rules=rules)

    def profile(self, digest: Digest) -> Profile:
        return self._profile

    def schedule(self, environment: Digest) -> Schedule:
        return Schedule(source="nothing")

    def concurrent_max(self, environment: Digest) -> int | None:
        return self.limit

    def site(self, environment: Digest, target: str) -> Site:
        return ANYWHERE


CONTENTS: Final = FakeContents()


class House:
    """One ledger, made where there is none, and whoever lives in it.

    `life()` is a new runner after the last one died.
    """

    def __init__(self, path: Path, server: Server | None = None) -> None:
        self.clock, self.ids = FakeClock(), FakeIds()
        self.store: Flaky
        if server is not None:
            with suppress(StoreExists):
                PostgresStore.create(server, INSTANCE)
            self.store = FlakyServerStore.open(server, checkpointer=_checkpoint)
        else:
            with suppress(StoreExists):
                SqliteStore.create(path, INSTANCE).close()
            self.store = FlakyStore.open(path, checkpointer=_checkpoint)
        self.reality = Reality(self.store)
        self.lane = ScriptLane(self.reality)
        self.keyring = Keyring(self.store, self.clock, INSTANCE)
        self.authority = FakeAuthority(lambda: enrolments(self.store.journal(INSTANCE).records))
        self.authority.standing = lambda: standing(self.store.journal(INSTANCE).records)
        heads = HeadsKeeper(self.store, self.clock, INSTANCE)
        cutter = Cutter(self.store, INSTANCE, lambda: SIGNER)
        self.evidence = Evidence(self.store, cutter, heads, lambda: SIGNER, None)
        self.opinions: Opinions | None = None
        self.notices: Notices | None = None
        self._lives = 0
        self.life()

    async def enrol(self) -> None:
        """Enrol the instance's key and those of the approvers."""
        await self.keyring.enrol(SIGNER.public, "instance", Role.INSTANCE, ROOT)
        for person, key in KEYS.items():
            await self.keyring.enrol(key.public, person, Role.APPROVER, ROOT)

    def life(self, runner: str | None = None) -> Lifecycle:
        """Start a runner; the one before it is dead."""
        self._lives += 1
        self.store.revive()
        self.world = World(
            store=self.store,
            lanes={ScriptedRequest.kind: self.lane},
            authority=self.authority,
            contents=CONTENTS,
            clock=self.clock,
            ids=self.ids,
            signing=lambda: SIGNER,
            runner=runner or dead_runner(self._lives),
            permit_seconds=30,
            sound=lambda: None,
            opinions=self.opinions,
            notices=self.notices,
        )
        self.lifecycle = Lifecycle(self.world, Driver(self.world), MARGIN)
        return self.lifecycle

    def session(self, operation: str) -> Session:
        return Session.load(self.store, self.clock, operation)

    def close(self) -> None:
        self.store.revive()
        self.store.close()


def dead_runner(number: int) -> str:
    """Return the name of a runner on this boot that does not live (any more)."""
    return f"{boot_id()}:1:life{number}"


def _checkpoint(size: int, root: bytes) -> bytes:
    return sign(Checkpoint(origin=f"rexecop/{INSTANCE}/1", size=size, root=root), SIGNER)


def scripted(operation: str, step: str, phase: Phase, target: str, effect: Effect) -> Call:
    """Return the call that tells `ScriptLane` what it stands for."""
    return Call(
        target=target,
        connector="script",
        action=f"{phase}_{own_id(step)}",
        effect=effect,
        request=ScriptedRequest(
            arguments={"operation": operation, "step": step, "phase": str(phase)},
            replies=(ScriptedReply(ended=Ended.OK),),
        ),
    )
