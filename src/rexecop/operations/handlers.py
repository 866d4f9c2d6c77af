"""Handlers: internal steps that a profile's package computes in Python instead of saying how as data.

A handler is a derivation like a normalizer: a function of what calls answered. It can do nothing,
because it runs where nothing can be done: without a network, without a path to root or keys, with
nothing it could write. The profile's snapshot names its code by digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from rexecop.lanes.messages.ssh import PROTOCOL as SSH
from rexecop.operations.reading import Node
from rexecop.operations.step_output import StepOutput
from rexecop.proof.call import ExchangeRequest, Request, ScriptedRequest
from rexecop.proof.canonical import Digest, Json
from rexecop.proof.vocabulary import CONFINING, GOOD_ENDS, Ended, Isolation

FILE: Final = "handlers.yaml"
"""Where a snapshot names the handlers: written when the profile is read, never by its author."""
FACTS_BYTES_MAX: Final = 64 * 1024  # What one record of an operation can take beside everything else.
# Only what hides files and network is enough for code of strangers, the stronger first.
CLASSES: Final = (Isolation.BUBBLEWRAP, Isolation.LANDLOCK_SECCOMP)
assert CONFINING.issuperset(CLASSES)


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlersRef:
    """The installed handlers called `name`, whose package has the digest `code`."""

    name: str
    code: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Handling:
    """The handlers of `actions`, by step, in their order, over `results`; the last one is asked for.

    `failures` are the calls that failed and were gone on after.
    """

    handlers: HandlersRef
    operation: str
    target: str
    mode: str
    actions: Mapping[str, str]
    results: Mapping[str, Json]
    failures: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Handled:
    """The facts of a handler by their names for rules; None with the reason where there are none."""

    facts: Mapping[str, Json] | None
    error_class: str | None = None
    message: str | None = None


class Handlers(Protocol):
    """Runs handlers where they can touch nothing."""

    async def run(self, request: Handling) -> Handled:
        """Return what the last handler asked for said; it never raises for what a handler does."""
        ...


def read_handlers(root: Node, stem: str) -> HandlersRef:
    """Return the handlers that the snapshot names."""
    fields = root.section("handlers").fields("name code", "name code")
    code = fields.text("code")
    if not code.startswith("sha256:"):
        root.refuse(f"`{FILE}` is written when a profile is read; take it out of the profile", found=stem)
    return HandlersRef(name=fields.token("name"), code=Digest(code))


def result_of(output: StepOutput, request: Request) -> Json:
    """Return what the call `request` answered, as handlers look at it; None where it put out nothing.

    Of a program that is its text and status, of a service its JSON: an object, or the `value` that is none.
    """
    if isinstance(request, ScriptedRequest) and output.data is not None:
        return dict(output.data)
    if isinstance(request, ExchangeRequest) and request.protocol != SSH:
        said = output.value("stdout", "")
        return said if isinstance(said, dict | None) else {"value": said}
    if output.status is None and not output.stdout:
        return None
    status = output.status if output.status is not None else 0
    return {"stdout": output.stdout.strip(), "stderr": output.stderr.strip(), "returncode": status}


def failures_of(outputs: Mapping[str, StepOutput], said: Mapping[str, tuple[str, str]]) -> dict[str, Json]:
    """Return the calls that failed; `said` has their error class and message, where one was kept."""
    well = (*GOOD_ENDS, Ended.SKIPPED)  # What was left out as planned did not fail.
    failed: Iterable[str] = (step for step, output in outputs.items() if output.ended not in well)
    return {
        step: {"error_class": said[step][0], "error": said[step][1]}
        if step in said
        else {"error_class": str(outputs[step].ended), "error": str(outputs[step].ended)}
        for step in failed
    }
