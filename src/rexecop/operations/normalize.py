"""Running a normalizer: from outputs to bounded, typed facts and a status. Odd output never raises.

A fact that is not there, or lies outside its domain, is null. With a required fact
missing the facts are not `complete` and, unless a rule says worse, the status is unknown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final, cast

from rexecop.operations.errors import NormalizerRefused
from rexecop.operations.normalizer_spec import (
    THIS,
    Cell,
    Count,
    Difference,
    ExitStatus,
    FactSpec,
    KeyValue,
    Normalizer,
    Percent,
    Pointer,
    Regex,
    StatusRule,
    Whole,
)
from rexecop.operations.validation import base_id, place
from rexecop.proof.canonical import INTEGER_MAX, Json
from rexecop.proof.vocabulary import Ended

INPUT_MAX: Final = 64 * 1024  # Characters of one stream that are looked at; what a call returns by default.
LINE_MAX: Final = 4096  # Characters of one line a pattern sees, which bounds the time it can take.
DIGITS_MAX: Final = 32  # Longer numbers are identifiers.
LINES_MAX: Final = 20_000  # Lines of one table or search.

_SEVERITY: Final = ("not_applicable", "healthy", "unknown", "degraded", "unhealthy")
_BOOLEANS: Final = {"true": True, "yes": True, "1": True, "on": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutput:
    """What a call put out, as far as it was kept."""

    ended: Ended
    status: int | None = None
    stdout: str = ""
    stderr: str = ""
    data: Mapping[str, Json] | None = None


def run_normalizer(
    normalizer: Normalizer,
    inputs: Mapping[str, StepOutput],
    thresholds: Mapping[str, int] | None = None,
) -> dict[str, Json]:
    """Return the facts of `normalizer` over `inputs` (by step id; `this` is the step itself).

    Beside the declared facts there are `complete` and `missing`, and where the normalizer
    has rules `status`, `healthy` and `findings`. `thresholds` override the normalizer's
    own. A single input stands for `this`.

    Raises:
        NormalizerRefused: `thresholds` names a limit the normalizer does not have.
    """
    limits = _limits(normalizer, thresholds)
    outputs = {base_id(step): output for step, output in inputs.items()}
    if THIS not in outputs and len(outputs) == 1:
        outputs[THIS] = next(iter(outputs.values()))
    found: dict[str, Json] = {}
    for fact in normalizer.facts:
        found[fact.name] = _typed(fact, _extract(fact, outputs, found))
    missing: list[Json] = [
        fact.name for fact in normalizer.facts if fact.required and found[fact.name] is None
    ]
    facts: dict[str, Json] = {}
    for name, value in found.items():
        place(facts, name, value)
    if normalizer.contract is not None:
        facts["contract"] = dict(normalizer.contract)
    facts["complete"] = not missing
    facts["missing"] = missing
    if normalizer.rules:
        facts |= _assessment(normalizer, {**found, "complete": not missing}, limits, bool(missing))
    return facts


def _limits(normalizer: Normalizer, thresholds: Mapping[str, int] | None) -> Mapping[str, int]:
    for name in thresholds or {}:
        if name not in normalizer.thresholds:
            raise NormalizerRefused(
                f"normalizer `{normalizer.name}` has no threshold `{name}`",
                found=name,
                allowed=", ".join(normalizer.thresholds),
            )
    return {**normalizer.thresholds, **(thresholds or {})}


def _extract(fact: FactSpec, outputs: Mapping[str, StepOutput], found: Mapping[str, Json]) -> Json:
    extractor = fact.extractor
    if isinstance(extractor, Percent | Difference):
        return _computed(extractor, found)
    output = outputs.get(fact.source)
    if output is None or output.ended is Ended.PREVIEWED:
        return None
    if isinstance(extractor, ExitStatus):
        return output.status
    if isinstance(extractor, Pointer):
        return _pointed(_document(fact, output), extractor.pointer)
    if isinstance(extractor, Count) and extractor.pointer is not None:
        entries = _pointed(_document(fact, output), extractor.pointer)
        return len(entries) if isinstance(entries, list | Mapping) else None
    return _from_text(extractor, (output.stderr if fact.stream == "stderr" else output.stdout)[:INPUT_MAX])


def _from_text(extractor: Regex | KeyValue | Cell | Whole | Count | object, text: str) -> Json:
    if isinstance(extractor, Whole):
        return text
    lines = text.splitlines()[:LINES_MAX]
    match extractor:
        case Regex():
            return _searched(extractor, text, lines)
        case KeyValue():
            return _valued(extractor, lines)
        case Cell():
            return _cell(extractor, lines)
        case Count():
            return sum(1 for line in lines if line.strip())
        case _:
            return None


def _searched(extractor: Regex, text: str, lines: list[str]) -> Json:
    for line in [text[:LINE_MAX]] if extractor.whole else lines:
        match = extractor.pattern.search(line[:LINE_MAX])
        if match is not None:
            return match["value"]
    return None


def _valued(extractor: KeyValue, lines: list[str]) -> Json:
    for line in lines:
        key, separator, value = line.partition(extractor.separator)
        if separator and key.strip() == extractor.key:
            value = value.strip()
            quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
            return value[1:-1] if quoted else value
    return None


def _cell(extractor: Cell, lines: list[str]) -> Json:
    rows = [line.split(extractor.separator) for line in lines if line.strip()]
    header = rows[0] if rows else []
    column = _index(extractor.column, header)
    if column is None:
        return None
    if extractor.where is not None:
        where = _index(extractor.where, header)
        if where is None:
            return None
        rows = [row for row in rows if where < len(row) and row[where].strip() == extractor.equals][:1]
        row = rows[0] if rows else []
    else:
        row = rows[extractor.row] if -1 <= extractor.row < len(rows) and rows else []
    return row[column].strip() if column < len(row) else None


def _index(column: int | str, header: list[str]) -> int | None:
    if isinstance(column, int):
        return column
    names = [name.strip() for name in header]
    return names.index(column) if column in names else None


def _document(fact: FactSpec, output: StepOutput) -> Json:
    """Return the structured answer, or what the text says as JSON."""
    if fact.stream == "data" or (output.data is not None and not output.stdout):
        return output.data
    text = (output.stderr if fact.stream == "stderr" else output.stdout)[:INPUT_MAX]
    try:
        # Fractions keep their digits as text; what JSON does not know is refused.
        return cast("Json", json.loads(text, parse_float=str, parse_int=_integer, parse_constant=_no_number))
    except (ValueError, RecursionError):
        return None


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= len(str(INTEGER_MAX)) and abs(int(digits)) <= INTEGER_MAX else digits


def _no_number(word: str) -> Json:
    raise ValueError(word)


def _pointed(value: Json, pointer: str) -> Json:
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and len(key) < 8 and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value


def _computed(extractor: Percent | Difference, found: Mapping[str, Json]) -> Json:
    if isinstance(extractor, Percent):
        part, whole = _whole(found.get(extractor.part)), _whole(found.get(extractor.whole))
        return None if part is None or not whole else part * 100 // whole
    larger, smaller = _whole(found.get(extractor.larger)), _whole(found.get(extractor.smaller))
    return None if larger is None or smaller is None else larger - smaller


def _whole(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _typed(fact: FactSpec, raw: Json) -> Json:
    """Return `raw` within the domain of `fact`, or None."""
    if isinstance(raw, Mapping | list) or raw is None:
        return None
    text = _as_text(raw)
    if not fact.exact:
        text = " ".join(text.split())
    if fact.translate:
        if text not in fact.translate:
            return None
        raw = fact.translate[text]
        text = _as_text(raw)
    match fact.type:
        case "integer":
            return _bounded(fact, _scaled(fact, text))
        case "decimal":
            return _decimal(fact, text)
        case "boolean":
            return raw if isinstance(raw, bool) else _BOOLEANS.get(text.lower())
        case "enum":
            return text if text in fact.words else None
        case _:
            return text if len(text) <= fact.length_max and (text or fact.exact) and _clean(text) else None


def _as_text(value: Json) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _clean(text: str) -> bool:
    """Return whether `text` may stand in evidence: no lone surrogates."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _number(text: str) -> Decimal | None:
    if len(text) > DIGITS_MAX or not text.isascii():
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def _scaled(fact: FactSpec, text: str) -> int | None:
    value = _number(text)
    if value is None or abs(value) > INTEGER_MAX:
        return None
    return int(value * fact.multiply // fact.divide)


def _bounded(fact: FactSpec, value: int | None) -> int | None:
    return value if value is not None and fact.least <= value <= fact.most else None


def _decimal(fact: FactSpec, text: str) -> str | None:
    value = _number(text)
    if value is None or abs(value) > INTEGER_MAX:
        return None
    scaled = value * fact.multiply / fact.divide if (fact.multiply, fact.divide) != (1, 1) else value
    if not fact.least <= scaled <= fact.most:
        return None
    shown = format(scaled, "f")
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def _matches(rule: StatusRule, found: Mapping[str, Json], limits: Mapping[str, int]) -> bool:
    value = found.get(rule.fact)
    expected: Json = limits[rule.threshold] if rule.threshold is not None else rule.value
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
            return _ordered(rule.test, value, expected)


def _ordered(test: str, value: Json, expected: Json) -> bool:
    limit = _whole(expected)
    number = _number(value) if isinstance(value, str) else _whole(value)
    if number is None or limit is None:
        return False
    return number >= limit if test == "at_least" else number <= limit


def _assessment(
    normalizer: Normalizer, found: Mapping[str, Json], limits: Mapping[str, int], incomplete: bool
) -> dict[str, Json]:
    """Return the worst status of the rules that match; with facts missing at least unknown."""
    matched = [rule for rule in normalizer.rules if _matches(rule, found, limits)]
    statuses = [rule.status for rule in matched]
    if incomplete:
        statuses.append("unknown")
    status = max(statuses, key=_SEVERITY.index, default="healthy")
    return {
        "status": status,
        "healthy": status == "healthy",
        "findings": [_finding(rule, found) for rule in matched if rule.status != "healthy"],
    }


def _finding(rule: StatusRule, found: Mapping[str, Json]) -> dict[str, Json]:
    return {"reason": rule.reason, "status": rule.status, "fact": rule.fact, "value": found.get(rule.fact)}
