from dataclasses import replace

import pytest

from rexecop.lanes.failures import Failure
from rexecop.lanes.port import Chunk
from rexecop.lanes.simulated import SimulatedLane
from rexecop.proof.call import REPEAT_MAX, Call
from rexecop.proof.vocabulary import Effect, Ended, Isolation
from tests.lanes.contract import LaneContract
from tests.lanes.support import LIMITS, call_lane, process, reply, result_of, scripted


class TestSimulatedLane(LaneContract):
    lane = SimulatedLane()
    isolation = Isolation.NOT_APPLICABLE

    def saying(self, text: str) -> Call:
        return scripted(reply(stdout=text))

    def failing(self) -> Call:
        return scripted(reply(Ended.FAILED, error_class="auth_failed"))

    def slow(self) -> Call:
        return scripted(reply(delay_ms=10_000))

    def foreign(self) -> Call:
        return process("true")

    def asking_leave(self) -> tuple[Call, Call]:
        asks = scripted(replace(reply(stdout="said"), asks="confirm"))
        return asks, replace(scripted(reply()), action="confirm")

    def test_without_leave_it_fails_and_says_for_what(self) -> None:
        result = result_of(call_lane(self.lane, self.asking_leave()[0], isolation=self.isolation))

        assert (result.ended, result.failure) == (Ended.FAILED, Failure.POLICY_DENIED)
        assert result.message == "no leave for `confirm`: nobody gave leave for it"

    def test_attempts_get_the_replies_in_turn_and_the_last_one_repeats(self) -> None:
        call = scripted(reply(stdout="first"), reply(stdout="second"))
        said = [result_of(call_lane(self.lane, call, attempt=attempt)).stdout for attempt in (1, 2, 3)]

        assert said == [b"first", b"second", b"second"]

    def test_a_lost_answer_is_unknown_and_says_nothing(self) -> None:
        call = scripted(reply(Ended.UNKNOWN, stdout="never seen"), effect=Effect.CHANGE)
        result = result_of(call_lane(self.lane, call))

        assert (result.ended, result.failure) == (Ended.UNKNOWN, Failure.UNKNOWN_OUTCOME)
        assert result.stdout == b""

    def test_repeated_output_comes_in_chunks_is_cut_to_the_limit_and_counted(self) -> None:
        limits = replace(LIMITS, output_bytes=150_000)
        events = call_lane(self.lane, scripted(reply(stdout="0123456789", repeat=20_000)), limits=limits)

        result = result_of(events)
        sizes = [len(event.data) for event in events if isinstance(event, Chunk)]
        assert (result.ended, result.stdout_bytes) == (Ended.OK, 200_000)
        assert result.stdout == b"0123456789" * 15_000
        assert sizes == [65_536, 65_536, 18_928]

    @pytest.mark.parametrize(
        ("effect", "ended"), [(Effect.READ, Ended.FAILED), (Effect.CHANGE, Ended.UNKNOWN)]
    )
    def test_a_flood_is_ended_as_that_of_a_real_target(self, effect: Effect, ended: Ended) -> None:
        call = scripted(reply(stdout="x" * 1024, repeat=REPEAT_MAX), effect=effect)
        result = self.result(call)

        assert (result.ended, result.failure) == (ended, Failure.OUTPUT_LIMIT)
        assert (len(result.stdout), result.stdout_bytes) == (LIMITS.output_bytes, 1024 * REPEAT_MAX)

    def test_what_was_measured_says_simulated(self) -> None:
        result = result_of(call_lane(self.lane, scripted(reply())))

        assert result.measured.protection == "simulated"
        assert self.lane.capabilities.simulated
