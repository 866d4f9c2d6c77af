"""Internal actions of the lab: each reads what calls said, and stores one mapping in the shared state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rexecop.execution.backend import StepExecutionContext

from seedlab.contracts import envelope

Handler = Callable[[StepExecutionContext], dict[str, Any]]


def register_handlers() -> dict[str, Handler]:
    return {
        "normalize_host_inventory": normalize_host_inventory,
        "normalize_time_health": normalize_time_health,
        "normalize_api_version": normalize_api_version,
        "assess_lab": assess_lab,
        "misbehave": misbehave,
    }


def _result(context: Any, step: str) -> dict[str, Any]:
    results = context.shared_state.get("connector_results") or {}
    return dict(results.get(step) or {})


def normalize_host_inventory(context: Any) -> dict[str, Any]:
    kernel = str(_result(context, "read_kernel_identity").get("stdout", ""))
    load = str(_result(context, "read_load_average").get("stdout", "0 0 0")).split()
    facts = envelope(
        "seedlab.host_inventory",
        target=context.target,
        kernel=kernel[:128],
        load_average={"one_minute": float(load[0]), "five_minutes": float(load[1])},
        complete=bool(kernel),
    )
    context.shared_state["host_inventory"] = facts
    return {"host_inventory": facts}


def normalize_time_health(context: Any) -> dict[str, Any]:
    failed = dict(context.shared_state.get("continued_failures") or {})
    state = _result(context, "read_time_state")
    facts = envelope(
        "seedlab.time_health",
        daemon_state="absent" if "read_time_state" in failed else str(state.get("stdout", "")),
        returncode=state.get("returncode"),
        error_class=(failed.get("read_time_state") or {}).get("error_class"),
        healthy="read_time_state" not in failed,
    )
    context.shared_state["time_health"] = facts
    return {"time_health": facts}


def normalize_api_version(context: Any) -> dict[str, Any]:
    answer = _result(context, "read_api_version")
    facts = envelope(
        "seedlab.api", api_version=str(answer.get("Version", ""))[:64], healthy="Version" in answer
    )
    context.shared_state["api_health"] = facts
    return {"api_health": facts}


def assess_lab(context: Any) -> dict[str, Any]:
    inventory = context.shared_state["host_inventory"]
    # The fraction is still a number here: handlers after one another share what they computed.
    calm = inventory["load_average"]["one_minute"] < 1000.0
    parts = {
        "host": "healthy" if inventory["complete"] and calm else "unknown",
        "time": "healthy" if context.shared_state["time_health"]["healthy"] else "unhealthy",
    }
    facts = envelope("seedlab.assessment", components=parts, aggregation_completed=True)
    context.shared_state["lab_assessment"] = facts
    return {"lab_assessment": facts}


def misbehave(context: Any) -> dict[str, Any]:
    """Try what a handler may not: to read the key of the instance, and to reach the network."""
    import socket
    from pathlib import Path

    found: dict[str, Any] = {"network": "reached", "wrote": True}
    try:
        # What a stranger would look for: the folder with keys, wherever its operator keeps it.
        where = str(_result(context, "read_where").get("stdout", ""))
        found["key"] = Path(where).read_text()[:8] if where else "not asked"
    except OSError:
        found["key"] = "hidden"
    try:
        with socket.create_connection(("127.0.0.1", 9), timeout=1):
            pass
    except ConnectionRefusedError:
        found["network"] = "own or none"
    except OSError:
        found["network"] = "none"
    try:
        (Path(__file__).parent / "written.by.handler").write_text("x")
    except OSError:
        found["wrote"] = False
    context.shared_state["misbehaviour"] = found
    return {"misbehaviour": found}
