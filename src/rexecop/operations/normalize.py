"""Running a normalizer: from outputs to bounded, typed facts and a status. Odd output never raises.

A fact that is not there, or lies outside its domain, is null. With a required fact
missing the facts are not `complete` and, unless a rule says worse, the status is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from rexecop.operations.extract import Computed, whole
from rexecop.operations.gathering import ANYWHERE, NAMES_MAX, Gathered, Site, named
from rexecop.operations.gathering import number as _number
from rexecop.operations.moments import whole_units
from rexecop.operations.normalizer_spec import THIS, FactSpec, Normalizer, StatusRule
from rexecop.operations.step_output import StepOutput
from rexecop.operations.validation import own_id, place
from rexecop.proof.canonical import INTEGER_MAX, Json
from rexecop.proof.vocabulary import Ended

_SEVERITY: Final = ("not_applicable", "healthy", "unknown", "degraded", "unhealthy")
_BOOLEANS: Final = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False}
_SHOWN_MAX: Final = 256  # Characters of a finding about a table.
_NO_WORD: Final = re.compile("[^a-z0-9_]")


def run_normalizer(
    normalizer: Normalizer, inputs: Mapping[str, StepOutput], site: Site = ANYWHERE
) -> dict[str, Json]:
    """Return the facts of `normalizer` over `inputs` (by step id; `this` is the step itself).

    Beside the declared facts there are `complete` and `missing`, and where the normalizer
    has rules `status`, `healthy` and `findings`. A single input stands for `this`. `site` is what
    the environment says of the target.
    """
    outputs = {own_id(step): output for step, output in inputs.items()}
    if len(outputs) == 1:
        outputs.setdefault(THIS, next(iter(outputs.values())))
    found: dict[str, Json] = {}
    for fact in normalizer.facts:
        raw, at = _extracted(fact, outputs, found, site)
        found[fact.name] = _typed(fact, raw, at)
    missing: list[Json] = [
        fact.name for fact in normalizer.facts if fact.required and found[fact.name] is None
    ]
    facts: dict[str, Json] = {}
    for name, value in found.items():
        place(facts, name, value)
    if normalizer.contract is not None:
        facts["contract"] = dict(normalizer.contract)
    facts |= {"complete": not missing, "missing": missing}
    if normalizer.rules:
        facts |= _assessment(normalizer, {**found, "complete": not missing}, bool(missing), site)
    return facts


def _extracted(
    fact: FactSpec, outputs: Mapping[str, StepOutput], found: Mapping[str, Json], site: Site
) -> tuple[Json, datetime | None]:
    """Return what was found, and when the call that put it out was tried."""
    if isinstance(fact.extractor, Computed):
        return fact.extractor.of(found), None
    output = outputs.get(fact.source)
    if output is None or output.ended is Ended.PREVIEWED:
        return None, None
    if isinstance(fact.extractor, Gathered):
        return fact.extractor.of(output, fact.stream, site, fact.length_max), output.at
    return fact.extractor.of(output, fact.stream), output.at


def _typed(fact: FactSpec, raw: Json, at: datetime | None) -> Json:
    """Return `raw` within the domain of `fact`, or None."""
    if fact.type == "table":
        return _table(fact, raw, at)
    if isinstance(raw, Mapping | list) or raw is None:
        return None
    return _single(fact, raw, at)


def _table(fact: FactSpec, raw: Json, at: datetime | None) -> Json:
    """Return an integer for each name, None where one of them is none."""
    if not isinstance(raw, Mapping) or len(raw) > NAMES_MAX:
        return None
    table = {
        name: None if isinstance(one, Mapping | list) else _single(fact, one, at) for name, one in raw.items()
    }
    return None if None in table.values() else table


def _single(fact: FactSpec, raw: Json, at: datetime | None) -> Json:
    text = _as_text(raw) if fact.exact else " ".join(_as_text(raw).split())
    if fact.translate:
        if text not in fact.translate:
            return None
        raw = fact.translate[text]
        text = _as_text(raw)
    if fact.clock:
        raw = whole_units(text, fact.clock, fact.unit, at)
        if raw is None:
            return None
        text = str(raw)
    match fact.type:
        case "integer" | "table":
            return _integer(fact, text)
        case "decimal":
            return _decimal(fact, text)
        case "boolean":
            return raw if isinstance(raw, bool) else _BOOLEANS.get(text.lower())
        case "enum":
            return text if text in fact.words else None
        case _:
            fits = len(text) <= fact.length_max and (text or fact.exact)
            # Half a character cannot stand in evidence.
            return text if fits and not any("\ud800" <= char <= "\udfff" for char in text) else None


def _as_text(value: Json) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _integer(fact: FactSpec, text: str) -> int | None:
    value = _number(text)
    if value is None or abs(value) > INTEGER_MAX:
        return None
    scaled = int(value * fact.multiply // fact.divide)
    return scaled if fact.least <= scaled <= fact.most else None


def _decimal(fact: FactSpec, text: str) -> str | None:
    value = _number(text)
    if value is None or abs(value) > INTEGER_MAX:
        return None
    scaled = value * fact.multiply / fact.divide if (fact.multiply, fact.divide) != (1, 1) else value
    if not fact.least <= scaled <= fact.most:
        return None
    shown = format(scaled, "f")
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def _matches(rule: StatusRule, found: Mapping[str, Json], site: Site) -> bool:
    if rule.given is not None and not _matches(rule.given, found, site):
        return False
    value = found.get(rule.fact)
    if isinstance(value, Mapping) and rule.test != "missing":
        return bool(_names_of(rule, value, site))
    return _stands(rule, value, _limit(rule, site))


def _names_of(rule: StatusRule, table: Mapping[str, Json], site: Site) -> list[str]:
    """Return the names in `table` for which the test holds, each with its value."""
    standing = (name for name, one in table.items() if _stands(rule, one, _limit(rule, site, name)))
    return [f"{name}: {table[name]}" for name in standing]


def _stands(rule: StatusRule, value: Json, expected: Json) -> bool:
    if rule.test == "missing":
        return (value is None) == bool(expected)
    if value is None:
        return False
    match rule.test:
        case "equals":
            return value == expected and type(value) is type(expected)
        case "not_equals":
            return value != expected
        case "in":
            return isinstance(expected, list) and value in expected
        case _:
            number, limit = _number(value) if isinstance(value, str) else whole(value), whole(expected)
            if number is None or limit is None:
                return False
            if rule.test == "has_bits":
                return number == int(number) and int(number) & limit != 0
            return number >= limit if rule.test == "at_least" else number <= limit


def _limit(rule: StatusRule, site: Site, name: str = "") -> Json:
    own = f"{rule.threshold}_{_NO_WORD.sub('_', name.lower())}"
    if rule.threshold and name and own in site.thresholds:
        return site.thresholds[own]
    return site.thresholds.get(rule.threshold, rule.value) if rule.threshold else rule.value


def _assessment(
    normalizer: Normalizer, found: Mapping[str, Json], incomplete: bool, site: Site
) -> dict[str, Json]:
    """Return the worst status of the rules that match; with facts missing at least unknown."""
    matched = [rule for rule in normalizer.rules if _matches(rule, found, site)]
    statuses = [*(rule.status for rule in matched), *(["unknown"] if incomplete else [])]
    status = max(statuses, key=_SEVERITY.index, default="healthy")
    findings: list[Json] = [
        {
            "reason": rule.reason,
            "status": rule.status,
            "fact": rule.fact,
            "value": _told(rule, found.get(rule.fact), site),
            **({"limit": _limit(rule, site)} if rule.threshold else {}),
        }
        for rule in matched
        if rule.status != "healthy"
    ]
    return {"status": status, "healthy": status == "healthy", "findings": findings}


def _told(rule: StatusRule, value: Json, site: Site) -> Json:
    """Return what a finding says of `value`: of a table, the names it is about."""
    return named(_names_of(rule, value, site), _SHOWN_MAX) if isinstance(value, Mapping) else value
