"""The secrets port: values live inside one call, and what was handed out for it is given back."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import pytest

from rexecop.lanes.errors import RequestRefused
from rexecop.lanes.failures import Failure, retryable
from rexecop.lanes.port import Chunk, LaneResult
from rexecop.lanes.process import ProcessLane
from rexecop.lanes.secrets import NO_SECRETS, VALUE_BYTES_MAX, Held, Place, Secrets
from rexecop.proof.call import SecretRef
from rexecop.proof.vocabulary import Ended, Grade, Isolation
from tests.lanes.support import LIMITS, call_lane, process, result_of, run, secrets_of, shell

GOOD: Final = b"correct horse"


@dataclass(frozen=True)
class Lending:
    """A source that lends, and notes what happens to what it lent."""

    log: list[str] = field(hash=False, compare=False)
    name: str = "lent"
    fails: Failure | None = None
    stuck: bool = False
    reading: asyncio.Event = field(default_factory=asyncio.Event, hash=False, compare=False)
    go_on: asyncio.Event | None = field(default=None, hash=False, compare=False)

    @property
    def where(self) -> str:
        return f"the lender of `{self.name}`"

    async def read(self) -> Held:
        self.reading.set()
        if self.go_on is not None:
            await self.go_on.wait()
        if self.fails is not None:
            raise RequestRefused(self.fails, "it will not")
        self.log.append(f"lent {self.name}")

        async def revoke() -> None:
            if self.stuck:
                raise OSError("canary-in-an-error")
            self.log.append(f"back {self.name}")

        return Held(fields={"user": b"user-of-one-call", "password": GOOD}, revoke=revoke)

    async def doubt(self) -> str | None:
        return None


def lending(*sources: Lending, **places: str) -> Secrets:
    by_name = {source.name: source for source in sources}

    def locate(name: str) -> Place:
        source, part = places[name].split("/")
        return Place(source=by_name[source], field=part)

    return Secrets(locate)


def lane_with(secrets: Secrets) -> ProcessLane:
    return ProcessLane(isolation={Isolation.NONE: Grade.SHAPE}, secrets=secrets, hidden=())


def test_values_are_there_inside_the_lease_and_nowhere_after_it() -> None:
    log: list[str] = []

    async def use() -> Mapping[str, bytes]:
        async with lending(Lending(log), user="lent/user", password="lent/password").lease(
            ["user", "password", "user"]
        ) as values:
            assert values == {"user": b"user-of-one-call", "password": GOOD}
            assert log == ["lent lent"]  # One source is read once, whatever is used of it.
        return values

    assert run(use()) == {}
    assert log == ["lent lent", "back lent"]


def test_what_was_lent_is_given_back_when_the_next_one_cannot_be_had() -> None:
    log: list[str] = []
    secrets = lending(
        Lending(log, name="a"), Lending(log, name="b", fails=Failure.SECRET_REFUSED), x="a/user", y="b/user"
    )

    with pytest.raises(RequestRefused, match="secret `y`: it will not"):
        run(secrets.lease(["x", "y"]).begin())

    assert log == ["lent a", "back a"]


def test_what_is_lent_to_a_call_that_was_cancelled_meanwhile_is_given_back() -> None:
    log: list[str] = []

    async def cancelled() -> None:
        source = Lending(log, go_on=asyncio.Event())
        beginning = asyncio.create_task(lending(source, x="lent/user").lease(["x"]).begin())
        await source.reading.wait()
        beginning.cancel()
        await asyncio.sleep(0)
        assert source.go_on is not None
        source.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await beginning

    run(cancelled())

    assert log == ["lent lent", "back lent"]


@pytest.mark.parametrize(
    ("value", "short", "failure"),
    [
        (b"1234567", False, Failure.SECRET_UNUSABLE),
        (b"", True, Failure.SECRET_UNUSABLE),
        (b"with a \0 in it", False, Failure.SECRET_UNUSABLE),
        (b"x" * (VALUE_BYTES_MAX + 1), False, Failure.SECRET_UNUSABLE),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_without_being_named(
    value: bytes, short: bool, failure: Failure
) -> None:
    source = secrets_of(x=value).locate("x").source
    secrets = Secrets(lambda name: Place(source=source, field="x", short=short))

    with pytest.raises(RequestRefused) as refused:
        run(secrets.lease(["x"]).begin())

    assert refused.value.failure is failure
    assert not value or value.decode() not in refused.value.message


def test_a_short_value_may_be_used_where_it_was_declared_and_never_comes_out() -> None:
    lane = lane_with(secrets_of(pin=b"1234"))
    try:
        call = process("cat", stdin=("pin ", SecretRef(secret="pin")))
        assert result_of(call_lane(lane, call)).stdout == b"pin [redacted]"
    finally:
        lane.close()


def test_an_error_of_a_source_that_nobody_foresaw_is_named_by_its_class_only() -> None:
    def locate(name: str) -> Place:
        raise ValueError("canary")

    with pytest.raises(RequestRefused) as refused:
        run(Secrets(locate).lease(["x"]).begin())

    assert refused.value.failure is Failure.SECRET_UNAVAILABLE
    assert "ValueError" in refused.value.message and "canary" not in refused.value.message


def test_a_call_without_secrets_asks_for_none() -> None:
    lane = lane_with(NO_SECRETS)
    try:
        assert result_of(call_lane(lane, process("printf", "hi"))).ended is Ended.OK
        refused = result_of(call_lane(lane, process("env", env={"X": (SecretRef(secret="x"),)})))
        assert (refused.ended, refused.failure) == (Ended.REFUSED, Failure.SECRET_MISSING)
    finally:
        lane.close()


class TestInTheProcessLane:
    def call(self, script: str = 'printf %s "$PW"') -> tuple[list[str], Lending, ProcessLane]:
        log: list[str] = []
        source = Lending(log)
        return log, source, lane_with(lending(source, password="lent/password"))

    def test_credentials_are_lent_for_the_call_and_the_outcome_says_they_were_given_back(self) -> None:
        log, _, lane = self.call()
        env = {"PW": (SecretRef(secret="password"),)}
        request = process("/bin/sh", "-c", 'printf %s "$PW"', env=env)
        try:
            result = result_of(call_lane(lane, request))
        finally:
            lane.close()

        assert result.stdout == b"[redacted]"
        assert (result.measured.facts or {})["secrets_revoked"] == 1
        assert log == ["lent lent", "back lent"]

    def test_credentials_that_cannot_be_given_back_are_named_in_the_outcome(self) -> None:
        lane = lane_with(lending(Lending([], stuck=True), password="lent/password"))
        try:
            result = result_of(call_lane(lane, process("true", env={"PW": (SecretRef(secret="password"),)})))
        finally:
            lane.close()

        assert result.ended is Ended.OK
        assert (result.measured.facts or {})["secrets_not_revoked"] == ["the lender of `lent`"]
        assert "canary" not in repr(result)

    def test_they_are_given_back_when_the_call_is_closed_early_and_only_once_its_program_is_gone(
        self,
    ) -> None:
        log, _, lane = self.call()
        call = shell("echo started; sleep 30")
        env = {"PW": (SecretRef(secret="password"),)}
        request = process(*call.request.argv, env=env)  # type: ignore[union-attr]

        async def start_and_leave() -> None:
            opened = lane.open(request, LIMITS, Isolation.NONE, 1, lambda: None)
            async for event in opened:
                assert isinstance(event, Chunk)
                assert log == ["lent lent"]
                break
            await opened.aclose()  # type: ignore[attr-defined]

        try:
            run(start_and_leave())
        finally:
            lane.close()

        assert log == ["lent lent", "back lent"]

    def test_a_source_that_is_down_refuses_the_call_which_may_be_tried_again(self) -> None:
        source = Lending([], fails=Failure.SECRET_SOURCE_DOWN)
        lane = lane_with(lending(source, password="lent/password"))
        try:
            result: LaneResult = result_of(
                call_lane(lane, process("true", env={"PW": (SecretRef(secret="password"),)}))
            )
        finally:
            lane.close()

        assert (result.ended, result.failure) == (Ended.REFUSED, Failure.SECRET_SOURCE_DOWN)
        assert retryable(Failure.SECRET_SOURCE_DOWN) and not retryable(Failure.SECRET_REFUSED)


def test_secrets_are_read_after_the_call_was_admitted_and_before_its_last_clearance() -> None:
    log: list[str] = []
    lane = lane_with(lending(Lending(log), password="lent/password"))
    request = process("true", env={"PW": (SecretRef(secret="password"),)})

    async def through() -> None:
        opened = lane.open(request, LIMITS, Isolation.NONE, 1, lambda: log.append("cleared"))
        assert log == []
        async for _ in opened:
            continue

    try:
        run(through())
    finally:
        lane.close()

    assert log == ["lent lent", "cleared", "back lent"]
