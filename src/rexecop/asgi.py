"""The service for a server of one's own, in the mode the environment asks for: `uvicorn rexecop.asgi:app`.

It answers to this machine's names only; the root is that of the settings, as for `rexecop serve`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette

from rexecop.app.contract import contract_of
from rexecop.app.serving import open_serving
from rexecop.app.settings import load_settings
from rexecop.service.application import create_app
from rexecop.service.server import LOCAL_NAMES


def _made() -> Starlette:
    contract = contract_of(os.environ)
    settings = load_settings({}, os.environ, Path.cwd(), Path.home())
    serving = open_serving(settings, contract)

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        with serving:
            yield
            await asyncio.to_thread(serving.works.close)
            await serving.nodes.close()

    return create_app(serving, {*LOCAL_NAMES}, lifespan=life)


app = _made()
