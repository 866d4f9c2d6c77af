"""Proposals by programs nobody trusts: what may be said, and everything that may not."""

from __future__ import annotations

import pytest

from rexecop.operations.errors import ProposalRefused
from rexecop.operations.profile import load_profile
from rexecop.operations.proposals import read_proposal
from rexecop.proof.canonical import Json, canonical_bytes
from tests.operations.folders import TECRAX, folder

PROFILE = load_profile(folder(TECRAX))
AUTHORITY: dict[str, Json] = {
    "trusted": False,
    "may_execute": False,
    "requires_profile_validation": True,
    "requires_govengine_admission": True,
}
GOOD: dict[str, Json] = {
    "artifact_type": "escalation_proposal",
    "schema_ref": "schemas/escalation_proposal.v0.1.json",
    "schema_version": "v0.1",
    "proposal_id": f"tecrax-proposal-{'0' * 24}",
    "reaction_id": f"reaction-{'0' * 24}",
    "created_at": "2026-01-01T00:00:00.000Z",
    "suggested_outcome": "escalate",
    "intent_ref": None,
    "explanation": "health unknown, coverage partial; findings: ntp_unavailable (low)",
    "evidence_refs": ["operations/op_1/mon-1"],
    "authority": AUTHORITY,
}
ACCEPTED: list[dict[str, Json]] = [
    {},
    {"suggested_outcome": "run_intent", "intent_ref": "check_ntp_health"},
    {"suggested_outcome": "retry_intent", "intent_ref": "diagnose_monitoring_host"},
    {"suggested_outcome": "no_op"},
    {"explanation": "x" * 768},
    {"evidence_refs": [f"records/{n}" for n in range(16)]},
]
REJECTED: list[tuple[dict[str, Json], str]] = [
    ({"artifact_type": "observation_envelope"}, "artifact_type"),
    ({"schema_version": "v9"}, "schema_version"),
    ({"proposal_id": "../x"}, "proposal_id"),
    ({"reaction_id": ""}, "reaction_id"),
    ({"created_at": "yesterday"}, ""),
    ({"suggested_outcome": "apply"}, "suggested_outcome"),
    ({"suggested_outcome": "run_intent"}, "intent_ref"),
    ({"intent_ref": "check_ntp_health"}, "intent_ref"),
    ({"suggested_outcome": "run_intent", "intent_ref": "no_such_intent"}, "intent_ref"),
    ({"suggested_outcome": "run_intent", "intent_ref": "restart_zabbix_agent"}, "intent_ref"),
    ({"explanation": ""}, "explanation"),
    ({"explanation": "x" * 769}, "explanation"),
    ({"explanation": "two\nlines"}, "explanation"),
    ({"explanation": "-----BEGIN OPENSSH PRIVATE KEY-----"}, "explanation"),
    ({"explanation": "send Bearer abc"}, "explanation"),
    ({"explanation": "see https://example.org"}, "explanation"),
    ({"explanation": "try Sudo reboot"}, "explanation"),
    ({"explanation": "docker  restart zabbix"}, "explanation"),
    ({"explanation": "docker exec it"}, "explanation"),
    ({"explanation": "docker compose up"}, "explanation"),
    ({"explanation": "systemctl restart chrony"}, "explanation"),
    ({"explanation": "systemctl reload chrony"}, "explanation"),
    ({"explanation": "the password is wrong"}, "explanation"),
    ({"explanation": "a token ran out"}, "explanation"),
    ({"explanation": "a secret is missing"}, "explanation"),
    ({"evidence_refs": []}, "evidence_refs"),
    ({"evidence_refs": [f"records/{n}" for n in range(17)]}, "evidence_refs"),
    ({"evidence_refs": ["/etc/passwd"]}, "evidence_refs"),
    ({"evidence_refs": ["a/../b"]}, "evidence_refs"),
    ({"evidence_refs": ["~/x"]}, "evidence_refs"),
    ({"evidence_refs": ["a\\b"]}, "evidence_refs"),
    ({"evidence_refs": ["file:x"]}, "evidence_refs"),
    ({"evidence_refs": [""]}, "evidence_refs"),
    ({"authority": {**AUTHORITY, "may_execute": True}}, "authority"),
    ({"authority": {**AUTHORITY, "trusted": True}}, "authority"),
    ({"authority": {**AUTHORITY, "requires_profile_validation": False}}, "authority"),
    ({"authority": {**AUTHORITY, "requires_govengine_admission": False}}, "authority"),
    ({"authority": {**AUTHORITY, "run_as": "root"}}, "authority.run_as"),
    ({"command": "reboot"}, "command"),
    ({"explanation": "x" * 20_000}, ""),
]


@pytest.mark.parametrize("changes", ACCEPTED)
def test_a_proposal_about_evidence_is_one_and_may_do_nothing(changes: dict[str, Json]) -> None:
    found = read_proposal(canonical_bytes({**GOOD, **changes}), PROFILE)

    assert (found.authority.may_execute, found.authority.trusted) == (False, False)


@pytest.mark.parametrize(("changes", "field"), REJECTED, ids=lambda value: str(value)[:40])
def test_what_no_proposal_may_say_is_refused_with_its_field(changes: dict[str, Json], field: str) -> None:
    with pytest.raises(ProposalRefused) as refused:
        read_proposal(canonical_bytes({**GOOD, **changes}), PROFILE)

    assert field == (refused.value.facts.get("field") or "")
    assert "\n" not in refused.value.message


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_proposal_lacks_nothing(name: str) -> None:
    with pytest.raises(ProposalRefused):
        read_proposal(canonical_bytes({key: value for key, value in GOOD.items() if key != name}), PROFILE)
