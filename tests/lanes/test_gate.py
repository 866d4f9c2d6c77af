"""The gate: one test for each refusal, and each refusal leaves the lane untouched."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.lanes.errors import ClearanceRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.gate import NOT_MEASURED, Dispatch, Gate, Leave
from rexecop.lanes.port import Asks, Clearance, Lane, LaneEvent, LaneResult, Made
from rexecop.lanes.simulated import SimulatedLane
from rexecop.lanes.targets import Quota
from rexecop.proof.call import REPEAT_MAX, Call, Hole, Limits, ProcessRequest, SecretRef, Text, fill
from rexecop.proof.canonical import Digest
from rexecop.proof.vocabulary import READ_MODES, Effect, Ended, Grade, Isolation, Mode, Phase
from tests.lanes.support import (
    FENCE,
    HOSTNAME_SLOT,
    NOON,
    TEMPLATE,
    FakeClock,
    TellingLane,
    dispatch_of,
    gate_of,
    permit_for,
    process,
    reply,
    run,
    scripted,
    through,
)


def refused(dispatch: Dispatch, *, clock: FakeClock | None = None, fence: int = FENCE) -> Failure | None:
    """The failure `dispatch` is refused with; the lane must not have been asked."""
    lane = TellingLane()
    result = through(gate_of(lane, clock, lambda: fence), dispatch)
    assert result.ended is Ended.REFUSED
    assert lane.opened == 0
    return result.failure


def filled(**values: str | int) -> Dispatch:
    call = fill(TEMPLATE, values)
    return dispatch_of(call, template=TEMPLATE, slots={"unit": HOSTNAME_SLOT}, values=values)


def test_a_dispatch_that_fits_reaches_the_lane_once() -> None:
    lane = TellingLane()
    result = through(gate_of(lane), filled(unit="cron"))

    assert (result.ended, lane.opened, lane.acted) == (Ended.OK, 1, 1)


class TestStructure:
    @pytest.mark.parametrize(
        "call",
        [
            process(),
            process(""),
            process("./here"),
            process("cat\0", "x"),
            process("cat", "a\0b"),
            process("cat", *["x"] * 2_000),
            process("cat", "x" * 200_000),
            process("cat", (SecretRef(secret="password"),)),
            process("cat", env={"A=B": "x"}),
            process("cat", env={"": "x"}),
            process("cat", env={"A": "x\0y"}),
            process("cat", cwd="relative"),
            process("cat", cwd="/tmp/../etc"),
            process("cat", effect=Effect.CHANGE, writable=("/",)),
            process("cat", effect=Effect.CHANGE, writable=("var",)),
            process("cat", writable=("/var/lib/x",)),
            process("cat", "\ud800"),
            scripted(),
            scripted(reply(error_class="nobody_knows_it")),
            scripted(reply(delay_ms=-1)),
            scripted(reply(repeat=0)),
            scripted(reply(repeat=REPEAT_MAX + 1)),
        ],
        ids=lambda call: repr(call.request)[:60],
    )
    def test_a_call_that_cannot_be_made_as_written_is_refused(self, call: Call) -> None:
        # The permit is for another call, so an answer about authority would mean the order is wrong.
        dispatch = dispatch_of(process("true"), mode=Mode.APPLY)

        assert refused(replace(dispatch, template=call, call=call)) is Failure.REQUEST_INVALID

    @pytest.mark.parametrize(
        "limits",
        [
            Limits(timeout_ms=0, output_bytes=1),
            Limits(timeout_ms=1, output_bytes=0),
            Limits(timeout_ms=1, output_bytes=2**40),
            Limits(timeout_ms=1, output_bytes=1, processes=0),
            Limits(timeout_ms=1, output_bytes=1, grace_ms=-1),
            Limits(timeout_ms=1, output_bytes=1, memory_bytes=-1),
        ],
        ids=repr,
    )
    def test_limits_that_limit_nothing_are_refused(self, limits: Limits) -> None:
        assert refused(dispatch_of(process("true"), limits=limits)) is Failure.REQUEST_INVALID

    def test_a_template_is_not_a_call(self) -> None:
        assert refused(dispatch_of(TEMPLATE)) is Failure.TEMPLATE_MISMATCH


class TestAuthority:
    def test_a_permit_for_another_call_is_worthless(self) -> None:
        dispatch = dispatch_of(process("rm", "-r", "/var/lib/a"), permit=permit_for(process("ls", "/")))

        assert refused(dispatch) is Failure.PERMIT_MISMATCH

    def test_a_permit_for_another_step_or_attempt_is_worthless(self) -> None:
        call = process("true")

        assert refused(dispatch_of(call, step="other")) is Failure.PERMIT_MISMATCH
        assert refused(dispatch_of(call, attempt=2)) is Failure.PERMIT_MISMATCH

    def test_attempts_count_from_one(self) -> None:
        call = process("true")
        dispatch = dispatch_of(call, attempt=0, permit=replace(permit_for(call), attempt=0))

        assert refused(dispatch) is Failure.PERMIT_MISMATCH

    def test_a_call_that_its_template_does_not_yield_is_refused_even_with_a_permit_for_it(self) -> None:
        dispatch = replace(filled(unit="cron"), values={"unit": "sshd"})

        assert refused(dispatch) is Failure.TEMPLATE_MISMATCH

    @pytest.mark.parametrize("value", ["UPPER", "a b", "x" * 21, 7, True, ""])
    def test_a_value_outside_its_slot_is_refused(self, value: str | int) -> None:
        assert refused(filled(unit=value)) is Failure.TEMPLATE_MISMATCH

    def test_a_value_without_a_slot_is_refused(self) -> None:
        assert refused(replace(filled(unit="cron"), slots={})) is Failure.TEMPLATE_MISMATCH

    def test_a_hole_without_a_value_is_refused(self) -> None:
        assert refused(replace(filled(unit="cron"), values={})) is Failure.TEMPLATE_MISMATCH

    def test_a_slot_with_a_broken_pattern_is_refused(self) -> None:
        slots = {"unit": replace(HOSTNAME_SLOT, pattern="(")}

        assert refused(replace(filled(unit="cron"), slots=slots)) is Failure.TEMPLATE_MISMATCH

    @pytest.mark.parametrize("late_ms", [0, 1, 3_600_000])
    def test_an_expired_permit_is_refused_from_its_last_instant_on(self, late_ms: int) -> None:
        clock = FakeClock(at=NOON + timedelta(seconds=60, milliseconds=late_ms))

        assert refused(dispatch_of(process("true")), clock=clock) is Failure.PERMIT_EXPIRED

    @pytest.mark.parametrize("fence", [FENCE - 1, FENCE + 1])
    def test_a_permit_of_another_fence_is_refused(self, fence: int) -> None:
        assert refused(dispatch_of(process("true")), fence=fence) is Failure.FENCE_LOST

    def test_a_call_past_its_deadline_is_refused(self) -> None:
        assert refused(dispatch_of(process("true"), deadline=NOON)) is Failure.DEADLINE_PASSED

    @given(st.text(alphabet="0123456789abcdef", min_size=64, max_size=64))
    def test_no_other_digest_opens_the_gate(self, hexadecimal: str) -> None:
        call = process("true")
        permit = replace(permit_for(call), call=Digest(f"sha256:{hexadecimal}"))

        assert refused(dispatch_of(call, permit=permit)) is Failure.PERMIT_MISMATCH


class TestEffect:
    @pytest.mark.parametrize("effect", [Effect.CHANGE, Effect.DESTROY])
    @pytest.mark.parametrize("mode", sorted(READ_MODES - {Mode.DRY_RUN}))
    def test_a_read_mode_lets_nothing_but_reads_through(self, mode: Mode, effect: Effect) -> None:
        assert refused(dispatch_of(process("true", effect=effect), mode=mode)) is Failure.EFFECT_REFUSED
        assert refused(dispatch_of(scripted(reply(), effect=effect), mode=mode)) is Failure.EFFECT_REFUSED

    @pytest.mark.parametrize("mode", [Mode.APPLY, Mode.RECOVERY])
    def test_a_change_goes_through_where_changes_may(self, mode: Mode) -> None:
        result = through(
            gate_of(TellingLane()), dispatch_of(process("true", effect=Effect.CHANGE), mode=mode)
        )

        assert result.ended is Ended.OK

    def test_a_probe_only_looks(self) -> None:
        dispatch = dispatch_of(process("true", effect=Effect.CHANGE), phase=Phase.PROBE)

        assert refused(dispatch) is Failure.EFFECT_REFUSED


class TestDryRun:
    def test_a_call_that_would_act_is_rendered_and_never_made(self) -> None:
        lane = TellingLane()
        call = process("echo", "it's", env={"TOKEN": (SecretRef(secret="token"),)})
        result = through(gate_of(lane), dispatch_of(call, mode=Mode.DRY_RUN))

        assert (result.ended, lane.opened) == (Ended.PREVIEWED, 0)
        assert result.message == """echo 'it'"'"'s'"""
        assert result.data is not None and "call" in result.data

    @pytest.mark.parametrize("effect", Effect)
    def test_whatever_a_call_would_do_no_lane_that_acts_is_asked(self, effect: Effect) -> None:
        lane = TellingLane()
        result = through(gate_of(lane), dispatch_of(process("rm", "x", effect=effect), mode=Mode.DRY_RUN))

        assert (result.ended, lane.opened) == (Ended.PREVIEWED, 0)

    def test_a_preview_needs_no_lane_and_no_isolation(self) -> None:
        gate = Gate(lanes={}, clock=FakeClock(), fence=lambda: FENCE, quota=Quota())
        dispatch = dispatch_of(process("true"), mode=Mode.DRY_RUN, isolation=Isolation.LANDLOCK_SECCOMP)

        assert through(gate, dispatch).ended is Ended.PREVIEWED

    def test_a_preview_needs_a_permit_all_the_same(self) -> None:
        dispatch = dispatch_of(process("true"), mode=Mode.DRY_RUN, permit=permit_for(process("false")))

        assert refused(dispatch) is Failure.PERMIT_MISMATCH

    def test_a_scripted_call_answers_and_says_simulated(self) -> None:
        dispatch = dispatch_of(scripted(reply(stdout="3 backups")), mode=Mode.DRY_RUN)
        result = through(gate_of(SimulatedLane()), dispatch)

        assert (result.ended, result.stdout) == (Ended.SIMULATED, b"3 backups")

    @pytest.mark.parametrize("ended", [Ended.FAILED, Ended.UNKNOWN, Ended.REFUSED])
    def test_a_script_that_does_not_end_well_is_not_made_good(self, ended: Ended) -> None:
        dispatch = dispatch_of(scripted(reply(ended)), mode=Mode.DRY_RUN)

        assert through(gate_of(SimulatedLane()), dispatch).ended is ended

    def test_outside_of_dry_runs_a_script_ends_as_it_says(self) -> None:
        assert through(gate_of(SimulatedLane()), dispatch_of(scripted(reply()))).ended is Ended.OK


class TestTargetLaneIsolation:
    def test_a_target_that_is_not_of_the_plan_is_refused(self) -> None:
        dispatch = dispatch_of(process("true"), targets=frozenset({"db-2"}))

        assert refused(dispatch) is Failure.TARGET_UNKNOWN

    def test_a_kind_of_request_without_a_lane_is_refused(self) -> None:
        gate = Gate(lanes={}, clock=FakeClock(), fence=lambda: FENCE, quota=Quota())

        assert through(gate, dispatch_of(process("true"))).failure is Failure.LANE_UNAVAILABLE

    def test_each_kind_of_request_goes_to_its_own_lane(self) -> None:
        acts = TellingLane()
        lanes: dict[str, Lane] = {"process/1": acts, "scripted/1": SimulatedLane()}
        gate = Gate(lanes=lanes, clock=FakeClock(), fence=lambda: FENCE, quota=Quota())

        assert through(gate, dispatch_of(scripted(reply(stdout="told")))).stdout == b"told"
        assert acts.opened == 0
        assert through(gate, dispatch_of(process("true"))).ended is Ended.OK
        assert acts.opened == 1

    def test_a_lane_is_not_given_what_it_does_not_take(self) -> None:
        gate = Gate(
            lanes={"process/1": SimulatedLane()}, clock=FakeClock(), fence=lambda: FENCE, quota=Quota()
        )

        assert through(gate, dispatch_of(process("true"))).failure is Failure.LANE_UNAVAILABLE

    def test_a_class_that_is_not_reached_here_is_refused_and_no_other_taken(self) -> None:
        dispatch = dispatch_of(process("true"), isolation=Isolation.LANDLOCK_SECCOMP)

        assert refused(dispatch) is Failure.ISOLATION_UNAVAILABLE

    def test_a_class_that_cannot_contain_is_refused_for_a_contained_read(self) -> None:
        dispatch = dispatch_of(process("true"), grade=Grade.CONTAINED)

        assert refused(dispatch) is Failure.ISOLATION_UNAVAILABLE

    @pytest.mark.parametrize(
        ("effect", "ended"), [(Effect.READ, Ended.FAILED), (Effect.CHANGE, Ended.UNKNOWN)]
    )
    def test_a_result_from_another_class_than_asked_for_is_never_ok(
        self, effect: Effect, ended: Ended
    ) -> None:
        lane = TellingLane(measured_isolation="rlimits")
        result = through(gate_of(lane), dispatch_of(process("true", effect=effect)))

        assert (result.ended, result.failure) == (ended, Failure.ISOLATION_UNAVAILABLE)

    def test_a_contained_read_that_was_not_measured_as_one_is_never_ok(self) -> None:
        lane = TellingLane(measured_isolation="bubblewrap")
        dispatch = dispatch_of(process("true"), grade=Grade.CONTAINED, isolation=Isolation.BUBBLEWRAP)

        assert through(gate_of(lane), dispatch).ended is Ended.FAILED


class TestClearance:
    """What changes between the gate and the act: the zombie's case."""

    @pytest.mark.parametrize(
        ("happens", "failure"),
        [
            (lambda clock: setattr(clock, "at", NOON + timedelta(hours=1)), Failure.PERMIT_EXPIRED),
            # The wall clock was set back, or the machine slept: the boot clock still counts.
            (lambda clock: setattr(clock, "booted_ms", clock.booted_ms + 60_000), Failure.PERMIT_EXPIRED),
        ],
    )
    def test_a_permit_that_expires_on_the_way_is_refused_before_the_act(
        self, happens: Callable[[FakeClock], None], failure: Failure
    ) -> None:
        clock = FakeClock()
        lane = TellingLane(before_clearance=lambda: happens(clock))
        result = through(gate_of(lane, clock), dispatch_of(process("true")))

        assert (result.ended, result.failure) == (Ended.REFUSED, failure)
        assert (lane.opened, lane.acted) == (1, 0)

    def test_a_fence_that_is_lost_on_the_way_is_refused_before_the_act(self) -> None:
        fences = [FENCE]
        lane = TellingLane(before_clearance=lambda: fences.append(FENCE + 1))
        result = through(gate_of(lane, fence=lambda: fences[-1]), dispatch_of(process("true")))

        assert (result.ended, result.failure, lane.acted) == (Ended.REFUSED, Failure.FENCE_LOST, 0)

    def test_a_deadline_that_passes_on_the_way_is_refused_before_the_act(self) -> None:
        clock = FakeClock()
        lane = TellingLane(before_clearance=lambda: setattr(clock, "at", NOON + timedelta(seconds=5)))
        dispatch = dispatch_of(process("true"), deadline=NOON + timedelta(seconds=3))
        result = through(gate_of(lane, clock), dispatch)

        assert (result.ended, result.failure, lane.acted) == (Ended.REFUSED, Failure.DEADLINE_PASSED, 0)


def crash() -> None:
    raise RuntimeError("the lane is broken")


def test_a_lane_that_breaks_before_its_clearance_did_nothing() -> None:
    result = through(gate_of(TellingLane(before_clearance=crash)), dispatch_of(process("true")))

    assert (result.ended, result.failure) == (Ended.REFUSED, Failure.INTERNAL)


def test_a_lane_that_breaks_after_its_clearance_may_have_acted() -> None:
    result = through(gate_of(TellingLane(after_clearance=crash)), dispatch_of(process("true")))

    assert (result.ended, result.failure) == (Ended.UNKNOWN, Failure.UNKNOWN_OUTCOME)


@given(
    template=st.lists(st.one_of(st.text(max_size=8), st.just((Hole(slot="unit"),))), min_size=1, max_size=6),
    unit=st.text(alphabet="abc-", min_size=1, max_size=8),
    edited=st.integers(min_value=0, max_value=5),
)
def test_an_argument_edited_after_filling_never_passes(template: list[Text], unit: str, edited: int) -> None:
    whole = process("cat", *template)
    call = fill(whole, {"unit": unit})
    assert isinstance(call.request, ProcessRequest)
    argv = list(call.request.argv)
    place = 1 + edited % len(template)
    argv[place] = f"{argv[place]}x"
    forged = process(*argv)
    dispatch = dispatch_of(forged, template=whole, slots={"unit": HOSTNAME_SLOT}, values={"unit": unit})
    lane = TellingLane()

    assert through(gate_of(lane), dispatch).ended is Ended.REFUSED
    assert lane.opened == 0


class WantingLane(TellingLane):
    """Asks for `wanted` in the course of each call; `lies` says that it made that without leave."""

    wanted = process("true")
    lies = False
    heard = ""

    async def open(
        self, call: Call, limits: Limits, isolation: Isolation, attempt: int, clearance: Clearance
    ) -> AsyncIterator[LaneEvent]:
        asks = Asks(self.wanted)
        yield asks
        self.before_clearance()
        made = Made(asks=asks, result=LaneResult(ended=Ended.OK, duration_ms=1, measured=NOT_MEASURED))
        try:
            asks.clear()
            yield made
        except ClearanceRefused as refusal:
            self.heard = refusal.message
            if self.lies:
                yield made
        async for event in super().open(call, limits, isolation, attempt, clearance):
            yield event


class TestLeaveInMidCall:
    def events(self, lane: WantingLane, leave: Leave, clock: FakeClock | None = None) -> list[LaneEvent]:
        async def collect() -> list[LaneEvent]:
            gate = gate_of(lane, clock)
            return [event async for event in gate.open(dispatch_of(process("ls")), leave)]

        return run(collect())

    @staticmethod
    async def given(call: Call) -> Dispatch:
        return dispatch_of(call)

    @staticmethod
    async def for_another(call: Call) -> Dispatch:
        return dispatch_of(process("false"))

    @staticmethod
    async def under_a_foreign_permit(call: Call) -> Dispatch:
        return dispatch_of(call, permit=permit_for(process("false")))

    def test_what_there_is_leave_for_ends_before_the_call_around_it(self) -> None:
        made, result = self.events(WantingLane(), self.given)

        # The class it was measured in is not the one that was asked for, so the read is not `ok`.
        assert isinstance(made, Made) and made.result.failure is Failure.ISOLATION_UNAVAILABLE
        assert isinstance(result, LaneResult) and result.ended is Ended.OK

    def test_without_anybody_to_ask_there_is_no_leave(self) -> None:
        lane = WantingLane()
        assert through(gate_of(lane), dispatch_of(process("ls"))).ended is Ended.OK
        assert lane.heard == "there is no leave for `look` here"

    @pytest.mark.parametrize("leave", ["for_another", "under_a_foreign_permit"])
    def test_leave_for_another_call_is_none(self, leave: str) -> None:
        lane = WantingLane()
        made, result = self.events(lane, getattr(self, leave))

        assert isinstance(made, Made)
        assert (made.result.ended, made.result.failure) == (Ended.REFUSED, Failure.PERMIT_MISMATCH)
        assert lane.heard and isinstance(result, LaneResult) and result.ended is Ended.OK

    def test_a_permit_that_ran_out_meanwhile_lets_nothing_be_made(self) -> None:
        clock = FakeClock()

        def late() -> None:
            clock.at += timedelta(seconds=61)

        lane = WantingLane(before_clearance=late)
        made, result = self.events(lane, self.given, clock)

        assert isinstance(made, Made) and made.result.ended is not Ended.OK
        assert "expired" in lane.heard
        assert isinstance(result, LaneResult) and result.failure is Failure.PERMIT_EXPIRED

    def test_a_lane_that_says_it_made_a_call_without_leave_is_broken(self) -> None:
        lane = WantingLane()
        lane.lies = True
        (result,) = self.events(lane, self.under_no_leave)

        assert isinstance(result, LaneResult)
        assert result.ended is not Ended.OK and "had no leave for" in (result.message or "")

    @staticmethod
    async def under_no_leave(call: Call) -> str:
        return "no"
