"""What every lane promises. A new lane subclasses `LaneContract`, names its calls, and adds its own tests.

One that runs programs subclasses `ProgramContract` too, wherever they run.
"""

import asyncio
import os
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path

import pytest

from rexecop.lanes.errors import ClearanceRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.port import Asks, Chunk, Lane, LaneEvent, LaneResult, Made
from rexecop.lanes.sandbox import BASE_ENVIRONMENT
from rexecop.proof.call import Call, Limits, ResourceLimits, Terminal
from rexecop.proof.vocabulary import Effect, Ended, Isolation
from tests.lanes.support import LIMITS, call_lane, out_of_time, result_of, run
from tests.needs import needs

BRIEF = Limits(timeout_ms=120, output_bytes=64 * 1024, grace_ms=50)


class LaneContract(ABC):
    """Subclasses give the lane and four calls; `slow` takes longer than `BRIEF` allows."""

    lane: Lane
    isolation: Isolation

    @abstractmethod
    def saying(self, text: str) -> Call:
        """A read that ends well and says `text` on its standard output."""

    def said(self, text: str) -> bytes:
        """What `saying` puts out for `text`: the text, unless the lane speaks another form."""
        return text.encode()

    @abstractmethod
    def failing(self) -> Call:
        """A read that does not end well."""

    @abstractmethod
    def slow(self) -> Call:
        """A read that takes seconds."""

    @abstractmethod
    def foreign(self) -> Call:
        """A call of a kind that this lane does not take."""

    def asking_leave(self) -> tuple[Call, Call] | None:
        """A call in whose course the lane needs leave for another, and that other; None where none is."""
        return None

    def asked(self, call: Call, *, allows: bool) -> tuple[list[Call], list[LaneEvent]]:
        """Return what the lane had leave for, in order, and all events of `call`."""
        cleared: list[Call] = []

        async def read() -> list[LaneEvent]:
            events: list[LaneEvent] = []
            opened = self.lane.open(call, LIMITS, self.isolation, 1, lambda: None)
            async for event in opened:
                events.append(event)
                if isinstance(event, Asks) and allows:
                    event.allow(lambda wanted=event.call: cleared.append(wanted))  # type: ignore[misc]
            return events

        return cleared, run(read())

    def test_it_makes_exactly_the_call_it_has_leave_for_and_says_how_that_ended(self) -> None:
        if (pair := self.asking_leave()) is None:
            assert not [
                e
                for e in call_lane(self.lane, self.saying("x"), isolation=self.isolation)
                if isinstance(e, Asks)
            ]
            return
        cleared, events = self.asked(pair[0], allows=True)
        asks = [event for event in events if isinstance(event, Asks)]
        made = [event for event in events if isinstance(event, Made)]

        assert [one.call for one in asks] == cleared == [pair[1]]
        assert [(one.asks, one.result.ended) for one in made] == [(asks[0], Ended.OK)]
        assert result_of(events).ended is Ended.OK

    def test_what_nobody_gives_leave_for_is_not_made_and_the_call_ends_all_the_same(self) -> None:
        if (pair := self.asking_leave()) is None:
            return
        _, events = self.asked(pair[0], allows=False)

        assert [event.call for event in events if isinstance(event, Asks)] == [pair[1]]
        assert not [event for event in events if isinstance(event, Made)]
        assert isinstance(events[-1], LaneResult)

    def result(self, call: Call, limits: Limits = LIMITS) -> LaneResult:
        return result_of(call_lane(self.lane, call, limits=limits, isolation=self.isolation))

    def test_a_call_yields_its_output_and_last_exactly_one_result(self) -> None:
        events = call_lane(self.lane, self.saying("hello"), isolation=self.isolation)

        result = result_of(events)
        chunks = [event for event in events if isinstance(event, Chunk)]
        assert (result.ended, result.failure) == (Ended.OK, None)
        assert b"".join(chunk.data for chunk in chunks) == result.stdout == self.said("hello")
        assert [chunk.n for chunk in chunks] == list(range(len(chunks)))

    def test_output_past_the_limit_is_cut_and_still_counted(self) -> None:
        result = self.result(self.saying("x" * 5_000), replace(LIMITS, output_bytes=100))

        assert (len(result.stdout), result.stdout_bytes) == (100, len(self.said("x" * 5_000)))

    def test_what_the_other_side_does_is_a_result_and_no_exception(self) -> None:
        result = self.result(self.failing())

        assert result.ended is Ended.FAILED
        assert result.failure is not None

    def test_a_read_that_runs_out_of_time_failed(self) -> None:
        result = self.result(self.slow(), BRIEF)

        assert (result.ended, result.failure) == (Ended.FAILED, Failure.TIMEOUT)

    def test_a_change_that_runs_out_of_time_is_unknown_never_failed(self) -> None:
        change = replace(self.slow(), effect=Effect.CHANGE)
        result = out_of_time(
            lambda limits: self.result(change, limits), lambda found: found.ended is Ended.UNKNOWN
        )

        assert (result.ended, result.failure) == (Ended.UNKNOWN, Failure.TIMEOUT)

    def test_the_clearance_is_asked_exactly_once(self) -> None:
        asked: list[str] = []
        call_lane(
            self.lane,
            self.saying("hello"),
            isolation=self.isolation,
            clearance=lambda: asked.append("asked"),
        )

        assert asked == ["asked"]

    def test_nothing_comes_from_a_call_whose_clearance_was_refused(self) -> None:
        def refuse() -> None:
            raise ClearanceRefused(Failure.FENCE_LOST, "another runner took over")

        with pytest.raises(ClearanceRefused):
            call_lane(self.lane, self.saying("hello"), isolation=self.isolation, clearance=refuse)

    def test_a_call_of_another_kind_is_refused(self) -> None:
        result = self.result(self.foreign())

        assert (result.ended, result.failure) == (Ended.REFUSED, Failure.UNSUPPORTED)

    def test_calls_run_abreast_without_mixing(self) -> None:
        async def one(text: str) -> bytes:
            opened = self.lane.open(self.saying(text), LIMITS, self.isolation, 1, lambda: None)
            return result_of([event async for event in opened]).stdout

        async def many() -> list[bytes]:
            return await asyncio.gather(*(one(f"call {n}") for n in range(12)))

        assert run(many()) == [self.said(f"call {n}") for n in range(12)]


async def gone(pid: int) -> bool:
    """Whether the process ends, which is waited for."""
    async with asyncio.timeout(60):
        while os.path.exists(f"/proc/{pid}"):
            await asyncio.sleep(0.01)
    return True


class ProgramContract(LaneContract):
    """What every lane that runs programs promises, here or on the other side of a bridge."""

    @abstractmethod
    def program(self, *argv: str, **options: object) -> Call:
        """A read that runs `argv` with `options` of `proof.call.ProcessRequest`."""

    def shell(self, script: str, **options: object) -> Call:
        return self.program("/bin/sh", "-c", script, **options)

    def test_a_terminal_is_the_program_s_own_and_of_the_size_asked_for(self) -> None:
        call = self.shell("stty size; test -t 0 && test -t 2 && echo own", tty=Terminal(rows=10, columns=33))

        assert self.result(call).stdout == b"10 33\r\nown\r\n"

    def test_ctrl_c_and_ctrl_d_are_typed_into_a_terminal(self) -> None:
        script = "trap 'echo interrupted' INT; echo ready; read x; read y || echo end"

        result = self.result(self.shell(script, tty=Terminal(), stdin="\x03\x04"))

        assert result.ended is Ended.OK, result
        assert b"interrupted" in result.stdout and result.stdout.endswith(b"end\r\n")

    def test_a_program_gets_its_folder_mask_limits_and_no_variable_but_those_named(
        self, tmp_path: Path
    ) -> None:
        call = self.shell(
            "pwd; umask; ulimit -n; exec /usr/bin/env",
            cwd=str(tmp_path),
            umask="0027",
            rlimits=ResourceLimits(open_files=64),
            env={"NAMED": "here"},
        )

        folder, mask, files, *environment = self.result(call).stdout.decode().splitlines()

        assert (folder, mask, files) == (str(tmp_path), "0027", "64")
        found = dict(line.split("=", 1) for line in environment)
        assert {
            name: text for name, text in found.items() if name not in {"PWD", "OLDPWD", "SHLVL", "_"}
        } == {**BASE_ENVIRONMENT, "NAMED": "here"}

    def test_a_folder_that_is_not_there_and_a_user_nobody_knows_are_refused_and_not_replaced(self) -> None:
        nowhere = self.result(self.program("/bin/true", cwd="/no/such/folder"))
        nobody = self.result(self.program("/bin/true", user="nobody-we-know"))

        assert (nowhere.ended, nowhere.failure) == (Ended.FAILED, Failure.NOT_FOUND)
        assert (nobody.ended, nobody.failure) == (Ended.REFUSED, Failure.UNSUPPORTED)

    @needs("root")
    def test_a_program_runs_as_the_user_asked_for(self) -> None:
        assert self.result(self.shell("id -un", user="nobody")).stdout == b"nobody\n"

    def test_what_a_program_started_and_detached_ends_with_its_time(self) -> None:
        call = self.shell("setsid sleep 30 & echo $!; exec sleep 30")
        result = out_of_time(lambda limits: self.result(call, limits), lambda found: found.stdout != b"")

        assert (result.ended, result.failure) == (Ended.FAILED, Failure.TIMEOUT)
        assert run(gone(int(result.stdout)))

    def test_a_program_that_floods_is_ended_and_its_output_counted(self) -> None:
        limits = replace(LIMITS, output_bytes=1_000, raw_output_bytes=100_000)

        result = self.result(self.program("/usr/bin/yes"), limits)

        assert (result.failure, len(result.stdout)) == (Failure.OUTPUT_LIMIT, 1_000)
        assert result.stdout_bytes > 100_000
