"""The architecture page and the code say the same: layers, flushes, disk."""

import asyncio
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from rexecop.app.build import init_root, open_instance
from rexecop.app.instance import Instance
from rexecop.app.planner import PlanInput
from rexecop.app.settings import load_settings
from rexecop.operations.ports import Appended, Batch
from rexecop.store.sqlite import SqliteStore
from tests.docs.pages import page
from tests.house.source import ROOT

ARCHITECTURE: Final = page("docs/architecture.md")
ENVIRONMENT: Final = ROOT / "examples" / "environments" / "small-public-unit-proxmox.example.yaml"
TIMES: Final = 40  # Enough that the file's fixed parts do not count.
DISK_BYTES: Final = 10_000  # What 0003 says a two-step operation stays below.


def test_the_layers_on_the_page_are_those_of_the_import_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = next(item["layers"] for item in contracts["contracts"] if item["type"] == "layers")
    (shown,) = ARCHITECTURE.fenced("layers")

    assert shown.split("\n")[:-1] == layers[::-1]


def test_the_table_of_layers_names_every_layer_once() -> None:
    (shown,) = ARCHITECTURE.fenced("layers")
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", ARCHITECTURE.text.split("## The path")[0], re.MULTILINE)

    assert [name for row in rows for name in re.findall(r"\w+", row)] == re.findall(r"\w+", shown)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    settings = load_settings({"root": str(tmp_path / "root")}, {}, tmp_path, tmp_path)
    asyncio.run(init_root(settings))
    with open_instance(settings, {}) as opened:
        yield opened


def two_steps(instance: Instance) -> None:
    """Run a read of two steps to its end."""
    asked = PlanInput(
        profile=str(ROOT / "examples/profiles/tecrax-fixture/profile.yaml"),
        env=str(ENVIRONMENT),
        intent="check_backup_status",
        target="all_critical_vms",
        mode="dry_run",
    )

    async def run() -> None:
        planned = await instance.plan(asked)
        assert len(planned.steps) == 2
        ended = await instance.start(planned.operation_id)
        assert ended.state == "completed"

    asyncio.run(run())


def test_the_flushes_on_the_page_are_those_of_a_read_of_two_steps(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    append = SqliteStore.append

    async def listening(store: SqliteStore, batch: Batch) -> Appended:
        written.append(" ".join(sealed.record.kind.split("/")[0] for sealed in batch.records))
        return await append(store, batch)

    monkeypatch.setattr(SqliteStore, "append", listening)
    two_steps(instance)
    (shown,) = ARCHITECTURE.fenced("flushes")

    assert written == shown.split("\n")[:-1]


def test_a_two_step_operation_stays_below_what_the_decision_says(instance: Instance, tmp_path: Path) -> None:
    two_steps(instance)  # Profile, environment and pack are stored once.
    before = pages_in_use(tmp_path)
    for _ in range(TIMES):
        two_steps(instance)

    assert (pages_in_use(tmp_path) - before) / TIMES < DISK_BYTES


def pages_in_use(folder: Path) -> int:
    """The ledger's size in bytes, with what stands in its write-ahead log."""
    import apsw

    connection = apsw.Connection(str(folder / "root" / "ledger.sqlite"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return int(connection.pragma("page_count")) * int(connection.pragma("page_size"))
    finally:
        connection.close()
