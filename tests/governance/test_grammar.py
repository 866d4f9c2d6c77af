"""Every word of obligations and emergencies is understood exactly, or refused by name."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.governance.grammar import Escalation, read_break_glass, read_escalations, read_obligations
from rexecop.governance.obligations import budget_in_words, duration_in_words
from rexecop.governance.why import obligations_in_words
from rexecop.proof.records.decision import ApprovalRule, Budget, Obligations

HOUR = 3_600_000


def test_all_obligations_are_written_as_one_list() -> None:
    text = (
        "receipt, output_digest, output_bytes<=8192, timeout<=10s, steps<=20, targets<=5, wave<=2, "
        "isolation>=bubblewrap, no_network, egress=mail.example:25|db.example, redaction=secrets, "
        "notify=sre, notify=oncall, review<=24h, budget(intent)<=5/1h, budget(intent)<=9/1h, "
        "budget(principal)<=20/1d, budget(agent)<=3/90s, signed_profile"
    )
    found = read_obligations(text)
    assert found == Obligations(
        receipt=True,
        output_digest=True,
        signed_profile=True,
        output_bytes=8192,
        timeout_ms=10_000,
        steps_max=20,
        targets_max=5,
        wave_max=2,
        isolation="bubblewrap",
        no_network=True,
        egress=("db.example", "mail.example:25"),
        redaction=("secrets",),
        notify=("oncall", "sre"),
        review_ms=24 * HOUR,
        budgets=(
            Budget(scope="agent", per_ms=90_000, count=3),
            Budget(scope="intent", per_ms=HOUR, count=5),
            Budget(scope="principal", per_ms=24 * HOUR, count=20),
        ),
    )
    assert len(obligations_in_words(found)) == 15


def test_lists_of_hosts_intersect_down_to_none() -> None:
    assert read_obligations("egress=a|b, egress=b|c").egress == ("b",)
    assert read_obligations("egress=a, egress=b").egress == ()


@pytest.mark.parametrize(
    "entry",
    [
        *("egress=", "egress=a||b", "egress=-a", "egress=http://a", "egress=a:0", "egress<=a", "egress=A"),
        *("redaction=", "redaction=a b", "notify=", "notify=a|b", "wave<=0", "wave=1", "review<=0h"),
        *("review=1h", "review<=1y", "budget(intent)<=0/1h", "budget(host)<=1/1h", "budget(intent)<=1"),
        *(
            "budget(intent)<=1/h",
            "budget<=1/1h",
            "output_digests",
            "tell=sre",
            "signed_profile=ina",
            "signed",
        ),
    ],
)
def test_what_is_no_obligation_is_refused_by_name(entry: str) -> None:
    with pytest.raises(ValueError, match="`"):
        read_obligations(f"receipt, {entry}")


def test_an_escalation_names_groups_each_with_its_time() -> None:
    assert read_escalations("sre-leads after 4h, managers after 1d") == (
        Escalation(after=timedelta(hours=4), group="sre-leads"),
        Escalation(after=timedelta(days=1), group="managers"),
    )
    for wrong in ("", "sre", "sre after 4", "sre after 0h", "sre after 4w", "a b after 4h", "sre after 4h,"):
        with pytest.raises(ValueError, match=r"`|empty"):
            read_escalations(wrong)


def test_an_emergency_has_approvers_of_its_own_or_a_review_or_both() -> None:
    one = (ApprovalRule(count=1, group="oncall"),)
    assert read_break_glass("1 of oncall") == (one, Obligations())
    assert read_break_glass("review<=4h") == ((), Obligations(review_ms=4 * HOUR))
    assert read_break_glass("1 of oncall, review<=4h") == (one, Obligations(review_ms=4 * HOUR))
    for wrong in ("", "receipt", "1 of oncall, no_network", "review<=4"):
        with pytest.raises(ValueError, match=r"`|empty"):
            read_break_glass(wrong)


@given(st.sampled_from(["agent", "intent", "principal"]), st.integers(1, 9999), st.integers(1, 10**6))
def test_a_budget_in_words_is_read_as_the_same_budget(scope: str, count: int, seconds: int) -> None:
    budget = Budget(scope=scope, per_ms=seconds * 1000, count=count)
    if seconds < 10**6 or duration_in_words(budget.per_ms)[-1] != "s":
        assert read_obligations(budget_in_words(budget)).budgets == (budget,)
