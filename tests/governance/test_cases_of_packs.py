"""Golden cases of packs, replay, and what would have to differ."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rexecop.governance import starter
from rexecop.governance.admission import Policy, decide
from rexecop.governance.errors import CaseMalformed
from rexecop.governance.golden import CASES_MAX, read_cases, run_cases
from rexecop.governance.pack import Pack
from rexecop.governance.replay import change, otherwise
from rexecop.proof.records.decision import RequestTarget
from rexecop.proof.vocabulary import Mode
from tests.governance.cases import BLOCKED, answer, pack_files, request, terms

RULES = """
@id("reads") permit (principal is User, action == Action::"read", resource);
@id("changes") @approvals("1 of sre") @obligations("timeout<=5s")
permit (principal is User, action == Action::"change", resource)
when { context.pinned };
@id("nowhere") @reason("closed") forbid (principal, action, resource in TargetGroup::"closed");
"""
PEOPLE = "groups: [sre]\ntarget_groups: [closed]\npeople: {alice: {}, bob: {groups: [sre]}}\n"
CHANGE = "request: {person: alice, effect: change, mode: apply, pinned: true}"


def results(case: str, *, rules: str = RULES) -> list[str]:
    """Return how one case, given as the lines of its mapping, differs."""
    files = pack_files(rules, entities=PEOPLE) | {"tests/a.yaml": f"cases:\n  one: {{{case}}}\n".encode()}
    pack = Pack.parse(files)
    (found,) = run_cases(read_cases(files, pack), pack)
    return list(found.differences)


def test_the_starter_answers_as_its_own_cases_say() -> None:
    files = starter.commented_files("house", "o'neil")
    pack = Pack.parse(files)
    found = run_cases(read_cases(files, pack), pack)

    assert len(found) == 4
    assert [result.differences for result in found] == [()] * 4
    assert (found[0].file, found[0].line) == ("tests/cases.yaml", 4)


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (f"{CHANGE}, verdict: approval_required", []),
        (
            f"{CHANGE}, verdict: approval_required, approvals: 1 of sre,"
            " obligations: timeout<=5s, rules: [changes]",
            [],
        ),
        (f"{CHANGE}, verdict: allowed", ["verdict is `approval_required`, not `allowed`"]),
        (
            f"{CHANGE}, verdict: approval_required, approvals: 2 of sre",
            ["asked of 1 of `sre`, not of 2 of `sre`"],
        ),
        (f"{CHANGE}, verdict: approval_required, approvals: none", ["not of nobody"]),
        (f"{CHANGE}, verdict: approval_required, obligations: none", ["must not keep to: at most 5000 ms"]),
        (
            f"{CHANGE}, verdict: approval_required, obligations: 'timeout<=5s, receipt'",
            ["should keep to: a receipt"],
        ),
        (
            f"{CHANGE}, verdict: approval_required, rules: [reads]",
            ["`changes` took part", "`reads` took no part"],
        ),
        (
            "request: {person: bob, effect: read, mode: read_only, targets: [{id: a, groups: [closed]}]},"
            " verdict: blocked, rules: [nowhere]",
            [],
        ),
    ],
)
def test_a_case_says_what_is_answered_otherwise(case: str, words: list[str]) -> None:
    found = results(case)

    assert len(found) == len(words)
    assert all(word in line for word, line in zip(words, found, strict=True))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cases:\n  a:\n    request: {person: x, effect: read, mode: apply}\n", "a.yaml:2: `verdict`"),
        ("cases:\n  a:\n    verdict: maybe\n", "a.yaml:3: `verdict`"),
        ("cases:\n  a:\n    verdict: allowed\n    veridct: x\n", "a.yaml:4: unknown field"),
        (
            "cases:\n  a:\n    verdict: allowed\n    request: {effect: read, mode: apply}\n",
            "a.yaml:4: .*principal",
        ),
        (
            "cases:\n  a:\n    verdict: allowed\n    request: {person: x, mode: apply, effect: rad}\n",
            "`effect` is `rad`",
        ),
        (
            "cases:\n  a:\n    verdict: allowed\n    request:\n      person: x\n      effect: read\n"
            "      mode: apply\n      targets: [3]\n",
            "a.yaml:8: .*targets",
        ),
        ("cases:\n  a:\n    verdict: allowed\n    rules: reads\n", "a.yaml:4: `rules`"),
        (f"cases:\n  a:\n    {CHANGE}\n    verdict: allowed\n    approvals: 1 sre\n", "a.yaml:2: .*1 sre"),
        (
            f"cases:\n  a:\n    {CHANGE}\n    verdict: allowed\n    obligations: [x]\n",
            "a.yaml:5: `obligations`",
        ),
        ("- a\n", "is a mapping"),
        (
            "cases:\n" + "".join(f"  c{n}: {{{CHANGE}, verdict: allowed}}\n" for n in range(CASES_MAX + 1)),
            "at most",
        ),
    ],
)
def test_a_case_that_breaks_the_format_is_refused_with_its_place(text: str, words: str) -> None:
    files = pack_files(RULES, entities=PEOPLE) | {"tests/a.yaml": text.encode()}

    with pytest.raises(CaseMalformed, match=words):
        read_cases(files, Pack.parse(files))


def test_replay_says_whether_an_answer_got_stricter_or_wider_and_in_what() -> None:
    asked, free = terms((1, "sre")), terms()

    assert change(asked, answer(asked)) is None
    found = [
        change(old, answer(new))
        for old, new in ((free, asked), (asked, free), (free, BLOCKED), (BLOCKED, free))
    ]
    assert [one.kind for one in found if one] == ["stricter", "wider", "stricter", "wider"]
    both = change(terms((1, "sre")), answer(terms((1, "dba"))))
    assert both is not None and both.kind == "both"
    assert "`dba`" in both.words and "`sre`" in both.words


def test_what_would_have_to_differ_is_true() -> None:
    policy = Policy((Pack.parse(pack_files(RULES, entities=PEOPLE)),))
    asked = request(targets=(RequestTarget(id="a", type="host", criticality="low"),))

    assert list(otherwise(policy, asked)) == [
        "it would be `approval_required` if it rested on an observation"
    ]
    stranger = replace(asked, principal=replace(asked.principal, person="nobody"), pinned=True)
    assert list(otherwise(policy, stranger)) == ["it would not be blocked if asked by `alice` or `bob`"]
    two = replace(
        asked,
        pinned=True,
        targets=(*asked.targets, RequestTarget(id="b", type="h", criticality="low", groups=("closed",))),
    )
    assert list(otherwise(policy, two)) == ["it would be `approval_required` for `a` alone"]
    assert decide(policy, replace(two, mode=Mode.DRY_RUN)).terms.verdict == "blocked"
