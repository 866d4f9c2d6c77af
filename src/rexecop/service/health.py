"""Routes for whoever keeps the service alive and looks at its figures."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rexecop.app.door import Act
from rexecop.app.errors import CallerUnknown, Forbidden
from rexecop.app.metrics import OPEN_METRICS, TEXT, exposition
from rexecop.app.serving import Serving
from rexecop.proof.errors import RexecopError
from rexecop.service.answers import problem
from rexecop.service.doorway import let_in, turned_away
from rexecop.service.traffic import Run

READY_SECONDS_MAX: Final = 5  # A ledger that takes longer to write a page is not ready.
FRESH_SECONDS: Final = 1.0  # Anybody may ask, and each look flushes a page: those of a second share one.
NO_STORE: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


class Health:
    """Answers over one opened root."""

    def __init__(self, serving: Serving, run: Run) -> None:
        self._serving = serving
        self._run = run
        self._turn = asyncio.Lock()
        self._looked = float("-inf")
        self._ready = False

    async def healthz(self, request: Request) -> Response:
        """Say that the process answers, which is all that is known from it."""
        return JSONResponse({"healthy": True}, headers=NO_STORE)

    async def readyz(self, request: Request) -> Response:
        """Say whether a request could be carried out now, and to nobody why not; none can while all ends."""
        if not self._run.draining and await self._is_ready():
            return JSONResponse({"ready": True}, headers=NO_STORE)
        return JSONResponse({"ready": False}, 503, {**NO_STORE, "retry-after": RETRY_SECONDS})

    async def _is_ready(self) -> bool:
        async with self._turn:
            if time.monotonic() - self._looked > FRESH_SECONDS:
                try:
                    async with asyncio.timeout(READY_SECONDS_MAX):
                        self._ready = not await self._serving.problems()
                except TimeoutError:
                    self._ready = False
                self._looked = time.monotonic()
            return self._ready

    async def metrics(self, request: Request) -> Response:
        """Give the figures to a caller who may have them."""
        try:
            let_in(self._serving.door, request, Act.METRICS)
            found = await asyncio.to_thread(self._serving.measuring.samples)
        except (CallerUnknown, Forbidden) as error:
            return turned_away(error)
        except RexecopError as error:
            return problem(503, error.message, error.code, {"retry-after": "1"})
        newer = "application/openmetrics-text" in request.headers.get("accept", "")
        text = exposition((*found, *self._run.samples()), open_metrics=newer)
        return Response(text, headers={**NO_STORE, "content-type": OPEN_METRICS if newer else TEXT})


def routes(serving: Serving, run: Run) -> list[Route]:
    """Return the routes."""
    health = Health(serving, run)
    return [
        Route("/healthz", health.healthz, methods=["GET"]),
        Route("/readyz", health.readyz, methods=["GET"]),
        Route("/metrics", health.metrics, methods=["GET"]),
    ]
