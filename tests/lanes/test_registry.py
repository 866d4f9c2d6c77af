import time
from dataclasses import replace

import pytest

from rexecop.lanes.failures import Failure
from rexecop.lanes.registry import HANDLERS, Handler, RegistryLane, add
from rexecop.proof.call import Call, HandlerRequest
from rexecop.proof.payload import Value, payload_text
from rexecop.proof.vocabulary import Effect, Ended, Isolation
from tests.lanes.contract import BRIEF, LaneContract
from tests.lanes.support import LIMITS, call_lane, process, result_of


def fail(payload: Value) -> Value:
    raise RuntimeError("secret-detail")


def sleep(payload: Value) -> Value:
    time.sleep(1)
    return None


def text_of(payload: Value) -> Value:
    assert isinstance(payload, dict)
    return payload["text"]


def handler(action: str, run: object, effect: Effect = Effect.READ, *, bounded: bool = False) -> Handler:
    assert callable(run)
    return Handler(action=action, effect=effect, schema={"type": "object"}, bounded=bounded, run=run)


OURS = {
    each.action: each
    for each in (
        handler("say", text_of),
        handler("fail", fail),
        handler("sleep", sleep),
        handler("doze", sleep, bounded=True),
        handler("change", text_of, Effect.CHANGE),
        handler("nan", lambda payload: float("nan")),
    )
}


def calling(action: str, payload: str = "{}", effect: Effect = Effect.READ) -> Call:
    return Call(
        target="execute",
        connector="registry",
        action=action,
        effect=effect,
        request=HandlerRequest(action=action, payload=payload),
    )


class TestRegistryLane(LaneContract):
    lane = RegistryLane(OURS)
    isolation = Isolation.NONE

    def saying(self, text: str) -> Call:
        return calling("say", payload_text({"text": text}))

    def said(self, text: str) -> bytes:
        return payload_text(text).encode()

    def failing(self) -> Call:
        return calling("fail")

    def slow(self) -> Call:
        return calling("sleep")

    def foreign(self) -> Call:
        return process("true")

    def test_a_bounded_handler_that_took_too_long_has_no_answer_either(self) -> None:
        result = self.result(calling("doze"), BRIEF)

        assert (result.ended, result.failure, result.stdout) == (Ended.FAILED, Failure.TIMEOUT, b"")

    def test_what_a_handler_raises_is_not_told(self) -> None:
        assert "secret" not in str(self.result(self.failing()).message)

    def test_an_answer_that_is_no_json_failed(self) -> None:
        assert self.result(calling("nan")).failure is Failure.VALIDATION_FAILED

    def test_half_an_answer_is_not_ok(self) -> None:
        result = self.result(self.saying("x" * 500), replace(LIMITS, output_bytes=100))

        assert (result.ended, result.failure) == (Ended.FAILED, Failure.OUTPUT_LIMIT)

    def test_a_handler_that_changes_something_is_not_run_as_a_read(self) -> None:
        result = self.result(calling("change", '{"text":"x"}'))

        assert (result.ended, result.failure) == (Ended.REFUSED, Failure.EFFECT_REFUSED)

    def test_an_action_without_handler_is_refused(self) -> None:
        assert self.result(calling("nothing")).failure is Failure.UNSUPPORTED

    @pytest.mark.parametrize("payload", ["[]", "{", '{"a":NaN}', '{"a":1,"a":2}'])
    def test_a_payload_that_does_not_fit_is_refused_before_the_clearance(self, payload: str) -> None:
        asked: list[str] = []
        events = call_lane(
            self.lane,
            calling("say", payload),
            isolation=self.isolation,
            clearance=lambda: asked.append("asked"),
        )

        assert result_of(events).failure is Failure.REQUEST_INVALID
        assert asked == []


@pytest.mark.parametrize("payload", [{"a": True}, {"b": "1"}, {"a": None}])
def test_add_takes_numbers_only(payload: dict[str, Value]) -> None:
    events = call_lane(RegistryLane(), calling("add", payload_text(payload)), isolation=Isolation.NONE)

    assert result_of(events).failure is Failure.REQUEST_INVALID


def test_add_adds() -> None:
    assert add({"a": 1, "b": 0.5}) == {"sum": 1.5}
    assert add({}) == {"sum": 0}
    with pytest.raises(ValueError, match="too large"):
        add({"a": 10**400, "b": 0.5})


def test_the_handlers_that_come_with_it_read_and_are_bounded() -> None:
    assert {each.effect for each in HANDLERS.values()} == {Effect.READ}
    assert all(each.bounded for each in HANDLERS.values())
