"""What has to be shown of a target before a call, and how many calls may be under way."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from rexecop.lanes.errors import RequestRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.gate import Gate
from rexecop.lanes.port import LaneResult
from rexecop.lanes.process import ProcessLane
from rexecop.lanes.secrets import NO_SECRETS
from rexecop.lanes.slots import RootQuota
from rexecop.lanes.targets import (
    LOCAL_MACHINE,
    NODE_KEY,
    VALID,
    Attestation,
    Quota,
    Seen,
    Unattested,
    attested,
)
from rexecop.proof.call import Call
from rexecop.proof.vocabulary import Ended, Grade, Isolation, Mode
from tests.lanes.support import (
    FENCE,
    NOON,
    FakeClock,
    TellingLane,
    dispatch_of,
    gate_of,
    process,
    result_of,
    run,
    through,
)

CALL = process("true")
SHOWN = attested("db-1", NODE_KEY, {"node": "SHA256:x"}, NOON)


class LookingLane(TellingLane):
    """A lane that attests, or says why it cannot."""

    refusal: RequestRefused | None = None

    async def attest(self, call: Call, now: datetime) -> Attestation:
        if self.refusal is not None:
            raise self.refusal
        return attested(call.target, NODE_KEY, {}, now)


def asked(
    seen: Seen, *classes: str, lane: TellingLane | None = None, clock: FakeClock | None = None
) -> LaneResult:
    return through(gate_of(lane or TellingLane(), clock), dispatch_of(CALL, attest=classes, seen=seen))


def test_a_target_seen_as_one_of_the_classes_asked_for_is_called_and_the_outcome_says_what_was_seen() -> None:
    result = asked(SHOWN, "ssh-host-key", NODE_KEY)

    assert result.ended is Ended.OK
    assert (result.measured.facts or {})["attestation"] == SHOWN.facts()


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (None, "nothing here attests"),
        (replace(SHOWN, class_=LOCAL_MACHINE), "is attested `local-machine`"),
        (replace(SHOWN, target="db-2"), "nothing here attests"),
        (replace(SHOWN, expires=NOON), "expired"),
    ],
)
def test_a_target_not_shown_to_be_what_it_has_to_be_is_not_called(seen: Seen, why: str) -> None:
    lane = TellingLane()

    result = asked(seen, NODE_KEY, lane=lane)

    assert (result.ended, result.failure, lane.opened) == (Ended.REFUSED, Failure.TARGET_UNATTESTED, 0)
    assert why in (result.message or "")


def test_what_kept_a_target_from_being_looked_at_is_why_it_is_not_called() -> None:
    seen = Unattested(failure=Failure.TRANSIENT_CONNECTOR_ERROR, message="it did not answer")

    result = asked(seen, NODE_KEY)

    assert (result.ended, result.failure) == (Ended.REFUSED, Failure.TRANSIENT_CONNECTOR_ERROR)
    assert "it did not answer" in (result.message or "")


def test_authority_is_judged_before_attestation_and_attestation_before_isolation() -> None:
    stale = dispatch_of(CALL, attest=(NODE_KEY,), isolation=Isolation.RLIMITS)
    gate, expired = gate_of(TellingLane()), FakeClock(at=NOON + timedelta(hours=1))

    assert through(gate_of(TellingLane(), expired), stale).failure is Failure.PERMIT_EXPIRED
    assert through(gate, stale).failure is Failure.TARGET_UNATTESTED
    shown = replace(stale, seen=SHOWN)
    assert through(gate, shown).failure is Failure.ISOLATION_UNAVAILABLE


def test_a_preview_needs_nothing_shown() -> None:
    result = through(gate_of(TellingLane()), dispatch_of(CALL, attest=(NODE_KEY,), mode=Mode.DRY_RUN))

    assert result.ended is Ended.PREVIEWED


def test_the_gate_tells_a_refused_look_from_a_lane_that_cannot_look_and_one_that_breaks() -> None:
    looking, clock = LookingLane(), FakeClock()

    assert run(gate_of(TellingLane(), clock).attest(CALL)) is None
    assert run(gate_of(looking, clock).attest(CALL)) == attested("db-1", NODE_KEY, {}, NOON)
    looking.refusal = RequestRefused(Failure.HOST_KEY_MISMATCH, "another key")
    assert run(gate_of(looking, clock).attest(CALL)) == Unattested(
        failure=Failure.HOST_KEY_MISMATCH, message="another key"
    )
    looking.refusal = ValueError  # type: ignore[assignment]
    broken = run(gate_of(looking, clock).attest(CALL))
    assert isinstance(broken, Unattested) and broken.failure is Failure.INTERNAL


def test_this_machine_is_attested_by_its_boot_and_kernel() -> None:
    lane = ProcessLane(isolation={Isolation.NONE: Grade.SHAPE}, secrets=NO_SECRETS, hidden=())

    seen = run(lane.attest(CALL, NOON))

    assert (seen.class_, seen.at, seen.expires) == (LOCAL_MACHINE, NOON, NOON + VALID)
    assert (seen.measured["uid"], seen.measured["kernel"]) == (os.getuid(), os.uname().release)


# --- quota ---


@pytest.mark.parametrize("bound", [{"per_target": 2}, {"per_lane": 2}])
def test_no_more_calls_are_under_way_than_may_be_and_the_next_is_refused(bound: dict[str, int]) -> None:
    lane = TellingLane()
    gate = Gate(lanes={"process/1": lane}, clock=FakeClock(), fence=lambda: FENCE, quota=Quota(**bound))

    async def story() -> tuple[LaneResult, LaneResult]:
        held = [gate.open(dispatch_of(CALL)) for _ in range(2)]
        for events in held:
            await anext(events)
        over = result_of([event async for event in gate.open(dispatch_of(CALL))])
        await asyncio.gather(*(events.aclose() for events in held))
        return over, result_of([event async for event in gate.open(dispatch_of(CALL))])

    over, after = run(story())

    assert (over.ended, over.failure, lane.opened) == (Ended.REFUSED, Failure.QUOTA_EXCEEDED, 3)
    assert after.ended is Ended.OK


def test_a_full_target_does_not_hold_up_another() -> None:
    quota = Quota(per_target=1)

    with quota.taking("process", "db-1"), quota.taking("process", "db-2"):
        full = quota.taking("process", "db-1")
        with pytest.raises(RequestRefused):
            full.__enter__()


HOLDING = """
import sys
from pathlib import Path
from rexecop.lanes.slots import RootQuota
with RootQuota(Path(sys.argv[1]), per_target=2).taking("process", "db-1"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_calls_are_counted_across_the_processes_of_a_root_until_those_end(tmp_path: Path) -> None:
    folder, refusals = tmp_path / "quota", []
    argv = [sys.executable, "-c", HOLDING, str(folder)]
    with Popen(argv, stdin=PIPE, stdout=PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        ours = RootQuota(folder, per_target=2)
        with ours.taking("process", "db-1"), ours.taking("process", "db-2"):
            for quota in (ours, RootQuota(folder, per_target=2)):
                with pytest.raises(RequestRefused) as refused, quota.taking("process", "db-1"):
                    raise AssertionError
                refusals.append(refused.value.failure)
        other.kill()
        other.wait()
        with ours.taking("process", "db-1"), ours.taking("process", "db-1"):
            pass

    assert refusals == [Failure.QUOTA_EXCEEDED] * 2


def test_a_call_that_cannot_be_counted_is_not_made(tmp_path: Path) -> None:
    (tmp_path / "quota").write_text("no folder")

    with pytest.raises(RequestRefused) as refused, RootQuota(tmp_path / "quota").taking("process", "db-1"):
        raise AssertionError

    assert refused.value.failure is Failure.LANE_UNAVAILABLE
