"""The table of exchanges: which builder writes the request of a backend, one line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from rexecop.operations.binding import Making
from rexecop.operations.environment import Backend
from rexecop.operations.planning_bridge import guest_request, node_request
from rexecop.operations.planning_http import http_request
from rexecop.operations.planning_talks import jsonrpc_request, sse_request, websocket_request
from rexecop.proof.call import ExchangeRequest

EXCHANGES: Final[Mapping[Backend, Callable[[Making], ExchangeRequest]]] = {
    Backend.GUEST: guest_request,
    Backend.HTTP: http_request,
    Backend.JSONRPC: jsonrpc_request,
    Backend.SSE: sse_request,
    Backend.WEBSOCKET: websocket_request,
    Backend.NODE: node_request,
}
"""Backend → builder. A builder raises as `planning_calls.build_call` says."""
