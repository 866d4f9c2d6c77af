"""What tecrax says of repositories that restic and borg themselves made: recent, old, and damaged ones."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from rexecop.app.planner import PlanInput
from rexecop.proof.canonical import Json
from rexecop.proof.records.outcome import Outcome
from tecrax import profile_root
from tests.app.support import made, opened, records, scratch
from tests.needs import needs

PASSWORD: Final = "made up for this test"
SITE: Final = """
environment:
  id: site
  profile: tecrax
  targets: {store: {}}
  connectors:
    restic: {backend: process, secrets: {restic_password: restic_password}}
    borg: {backend: process, secrets: {borg_passphrase: borg_passphrase}}
"""


@dataclass(frozen=True)
class Store:
    folder: Path

    def runs(self, *argv: str) -> None:
        variables = {"RESTIC_PASSWORD": PASSWORD, "BORG_PASSPHRASE": PASSWORD, "TZ": "UTC"}
        folder = str(self.folder)
        environment = {**os.environ, **variables, "HOME": folder, "XDG_CACHE_HOME": f"{folder}/cache"}
        ran = subprocess.run(argv, env=environment, cwd=folder, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr

    def finds(self, intent: str, repository: str) -> Mapping[str, Json]:
        """Return the facts that a check of `repository` came to."""

        async def story() -> Mapping[str, Json]:
            asked = PlanInput(
                profile=str(profile_root()), env=str(self.folder / "site.yaml"), intent=intent,
                target="store", mode="read_only", parameters={"repository": str(self.folder / repository)},
            )  # fmt: skip
            with opened(self.folder) as instance:
                planned = await instance.plan(asked)
                await instance.start(planned.operation_id)
                kept = [sealed.record for sealed in records(instance, planned.operation_id)]
            return [one.facts for one in kept if isinstance(one, Outcome) and one.facts][-1] or {}

        return asyncio.run(story())


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    for name in ("RESTIC_PASSWORD", "BORG_PASSPHRASE"):
        monkeypatch.setenv(f"REXECOP_SECRET_{name}", PASSWORD)
    with scratch() as folder:
        asyncio.run(made(folder))
        (folder / "site.yaml").write_text(SITE)
        (folder / "data").mkdir()
        (folder / "data/file").write_bytes(os.urandom(1 << 16))
        yield Store(folder)


def damage(folder: Path, largest: Path) -> None:
    """Change bytes in the middle of the file that has the data."""
    data = bytearray(largest.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(byte ^ 0xFF for byte in data[middle : middle + 64])
    largest.chmod(0o600)
    largest.write_bytes(bytes(data))


def reasons(facts: Mapping[str, Json]) -> set[str]:
    found = facts["findings"]
    assert isinstance(found, list)
    return {str(one["reason"]) for one in found if isinstance(one, dict)}


@needs("restic")
def test_restic_says_how_old_its_newest_snapshot_is_and_what_is_damaged(store: Store) -> None:
    store.runs("restic", "-r", "repo", "init")
    store.runs("restic", "-r", "repo", "backup", "data")
    recent = store.finds("check_backup_restic", "repo")
    assert (recent["status"], recent["newest_hours"], recent["snapshots"]) == ("healthy", 0, 1)

    before = (datetime.now(UTC) - timedelta(hours=80)).strftime("%Y-%m-%d %H:%M:%S")
    store.runs("restic", "-r", "old", "init")
    store.runs("restic", "-r", "old", "backup", "--time", before, "data")
    assert "backup_lost" in reasons(store.finds("check_backup_restic", "old"))

    for index in (store.folder / "repo/index").iterdir():
        index.unlink()
    assert "repository_damaged" in reasons(store.finds("check_backup_restic", "repo"))
    assert store.finds("check_backup_restic", "nowhere")["status"] in ("unknown", "unhealthy")


@needs("borg")
def test_borg_says_how_old_its_newest_archive_is_and_what_is_damaged(store: Store) -> None:
    store.runs("borg", "init", "--encryption", "repokey", "repo")
    store.runs("borg", "create", "repo::first", "data")
    recent = store.finds("check_backup_borg", "repo")
    assert (recent["status"], recent["newest_hours"], recent["locked"]) == ("healthy", 0, 0), recent

    before = (datetime.now(UTC) - timedelta(hours=80)).strftime("%Y-%m-%dT%H:%M:%S")
    store.runs("borg", "init", "--encryption", "repokey", "old")
    store.runs("borg", "create", "--timestamp", before, "old::first", "data")
    assert "backup_lost" in reasons(store.finds("check_backup_borg", "old"))

    parts = [path for path in (store.folder / "repo/data").rglob("*") if path.is_file()]
    damage(store.folder, max(parts, key=lambda path: path.stat().st_size))
    assert "repository_damaged" in reasons(store.finds("check_backup_borg", "repo"))
