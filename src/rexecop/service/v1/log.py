"""The log over HTTP: its checkpoint, and proofs that a record is in it and that it only grew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

from rexecop.app.door import Act
from rexecop.app.handing import hand_out_tile
from rexecop.app.logs import verifier_key_of
from rexecop.app.paging import glance
from rexecop.proof.canonical import Json
from rexecop.proof.errors import RexecopError
from rexecop.proof.logproof import ConsistencyProof, InclusionProof
from rexecop.service.errors import PathUnknown
from rexecop.service.v1.asking import Asking, Nothing, raw
from rexecop.service.v1.bodies import ConsistencyQuery, InclusionQuery
from rexecop.service.v1.operations import TAGS
from rexecop.service.v1.routes import BINARY, TEXT, Call, Says, get

# A full tile never changes. It is the caller's own to keep, for it came with a token.
KEPT: Final = {"content-type": BINARY, "cache-control": "private, max-age=31536000, immutable"}


async def checkpoint(asking: Asking, query: Nothing) -> Response:
    """Return the newest signed checkpoint, over everything appended: a signed note."""
    data = (await asking.desk.read(asking.instance.log_checkpoint)).encode()
    return asking.tagged(data, data, TEXT)


async def verifier_key(asking: Asking, query: Nothing) -> Response:
    """Return the key that signs checkpoints now (a C2SP vkey); whom to trust is for the reader to say."""
    instance = asking.instance

    def read() -> bytes:
        return verifier_key_of(instance.log_checkpoint(), instance.parts.world.signer.public).encode() + b"\n"

    data = await asking.desk.read(read)
    return asking.tagged(data, data, TEXT)


async def tile(asking: Asking, query: Nothing) -> Response:
    """Return a tile of the log (C2SP tlog-tiles); bundles of records only where nothing is out of scope."""
    path, instance = str(asking.request.path_params["path"]), asking.instance
    everything = asking.caller.scope.everything
    found = await asking.desk.read(lambda: hand_out_tile(instance, path, records=everything))
    if found is None:
        raise PathUnknown(f"there is no tile {path[:60]!a}")
    data, full = found
    return raw(data, 200, KEPT) if full else asking.tagged(data, data, BINARY)


async def inclusion(asking: Asking, query: InclusionQuery) -> Response:
    """Prove that one record of an operation is in the log; `rexecop log check` takes the answer."""
    words = f"there is no record {query.record} of operation `{query.operation}`"

    def read() -> Mapping[str, Json]:
        instance = asking.instance
        try:
            found = glance(instance, query.operation)
        except RexecopError as error:
            if error.code == "operation-unknown":
                raise PathUnknown(words) from error
            raise
        asking.require(found.matter, words)
        if query.record >= instance.parts.world.store.records_of(query.operation):
            raise PathUnknown(words)
        return instance.log_prove(query.operation, query.record)

    return asking.answer(await asking.desk.read(read))


async def consistency(asking: Asking, query: ConsistencyQuery) -> Response:
    """Prove that the log of `new` records continues that of `old`; `rexecop log check` takes the answer."""
    return asking.answer(
        await asking.desk.read(lambda: asking.instance.log_consistency(query.old, query.new))
    )


def table() -> tuple[Call, ...]:
    """Return the routes of the log."""
    act, text = Act.EVIDENCE, {200: Says(media=TEXT), 304: Says(media="")}
    tiles = {200: Says(media=BINARY), 304: Says(media="")}
    return (
        get("/v1/log/checkpoint", act, checkpoint, Nothing, text, TAGS),
        get("/v1/log/verifier-key", act, verifier_key, Nothing, text, TAGS),
        get("/v1/log/tile/{path:path}", act, tile, Nothing, tiles, TAGS),
        get("/v1/log/inclusion", act, inclusion, InclusionQuery, {200: Says(kind=InclusionProof)}),
        get("/v1/log/consistency", act, consistency, ConsistencyQuery, {200: Says(kind=ConsistencyProof)}),
    )
