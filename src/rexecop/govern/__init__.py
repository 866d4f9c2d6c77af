"""Governance for programs: what decides here, and views of its records, without a side effect.

Everything is a function over typed values, or one of these values. Nothing reads a file, a
clock or a key, and nothing makes a second kind of record: what is not a function here is
a command or a record, and `docs/govern.md` says which.
"""

from __future__ import annotations

from rexecop.govern.views import (
    Artifact,
    Envelope,
    Planner,
    Standing,
    artifacts,
    change_order,
    envelope,
    proposed,
    refusals,
    standing,
)
from rexecop.governance.actions import action_of
from rexecop.governance.admission import Answer, Policy, decide
from rexecop.governance.approvals import approval_statement, require_may_approve
from rexecop.governance.errors import GovernanceError
from rexecop.governance.obligations import merge_obligations, tighter, unmet
from rexecop.governance.pack import Pack
from rexecop.governance.steps import admit
from rexecop.governance.tickets import require_fits
from rexecop.governance.why import of_answer, of_decision, of_tally
from rexecop.operations.fold import Operation, fold
from rexecop.operations.guards import check_command
from rexecop.operations.machine import TRANSITIONS, Event, allows, move
from rexecop.operations.next import next_effect
from rexecop.operations.planning import PlanRequest, compile_plan
from rexecop.proof.chain import Sealed, seal, unseal
from rexecop.proof.preview import preview, preview_digest
from rexecop.proof.quorum import Tally, tally
from rexecop.proof.records import KINDS
from rexecop.proof.request import policy_request
from rexecop.proof.steps import merge_approvals
from rexecop.proof.trust import Enrolment, enrolments, in_force, retired
from rexecop.proof.verify import Report, Rung, TrustedKeys, parse_trust, trust_of, verify
from rexecop.proof.vocabulary import State

__all__ = [
    "KINDS",
    "TRANSITIONS",
    "Answer",
    "Artifact",
    "Enrolment",
    "Envelope",
    "Event",
    "GovernanceError",
    "Operation",
    "Pack",
    "PlanRequest",
    "Planner",
    "Policy",
    "Report",
    "Rung",
    "Sealed",
    "Standing",
    "State",
    "Tally",
    "TrustedKeys",
    "action_of",
    "admit",
    "allows",
    "approval_statement",
    "artifacts",
    "change_order",
    "check_command",
    "compile_plan",
    "decide",
    "enrolments",
    "envelope",
    "fold",
    "in_force",
    "merge_approvals",
    "merge_obligations",
    "move",
    "next_effect",
    "of_answer",
    "of_decision",
    "of_tally",
    "parse_trust",
    "policy_request",
    "preview",
    "preview_digest",
    "proposed",
    "refusals",
    "require_fits",
    "require_may_approve",
    "retired",
    "seal",
    "standing",
    "tally",
    "tighter",
    "trust_of",
    "unmet",
    "unseal",
    "verify",
]
