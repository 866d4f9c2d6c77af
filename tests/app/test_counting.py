"""Figures of a real root: what people answered, what waits, and what lies outside the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rexecop.app import counting
from rexecop.app.counting import Counting
from rexecop.app.instance import Instance
from rexecop.app.measuring import Measuring
from rexecop.app.metrics import Sample, Spread, exposition, samples
from tests.app.support import asked, bob, change, made, opened, scratch

OFTEN = """
@id("often")
@obligations("budget(intent)<=5/1h")
permit (principal, action in Action::"change", resource);
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with scratch() as folder:
        asyncio.run(made(folder))
        rule = folder / "root" / "policy" / "starter" / "requirements" / "often.cedar"
        rule.write_text(OFTEN)
        rule.chmod(0o600)
        yield folder


def values(found: tuple[Sample, ...]) -> dict[str, object]:
    """The values of samples, by name and labels."""
    return {" ".join((one.name, *labels.values())): value for one in found for labels, value in one.values}


def test_answers_of_people_are_counted_with_the_time_they_took(folder: Path) -> None:
    async def story(instance: Instance) -> Counting:
        found = Counting(instance.parts.ledger)
        first = await instance.plan(replace(change(folder), observe=False))
        second = await instance.plan(replace(change(folder, "other"), observe=False))
        await instance.approve(first.operation_id, key=bob(folder))
        await instance.start(first.operation_id)
        await instance.approve(second.operation_id, key=bob(folder), approves=False)
        await instance.approve(second.operation_id, key=bob(folder), withdraws=True)
        found.look()
        return found

    with opened(folder) as instance:
        counted = values(asyncio.run(story(instance)).samples())

    waited = counted["approval_seconds"]
    assert isinstance(waited, Spread) and sum(waited.counts) == 2 and waited.total < 3600
    assert [counted[f"approval_answers_total {one}"] for one in ("yes", "no", "withdrawal")] == [1, 1, 1]
    assert counted["approval_quick_ratio"] == (waited.counts[0] + waited.counts[1]) / 2
    assert counted["ends_total completed"] == counted["budget_uses_total intent"] == 1
    assert counted["decisions_total plan approval_required"] == 2
    assert sum(int(str(n)) for name, n in counted.items() if name.startswith("attempts_total process")) >= 1


def test_a_look_counts_a_bounded_number_of_records_and_says_what_is_left(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(folder) as instance:
        found = Counting(instance.parts.ledger)
        found._next = 0
        size = instance.parts.ledger.size()
        monkeypatch.setattr(counting, "LEAVES_MAX", 5)
        for left in range(size, 0, -5):
            assert values(found.samples())["counting_lag_records"] == left
            found.look()
        whole = Counting(instance.parts.ledger)
        whole._next = 0
        monkeypatch.setattr(counting, "LEAVES_MAX", 10_000)
        whole.look()
        found.look()
        assert exposition(found.samples()) == exposition(whole.samples())


def test_what_waits_is_halted_or_lies_outside_is_told(folder: Path) -> None:
    root, sink = folder / "root", folder / "sink"
    (root / "sinks.yaml").write_text(f"- file: {sink}\n- file: /nowhere/at/all\n- command: [/bin/true]\n")
    (root / "sinks.yaml").chmod(0o600)

    async def story(instance: Instance) -> dict[str, object]:
        measuring = Measuring(instance)
        instance.log_publish()
        await instance.plan(replace(change(folder, "third"), observe=False))
        ready = await instance.plan(asked(folder, "show_greeting", "read_only"))
        instance.enqueue(ready.operation_id)
        instance.halt("target:elsewhere", "look first")
        (root / "notices").mkdir(mode=0o700)
        (root / "notices" / "ntc_1-mail.json").write_text("{}")
        return values(measuring.samples())

    with opened(folder) as instance:
        found = asyncio.run(story(instance))
        size = instance.parts.ledger.size()
        pending = len(instance.list(state="waiting_for_approval"))

    assert found["approvals_pending"] == pending > 0
    assert [found[name] for name in ("queue_length", "halts_standing", "leases_held")] == [1, 1, 0]
    assert found["notices_undelivered"] == 1 and found["evidence_records_total"] == size
    lag = found[f"evidence_sink_lag_records file {sink}"]
    assert isinstance(lag, int) and 0 < lag < size
    assert found["evidence_sink_lag_records file /nowhere/at/all"] == size
    assert not any("command" in name for name in found)
    assert isinstance(found["evidence_ledger_bytes"], int) and found["evidence_ledger_bytes"] > 0


def test_names_that_anybody_made_up_do_not_make_more_and_more_series(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rexecop.app.metrics.INTENTS_MAX", 1)
    with opened(folder) as instance:
        log = instance.parts.ledger
        found = values(samples(log, instance.parts.world.clock.now(), 0))
        total = sum(tally.count for tally in log.tallies())

    shown = {name: int(str(count)) for name, count in found.items() if name.startswith("operations ")}
    assert sum(shown.values()) == total and sum(not name.endswith(" other") for name in shown) == 1
