from rexecop.lanes.failures import Failure
from rexecop.lanes.simulated import SimulatedLane
from rexecop.proof.call import Call
from rexecop.proof.vocabulary import Effect, Ended, Isolation
from tests.lanes.contract import LaneContract
from tests.lanes.support import call_lane, process, reply, result_of, scripted


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

    def test_attempts_get_the_replies_in_turn_and_the_last_one_repeats(self) -> None:
        call = scripted(reply(stdout="first"), reply(stdout="second"))
        said = [result_of(call_lane(self.lane, call, attempt=attempt)).stdout for attempt in (1, 2, 3)]

        assert said == [b"first", b"second", b"second"]

    def test_a_lost_answer_is_unknown_and_says_nothing(self) -> None:
        call = scripted(reply(Ended.UNKNOWN, stdout="never seen"), effect=Effect.CHANGE)
        result = result_of(call_lane(self.lane, call))

        assert (result.ended, result.failure) == (Ended.UNKNOWN, Failure.UNKNOWN_OUTCOME)
        assert result.stdout == b""

    def test_what_was_measured_says_simulated(self) -> None:
        result = result_of(call_lane(self.lane, scripted(reply())))

        assert result.measured.protection == "simulated"
        assert self.lane.capabilities.simulated
