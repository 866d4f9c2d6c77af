"""Before every request: who comes may have to wait, for the identity provider, for packs, or for guessing.

What may be said about a caller at once is said by the door; whatever takes time is done here, so that no
route waits for anybody outside, and no other request for one that does.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from rexecop.app.door import Act, Caller, Door
from rexecop.app.errors import NEEDED, CallerUnknown, Forbidden
from rexecop.app.serving import Serving
from rexecop.proof.errors import RexecopError
from rexecop.service.answers import json_answer
from rexecop.service.problems import problem

# These ask nobody who they are; a header that means nothing to them changes nothing.
OPEN: Final = frozenset(
    {"/", "/health", "/healthz", "/ready", "/readyz", "/version", "/execute", "/receipts/verify"}
)


class Doorway:
    """The application behind the door of `serving`."""

    def __init__(self, app: ASGIApp, serving: Serving) -> None:
        self._app = app
        self._serving = serving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused: Response | None = None
        if scope["type"] == "http" and scope["path"].removeprefix(scope.get("root_path", "")) not in OPEN:
            refused = await self._refused(scope)
        await (self._app if refused is None else refused)(scope, receive, send)

    async def _refused(self, scope: Scope) -> Response | None:
        try:
            await self._serving.knock(Headers(scope=scope), peer_of(scope))
        except (CallerUnknown, Forbidden) as error:
            return turned_away(error)
        except RexecopError as error:
            return problem(error)
        except Exception as error:  # noqa: BLE001 - one request must not end the connection of others
            sys.stderr.write(f"rexecop: error[internal-error]: {scope['path']}: {type(error).__name__}\n")
            return json_answer(500, {"detail": "Internal Server Error"})
        return None


def peer_of(scope: Scope) -> str | None:
    """Return the address that a request came from."""
    client = scope.get("client")
    return str(client[0]) if client else None


def let_in(door: Door, request: Request, act: Act) -> Caller:
    """Return who sent `request`, if they may do `act` at all.

    Raises:
        CallerUnknown, Forbidden: see `Door`.
    """
    caller = door.caller(request.headers, peer_of(request.scope))
    door.require(caller, act)
    return caller


def unsaid(place: str, error: RexecopError) -> CallerUnknown:
    """Tell the operator why nobody can be let in below `place` now; return what whoever asks is told.

    That there is such an instance is not for them.
    """
    sys.stderr.write(f"rexecop: error[{error.code}]: below {place[:80]!a}: {error.message}\n")
    return CallerUnknown(NEEDED)


def turned_away(error: CallerUnknown | Forbidden, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer for who was not let in, or may not do that."""
    return problem(error, headers)
