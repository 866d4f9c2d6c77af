"""Schema and reader of every format agree: on every shipped file, and on whatever becomes of it."""

# ruff: noqa: ANN401 - what stands in a document is whatever YAML holds

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from rexecop.app.written import format_schema, formats
from rexecop.execution import yaml_reader
from rexecop.execution.strict_yaml import load_yaml
from rexecop.operations.reading import Node
from tests.app.readers import READERS
from tests.house.source import ROOT
from tests.operations.folders import SHIPPED

PLACES_MAX: Final = 60  # Of one sample so many, for each is read and judged anew.
SAMPLES: Final = ROOT / "tests/app/written"
SEEDLAB: Final = ROOT / "tests/compat/seedlab/profile"
SCAFFOLD: Final = ROOT / "src/rexecop/app/data/scaffold"
PROFILES: Final = (*SHIPPED, SEEDLAB, SCAFFOLD)
OF_PROFILES: Final = {
    "profile": "profile.yaml",
    "intent": "intents/*.yaml",
    "workflow": "workflows/*.yaml",
    "connector": "connectors/*.yaml",
    "normalizer": "normalizers/*.yaml",
    "validation_rule": "validation_rules/*.yaml",
    "fixture": "fixtures/*.yaml",
    "redaction": "redactions/*.yaml",
    "reaction_pack": "reactions/reaction_pack.yaml",
    "trigger_rules": "triggers/trigger_rules.yaml",
    "operator_metadata": "operator_metadata.yaml",
    "finding_taxonomy": "finding_taxonomy.yaml",
    "case": "tests/*.case.yaml",
    "day": "tests/*.day.yaml",
    "pack": "policy/pack.yaml",
    "entities": "policy/entities.yaml",
    "windows": "policy/windows.yaml",
    "policy_cases": "policy/tests/*.yaml",
}
ELSEWHERE: Final = {
    "environment": (
        "examples/environments/*.yaml",
        "tests/compat/environment.yaml",
        "src/rexecop/app/data/*.environment.yaml",
    ),
    "target_catalog": ("examples/catalogs/*.yaml",),
}
# Nothing rests on these, so nothing in them is refused: the schema is advice.
YAML: Final = yaml_reader.read
ADVICE: Final = frozenset({"operator_metadata", "finding_taxonomy"})


@cache
def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(cast("dict[str, Any]", format_schema(name)))


def invalid(name: str, value: Any) -> list[str]:
    """Return what the schema says of `value`."""
    return [f"{list(one.absolute_path)}: {one.message:.200}" for one in validator(name).iter_errors(value)]


def files_of(name: str) -> Iterator[Path]:
    """Yield every file of the format: those that ship, and samples with every key there is."""
    for profile in PROFILES if name in OF_PROFILES else ():
        yield from sorted(profile.glob(OF_PROFILES[name]))
    if name == "environment":
        yield from (
            path
            for profile in PROFILES
            for path in sorted(profile.glob("tests/*.yaml"))
            if path.suffixes == [".yaml"]
        )
    for pattern in ELSEWHERE.get(name, ()):
        yield from sorted(ROOT.glob(pattern))
    yield from sorted([*SAMPLES.glob(f"{name}.yaml"), *SAMPLES.glob(f"{name}-*.yaml")])


def stem_of(path: Path) -> str:
    return path.name.partition(".")[0].partition("-")[0] if path.parent == SAMPLES else path.stem


@cache
def documents(name: str) -> tuple[tuple[str, Any], ...]:
    """Return stem and value of every file of the format."""
    return tuple((stem_of(path), YAML(content(path).decode(), path.name)[0]) for path in files_of(name))


def content(path: Path) -> bytes:
    """Return what stands in a file; of the scaffold as it is written for a profile."""
    return path.read_bytes().replace(b"@NAME@", b"site")


def written(value: Any) -> bytes:
    return json.dumps(value, default=float).encode()


FORMATS: Final = sorted(one.name for one in formats())


def test_every_format_has_a_reader_a_schema_and_a_sample() -> None:
    assert set(FORMATS) == set(READERS)
    for name in FORMATS:
        Draft202012Validator.check_schema(cast("dict[str, Any]", format_schema(name)))
        assert "common.json" not in json.dumps(format_schema(name))
        assert list(files_of(name)), name


@pytest.mark.parametrize("name", FORMATS)
def test_every_file_is_valid_and_read(name: str) -> None:
    for path in files_of(name):
        data = content(path)
        value = load_yaml(data, source=path.name).value

        found = [
            f"{list(one.absolute_path)}: {one.message:.300}" for one in validator(name).iter_errors(value)
        ]
        assert found == [], path
        said = READERS[name](written(value) if "settings" in name else data, stem_of(path))
        assert said == [], path


# --- a changed document is valid if, and only if, its reader takes it ---


CALENDAR: Final = "is no time zone|it never happens|`until` is not after|are the same time|`rrule`|not a date"
# What no shape says, by code: references, patterns in bounded time, moments, and two of one name.
FURTHER: Final[Mapping[str, tuple[str, ...]]] = {
    "refused": (
        "stands in the file of|or left out",
        "not a JSON schema",
        "not a step above it|is already on line|no single step that calls|comes after all other work",
        "not among `capabilities`",
        "holds a fraction",
        "not a fact (of this normalizer|above this one)",
        "[Pp]attern|matches nothing at all",
        "`full` goes with type",
        "takes an integer or a threshold",
        "compares with a number|has the same (id|conditions)",
        "two rules are called",
        "`at` is no moment",
        "fields, not minute|in the recurrence|has a `from` with the time",
        "is no address or network|is no header for that",
        "is not under `senders`|no server that is safe",
        "`parameters` is a JSON schema of type",
        CALENDAR,
    ),
    "profile-refused": (
        "is no moment|is a time like",
        "is there already",
        "no earlier observation",
        "before the observation",
    ),
    "policy-pack-unsupported": (".",),
    "policy-import-refused": (".",),
    "policy-case-malformed": ("is not an|is not like|request: ",),
    "windows-wrong": (CALENDAR,),
    "setting-invalid": ("it takes a whole number",),
    "secret-inline": (".",),
    "secret-sources-refused": ("is not under `vaults`",),
    "access-refused": ("`pdp.url` or `pdp.ca_file`|allowed are `https",),
    "entities-wrong": (
        "which `groups` does not list|does not have|is not among the people|for one another|reserved",
    ),
}


class Told:
    """What a reader asked for while it read: keys, words and bounds are what documents are changed with.

    `asked` has by method what was asked for at which place.
    """

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.values: list[Any] = []
        self.asked: list[tuple[str, tuple[str | int, ...], tuple[Any, ...]]] = []

    def key(self, key: str) -> None:
        self.keys.add(key)

    def value(self, value: Any) -> None:
        if value is not None and value not in self.values:
            self.values.append(value)


ODD: Final[tuple[Any, ...]] = (
    *("", "x", "a b", "é", "/x", "-", "x" * 5000, "10s", "0", "(("),
    *(0, 1, -1, 1.5, 10**9, True, False, [], {}, ["x"], [1], [[]], [None], {"x": 1}, {"é": 1}, [{}]),
)


@cache
def told(name: str) -> Told:
    """Return what the reader asks for in all documents of the format, and what the schema names."""
    found = heard(name, documents(name))
    for one in objects(format_schema(name)):
        for key in cast("dict[str, Any]", one.get("properties", {})):
            found.key(key)
        for word in cast("list[Any]", one.get("enum", [])):
            found.value(word)
    return found


def heard(name: str, read: Iterable[tuple[str, Any]]) -> Told:
    """Return what the reader asks for while it reads."""
    found = Told()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml_reader, "read", lambda text, _: (json.loads(text, parse_float=Decimal), {}))
        for method in ("fields", "one_of", "integer"):
            patch.setattr(Node, method, listening(method, found))
        for stem, value in read:
            READERS[name](written(value), stem)
    return found


def listening(method: str, found: Told) -> Any:
    plain = getattr(Node, method)

    def asked(node: Node, *given: Any) -> Any:
        found.asked.append(
            (method, node.path, tuple(one if isinstance(one, str | int) else tuple(one) for one in given))
        )
        if method == "fields":
            for key in given[0].split():
                found.key(key)
        elif method == "one_of":
            for word in given[0]:
                found.value(str(word))
        else:
            for bound in (given[0] - 1, given[0], given[1], given[1] + 1):
                found.value(bound)
        return plain(node, *given)

    return asked


def objects(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(item)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place in `value` where something stands."""
    for key, item in list(value.items()) if isinstance(value, dict) else list(enumerate(value)):
        yield value, key
        if isinstance(item, dict | list):
            yield from places(item)


def differs(name: str, stem: str, value: Any) -> str | None:
    """Return how schema and reader judge `value` otherwise, None where they agree."""
    invalid = [f"{list(one.absolute_path)}: {one.message:.200}" for one in validator(name).iter_errors(value)]
    said = READERS[name](written(value), stem)
    if invalid and not said and name not in ADVICE:
        return f"only the schema refuses: {invalid}"
    beyond = [
        one for one in said if not any(re.search(words, one.message) for words in FURTHER.get(one.code, ()))
    ]
    if beyond and not invalid:
        return f"only the reader refuses: {beyond}"
    return None


def changed(value: Any, draw: Any, found: Told) -> str:
    """Change one place in `value`; return how."""
    where, key = draw(st.sampled_from(list(places(value))))
    inner = (
        [value, *(w[k] for w, k in places(value) if isinstance(w[k], dict))]
        if isinstance(value, dict)
        else []
    )
    way = draw(st.sampled_from(("drop", "add", "replace", "replace")))
    if way == "drop":
        del where[key]
        return f"without {key}"
    new = draw(st.sampled_from([*ODD, *found.values]))
    if way == "replace" or not inner:
        where[key] = new
        return f"{key} is {new!r:.60}"
    table, more = draw(st.sampled_from(inner)), draw(st.sampled_from([*sorted(found.keys), "x_unknown"]))
    table[more] = new
    return f"{more} added as {new!r:.60}"


@pytest.fixture
def read_as_json() -> Iterator[None]:
    """Read what is written here faster; that YAML is read strictly, other tests say."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml_reader, "read", lambda text, _: (json.loads(text, parse_float=Decimal), {}))
        yield


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.usefixtures("read_as_json")
@settings(max_examples=30)
@given(data=st.data())
def test_schema_and_reader_judge_a_changed_document_alike(name: str, data: st.DataObject) -> None:
    stem, whole = data.draw(st.sampled_from(documents(name)))
    value = copy.deepcopy(whole)
    how = changed(value, data.draw, told(name))

    assert differs(name, stem, value) is None, how


# --- and nothing that a reader asks for in the samples is missed: its keys, words, bounds and types ---


SAMPLED: Final = [name for name in FORMATS if name not in ADVICE]


def samples(name: str) -> list[tuple[str, Any]]:
    """Return stem and value of the samples of a format."""
    paths = [path for path in files_of(name) if path.parent == SAMPLES]
    return [(stem_of(path), YAML(content(path).decode(), path.name)[0]) for path in paths]


def at(value: Any, path: Iterable[str | int]) -> Any:
    for key in path:
        value = value[key]
    return value


def put(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    """Return a copy of `value` with `new` at `path`."""
    if not path:
        return new
    copied = copy.deepcopy(value)
    at(copied, path[:-1])[path[-1]] = new
    return copied


def said_at(name: str, value: Any, path: tuple[str | int, ...]) -> list[Any]:
    """Return the errors of the schema at `path`, those of alternatives too."""
    waiting, found = list(validator(name).iter_errors(value)), []
    while waiting:
        error = waiting.pop()
        waiting += error.context or ()
        # The name of a property stands at the place of its mapping.
        if tuple(error.absolute_path) == path:
            found.append(error)
    return found


def extras(name: str, value: Any, path: tuple[str | int, ...]) -> set[str]:
    """Return the keys at `path` that the schema does not know."""
    found: set[str] = set()
    for error in said_at(name, value, path):
        if error.validator == "additionalProperties" and error.validator_value is False:
            found |= error.instance.keys() - error.schema.get("properties", {}).keys()
        elif isinstance(error.instance, str) and "propertyNames" in error.absolute_schema_path:
            found.add(error.instance)
    return found


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.usefixtures("read_as_json")
def test_the_schema_knows_exactly_the_keys_that_the_reader_knows(name: str) -> None:
    pool = told(name).keys | {"x_unknown"}
    for stem, value in samples(name):
        for path in {path for method, path, _ in heard(name, [(stem, value)]).asked if method == "fields"}:
            more = (
                put(value, path, {**dict.fromkeys(pool, "x"), **at(value, path)})
                if present(value, path)
                else None
            )
            asked = [] if more is None else heard(name, [(stem, more)]).asked
            known = [
                set(given[0].split()) for method, place, given in asked if (method, place) == ("fields", path)
            ]
            if known:
                unknown, found = pool - set.intersection(*known), extras(name, more, path)
                assert unknown <= found, path
                for key in found - unknown:  # Known, but not beside what stands there.
                    assert differs(name, stem, put(value, (*path, key), "x")) is None, key


def present(value: Any, path: tuple[str | int, ...]) -> bool:
    """Return whether a mapping stands at `path`; parts that are left out are read as empty ones."""
    for key in path:
        if not (isinstance(value, dict) and key in value) and not (
            isinstance(value, list) and isinstance(key, int)
        ):
            return False
        value = cast("Any", value)[key]
    return isinstance(value, dict)


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.usefixtures("read_as_json")
def test_the_schema_knows_exactly_the_words_and_bounds_of_the_reader(name: str) -> None:
    for stem, value in samples(name):
        for method, path, asked in set(heard(name, [(stem, value)]).asked):
            if method == "one_of":
                errors = said_at(name, put(value, path, "x_unknown"), path)
                allowed = [set(map(str, one.validator_value)) for one in errors if one.validator == "enum"]
                assert set(map(str, asked[0])) in allowed, path
            elif method == "integer":
                for keyword, bound, beyond in (("minimum", asked[0], -1), ("maximum", asked[1], 1)):
                    errors = said_at(name, put(value, path, bound + beyond), path)
                    assert bound in [one.validator_value for one in errors if one.validator == keyword], path


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.usefixtures("read_as_json")
def test_the_schema_refuses_what_is_left_out_or_of_another_type_where_the_reader_does(name: str) -> None:
    """Spread over the whole sample; `make soak` tries every place."""
    for stem, value in samples(name):
        found = list(places(value))
        every = 1 if os.environ.get("REXECOP_HYPOTHESIS") == "soak" else 1 + len(found) // PLACES_MAX
        for where, key in found[::every]:
            kept = where[key]
            where[key] = {"x": 1}
            assert differs(name, stem, value) is None, key
            where[key] = kept
            if isinstance(where, dict):
                del where[key]
                assert differs(name, stem, value) is None, f"without {key}"
                where[key] = kept


@pytest.mark.usefixtures("read_as_json")
def test_what_goes_with_one_way_to_get_a_fact_goes_with_no_other() -> None:
    ((stem, value),) = samples("normalizer")
    facts = value["normalizer"]["facts"]
    for fact in [facts[name] for name in ("percent_used", "size", "failed", "newest", "version")]:
        for key in ("whole", "where", "but", "expected", "having"):
            kept = dict(fact)
            fact.setdefault(key, "x")
            assert differs("normalizer", stem, value) is None, (kept, key)
            fact.clear()
            fact.update(kept)
