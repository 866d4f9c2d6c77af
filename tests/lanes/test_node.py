"""The node lane against a real `rexecop node` that dialled in to a real `rexecop serve`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rexecop.app.build import open_instance
from rexecop.app.clock import SystemClock
from rexecop.app.late import LateView, late_outcomes
from rexecop.keys import create_key, load_signer
from rexecop.lanes.bridge.frames import Run, StreamChannel
from rexecop.lanes.failures import Failure
from rexecop.lanes.node import NodeLane
from rexecop.lanes.port import LaneResult
from rexecop.lanes.secrets import NO_SECRETS
from rexecop.lanes.targets import NODE_KEY
from rexecop.proof.call import Call, call_digest
from rexecop.proof.canonical import commit, digest_of
from rexecop.proof.nodes import open_outcome, open_permit
from rexecop.proof.vocabulary import Effect, Ended, Isolation
from tests.app.support import settings
from tests.lanes.bridges import BridgeContract, Permitting, Served, as_message, heard, node_call, served
from tests.lanes.support import LIMITS, NOON, call_lane, permit_for, result_of, run, shell

SLEEP = ("/bin/sleep", "30")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("house")) as house, house.node_running():
        yield house


def made(house: Served, asked: Call, **changes: object) -> LaneResult:
    lane = Permitting(house.lane(), changes)
    return result_of(call_lane(lane, asked, isolation=Isolation.NOT_APPLICABLE))


class TestNodeContract(BridgeContract):
    isolation = Isolation.NOT_APPLICABLE

    @pytest.fixture(autouse=True)
    def _lane(self, house: Served) -> None:
        self.house, self.lane = house, Permitting(house.lane())

    def session(self, *needed: str) -> AbstractAsyncContextManager[StreamChannel]:
        return self.house.session(*needed)

    def permitted(self, frame: Run) -> Run:
        return self.house.permitted(frame)

    def asking(self, script: str, number: int = 0, effect: Effect = Effect.CHANGE, **options: object) -> Run:
        return self.permitted(super().asking(script, number, effect, **options))

    def private(self) -> Path:
        return self.house.folder / "edge-1"

    def program(self, *argv: str, **options: object) -> Call:
        return node_call(self.house.node, *argv, effect=Effect.READ, **as_message(options))

    def saying(self, text: str) -> Call:
        return node_call(self.house.node, "/usr/bin/printf", "%s", text)

    def failing(self) -> Call:
        return node_call(self.house.node, "/bin/false")

    def slow(self) -> Call:
        return node_call(self.house.node, *SLEEP)

    def foreign(self) -> Call:
        return shell("true")


def test_a_permit_for_another_call_is_refused_by_the_node(house: Served, tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    other = permit_for(node_call(house.node, "/bin/true")).call

    result = made(house, node_call(house.node, "/usr/bin/touch", str(witness)), call=other)

    assert (result.ended, result.failure) == (Ended.REFUSED, Failure.PERMIT_MISMATCH)
    assert not witness.exists()


def test_a_permit_for_another_node_is_refused_by_the_node(house: Served) -> None:
    # A call that names a node is sent to that one; its permit names the one it is sent to.
    call = node_call("SHA256:" + "A" * 43, "/bin/true")

    result = made(house, call)

    assert (result.ended, result.failure) == (Ended.REFUSED, Failure.TRANSIENT_CONNECTOR_ERROR)


@pytest.mark.parametrize(("seconds", "failure"), [(-1, "permit_expired"), (120, "permit_mismatch")])
def test_a_permit_that_is_over_or_lasts_too_long_is_refused_by_the_node(
    house: Served, seconds: int, failure: str
) -> None:
    expires = SystemClock().now() + timedelta(seconds=seconds)

    result = made(house, node_call(house.node, "/bin/true"), expires=expires)

    assert (result.ended, result.failure) == (Ended.REFUSED, Failure(failure))


def test_a_permit_that_another_key_signed_is_refused_by_the_node(house: Served, tmp_path: Path) -> None:
    stranger = create_key(tmp_path / "stranger", "")
    access = replace(house.lane().access, signing=lambda: stranger)
    lane = Permitting(NodeLane(NO_SECRETS, access))
    call = node_call(house.node, "/bin/true", effect=Effect.CHANGE)

    result = result_of(call_lane(lane, call, isolation=Isolation.NOT_APPLICABLE))

    assert (result.ended, result.failure) == (Ended.REFUSED, Failure.PERMIT_MISMATCH)


def test_one_permit_acts_once_also_when_it_is_shown_again(house: Served, tmp_path: Path) -> None:
    count = tmp_path / "count"
    access = replace(house.lane().access, nonce=lambda: "ab" * 16)
    lane = Permitting(NodeLane(NO_SECRETS, access))
    call = node_call(house.node, "/bin/sh", "-c", f"echo x >> {count}", effect=Effect.CHANGE)

    first, again = (result_of(call_lane(lane, call, isolation=Isolation.NOT_APPLICABLE)) for _ in range(2))

    assert first.ended is Ended.OK
    assert (again.ended, again.failure) == (Ended.REFUSED, Failure.PERMIT_MISMATCH)
    assert count.read_text() == "x\n"


def test_a_runner_that_lost_its_lease_to_a_later_one_is_refused_by_the_node(house: Served) -> None:
    ticket, call = digest_of(b"a ticket of two runners"), node_call(house.node, "/bin/true")

    later = made(house, call, ticket=ticket, fence=9)
    before = made(house, call, ticket=ticket, fence=8)

    assert later.ended is Ended.OK
    assert (before.ended, before.failure) == (Ended.REFUSED, Failure.FENCE_LOST)


def test_the_outcome_holds_what_the_node_signed_and_the_commitments_to_what_was_kept(house: Served) -> None:
    call = node_call(house.node, "/bin/sh", "-c", "echo out; echo err >&2; exit 3", effect=Effect.CHANGE)

    result = made(house, call)

    facts, keys = result.measured.facts or {}, result.keys or {}
    said = open_outcome(facts["signed"], load_signer(house.folder / "edge-1").public)
    assert (said.ended, said.status, said.permit.call) == (Ended.FAILED, 3, call_digest(call))
    assert said.outputs == {
        "stdout": commit(keys["stdout"], b"out\n"),
        "stderr": commit(keys["stderr"], b"err\n"),
    }


def test_secrets_go_to_the_node_and_come_back_from_no_output(house: Served) -> None:
    lane = Permitting(house.lane(door="correct horse battery"))
    call = node_call(house.node, "/bin/sh", "-c", 'echo "$KEY"', env={"KEY": {"secret": "door"}})

    result = result_of(call_lane(lane, call, isolation=Isolation.NOT_APPLICABLE))

    assert (result.ended, result.stdout, result.redactions) == (Ended.OK, b"[redacted]\n", 1)


def test_a_node_proves_its_key_to_a_fresh_challenge(house: Served) -> None:
    seen = run(house.lane().attest(node_call(house.node, "/bin/true"), NOON))

    assert (seen.class_, seen.measured["node"]) == (NODE_KEY, house.node)


def test_without_a_permit_nothing_is_asked_of_a_node(house: Served) -> None:
    call = node_call(house.node, "/bin/true")

    result = result_of(call_lane(house.lane(), call, isolation=Isolation.NOT_APPLICABLE))

    assert (result.ended, result.failure) == (Ended.REFUSED, Failure.PERMIT_MISMATCH)


def test_how_a_call_ended_that_its_runner_gave_up_is_signed_and_kept(house: Served) -> None:
    async def left() -> str:
        async with house.session("run") as channel:
            call = node_call(house.node, "/bin/sh", "-c", "echo on; exec sleep 30", effect=Effect.CHANGE)
            frame = house.permitted(Run(id=0, call=call, limits=LIMITS, secrets={}))
            await channel.send(frame)
            await heard(channel, b"on\n")
        nonce = open_permit(frame.permit, load_signer(house.root / "keys" / "instance").public).nonce
        async with asyncio.timeout(60):
            while not await asyncio.to_thread(kept, nonce):
                await asyncio.sleep(0.02)
        return nonce

    def kept(nonce: str) -> tuple[LateView, ...]:
        with open_instance(settings(house.folder)) as instance:
            return tuple(one for one in late_outcomes(instance).late if one.nonce == nonce)

    (said,) = kept(run(left()))

    assert (said.ended, said.error_class, said.person) == (Ended.UNKNOWN, "cancelled", "edge-1")
    assert (said.stands, said.operation_id, said.next) == ("elsewhere", None, ())
