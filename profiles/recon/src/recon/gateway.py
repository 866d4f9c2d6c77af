"""The gateway: one answer to one proposed action, before anything is asked of the runner.

It saves people from planning what would be refused. What holds is the runner's policy,
into which the scope goes as a pack (`recon.pack`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from recon.action import Action
from recon.compiler import Compiled, compile_action
from recon.endpoint import Address
from recon.errors import ReconRefused
from recon.scope import Scope
from recon.tools import Response

Resolve = Callable[[str], Sequence[str]]
"""Returns the IP addresses a host name has; none where it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the gateway answers: `code` names the refusal, and is None where the action may be planned."""

    allowed: bool
    code: str | None
    reason: str
    compiled: Compiled | None = None
    address: Address | None = None


def evaluate(action: Action, scope: Scope, *, resolve: Resolve, at: datetime) -> Verdict:
    """Return whether `action` may be planned under `scope` at the instant `at`; a refusal is an answer."""
    compiled: Compiled | None = None
    try:
        compiled = compile_action(action)
        address = scope.choose(compiled.endpoint, resolve(compiled.endpoint.host), at)
    except ReconRefused as error:
        return Verdict(allowed=False, code=error.code, reason=error.message, compiled=compiled)
    if compiled.response in (Response.REVIEW_AGAIN, Response.REPLAN):
        reason = f"{compiled.response}: {'; '.join(compiled.lost)}"
        return Verdict(allowed=False, code="semantic-loss", reason=reason, compiled=compiled)
    reason = "; ".join((f"in scope `{scope.id}` at {address}", *compiled.lost))
    return Verdict(allowed=True, code=None, reason=reason, compiled=compiled, address=address)
