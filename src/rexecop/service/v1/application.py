"""The API put together: routes, limits, followers, and the description of it all."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response
from starlette.routing import Route

from rexecop.app.door import Act
from rexecop.app.serving import Serving
from rexecop.service.sites import Sites
from rexecop.service.v1 import following as follows
from rexecop.service.v1 import log, moves, operations, room
from rexecop.service.v1.asking import Asking, Desk, Nothing
from rexecop.service.v1.following import Following
from rexecop.service.v1.limits import Limits
from rexecop.service.v1.openapi import document
from rexecop.service.v1.routes import Call, Says, get, mounted

DESCRIPTION: Final = "/openapi.json"


def routes(serving: Serving, sites: Sites, limits: Limits | None = None) -> list[Route]:
    """Return the routes of the API over `serving`, for callers whom its door lets in."""
    desk = Desk(serving)
    following = Following(desk)
    serving.on_leaving(following.leave)
    written: list[bytes] = []

    async def description(asking: Asking, query: Nothing) -> Response:
        """Return the description of the whole service: OpenAPI 3.1."""
        if not written:
            written.append(document(asking.request.app.routes, table, serving.version))
        return asking.tagged(written[0], written[0])

    table: tuple[Call, ...] = (
        *operations.table(),
        *moves.table(),
        *follows.table(following),
        *room.table(),
        *log.table(),
        get(DESCRIPTION, Act.VIEW, description, Nothing, {200: Says(media="application/json")}),
    )
    return mounted(desk, sites, limits or Limits(), table)
