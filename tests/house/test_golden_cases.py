"""Every intent of tecrax has been tried on a site that is well, and on one that is not."""

from collections.abc import Mapping
from typing import Final

from rexecop.operations.golden import Case, golden_cases
from rexecop.operations.profile import load_profile
from rexecop.proof.records.validation import RuleVerdict
from tests.operations.folders import TECRAX, folder

WELL: Final = frozenset({"healthy", "not_applicable"})


def is_well(case: Case) -> bool:
    """Return whether the case is one of health; its facts and verdict are what comes out, or it fails."""
    said = {fact for path, fact in case.facts.items() if path.endswith(".status")}
    return case.verdict is RuleVerdict.PASSED and said <= WELL


def untried(files: Mapping[str, bytes]) -> set[str]:
    """Return what of which intent no golden case tries."""
    cases = golden_cases(files)
    tried = {(case.request.intent, is_well(case)) for case in cases}
    return {
        f"{intent}: {'health' if well else 'a fault'}"
        for intent in load_profile(files).intents
        for well in (True, False)
        if (intent, well) not in tried
    }


def test_every_intent_has_a_golden_case_of_health_and_one_of_a_fault() -> None:
    assert untried(folder(TECRAX)) == set()


def test_an_intent_without_one_of_them_is_named() -> None:
    files = folder(TECRAX)

    for case, missing in (("borg_recent", "health"), ("borg_old", "a fault")):
        less = {path: data for path, data in files.items() if path != f"tests/{case}.case.yaml"}
        assert untried(less) == {f"check_backup_borg: {missing}"}
