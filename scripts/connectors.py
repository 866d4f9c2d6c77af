"""The page of connectors and how their calls end, from the tables the code reads itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from rexecop.lanes.failures import Failure, describe, retryable
from rexecop.operations.environment import BACKENDS, READONLY_BACKENDS, SHAPE_KEYS, Backend, keys_of
from rexecop.operations.process_spec import PROCESS_KEYS
from rexecop.operations.profile_parts import TALKS

FILE: Final = "connectors.md"

_COMMAND: Final = "command args env cwd stdin"
# What an action is written with for a backend, beside what every action may say.
_ACTIONS: Final[Mapping[Backend, str]] = {
    Backend.SCRIPTED: "what it would be written with elsewhere; its replies stand in the environment",
    Backend.PROCESS: f"{_COMMAND} writable isolation {PROCESS_KEYS}",
    Backend.SSH: f"{_COMMAND} tty transfer",
    Backend.GUEST: f"{_COMMAND} writable isolation",
    Backend.NODE: f"{_COMMAND} writable isolation",
    Backend.HTTP: SHAPE_KEYS,
    Backend.JSONRPC: " ".join(TALKS[:2]),
    Backend.SSE: "sse",
    Backend.WEBSOCKET: "websocket",
}
_PAGES: Final[Mapping[Backend, str]] = {
    Backend.PROCESS: "../process.md",
    Backend.SSH: "../lanes/ssh.md",
    Backend.GUEST: "../lanes/guest.md",
    Backend.NODE: "../lanes/node.md",
    Backend.HTTP: "../lanes/http.md",
    Backend.JSONRPC: "../lanes/talking.md",
    Backend.SSE: "../lanes/talking.md",
    Backend.WEBSOCKET: "../lanes/talking.md",
}


def page() -> str:
    """Return the whole page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield from (
        "# Connectors",
        "",
        "Written from the code; `make docs` does it.",
        "",
        "A connector of a profile says which actions there are; an environment says by which backend",
        "they are made and how a target is reached. Every action may also say `effect`, `idempotent`,",
        "`timeout`, `output_bytes`, `raw_output_bytes`, `normalize`, `precondition`, `postcondition`,",
        "`probe`, `undo`, `attest` and `description`.",
        "",
        "## Backends",
        "",
        "| Written as | Page | An action is written with | The connection says |",
        "|---|---|---|---|",
    )
    for backend in Backend:
        if backend is Backend.OTHER:
            continue
        names = [name for name, found in BACKENDS.items() if found is backend]
        spelled = ", ".join(
            f"`{name}`" + (" (reads only)" if name in READONLY_BACKENDS else "") for name in names
        )
        told = _ACTIONS[backend]
        actions = told if backend is Backend.SCRIPTED else _keys(told.split())
        link = f"[{backend}]({_PAGES[backend]})" if backend in _PAGES else ""
        yield f"| {spelled} | {link} | {actions} | {_keys(sorted(keys_of(backend)))} |"
    yield from (
        "",
        "## How calls end",
        "",
        "The `error_class` of an outcome that is not `ok`. *Again* says that a read, or a change that",
        "provably did not happen, may be tried again; a change that may have happened is `unknown`,",
        "whatever its class, and is settled by looking.",
        "",
        "| Class | Means | Again |",
        "|---|---|---|",
    )
    for failure in sorted(Failure):
        yield f"| `{failure}` | {describe(failure)} | {'yes' if retryable(failure) else ''} |"


def _keys(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
