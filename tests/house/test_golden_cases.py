"""Every intent of tecrax has been tried on a site that is well, and on one that is not."""

from collections.abc import Iterable
from functools import cache
from typing import Final

from rexecop.operations.golden import Case, golden_cases
from rexecop.proof.records.validation import RuleVerdict
from tests.operations.folders import TECRAX, folder

WELL: Final = frozenset({"healthy", "not_applicable"})


def is_well(case: Case) -> bool:
    """Return whether the case is one of health; its facts and verdict are what comes out, or it fails."""
    said = {fact for path, fact in case.facts.items() if path.endswith(".status")}
    return case.verdict is RuleVerdict.PASSED and said <= WELL


@cache
def all_cases() -> tuple[Case, ...]:
    return golden_cases(folder(TECRAX))


def untried(cases: Iterable[Case]) -> set[str]:
    """Return what of which intent none of `cases` tries."""
    tried = {(case.request.intent, is_well(case)) for case in cases}
    return {
        f"{intent}: {'health' if well else 'a fault'}"
        for intent in sorted(path.stem for path in (TECRAX / "intents").iterdir())
        for well in (True, False)
        if (intent, well) not in tried
    }


def test_every_intent_has_a_golden_case_of_health_and_one_of_a_fault() -> None:
    assert untried(all_cases()) == set()


def test_an_intent_without_one_of_them_is_named() -> None:
    intent = "restart_service_in_maintenance"
    for name, missing in (
        ("service_restarted_in_maintenance", "health"),
        ("service_down_in_maintenance", "a fault"),
    ):
        assert untried(one for one in all_cases() if one.name != name) == {f"{intent}: {missing}"}
