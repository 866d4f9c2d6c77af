"""What takes its time holds up nobody else: an evaluation by policy, and packs read anew at the door."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from unittest.mock import patch

import pytest

from rexecop.app import access, authority
from rexecop.app.settings import Settings
from rexecop.governance import admission
from rexecop.proof.canonical import digest_of
from rexecop.service.server import serve
from tests.service.running import Reply, Running, running
from tests.service.test_access import ONE, READ, SEVERAL, TOKEN, ask, configure
from tests.service.test_facing import settings_of

WAIT_SECONDS: Final = 60.0


def slow(root: str) -> None:
    """Serve with policy that decides, and packs that are read, when somebody lets them: see `held`."""
    folder = Path(root).parent

    def waits(name: str, work: Callable[..., object]) -> Callable[..., object]:
        def waiting(*given: object) -> object:
            if (folder / f"hold-{name}").exists():
                (folder / f"{name}-begun").write_text("begun")
                (folder / f"{name}-go").read_text()
            return work(*given)

        return waiting

    with (
        patch.object(access, "decide", waits("decide", admission.decide)),
        patch.object(authority, "_read_packs", waits("packs", authority._read_packs)),
    ):
        serve(settings_of(root), host="127.0.0.1", port=0)


@pytest.fixture(scope="module")
def service(settings: Settings) -> Iterator[Running]:
    folder = settings.root.parent
    configure(settings.root, f"callers:\n  gateway: {digest_of(TOKEN.encode())}\n")
    for name in ("decide", "packs"):
        os.mkfifo(folder / f"{name}-begun")
        os.mkfifo(folder / f"{name}-go")
    with running(settings.root, slow) as found:
        assert ask(found, READ).status == 200
        yield found


def in_time(work: Callable[[], object]) -> object:
    """Return what `work` on a pipe returns; None where nobody is at its other end."""
    found: list[object] = []
    working = threading.Thread(target=lambda: found.append(work()), daemon=True)
    working.start()
    working.join(WAIT_SECONDS)
    return found[0] if found else None


@contextmanager
def held(service: Running, name: str, path: str) -> Iterator[None]:
    """Ask for an evaluation, and go on once `name` of it waits; then let it, and see that it is answered."""
    folder, replies = service.root.parent, list[Reply]()
    asking = threading.Thread(target=lambda: replies.append(ask(service, READ, path)), daemon=True)
    (folder / f"hold-{name}").touch()
    asking.start()
    try:
        assert in_time((folder / f"{name}-begun").read_text) == "begun"
        (folder / f"hold-{name}").unlink()
        yield
        assert replies == []
    finally:
        in_time(lambda: (folder / f"{name}-go").write_text("go"))
        asking.join(WAIT_SECONDS)
    assert [(one.status, one.json["decision"]) for one in replies] == [(200, True)]


@pytest.mark.parametrize("path", [ONE, SEVERAL])
def test_a_health_answer_is_given_while_an_evaluation_goes_on(service: Running, path: str) -> None:
    with held(service, "decide", path):
        assert service.get("/health").status == service.get("/healthz").status == 200


def test_who_comes_in_while_packs_are_read_anew_holds_up_nobody(service: Running) -> None:
    pack = service.root / "policy" / "starter" / "pack.yaml"
    pack.write_text(pack.read_text() + "\n")

    with held(service, "packs", ONE):
        assert service.get("/health").status == service.get("/healthz").status == 200
