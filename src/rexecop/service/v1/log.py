"""The log over HTTP: its checkpoint, and proofs that a record is in it and that it only grew."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import Response

from rexecop.app.door import Act
from rexecop.app.paging import glance
from rexecop.proof.canonical import Json
from rexecop.proof.errors import RexecopError
from rexecop.proof.logproof import ConsistencyProof, InclusionProof
from rexecop.service.errors import PathUnknown
from rexecop.service.v1.asking import Asking, Nothing
from rexecop.service.v1.bodies import ConsistencyQuery, InclusionQuery
from rexecop.service.v1.operations import TAGS
from rexecop.service.v1.routes import TEXT, Call, Says, get


async def checkpoint(asking: Asking, query: Nothing) -> Response:
    """Return the newest signed checkpoint, over everything appended: a signed note."""
    data = (await asking.desk.read(asking.instance.log_checkpoint)).encode()
    return asking.tagged(data, data, TEXT)


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
    return (
        get("/v1/log/checkpoint", act, checkpoint, Nothing, text, TAGS),
        get("/v1/log/inclusion", act, inclusion, InclusionQuery, {200: Says(kind=InclusionProof)}),
        get("/v1/log/consistency", act, consistency, ConsistencyQuery, {200: Says(kind=ConsistencyProof)}),
    )
