"""Several threads ask for the policy in force while its files change."""

from __future__ import annotations

import asyncio
from pathlib import Path
from threading import Event, Thread

import pytest

from rexecop.app import authority as module
from rexecop.app.demo_authority import DemoAuthority
from tests.app.support import made, opened

WAIT_SECONDS = 30.0


def test_nobody_decides_by_packs_that_another_thread_is_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(made(tmp_path))
    read, reading, go_on = module._read_packs, Event(), Event()

    def slowly(*given: object) -> object:
        reading.set()
        assert go_on.wait(WAIT_SECONDS)
        return read(*given)  # type: ignore[arg-type]

    with opened(tmp_path) as instance:
        authority = instance.parts.authority
        demo = DemoAuthority(authority, instance.parts.world.clock)
        monkeypatch.setattr(module, "_read_packs", slowly)
        people = tmp_path / "root" / "policy" / "starter" / "entities.yaml"
        people.write_text(f"{people.read_text()}\n# changed\n")
        first = Thread(target=authority.policy)
        first.start()
        assert reading.wait(WAIT_SECONDS)
        found: list[int] = []
        second = Thread(target=lambda: found.append(len(demo.policy().packs)))
        second.start()
        second.join(0.1)
        meanwhile = list(found)
        go_on.set()
        second.join(WAIT_SECONDS)
        first.join(WAIT_SECONDS)

    assert (meanwhile, found) == ([], [2])
