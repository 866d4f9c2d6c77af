"""Streams are committed to in the ledger while they come, and people may write meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from rexecop.engines import streaming
from rexecop.lanes.port import Capabilities, Chunk, Clearance, LaneEvent, LaneResult
from rexecop.lanes.simulated import SIMULATED
from rexecop.proof.call import Call, Limits
from rexecop.proof.canonical import commit
from rexecop.proof.records import Outcome, Stretch
from rexecop.proof.records.command import Verb
from rexecop.proof.vocabulary import Ended, Isolation, State
from tests.engines.support import housed, kinds, live, of_kind, op_of
from tests.sim.plans import planned, read
from tests.sim.world import ALICE, House, ScriptLane

PARTS = (b"first\n", b"second\n", b"third\n")


class StreamingLane(ScriptLane):
    """Puts out three chunks; `during` is awaited between them."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, streams=True)

    async def open(
        self, call: Call, limits: Limits, isolation: Isolation, attempt: int, clearance: Clearance
    ) -> AsyncIterator[LaneEvent]:
        clearance()
        for n, part in enumerate(PARTS):
            yield Chunk(n=n, stream="stdout", data=part)
            if self.during is not None:
                await self.during()
        whole = b"".join(PARTS)
        yield LaneResult(
            ended=Ended.OK, duration_ms=3, measured=SIMULATED, stdout=whole, stdout_bytes=len(whole)
        )


def streaming_house(house: House) -> StreamingLane:
    lane = StreamingLane(house.reality)
    house.lane = lane
    return lane


def stretches(house: House, operation: str) -> list[Stretch]:
    return [s.record for s in of_kind(house, operation, Stretch) if isinstance(s.record, Stretch)]


def kept(house: House, operation: str) -> tuple[bytes, bytes]:
    """The key and the bytes of the one output."""
    (sealed,) = of_kind(house, operation, Outcome)
    assert isinstance(sealed.record, Outcome) and sealed.record.blobs is not None
    blob = house.store.blob(sealed.record.blobs["stdout"].commitment)
    assert blob is not None
    return blob.key, blob.data


def test_what_comes_is_committed_to_before_the_call_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "STRETCH_BYTES", 8)

    async def story() -> None:
        async with housed(tmp_path) as house:
            lane = streaming_house(house)
            operation = await planned(house, read("look"))
            seen: list[int] = []

            async def look() -> None:
                seen.append(len(stretches(house, operation)))

            lane.during = look
            await live(house).start(operation)

            assert seen == [0, 1, 1]  # Thirteen bytes passed the limit, the last six came with the end.
            assert [(s.start, s.length) for s in stretches(house, operation)] == [(0, 13), (13, 6)]
            key, data = kept(house, operation)
            for record in stretches(house, operation):
                part = data[record.start : record.start + record.length]
                assert record.commitment == commit(key, part)
            assert op_of(house, operation).state is State.COMPLETED

    asyncio.run(story())


def test_a_pause_asked_for_meanwhile_neither_ends_the_call_nor_loses_a_stretch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "STRETCH_BYTES", 1)

    async def story() -> None:
        async with housed(tmp_path) as house:
            lane = streaming_house(house)
            operation = await planned(house, read("look"), read("again"))
            asked: list[str] = []

            async def pause() -> None:
                if not asked:
                    asked.append(operation)
                    await live(house).command(operation, Verb.PAUSE, ALICE, None)

            lane.during = pause
            await live(house).start(operation)

            found = [(s.start, s.length) for s in stretches(house, operation)][:3]
            assert found == [(0, 6), (6, 7), (13, 6)]
            assert "command" in kinds(house, operation)

    asyncio.run(story())


def test_a_call_that_does_not_stream_leaves_no_stretch(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, read("look"))
            await live(house).start(operation)

            assert stretches(house, operation) == []
            assert op_of(house, operation).state is State.COMPLETED

    asyncio.run(story())
