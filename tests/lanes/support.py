"""Values and fakes for tests of the lanes: a still clock, a permit that fits, a lane that tells."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from rexecop.lanes.gate import Dispatch, Gate
from rexecop.lanes.live import Live
from rexecop.lanes.port import Capabilities, Clearance, Lane, LaneEvent, LaneResult
from rexecop.lanes.secrets import Held, Place, Secrets
from rexecop.lanes.targets import Quota
from rexecop.proof.call import (
    Call,
    Hole,
    Limits,
    ProcessRequest,
    ScriptedReply,
    ScriptedRequest,
    Slot,
    Text,
    call_digest,
)
from rexecop.proof.canonical import digest_of
from rexecop.proof.permit import Permit
from rexecop.proof.records.outcome import Measured
from rexecop.proof.vocabulary import Effect, Ended, Grade, Isolation, Mode, Phase

T = TypeVar("T")

NOON: Final = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
FENCE: Final = 7
LIMITS: Final = Limits(timeout_ms=30_000, output_bytes=64 * 1024)  # Nothing takes long but on a busy machine.
TIMES_MS: Final = (150, 1_500, 15_000)
TICKET: Final = digest_of(b"a ticket")


def run(work: Coroutine[object, object, T]) -> T:
    """Run `work` to its end in a loop of its own."""
    return asyncio.run(work)


@dataclass
class FakeClock:
    """A clock that only moves when it is told to."""

    at: datetime = NOON
    booted_ms: int = 1_000_000

    def now(self) -> datetime:
        return self.at

    def boot_ms(self) -> int:
        return self.booted_ms


@dataclass(frozen=True)
class Kept:
    """A source of secrets that a test wrote down."""

    values: Mapping[str, bytes] = field(hash=False)
    where: str = "the test"

    async def read(self) -> Held:
        return Held(fields=self.values)

    async def doubt(self) -> str | None:
        return None


def secrets_of(**values: bytes) -> Secrets:
    """Secrets that resolve to `values`; short ones are allowed."""
    source = Kept(values)
    return Secrets(lambda name: Place(source=source, field=name, short=True))


def process(
    *argv: Text,
    effect: Effect = Effect.READ,
    stdin: Text | None = None,
    env: Mapping[str, Text] | None = None,
    cwd: str | None = None,
    writable: tuple[str, ...] = (),
) -> Call:
    """A call that runs `argv`."""
    request = ProcessRequest(argv=argv, stdin=stdin, env=env, cwd=cwd, writable=writable)
    return Call(target="db-1", connector="local", action="look", effect=effect, request=request)


def shell(script: str, *arguments: str, effect: Effect = Effect.READ, cwd: str | None = None) -> Call:
    """A call that runs a shell script as its program; the lane itself knows no shell."""
    return process("/bin/sh", "-c", script, "sh", *arguments, effect=effect, cwd=cwd)


def scripted(*replies: ScriptedReply, effect: Effect = Effect.READ) -> Call:
    """A call that answers with `replies`."""
    request = ScriptedRequest(arguments={"service": "agent"}, replies=replies)
    return Call(target="db-1", connector="mock", action="look", effect=effect, request=request)


def reply(
    ended: Ended = Ended.OK,
    *,
    error_class: str | None = None,
    stdout: str | None = None,
    delay_ms: int = 0,
    message: str | None = None,
    repeat: int = 1,
) -> ScriptedReply:
    """One scripted answer."""
    return ScriptedReply(
        ended=ended,
        error_class=error_class,
        stdout=stdout,
        delay_ms=delay_ms,
        message=message,
        repeat=repeat,
    )


def out_of_time(
    make: Callable[[Limits], LaneResult], begun: Callable[[LaneResult], bool], *, grace_ms: int = 50
) -> LaneResult:
    """Return how a call ends whose time is up, in the first of `TIMES_MS` in which it had `begun`.

    What a busy machine does in a brief time may be nothing at all.
    """
    *brief, last = (Limits(timeout_ms=ms, output_bytes=64 * 1024, grace_ms=grace_ms) for ms in TIMES_MS)
    for limits in brief:
        if begun(found := make(limits)):
            return found
    return make(last)


def permit_for(call: Call) -> Permit:
    """A permit that covers the first attempt of `call` for a minute."""
    return Permit(
        ticket=TICKET,
        call=call_digest(call),
        step="look",
        attempt=1,
        fence=FENCE,
        expires=NOON + timedelta(seconds=60),
    )


def dispatch_of(call: Call, **changes: object) -> Dispatch:
    """A dispatch of `call` that the gate lets through, with `changes`."""
    scripted_call = isinstance(call.request, ScriptedRequest)
    dispatch = Dispatch(
        step="look",
        attempt=1,
        template=call,
        slots={},
        values={},
        call=call,
        permit=permit_for(call),
        limits=LIMITS,
        isolation=Isolation.NOT_APPLICABLE if scripted_call else Isolation.NONE,
        grade=Grade.SHAPE if call.effect is Effect.READ else None,
        mode=Mode.READ_ONLY if call.effect is Effect.READ else Mode.APPLY,
        phase=Phase.DO,
        targets=frozenset({call.target}),
        attest=(),
        seen=None,
        deadline=None,
    )
    return replace(dispatch, **changes)  # type: ignore[arg-type]


HOSTNAME_SLOT: Final = Slot(step="find", fact="unit", type="string", pattern="[a-z-]+", length_max=20)
TEMPLATE: Final = process("systemctl", "show", (Hole(slot="unit"),))


@dataclass
class TellingLane:
    """A lane that does nothing and tells whether it was asked, and whether it went past its clearance."""

    name: str = "telling"
    simulated: bool = False
    measured_isolation: str = "none"
    measured_facts: dict[str, str] = field(default_factory=lambda: {"grade": "shape"})
    before_clearance: Callable[[], None] = lambda: None
    after_clearance: Callable[[], None] = lambda: None
    opened: int = 0
    acted: int = 0

    def spoken_to(self, live: Live) -> "TellingLane":
        return self

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            requests=frozenset({"process/1", "scripted/1"}),
            simulated=self.simulated,
            isolation=frozenset({Isolation.NONE, Isolation.BUBBLEWRAP, Isolation.NOT_APPLICABLE}),
            grades=frozenset({Grade.SHAPE, Grade.CONTAINED}),
        )

    async def open(
        self, call: Call, limits: Limits, isolation: Isolation, attempt: int, clearance: Clearance
    ) -> AsyncIterator[LaneEvent]:
        self.opened += 1
        self.before_clearance()
        clearance()
        self.acted += 1
        self.after_clearance()
        yield LaneResult(
            ended=Ended.OK,
            duration_ms=1,
            measured=Measured(
                isolation=self.measured_isolation,
                network="host",
                protection="none",
                facts=dict(self.measured_facts),
            ),
        )


def gate_of(lane: Lane, clock: FakeClock | None = None, fence: Callable[[], int] = lambda: FENCE) -> Gate:
    """A gate with one lane for every kind of request."""
    lanes = dict.fromkeys(lane.capabilities.requests, lane)
    return Gate(lanes=lanes, clock=clock or FakeClock(), fence=fence, quota=Quota())


def through(gate: Gate, dispatch: Dispatch) -> LaneResult:
    """The result of `dispatch`."""
    return result_of(events_through(gate, dispatch))


def events_through(gate: Gate, dispatch: Dispatch) -> list[LaneEvent]:
    """All events of `dispatch`."""

    async def collect() -> list[LaneEvent]:
        return [event async for event in gate.open(dispatch)]

    return run(collect())


def result_of(events: list[LaneEvent]) -> LaneResult:
    """The one result among `events`, which is the last of them."""
    results = [event for event in events if isinstance(event, LaneResult)]
    assert len(results) == 1 and events[-1] is results[0]
    return results[0]


def call_lane(
    lane: Lane,
    call: Call,
    *,
    limits: Limits = LIMITS,
    isolation: Isolation = Isolation.NONE,
    attempt: int = 1,
    clearance: Clearance = lambda: None,
) -> list[LaneEvent]:
    """All events of `call` made by `lane` directly."""

    async def collect() -> list[LaneEvent]:
        return [event async for event in lane.open(call, limits, isolation, attempt, clearance)]

    return run(collect())
