"""Golden cases of the shipped profiles hold, and a case that does not says how it differs."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from rexecop.operations.errors import ProfileRefused
from rexecop.operations.golden import Case, golden_cases, run_case
from rexecop.operations.profile import load_profile
from rexecop.operations.profile_model import Profile
from rexecop.proof.records.validation import RuleVerdict
from tests.operations.folders import HELLO, RECON, TECRAX, folder


@cache
def golden(root: Path) -> tuple[Mapping[str, bytes], Profile, Mapping[str, Case]]:
    """Return the files of a profile, what they say, and its cases."""
    files = folder(root)
    return files, load_profile(files), {case.name: case for case in golden_cases(files)}


CASES = [(root, name) for root in (HELLO, RECON, TECRAX) for name in golden(root)[2]]


@pytest.mark.parametrize(("root", "name"), CASES, ids=[name for _, name in CASES])
def test_every_golden_case_holds(root: Path, name: str) -> None:
    files, profile, cases = golden(root)

    assert run_case(cases[name], profile, files) == ()


@pytest.mark.parametrize("root", [HELLO, RECON, TECRAX], ids=lambda root: root.name)
def test_every_intent_has_a_golden_case_but_the_plainest(root: Path) -> None:
    tested = {case.request.intent for case in golden_cases(folder(root))}

    assert set(load_profile(folder(root)).intents) - tested <= {"show_greeting"}


def test_a_case_that_does_not_hold_says_how() -> None:
    files = folder(HELLO)
    case = next(case for case in golden_cases(files) if case.name == "host_facts")
    wrong = replace(
        case,
        calls={"read_hostname": ("hostname",), "gone": ()},
        facts={"localhost.host_facts.hostname": "web-2"},
        verdict=RuleVerdict.FAILED,
    )

    assert len(run_case(wrong, load_profile(files), files)) == 4


def test_a_reply_of_no_step_is_named_with_the_step_that_was_meant() -> None:
    files = folder(HELLO)
    case = next(case for case in golden_cases(files) if case.name == "host_facts")
    wrong = replace(case, replies={**case.replies, "read_hostnam": case.replies["read_hostname"]})

    assert run_case(wrong, load_profile(files), files) == (
        "reply `read_hostnam` is of no step of the plan (did you mean `read_hostname`?)",
    )


def test_a_case_of_another_form_is_refused() -> None:
    with pytest.raises(ProfileRefused, match="unknown key `intend`"):
        golden_cases({"tests/x.case.yaml": b"case: {intend: x}"})
