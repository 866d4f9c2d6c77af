"""Approval artifacts: read strictly, bound to request, tenant and time, and signed in one way only."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.memory_signer import MemorySigner
from rexecop.governance.artifacts import (
    AGE_MAX,
    Artifact,
    Issuing,
    action_hash,
    mint,
    read_artifact,
    require,
    require_authentic,
)
from rexecop.governance.errors import ArtifactRefused
from rexecop.proof.payload import Value
from rexecop.proof.times import format_time

NOW: Final = datetime(2030, 1, 1, 12, tzinfo=UTC)
SECRET: Final = b"a secret that both share"
KEY: Final = MemorySigner(1)
PAYLOAD: Final[dict[str, Value]] = {"msg": "hello", "n": 1, "f": 1.0, "ü": [None, True]}
ID: Final = "0199aaaa-0000-7000-8000-000000000001"
BY_SECRET: Final = Issuing(tenant="t-1", secret=SECRET)
BY_KEY: Final = Issuing(tenant="t-1", public=KEY.public)
JOINED: Final = replace(BY_KEY, concatenated=True)


def blank(issuing: Issuing, **changes: str | None) -> Artifact:
    made = Artifact(
        approval_id=ID,
        action_hash=action_hash("echo", PAYLOAD),
        signature="",
        issued_at=format_time(NOW),
        tenant_id="t-1",
        issued_by="clawshield",
        expires_at=None if issuing.secret else format_time(NOW + timedelta(minutes=5)),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def signed(issuing: Issuing, **changes: str | None) -> Artifact:
    return mint(blank(issuing, **changes), issuing.secret or KEY, concatenated=issuing.concatenated)


def why_not(artifact: Artifact, issuing: Issuing, now: datetime = NOW, payload: Value = PAYLOAD) -> str:
    try:
        require(artifact, issuing, action_hash("echo", payload), now)
    except ArtifactRefused as error:
        return error.message
    return ""


every = pytest.mark.parametrize("issuing", [BY_SECRET, BY_KEY, JOINED], ids=["secret", "key", "joined"])


def test_the_hash_and_the_tag_are_what_other_programs_compute() -> None:
    text = json.dumps({"action": "echo", "payload": PAYLOAD}, sort_keys=True, separators=(",", ":"))
    assert action_hash("echo", PAYLOAD) == hashlib.sha256(text.encode()).hexdigest()
    one = signed(BY_SECRET)
    message = f"{one.approval_id}:{one.action_hash}:{one.tenant_id}:{one.issued_at}"
    assert one.signature == hmac.new(SECRET, message.encode(), hashlib.sha256).hexdigest()
    assert action_hash("echo", {"n": 1}) != action_hash("echo", {"n": 1.0})


@every
def test_what_its_issuer_signed_for_this_request_tenant_and_time_is_taken(issuing: Issuing) -> None:
    assert why_not(signed(issuing), issuing) == ""
    bare = format_time(NOW).removesuffix("Z")
    assert why_not(signed(issuing, issued_at=bare), issuing) == "", "an issuer that says no zone means UTC"


@every
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tenant_id": "t-2"}, "Tenant mismatch"),
        ({"issued_at": "2030-01-01T12:00:06.000Z"}, "in the future"),
        ({"issued_at": "2030-01-01T12:00:00.000+02:00"}, "no time in UTC"),
        ({"issued_at": "2030-02-31T12:00:00Z"}, "is no time"),
        ({"issued_at": ""}, "no time in UTC"),
    ],
)
def test_signed_as_it_is_it_is_refused_for_another_tenant_or_time(
    issuing: Issuing, changes: dict[str, str], says: str
) -> None:
    if issuing.concatenated and "T12:00:00Z" not in changes.get("issued_at", "2030-02-31T12:00:00Z"):
        says = says if says == "in the future" else "Invalid approval artifact"
    try:
        found = why_not(signed(issuing, **changes), issuing)
    except ArtifactRefused as error:
        found = error.message
    assert says in found


@every
@pytest.mark.parametrize("name", ["approval_id", "action_hash", "signature", "issued_at", "tenant_id"])
def test_no_field_can_be_changed_afterwards(issuing: Issuing, name: str) -> None:
    one = signed(issuing)
    for changed in (f"{getattr(one, name)}0", getattr(one, name)[:-1] + "0", "x"):
        other = replace(one, **{name: changed})
        assert other == one or why_not(other, issuing) != ""


@every
def test_it_is_for_one_request_and_for_a_while(issuing: Issuing) -> None:
    one = signed(issuing)
    assert "Action hash mismatch" in why_not(one, issuing, payload={"msg": "bye"})
    assert why_not(one, issuing, NOW + AGE_MAX - timedelta(milliseconds=1)) == ""
    assert "expired" in why_not(one, issuing, NOW + AGE_MAX + timedelta(milliseconds=1))
    require_authentic(one, issuing, action_hash("echo", PAYLOAD))  # Which knows of no time.


def test_what_is_only_for_one_kind_of_key_is_asked_for() -> None:
    assert "has no expires_at" in why_not(signed(BY_KEY, expires_at=None), BY_KEY)
    assert "24 hours" in why_not(signed(BY_KEY, expires_at="2030-01-02T12:00:01.000Z"), BY_KEY)
    assert "another issuer" in why_not(signed(BY_SECRET, issued_by="somebody"), BY_SECRET)
    assert "signature" in why_not(mint(blank(BY_KEY), MemorySigner(2)), BY_KEY)
    assert "signature" in why_not(mint(blank(BY_SECRET), b"another secret"), BY_SECRET)
    assert "signature" in why_not(signed(BY_KEY), replace(BY_KEY, public=None))
    padded = signed(BY_KEY)
    assert "signature" in why_not(replace(padded, signature=f"{padded.signature}\n"), BY_KEY)


@given(cut=st.integers(1, 35))
def test_what_was_signed_for_one_tenant_cannot_be_cut_into_an_approval_for_another(cut: int) -> None:
    """Without marks between the fields, part of a name moves over into the id before it."""
    other = signed(replace(JOINED, tenant="Xt-1"), tenant_id="Xt-1")
    moved = replace(other, approval_id=f"{other.approval_id}X", tenant_id="t-1")
    assert "no UUID" in why_not(moved, JOINED)
    shorter = replace(other, approval_id=ID[:-cut], tenant_id=f"{ID[-cut:]}Xt-1")
    assert why_not(shorter, replace(JOINED, tenant=shorter.tenant_id)) != ""
    with pytest.raises(ArtifactRefused, match="colon"):
        signed(BY_SECRET, tenant_id="t:1")


@given(
    fields=st.dictionaries(
        st.sampled_from([*Artifact.__dataclass_fields__, "more"]),
        st.none() | st.booleans() | st.integers() | st.text(max_size=300) | st.lists(st.text(), max_size=2),
    )
)
def test_whatever_comes_is_an_artifact_or_refused_by_the_name_of_a_field(fields: dict[str, Value]) -> None:
    try:
        found = read_artifact(fields)
    except ArtifactRefused as error:
        assert str(error.facts["field"]) in Artifact.__dataclass_fields__ and "\n" not in error.message
    else:
        assert why_not(found, BY_KEY) != "" and why_not(found, BY_SECRET) != ""
