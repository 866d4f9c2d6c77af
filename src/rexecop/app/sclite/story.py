"""What the records of one operation say, for roles that each tell a part of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from rexecop.proof.bundle import BundleContents, from_members
from rexecop.proof.call import ScriptedRequest
from rexecop.proof.chain import Sealed, unseal
from rexecop.proof.container import unpack
from rexecop.proof.errors import RecordMalformed
from rexecop.proof.records import Approval, Attempt, Decision, Intent, Outcome, Plan, Record, Ticket
from rexecop.proof.records.plan import CallStep
from rexecop.proof.vocabulary import Ended, Grade, Mode, Verdict

# An attempt that ended so made no call; all others, and those without an end, may have.
NOT_MADE: Final = (Ended.REFUSED, Ended.PREVIEWED, Ended.SIMULATED)

_ABSENT: Final[Mapping[str, str]] = {
    "policy_decision": "policy was never asked",
    "execution_contract": "nothing was planned",
    "execution_receipt": "the operation has not ended",
    "evidence_contract": "there is no receipt that could bound a claim",
}

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One operation as its bundle tells it. What it never came to is None."""

    contents: BundleContents
    records: tuple[Sealed, ...]
    intent: Intent

    def all(self, kind: type[R]) -> list[tuple[Sealed, R]]:
        """Return the records of `kind`, in order."""
        return [(sealed, sealed.record) for sealed in self.records if isinstance(sealed.record, kind)]

    def last(self, kind: type[R]) -> tuple[Sealed, R] | None:
        """Return the newest record of `kind`."""
        return next(reversed(self.all(kind)), None)

    @property
    def decision(self) -> tuple[Sealed, Decision] | None:
        """The decision the ticket rests on; without a ticket the newest one."""
        ticket = self.last(Ticket)
        named = [found for found in self.all(Decision) if ticket and found[0].digest == ticket[1].decision]
        return named[0] if named else self.last(Decision)

    @property
    def mode(self) -> str:
        """The mode, in the two words that roles know."""
        return "dry_run" if self.intent.mode is Mode.DRY_RUN else "live"

    @property
    def tool(self) -> str:
        """What runs as one command: the plan of this intent."""
        return f"{self.intent.profile.name}/{self.intent.intent}"

    @property
    def calls(self) -> list[CallStep]:
        """The planned steps that make calls."""
        planned = self.last(Plan)
        return [step for step in planned[1].steps if isinstance(step, CallStep)] if planned else []

    @property
    def network_allowed(self) -> bool:
        """Whether a planned call may come near a network."""
        kept = self.decision is not None and self.decision[1].terms.obligations.no_network
        real = (step for step in self.calls if not isinstance(step.call.request, ScriptedRequest))
        return self.mode == "live" and not kept and any(step.grade is not Grade.CONTAINED for step in real)

    @property
    def made(self) -> list[Outcome | None]:
        """The outcomes of calls that were made, or may have been; None for one that has none."""
        outcomes = {outcome.attempt: outcome for _, outcome in self.all(Outcome)}
        ends = [outcomes.get(sealed.digest) for sealed, _ in self.all(Attempt)]
        return [end for end in ends if end is None or end.ended not in NOT_MADE]

    def absent(self, role: str) -> str:
        """Return why there is no artifact for `role`."""
        if role in _ABSENT:
            return _ABSENT[role]
        if self.decision is None or self.decision[1].terms.verdict is Verdict.BLOCKED:
            return "policy did not let the plan run, so no ticket was minted"
        if any(approval.statement.refuses for _, approval in self.all(Approval)):
            return "an approver said no, so no ticket was minted"
        return "the plan was not started, so no ticket was minted"


def read_story(bundle: bytes) -> Story:
    """Return what `bundle` tells.

    Raises:
        ContainerMalformed, BundleMalformed: it is no bundle.
        NotCanonical, RecordMalformed, KindUnknown: a record cannot be read, or the first is no intent.
    """
    contents, _ = from_members(unpack(bundle).members)
    records = tuple(unseal(body) for body in contents.records)
    if not isinstance(intent := records[0].record, Intent):
        raise RecordMalformed("the operation does not begin with its intent")
    return Story(contents=contents, records=records, intent=intent)
