"""The log over HTTP: a stranger with a token gets all of it by its tiles, and checks it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from rexecop.app.accesses import accesses_of
from rexecop.app.build import init_root, open_instance
from rexecop.app.settings import load_settings
from rexecop.proof import checkpoint as checkpoints
from rexecop.proof.logcheck import check_log
from rexecop.proof.note import NoteKey
from rexecop.proof.tiles import TileReader
from tests.app.support import scratch
from tests.service.api import Api, api

TILES = "/v1/log/tile"
FULL = 256


@pytest.fixture(scope="module")
def v1() -> Iterator[Api]:
    """A service whose log has more records than one tile takes."""
    with scratch() as folder:
        settings = load_settings({"root": str(folder / "root")}, {}, folder, folder)
        asyncio.run(init_root(settings, others=("alice", "elsa"), approver="bob"))
        with api(settings.root) as found:
            while size_of(found) <= FULL:
                found.plan()
            yield found.by("auditor")


def size_of(v1: Api) -> int:
    return int(v1.by("auditor").get("/v1/log/checkpoint").body.split(b"\n")[1])


def test_the_whole_log_is_fetched_and_checked_by_who_has_the_checkpoint_and_the_key(v1: Api) -> None:
    note, key = v1.get("/v1/log/checkpoint").body, v1.get("/v1/log/verifier-key").body.decode()
    found = checkpoints.verify(note, lambda origin: [NoteKey.decode(key.strip())]).checkpoint
    fetched: list[str] = []

    def fetch(path: str, most: int) -> bytes | None:
        reply = v1.get(f"/v1/log/{path}")
        fetched.append(path)
        return reply.body if reply.status == 200 else None

    leaves = TileReader(found.size, fetch).leaves()
    report = check_log(leaves, found.size, own=[found], held=[])
    root = v1.service.root
    with open_instance(load_settings({"root": str(root)}, {}, root, root)) as instance:
        given = accesses_of(instance.parts.ledger, "tile/entries/000")
        hashes = accesses_of(instance.parts.ledger, "tile/0/000")

    assert (report.bad, report.size, report.root) == (None, found.size, found.root)
    assert [(one.by.person, one.action) for one in given] == [("audrey", "export")] and not hashes
    assert {"tile/entries/000", "tile/0/000"} <= set(fetched) and any(".p/" in path for path in fetched)


def test_a_full_tile_may_be_kept_for_ever_and_the_beginning_of_one_is_asked_for_again(v1: Api) -> None:
    full, part = v1.get(f"{TILES}/0/000"), v1.get(f"{TILES}/0/001.p/1")

    assert (full.status, len(full.body)) == (200, 8192)
    assert full.headers["content-type"] == "application/octet-stream"
    assert full.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert (part.status, len(part.body), part.headers["cache-control"]) == (200, 32, "private, no-cache")
    assert v1.get(f"{TILES}/0/001.p/1", If_None_Match=part.headers["etag"]).status == 304


@pytest.mark.parametrize(
    "path",
    [
        "0/001",
        "0/1",
        "entries/../0/000",
        "..%2f..%2fkeys%2finstance",
        "%2e%2e/checkpoint",
        "big-entries/000",
        "%00",
    ],
)
def test_what_is_no_tile_is_not_there_whatever_it_looks_like(v1: Api, path: str) -> None:
    reply = v1.get(f"{TILES}/{path}")
    assert (reply.status, reply.headers["content-type"]) == (404, "application/problem+json")
    assert reply.json["code"] == "path-unknown"


def test_records_of_others_are_not_there_for_who_has_a_bounded_scope(v1: Api) -> None:
    elsa, absent = v1.by("elsewhere"), v1.get(f"{TILES}/entries/009")

    assert elsa.get(f"{TILES}/0/000").status == 200
    hidden = elsa.get(f"{TILES}/entries/000")
    assert hidden.status == 404
    assert hidden.body.replace(b"/000", b"") == absent.body.replace(b"/009", b"")
    for path in ("0/000", "entries/000"):
        assert v1.by("operator").get(f"{TILES}/{path}").status == 403
