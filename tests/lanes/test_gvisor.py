"""gVisor: programs run under it where it is there, and nothing runs where it is not what it says."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rexecop.lanes import sandbox
from rexecop.lanes.failures import Failure
from rexecop.lanes.gvisor import Box
from rexecop.lanes.port import LaneResult
from rexecop.lanes.process import ProcessLane
from rexecop.lanes.sandbox import why_not_reached
from rexecop.proof.call import Call, Terminal
from rexecop.proof.vocabulary import Effect, Ended, Grade, Isolation
from tests.lanes.support import LIMITS, process, result_of, run, secrets_of, shell
from tests.lanes.test_surroundings import with_surroundings
from tests.needs import needs

# Bubblewrap would not do for a stand-in: it is told what to run, and from where, as `runsc` is.
STAND_IN = """#!/bin/sh
for last in "$@"; do case "$before" in --bundle) bundle=$last;; esac; before=$last; done
mkdir -p "$bundle/gate"
printf 'gvisor=false\\nkernel=6.1\\ninterfaces=eth0 lo\\n' > "$bundle/gate/new"
: > "$bundle/gate/failed"; printf '%s\\n' "$@" > ASKED; cp "$bundle/config.json" CONFIG
mv "$bundle/gate/new" "$bundle/gate/report"
while [ ! -e "$bundle/gate/go" ]; do sleep 0.01; done
touch RAN
"""


@pytest.fixture(name="lane")
def _lane(tmp_path: Path) -> Iterator[ProcessLane]:
    hidden = tmp_path / "hid"
    hidden.mkdir()
    (hidden / "ledger").write_text("hidden")
    (tmp_path / "token").write_text("hidden")
    lane = ProcessLane(
        isolation={Isolation.GVISOR: Grade.SHAPE},
        secrets=secrets_of(key=b"correct-horse"),
        hidden=(str(hidden), str(tmp_path / "token")),
    )
    yield lane
    lane.close()


def ran(lane: ProcessLane, call: Call, **limits: int) -> LaneResult:
    held = replace(LIMITS, **limits)

    async def events() -> LaneResult:
        return result_of([event async for event in lane.open(call, held, Isolation.GVISOR, 1, lambda: None)])

    return run(events())


def boxes() -> set[str]:
    return {name for name in os.listdir("/dev/shm") if name.startswith("rexecop-")}


@needs("root", "runsc")
class TestRealOne:
    def test_a_program_runs_under_the_kernel_of_gvisor_without_a_network(self, lane: ProcessLane) -> None:
        before = boxes()
        result = ran(lane, shell("cat /proc/net/dev; echo said; echo odd >&2; exit 3"))
        facts = result.measured.facts or {}

        assert (result.ended, result.status, result.stderr) == (Ended.FAILED, 3, b"odd\n")
        assert b"said" in result.stdout and b"eth0" not in result.stdout
        assert (facts["gvisor"], facts["interfaces"], result.measured.network) == ("true", "lo", "none")
        assert facts["root"] == "hidden" and facts["tree_empty"] is True
        assert boxes() <= before

    def test_it_writes_where_it_may_and_sees_nothing_hidden(self, lane: ProcessLane, tmp_path: Path) -> None:
        (tmp_path / "open").mkdir()
        script = (
            f"cat {tmp_path}/hid/ledger {tmp_path}/token; echo x > {tmp_path}/open/made; "
            f"touch {tmp_path}/escaped; touch /dev/rexecop/kept"
        )
        call = with_surroundings(shell(script, effect=Effect.CHANGE), writable=(str(tmp_path / "open"),))

        result = ran(lane, call)

        assert b"hidden" not in result.stdout
        assert (tmp_path / "open/made").read_text() == "x\n"
        assert not (tmp_path / "escaped").exists()

    def test_a_program_out_of_time_ends_with_its_sandbox(self, lane: ProcessLane) -> None:
        before = boxes()
        result = ran(lane, shell("sleep 60 & sleep 60"), timeout_ms=500)

        assert (result.ended, result.failure) == (Ended.FAILED, Failure.TIMEOUT)
        assert (result.measured.facts or {})["tree_empty"] is True
        assert boxes() <= before

    def test_what_cannot_be_executed_did_not_run(self, lane: ProcessLane, tmp_path: Path) -> None:
        program = tmp_path / "program"
        program.write_text("#!/nowhere/at/all\n")
        program.chmod(0o755)

        result = ran(lane, process(str(program)))

        assert (result.ended, result.failure) == (Ended.FAILED, Failure.INTERPRETER_MISSING)


@needs("root")
def test_what_is_not_gvisor_inside_runs_nothing_and_is_told_what_the_real_one_is_told(
    lane: ProcessLane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runsc = tmp_path / "runsc"
    script = STAND_IN
    for name in ("ASKED", "CONFIG", "RAN"):
        script = script.replace(name, str(tmp_path / name.lower()))
    runsc.write_text(script)
    runsc.chmod(0o755)
    monkeypatch.setattr(sandbox, "find_gvisor", lambda: str(runsc))
    before = boxes()

    result = ran(lane, process("touch", str(tmp_path / "mark")))

    assert (result.ended, result.failure) == (Ended.REFUSED, Failure.ISOLATION_UNAVAILABLE)
    assert "`gvisor` is `false`, not `true`" in (result.message or "")
    assert not (tmp_path / "mark").exists() and not (tmp_path / "ran").exists()
    asked = (tmp_path / "asked").read_text().split()
    assert asked[1:4] == ["--network=none", "--ignore-cgroups", "run"]
    config = (tmp_path / "config").read_text()
    assert '"readonly":true' in config and '"noNewPrivileges":true' in config
    assert boxes() <= before


GOOD = {
    "gvisor": "true", "interfaces": "lo", "root_read_only": "true", "CapEff": "0" * 16, "CapBnd": "0" * 16,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gvisor", "false"),
        ("interfaces", "eth0 lo"),
        ("root_read_only", "false"),
        ("CapEff", "1"),
        ("CapBnd", ""),
    ],
)
def test_each_value_found_inside_can_refuse_the_class(name: str, value: str) -> None:
    assert why_not_reached(Isolation.GVISOR, GOOD, {}) is None
    assert why_not_reached(Isolation.GVISOR, {**GOOD, name: value}, {}) is not None
    assert why_not_reached(Isolation.GVISOR, {k: v for k, v in GOOD.items() if k != name}, {}) is not None


@needs("root")
def test_what_gvisor_has_not_here_is_refused(lane: ProcessLane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "find_gvisor", lambda: "/bin/false")

    result = ran(lane, with_surroundings(process("true"), tty=Terminal()))

    assert (result.ended, result.failure) == (Ended.REFUSED, Failure.UNSUPPORTED)


def test_a_program_cannot_say_that_it_never_ran() -> None:
    box = Box(b"{}")
    gate = next(Path("/dev/shm").joinpath(name, "gate") for name in boxes() if box_of(name, box))
    (gate / "failed").write_bytes(b"")
    (gate / "report").write_text("gvisor=true\n")
    assert box.report() == {"gvisor": "true"}
    shutil.rmtree(gate)
    gate.mkdir()
    (gate / "failed").write_text("2")

    assert box.failed() == 0
    box.remove()
    assert not gate.parent.exists()


def box_of(name: str, box: Box) -> bool:
    return os.fsdecode(box.argv("runsc")[-1]) == name
