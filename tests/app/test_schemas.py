"""The schemas say the shape that the codec asks for: no less, and as far as JSON Schema can, no more."""

# ruff: noqa: ANN401 - what is changed in a record is whatever JSON holds

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from conformance.tamperings import TABLE
from conformance.worlds import OPERATIONS, TRUSTED, a_change, cut
from rexecop.app.schemas import DIALECT, PREFIX, schemas
from rexecop.cli.render import as_json
from rexecop.proof.bundle import Manifest, Proofs, expected_manifest
from rexecop.proof.canonical import Json
from rexecop.proof.chain import unseal
from rexecop.proof.codec import from_json, to_json
from rexecop.proof.errors import ProofError
from rexecop.proof.records import KINDS, Approval
from rexecop.proof.records.approval import ApprovalStatement
from rexecop.proof.verify import NO_KEYS, Rung, verify
from rexecop.proof.verify.words import report_object
from tests.house.source import ROOT
from tests.proof.strategies import records, values
from tests.proof.test_formats_docs import examples

CLASSES: Final[dict[str, type]] = {
    **KINDS,
    Manifest.kind: Manifest,
    Proofs.kind: Proofs,
    ApprovalStatement.kind: ApprovalStatement,
}
REPORT: Final = "verification/1"


@cache
def validator(kind: str) -> Draft202012Validator:
    return Draft202012Validator(cast("dict[str, Any]", schemas()[f"{kind.replace('/', '-')}.json"]))


def read_by_codec(kind: str, value: Json) -> bool:
    """Return whether the codec takes `value` for one written by itself."""
    try:
        found: object = from_json(CLASSES[kind], value)
        return bool(json_of(found) == value)
    except ProofError:
        return False


def test_every_schema_is_a_closed_one_of_2020_12_with_its_own_name() -> None:
    made = schemas()

    assert set(made) == {f"{kind.replace('/', '-')}.json" for kind in (*CLASSES, REPORT)}
    for name, schema in made.items():
        Draft202012Validator.check_schema(cast("dict[str, Any]", schema))
        assert schema["$schema"] == DIALECT
        assert schema["$id"] == PREFIX + name.removesuffix(".json").replace("-1", "/1")
        for found in objects(schema):
            if found.get("type") == "object" and "properties" in found:
                assert found["additionalProperties"] is False, name


def objects(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(item)


@pytest.mark.parametrize("name", sorted(schemas()))
def test_the_published_schema_is_what_the_code_says(name: str) -> None:
    kept = (ROOT / "docs" / "formats" / "schemas" / name).read_text(encoding="utf-8")

    assert kept == as_json(schemas()[name]), "run `make docs`"


def test_nothing_else_is_published() -> None:
    assert {path.name for path in (ROOT / "docs" / "formats" / "schemas").iterdir()} == set(schemas())


@pytest.mark.parametrize(("page", "text"), list(examples("json")))
def test_every_example_on_the_pages_is_valid(page: str, text: str) -> None:
    value = json.loads(text)
    if value.get("kind") in CLASSES:
        validator(value["kind"]).validate(value)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_record_of_a_bundle_its_manifest_and_its_proofs_are_valid(name: str) -> None:
    contents = cut(OPERATIONS[name]()).contents
    bodies = (*contents.records, *contents.instance_records)
    for body in bodies:
        value = json.loads(body)
        validator(value["kind"]).validate(value)
        record = unseal(body).record
        if isinstance(record, Approval):
            validator(ApprovalStatement.kind).validate(json_of(record.statement))
    validator(Manifest.kind).validate(json_of(expected_manifest(contents)))
    validator(Proofs.kind).validate(json_of(contents.proofs))


def json_of(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(json.dumps(to_json(value))))


@given(records())
def test_whatever_a_record_may_hold_is_valid(record: Any) -> None:
    validator(record.kind).validate(json_of(record))


@given(values(Manifest) | values(Proofs) | values(ApprovalStatement))
def test_whatever_the_other_kinds_may_hold_is_valid(value: Any) -> None:
    validator(value.kind).validate(json_of(value))


# --- what the codec refuses for its shape, the schema refuses ---


Place = tuple[Any, Any]
OTHERS: Final[tuple[Any, ...]] = (
    "",
    "x",
    0,
    1,
    -1,
    True,
    False,
    None,
    [],
    {},
    [1],
    {"x": 1},
    2**53 + 1,
    "sha256:" + "0" * 63,
)


def places(value: Any) -> list[Place]:
    """Return every place in `value` where something stands."""
    inner = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    found: list[Place] = []
    for key, item in inner:
        found.append((value, key))
        if isinstance(item, dict | list):
            found += places(item)
    return found


def dropped(draw: Callable[..., Any], value: Any) -> None:
    where, key = draw(st.sampled_from(places(value)))
    del where[key]


def added(draw: Callable[..., Any], value: Any) -> None:
    inner = [where[key] for where, key in places(value) if isinstance(where[key], dict)]
    draw(st.sampled_from([value, *inner]))[draw(st.sampled_from(["x", "kind", "é", "reason"]))] = draw(
        st.sampled_from(OTHERS)
    )


def replaced(draw: Callable[..., Any], value: Any) -> None:
    where, key = draw(st.sampled_from(places(value)))
    where[key] = draw(st.sampled_from(OTHERS))


def lengthened(draw: Callable[..., Any], value: Any) -> None:
    texts = [(where, key) for where, key in places(value) if isinstance(where[key], str)]
    where, key = draw(st.sampled_from(texts))
    where[key] += draw(st.sampled_from(["\n", " ", "0", "x"]))


CHANGES: Final = (dropped, added, replaced, lengthened)


@given(records(), st.data())
def test_a_changed_record_is_valid_if_and_only_if_the_codec_reads_it(
    record: Any, data: st.DataObject
) -> None:
    value = json_of(record)
    data.draw(st.sampled_from(CHANGES))(data.draw, value)

    assert validator(record.kind).is_valid(value) == read_by_codec(record.kind, value)


def test_each_way_a_record_can_be_misshapen_is_refused() -> None:
    value = json.loads(cut(a_change()).contents.records[1])
    checker = validator("plan/1")
    wrong: dict[str, dict[str, object]] = {
        "a field too many": {**value, "more": 1},
        "another kind": {**value, "kind": "plan/2"},
        "a word nobody knows": {**value, "effect": "erase"},
        "no digest": {**value, "intent": "sha256:xyz"},
        "a digest and a line break": {**value, "intent": value["intent"] + "\n"},
        "no time": {**value, "at": "yesterday"},
        "a number that JSON readers round": {**value, "n": 2**53 + 1},
        "a default written out": {**value, "pinned": None},
        "a field too few": {name: item for name, item in value.items() if name != "steps"},
    }

    assert checker.is_valid(value)
    assert [name for name, changed in wrong.items() if checker.is_valid(changed)] == []


# --- reports ---


@pytest.mark.parametrize(("code", "name", "make"), TABLE, ids=[f"{code}-{name}" for code, name, _ in TABLE])
def test_every_report_is_valid_as_it_is_printed(code: str, name: str, make: Callable[[], Any]) -> None:
    case = make()
    for trust in (case.trust, NO_KEYS):
        report = verify(case.bundle, trust, **dict(case.more or {}))

        validator(REPORT).validate(json.loads(as_json(report_object(report, Rung.LOGGED))))


def test_a_report_with_something_more_or_less_is_not_valid() -> None:
    printed = json.loads(as_json(report_object(verify(cut(a_change()).bundle(), TRUSTED), Rung.LOGGED)))

    validator(REPORT).validate(printed)
    for name in printed:
        less = {key: item for key, item in printed.items() if key != name}
        assert not validator(REPORT).is_valid(less), name
    assert not validator(REPORT).is_valid({**printed, "more": 1})


def test_every_class_that_is_read_or_written_has_a_schema() -> None:
    assert all(dataclasses.is_dataclass(cls) for cls in CLASSES.values())
    assert KINDS.keys() <= CLASSES.keys()
