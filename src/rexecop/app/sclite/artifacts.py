"""The six roles as artifacts: each says what its record says, and names that record by its digest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from rexecop.app.sclite.story import Story
from rexecop.proof.call import call_digest
from rexecop.proof.canonical import Json, canonical_bytes, digest_of
from rexecop.proof.chain import Sealed
from rexecop.proof.codec import to_json
from rexecop.proof.principal import Principal
from rexecop.proof.records import Approval, Attempt, Outcome, Plan, Receipt, Ticket
from rexecop.proof.records.plan import DeriveStep, Step
from rexecop.proof.times import format_time
from rexecop.proof.vocabulary import State, Verdict

Artifact = dict[str, Json]
Artifacts = dict[str, Artifact]

CANONICALIZATION: Final = "sclite-json-v0.1"
ALGORITHM: Final = "sha256"
RUNTIME: Final = "rexecop"
NO_NETWORK: Final = frozenset({"none", "not-applicable"})
SCOPED: Final = "scoped_execution_ticket"
# One ticket lets one plan run once, and a plan with all its steps is one command.
ONCE: Final = 1
OWED: Final[Artifact] = {"requires_receipt": True, "requires_evidence_contract": True}

_DECISIONS: Final[Mapping[Verdict, str]] = {
    Verdict.ALLOWED: "allow_prepare",
    Verdict.APPROVAL_REQUIRED: "owner_approval_required",
    Verdict.BLOCKED: "deny",
}


def make_artifacts(story: Story) -> Artifacts:
    """Return what there is of the six roles, in their order, each linked to the ones it rests on."""
    made: Artifacts = {}
    for role, make in ROLES.items():
        if (artifact := make(story, made)) is not None:
            made[role] = artifact
    return made


def descriptor(artifact: Artifact) -> Artifact:
    """Return how other artifacts name `artifact`."""
    body = canonical_bytes(artifact)
    named = {name: artifact[name] for name in ("artifact_type", "schema_version", "schema_ref")}
    counted: Artifact = {"digest": bare_digest(body), "canonical_bytes": len(body)}
    return {**named, "canonicalization": CANONICALIZATION, "algorithm": ALGORITHM, **counted}


def bare_digest(body: bytes) -> str:
    """Return the digest of `body` as this format spells it: hex without a prefix."""
    return digest_of(body).removeprefix("sha256:")


def common(kind: str, version: str, sealed: Sealed) -> Artifact:
    """Return the fields every artifact has, for one made from the record `sealed`."""
    return {
        "artifact_type": kind,
        "schema_version": version,
        "schema_ref": f"sclite/{kind}@{version}",
        "created_at": format_time(sealed.record.at),
        "made_from": {"kind": sealed.record.kind, "n": sealed.record.n, "digest": sealed.digest},
    }


def _links(made: Artifacts, *roles: str) -> Artifact:
    return {role: descriptor(made[role]) for role in roles if role in made}


def _picked(value: object, *names: str) -> Artifact:
    return {name: item for name, item in to_json(value).items() if name in names}


def _id(sealed: Sealed) -> str:
    return f"{sealed.record.operation}/{sealed.record.n}"


def _actor(principal: Principal) -> Artifact:
    return {"actor_id": principal.person, **to_json(principal)}


def _intent(story: Story, made: Artifacts) -> Artifact:
    asked, said = story.intent, ("mode", "parameters", "reason", "idempotency_key")
    return {
        **common("intent_contract", "v0.2", story.records[0]),
        "intent_id": _id(story.records[0]),
        "actor": {**_actor(asked.by), **_picked(asked, "sponsor")},
        "intent": {"name": asked.intent, "intent_is_authority": False, **_picked(asked, *said)},
        "requested_capability": {"capability": story.tool, **to_json(asked.profile)},
        "target": {"target_ref": asked.target, "environment": to_json(asked.environment)},
        "authority": {"intent_is_authority": False, "decided_by": "policy", **to_json(asked.origin)},
    }


def _policy(story: Story, made: Artifacts) -> Artifact | None:
    if story.decision is None:
        return None
    sealed, record = story.decision
    request, in_scope = record.request, record.terms.verdict is not Verdict.BLOCKED
    terms = _picked(record.terms, "approvals", "obligations", "not_before", "not_after")
    return {
        **common("policy_decision", "v0.2", sealed),
        "decision_id": _id(sealed),
        "decision": _DECISIONS[record.terms.verdict],
        "links": _links(made, "intent_contract"),
        "scope": {"target_in_scope": in_scope, **_picked(request, "targets", "environment")},
        "capability": {"capability": story.tool, **_picked(request, "effect", "mode")},
        "risk": _picked(request, "risk", "pinned", "simulated"),
        "constraints": [{"name": name, "value": value} for name, value in terms.items()],
        **_picked(record, "reason", "rules", "packs", "errors"),
    }


def _contract(story: Story, made: Artifacts) -> Artifact | None:
    if (found := story.last(Plan)) is None:
        return None
    sealed, plan = found
    tries = [(step, step.retry.attempts if step.retry else 1) for step in story.calls]
    waits = sum(
        max(rule.delay_ms, rule.delay_max_ms or 0) * (rule.attempts - 1)
        for step in story.calls
        if (rule := step.retry)
    )
    milliseconds = sum(step.limits.timeout_ms * attempts for step, attempts in tries) + waits
    in_scope = story.decision is not None and story.decision[1].terms.verdict is not Verdict.BLOCKED
    return {
        **common("execution_contract", "v0.2", sealed),
        "contract_id": _id(sealed),
        "links": _links(made, "intent_contract", "policy_decision"),
        "target_binding": {
            "target": story.intent.target,
            "target_host": story.intent.target,
            "target_in_scope": in_scope,
            **_picked(plan, "targets"),
        },
        "execution_shape": {
            "tool": story.tool,
            "normalized_args": _arguments(story),
            "plan": [_step(step) for step in plan.steps],
        },
        "execution_bounds": {
            "mode": story.mode,
            "network_execution_allowed": story.network_allowed,
            "max_commands": ONCE,
            "timeout_seconds": -(-milliseconds // 1000),
        },
        "expected_receipt": {"required": True, "evidence_contract_required": True},
    }


def _arguments(story: Story) -> list[Json]:
    """Return the plan as arguments: one for each call, which names its step, target and template."""
    return [f"{step.id} {step.target} {call_digest(step.call)}" for step in story.calls]


def _step(step: Step) -> Artifact:
    found = _picked(step, "id", "target", "isolation", "grade", "needs", "normalizer")
    if isinstance(step, DeriveStep):
        return found
    calls = {"template": step.call, "undo": step.undo, "probe": step.probe.call if step.probe else None}
    digests: Artifact = {name: call_digest(call) for name, call in calls.items() if call is not None}
    return {**found, **_picked(step.call, "connector", "action", "effect"), **digests}


def _ticket(story: Story, made: Artifacts) -> Artifact | None:
    found, planned = story.last(Ticket), story.last(Plan)
    if found is None or planned is None:
        return None
    sealed, ticket = found
    targets, target = planned[1].targets, story.intent.target
    approvers: list[Json] = [
        {**_actor(said.approver), **_picked(said, "on_behalf_of"), "made_from": other.digest}
        for other, said in ((other, record.statement) for other, record in story.all(Approval))
        if other.digest in ticket.approvals
    ]
    subject: Artifact = {"issued_for_actor": story.intent.by.person}
    network: Artifact = {"network_execution_allowed": story.network_allowed}
    status = "approved_for_dry_run" if story.mode == "dry_run" else "approved"
    contract = descriptor(made["execution_contract"])["digest"]
    return {
        **common("execution_ticket", "v0.3", sealed),
        "ticket_id": _id(sealed),
        "ticket_profile": SCOPED,
        "links": _links(made, "execution_contract", "policy_decision", "intent_contract"),
        "approval": {"status": status, "terms": ticket.terms, "approvers": approvers},
        "validity": {"not_before": format_time(ticket.not_before), "not_after": format_time(ticket.expires)},
        "execution_limits": {"mode": story.mode, "max_runs": ONCE, "one_shot": True},
        "integrity": {"ticket_binds_execution_contract_digest": contract},
        "ticket_semantics": {"kind": SCOPED, "consumable_by_runtime": True, "default_transferable": False},
        "subject_binding": {**subject, "usable_by_runtime": RUNTIME, "session_ref": ticket.operation},
        "scope_binding": {
            "target_kind": targets[0].type if len(targets) == 1 else "group",
            "target_ref": target,
            "target_host": target,
            "tool": story.tool,
            "mode": story.mode,
            "normalized_args_digest": digest_of(canonical_bytes(_arguments(story))),
            **_picked(ticket, "scope", "undo_scope"),
        },
        "spend_limits": {"max_uses": ONCE, "one_shot": True, **network, **OWED},
        "non_claims": [
            "this file grants nothing: the ticket is the record it is made from",
            "it serves no other runtime, plan or operation",
        ],
    }


def _receipt(story: Story, made: Artifacts) -> Artifact | None:
    if (found := story.last(Receipt)) is None:
        return None
    sealed, receipt = found
    # The operation may have been opened again: a receipt speaks of what stands before it.
    story = replace(story, records=story.records[: story.records.index(sealed)])
    times = [other.record.at for other in story.records if isinstance(other.record, Attempt | Outcome)]
    between = {"started_at": format_time(times[0]), "ended_at": format_time(times[-1])} if times else {}
    networks = {end.measured.network if end and end.measured else "unknown" for end in story.made}
    # What nobody measured came no nearer to a network than the plan let it.
    near = networks - NO_NETWORK - (set() if story.network_allowed else {"unknown"})
    dry = story.mode == "dry_run" and receipt.state is State.COMPLETED
    artifact: Artifact = {
        **common("execution_receipt", "v0.2", sealed),
        "receipt_id": _id(sealed),
        "links": _links(made, "execution_ticket", "execution_contract"),
        "runtime": {"name": RUNTIME, "runtime_ref": story.contents.instance, "mode": story.mode},
        "execution": {
            "executed_command_count": int(bool(story.made)),
            "network_execution_performed": bool(near),
            "networks_measured": sorted(networks),
            **_picked(receipt, "attempts"),
            **between,
        },
        "outcome": {
            "status": "dry_run" if dry else receipt.state,
            **_picked(receipt, "state", "reason", "outcomes", "facts", "obligations"),
        },
    }
    if (ticket := made.get("execution_ticket")) is not None:
        uses: Artifact = {"consumed_by_runtime": RUNTIME, "use_count": int(bool(times))}
        artifact["ticket_use"] = {"ticket_id": ticket["ticket_id"], **uses}
    return artifact


def _evidence(story: Story, made: Artifacts) -> Artifact | None:
    if (found := story.last(Receipt)) is None:
        return None
    sealed, receipt = found
    ends = ", ".join(f"{count} {word}" for word, count in sorted(receipt.outcomes.items())) or "none"
    claims = [
        ("state", f"the operation ended `{receipt.state}`", True),
        ("counts", f"{receipt.attempts} attempts were made; outcomes: {ends}", True),
        *(("obligation", f"`{one.name}`: {one.how}", one.met) for one in receipt.obligations),
    ]
    if receipt.facts is not None:
        claims.append(("facts", f"the facts its rules looked at are those of `{receipt.facts}`", True))
    bounds: Artifact = {"bounded_by_receipt": True, "source_receipt_id": _id(sealed)}
    return {
        **common("evidence_contract", "v0.2", sealed),
        "evidence_contract_id": f"{_id(sealed)}/evidence",
        "links": _links(made, "execution_receipt", "execution_ticket"),
        "claims": [
            {"claim_type": kind, "statement": text, "status": "met" if met else "not_met", **bounds}
            for kind, text, met in claims
        ],
        "non_claims": [
            "nothing is claimed beyond the receipt, and the receipt says no more than the outcomes do",
            "nothing is claimed about other operations, or that no other effect took place",
            *(["only a dry run is shown: no call was made for real"] if story.mode == "dry_run" else []),
        ],
        "replay": {"mode": "records", "live_execution_required": False},
        "verification": {"commands": [f"rexecop verify {sealed.record.operation}.rxb --trust DIR"]},
    }


ROLES: Final[Mapping[str, Callable[[Story, Artifacts], Artifact | None]]] = {
    "intent_contract": _intent,
    "policy_decision": _policy,
    "execution_contract": _contract,
    "execution_ticket": _ticket,
    "execution_receipt": _receipt,
    "evidence_contract": _evidence,
}
