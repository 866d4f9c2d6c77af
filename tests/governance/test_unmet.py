"""What a plan cannot keep of redaction by rule and of telling people, in words that name it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conformance.worlds import Book, process, read_step
from rexecop.governance.obligations import Able, unmet
from rexecop.proof.call import ExchangeRequest, ProcessRequest, Terminal
from rexecop.proof.records.decision import Obligations
from rexecop.proof.records.plan import CallStep, Plan
from rexecop.proof.vocabulary import Effect, Mode

CARDS = Obligations(redaction=("cards", "secrets"))
SECRETS = Obligations(redaction=("secrets",))
ABLE = Able(redactions=frozenset({"cards"}))


def plan(step: CallStep) -> Plan:
    book = Book("op_unmet")
    book.intent(mode=Mode.READ_ONLY)
    made = book.plan((step,), Effect.READ).record
    assert isinstance(made, Plan)
    return made


def attended(*, person: bool) -> CallStep:
    call = process(Effect.READ, "/usr/bin/psql")
    assert isinstance(call.request, ProcessRequest)
    request = replace(call.request, tty=Terminal(attended=person))
    return read_step(call=replace(call, request=request))


def exchange(protocol: str) -> CallStep:
    call = process(Effect.READ, "/usr/bin/psql")
    return read_step(call=replace(call, request=ExchangeRequest(protocol=protocol, message={}, peers=())))


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (attended(person=True), "kept as it comes"),
        (attended(person=False), None),
        (exchange("node/1"), "its node signs the output"),
        (exchange("http/1"), None),
    ],
)
def test_what_is_kept_or_signed_before_a_rule_could_apply_is_refused(
    step: CallStep, words: str | None
) -> None:
    found = unmet(CARDS, plan(step), ABLE)
    assert (words is None and found == ()) or (
        words is not None and words in found[0] and "cards" in found[0]
    )
    assert unmet(SECRETS, plan(step), ABLE) == ()


def test_names_of_rules_and_groups_are_judged_where_it_is_known_what_there_is() -> None:
    made = plan(read_step())
    able = Able(redactions=frozenset({"cards"}), tells=lambda group: group == "sre")
    asked = Obligations(redaction=("patients",), notify=("oncall", "sre"))
    first, second = unmet(asked, made, able)
    assert "redaction `patients` is not active here, only cards, secrets" in first
    assert "group `oncall`" in second
    assert unmet(asked, made) == ()
