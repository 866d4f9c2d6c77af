"""How far one step of an operation got on its target."""

from __future__ import annotations

from dataclasses import dataclass

from rexecop.lanes.failures import Failure, retryable
from rexecop.proof.chain import Sealed
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import CallStep, Step
from rexecop.proof.vocabulary import GOOD_ENDS, Ended, Phase

Key = tuple[str, str]  # target, step


@dataclass(slots=True)
class Progress:
    """How far one step got on one target, in one phase."""

    step: Step
    phase: Phase
    attempts: int = 0
    in_flight: Sealed | None = None
    ended: Ended | None = None
    failure: str | None = None
    outcome: Sealed | None = None

    @property
    def key(self) -> Key:
        """(target, step id)."""
        return (self.step.target, self.step.id)

    @property
    def good(self) -> bool:
        """Whether the step ended well enough for the next one."""
        return self.ended in GOOD_ENDS

    @property
    def settled(self) -> bool:
        """Whether the step needs nothing more before the next one.

        A failure may be tolerated; a policy that became stricter stops every step alike.
        """
        tolerated = isinstance(self.step, CallStep) and self.step.continue_on_error and not self._denied
        return self.good or (tolerated and self.ended in (Ended.FAILED, Ended.REFUSED))

    @property
    def _denied(self) -> bool:
        """Whether the step was declined because policy or drift says no, before anything was tried."""
        record = self.outcome.record if self.outcome is not None else None
        declined = isinstance(record, Outcome) and record.attempt is None
        return declined and self.failure in (Failure.POLICY_DENIED, Failure.DRIFTED)

    def may_retry(self) -> bool:
        """Whether its retry rule gives the last failure another try."""
        rule = self.step.retry if isinstance(self.step, CallStep) else None
        if rule is None or self.failure is None or self.attempts >= rule.attempts:
            return False
        return retryable(Failure(self.failure)) and (not rule.on or self.failure in rule.on)
