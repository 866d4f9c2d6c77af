"""Watching, following, what needs a person, filters and figures; a stream that fails changes nothing."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from rexecop.app.metrics import Sample, exposition
from rexecop.app.needing import needs
from rexecop.app.reading import Reading
from rexecop.app.views import OperationView
from rexecop.cli import following
from rexecop.cli.exits import Exit
from rexecop.cli.following import follow
from rexecop.cli.render import emit
from rexecop.operations.ports import REVIEW_BY, Row
from rexecop.proof.canonical import Digest
from rexecop.store.reading import Reading as LedgerReading
from tests.app.support import asked, change, made, opened, scratch
from tests.cli.conftest import Rexecop
from tests.cli.fake import NOON, ZERO, a_view


class Changing:
    """An operation that is in the next state each time one looks."""

    def __init__(self, *states: str) -> None:
        self._views = [a_view(1, state) for state in states]

    def status(self, operation: str) -> OperationView:
        return self._views.pop(0) if len(self._views) > 1 else self._views[0]


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found: list[float] = []
    monkeypatch.setattr("rexecop.cli.following.time.sleep", found.append)
    return found


def test_following_shows_each_change_once_and_ends_with_the_operation(naps: list[float]) -> None:
    reading = cast(Reading, Changing("approved", "approved", "running", "completed"))
    shown: list[str] = []

    def show(view: OperationView) -> bool:
        shown.append(view.state)
        return True

    last = follow(reading, "1", None, show)

    assert (shown, last and last.state) == (["approved", "running", "completed"], "completed")
    assert all(nap >= following.LOOK_SECONDS for nap in naps)


def test_following_ends_when_its_time_is_over_or_nobody_reads(naps: list[float]) -> None:
    waiting = cast(Reading, Changing("waiting_for_approval"))

    assert follow(waiting, "1", 1e-9, lambda view: True) is None
    left = follow(waiting, "1", None, lambda view: False)
    assert left is not None and left.state == "waiting_for_approval"


def test_a_full_disk_and_a_closed_stream_are_no_errors() -> None:
    with open("/dev/full", "w") as full:
        assert not emit("x", full)
        assert emit("x", full)  # From here on it goes nowhere.
        full.flush()


def row(number: int, state: str, **more: object) -> Row:
    given: dict[str, object] = {"waiting": "", "mode": "apply", **more}
    return Row(
        operation=f"op_{number:032x}", state=state, intent="patch", profile="web", environment="prod",
        target="db-1", requester="alice", created=NOON, updated=NOON, records=3, head=Digest(ZERO),
        **given,  # type: ignore[arg-type]
    )  # fmt: skip


class Rows:
    """An index of some operations, and two damaged records."""

    def __init__(self, *rows: Row) -> None:
        self._rows = list(enumerate(rows, 1))

    def rows(
        self, *, state: str | None = None, waiting: str = "", after: int = 0, limit: int = 100
    ) -> list[tuple[int, Row]]:
        found = [(n, r) for n, r in self._rows if state in (None, r.state) and r.waiting.startswith(waiting)]
        return [] if after else found

    def posted(self, kind: str, name: str | None = None) -> list[tuple[str, bytes]]:
        return []

    def quarantined(self) -> frozenset[int]:
        return frozenset({3, 4})


def test_what_needs_a_person_comes_with_its_command_and_what_does_not_stays_out() -> None:
    log = Rows(
        row(1, "waiting_for_approval", waiting="1 of approvers"),
        row(2, "indeterminate"),
        row(3, "failed"),
        row(4, "failed", mode="read_only"),
        row(5, "completed", waiting=f"{REVIEW_BY}2026-07-31T12:00:00.000Z"),
        row(6, "completed"),
        row(7, "running"),
        row(8, "running"),
        row(9, "paused", waiting="step write: 1 of approvers"),
        row(10, "approved"),
    )
    driven = f"op_{8:032x}"

    found = list(needs(cast(LedgerReading, log), lambda operation: operation == driven, NOON))

    assert [(need.kind, need.number, need.next) for need in found] == [
        ("damaged", None, "rexecop recover --from BACKUP"),
        ("review", 5, "rexecop review done 5 --reason TEXT"),
        ("unknown outcome", 2, "rexecop reconcile 2 --probe"),
        ("left alone", 7, "rexecop start 7"),
        ("approval", 1, "rexecop approve 1 --key FILE"),
        ("paused", 9, "rexecop status 9"),
        ("failed", 3, "rexecop why 3"),
    ]
    assert "overdue since" in found[1].why and "2 records" in found[0].why


def test_figures_are_written_so_that_no_label_breaks_a_line() -> None:
    sample = Sample("x", "X.", [({"a": 'b"\\\n'}, 1), ({}, 2)])

    assert exposition([sample]) == (
        "# HELP rexecop_x X.\n# TYPE rexecop_x gauge\n" + 'rexecop_x{a="b\\"\\\\\\n"} 1\nrexecop_x 2\n'
    )


@pytest.fixture(scope="module")
def root() -> Iterator[tuple[Path, dict[str, int]]]:
    async def live(folder: Path) -> dict[str, int]:
        await made(folder)
        with opened(folder) as instance:
            read = await instance.plan(asked(folder, "show_greeting", "read_only"))
            await instance.start(read.operation_id)
            wait = await instance.plan(replace(change(folder), observe=False))
            ready = await instance.plan(asked(folder, "host_facts", "read_only"))
            closed = await instance.plan(asked(folder, "host_facts", "read_only"))
        return {"read": read.number, "wait": wait.number, "ready": ready.number, "closed": closed.number}

    with scratch() as folder:
        yield folder, asyncio.run(live(folder))


@pytest.fixture
def here(root: tuple[Path, dict[str, int]], rexecop: Rexecop) -> tuple[Rexecop, dict[str, int]]:
    folder, numbers = root
    return lambda *words: rexecop(*words, "--root", str(folder / "root")), numbers


def test_watching_without_a_terminal_prints_a_line_or_an_object_a_record(
    here: tuple[Rexecop, dict[str, int]],
) -> None:
    run, numbers = here
    lines = run("watch", str(numbers["read"])).out.splitlines()
    objects = [json.loads(line) for line in run("watch", str(numbers["read"]), "--json").out.splitlines()]

    assert lines[-1] == "completed" and "attempt/1" in lines[4]
    assert [one["n"] for one in objects[:-1]] == list(range(len(lines) - 1))
    assert objects[-1]["state"] == "completed"
    late = run("watch", str(numbers["wait"]), "--timeout", "0.01")
    assert (late.code, late.out.splitlines()[-1]) == (Exit.TIMEOUT, "waiting_for_approval")
    assert run("watch", str(numbers["read"]), "--exit-code").code == Exit.DONE
    assert "hello" in run("logs", "-f", str(numbers["read"])).out
    assert run("logs", "-f", "--raw", str(numbers["read"])).out == "hello\n"


def test_lists_are_narrowed_and_paged_with_the_filters_kept(here: tuple[Rexecop, dict[str, int]]) -> None:
    run, numbers = here

    def listed(*words: str) -> list[int]:
        return [one["number"] for one in run("list", "--json", *words).found["operations"]]  # type: ignore[attr-defined]

    everything = sorted(numbers.values(), reverse=True)
    assert listed("--since", "1h", "--requester", "alice", "--environment", "here") == everything
    assert listed("--intent", "set_greeting") == listed("--intent", "hello/set_greeting") == [numbers["wait"]]
    assert listed("--target", "nowhere") == listed("--requester", "bob") == []
    assert listed("--since", (datetime.now(UTC) + timedelta(days=2)).date().isoformat()) == []
    first = run("list", "--requester", "alice", "--limit", "2")
    assert f"rexecop list --requester alice --after {everything[1]}" in first.out
    assert listed("--requester", "alice", "--after", str(everything[1])) == everything[2:]
    assert run("list", "--since", "yesterday").code == Exit.USAGE


def test_ops_and_metrics_say_the_same_of_a_real_root(here: tuple[Rexecop, dict[str, int]]) -> None:
    run, numbers = here

    assert run("ops", "--quiet").out == f"rexecop approve {numbers['wait']} --key FILE\n"
    assert "rexecop_approvals_pending 1\n" in run("metrics").out
    assert 'state="completed",mode="read_only",intent="hello/show_greeting"} 1' in run("metrics").out


def test_a_run_whose_progress_nobody_can_be_told_ends_as_it_would(
    here: tuple[Rexecop, dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, numbers = here
    with open("/dev/full", "w") as out, open("/dev/full", "w") as err, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", out)
        patched.setattr(sys, "stderr", err)
        code = run("start", str(numbers["ready"]), "--watch").code
    assert code == Exit.DONE
    assert run("status", str(numbers["ready"]), "--quiet").out == "completed\n"


def test_a_run_whose_streams_were_closed_beforehand_ends_as_it_would(
    root: tuple[Path, dict[str, int]], here: tuple[Rexecop, dict[str, int]]
) -> None:
    run, numbers = here
    words = ("-m", "rexecop", "--root", str(root[0] / "root"), "start", str(numbers["closed"]))

    ran = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, *words], check=False)

    assert ran.returncode == Exit.DONE
    assert run("status", str(numbers["closed"]), "--quiet").out == "completed\n"
