"""Normalizers: bounded, typed facts from any output, and a status no better than what was seen."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecop.operations.errors import ProfileRefused
from rexecop.operations.normalize import run_normalizer
from rexecop.operations.normalizer_spec import STATUSES, Normalizer, read_normalizer
from rexecop.operations.patterns import pattern_problem
from rexecop.operations.profile import load_profile
from rexecop.operations.reading import Problems
from rexecop.operations.step_output import StepOutput
from rexecop.proof.canonical import Json, canonical_bytes
from rexecop.proof.vocabulary import Ended
from tests.operations.folders import SHIPPED, TECRAX, folder


def normalizer(text: str) -> Normalizer:
    problems = Problems(ProfileRefused.code)
    root = problems.parse(f"normalizer:\n{text}", "normalizers/x.yaml")
    assert root is not None
    found = read_normalizer(root, "x")
    problems.raise_first(ProfileRefused)
    return found


def facts(text: str, stdout: str = "", **more: object) -> dict[str, Json]:
    output = StepOutput(ended=Ended.OK, stdout=stdout, **more)  # type: ignore[arg-type]
    return run_normalizer(normalizer(text), {"step": output})


def one(how: str, stdout: str = "", **more: object) -> Json:
    return facts(f"  facts:\n    a: {{{how}}}\n", stdout, **more)["a"]


TABLE = "Name Size Use%\nroot 100 42%\nhome 200 7%\n"
CASES: list[tuple[str, str, Json]] = [
    ("regex: '^v(?P<value>[0-9.]+)'", "x\nv1.2 rest", "1.2"),
    ("regex: '^v(?P<value>[0-9.]+)'", "nothing", None),
    ("regex: 'a\\n(?P<value>b)', whole: true", "a\nb", "b"),
    ("regex: 'a\\n(?P<value>b)'", "a\nb", None),
    ("key_value: ID", 'NAME="x"\nID="debian"\n', "debian"),
    ("key_value: total, separator: ':'", "total:  7 ", "7"),
    ("key_value: ID", "ID\nIDS=1", None),
    ("column: Size, row: last", TABLE, "200"),
    ("column: 1, row: 1, type: integer", TABLE, 100),
    ("column: Use%, where: Name, equals: root", TABLE, "42%"),
    ("column: Use%, where: Name, equals: gone", TABLE, None),
    ("column: Gone, row: last", TABLE, None),
    ("column: 9, row: last", TABLE, None),
    ("column: 0, row: 99", TABLE, None),
    ("column: 0, separator: ','", "a b,c", "a b"),
    ("count: lines", TABLE + "\n\n", 3),
    ("count: /list", '{"list": [1, 2, 3]}', 3),
    ("pointer: /a/0/b~1c", '{"a": [{"b/c": "x"}]}', "x"),
    ("pointer: /a, type: decimal", '{"a": 1.50}', "1.5"),
    ("pointer: /a", '{"a": NaN}', None),
    ("pointer: /a", '{"a": ', None),
    ("pointer: /a", "[" * 100_000, None),
    ("pointer: /a, type: integer", '{"a": 99999999999999999999}', None),
    ("text: true", "  two\n words ", "two words"),
    ("text: true, exact: true", "  two\n words ", "  two\n words "),
    ("text: true, max_length: 3", "long", None),
    ("text: true, type: integer", "12", 12),
    ("text: true, type: integer", "1e9999", None),
    ("text: true, type: integer", "9" * 5000, None),
    ("text: true, type: integer", "NaN", None),
    ("text: true, type: integer, minimum: 5", "4", None),
    ("text: true, type: integer, divide: 1024", "2047", 1),
    ("text: true, type: integer, multiply: 1024", "2", 2048),
    ("text: true, type: decimal, divide: 1000", "1500", "1.5"),
    ("text: true, type: boolean", "Yes", True),
    ("text: true, type: boolean", "maybe", None),
    ("text: true, values: [on, off]", "on", "on"),
    ("text: true, values: [on, off]", "broken", None),
    ("text: true, map: {enabled: true, disabled: false}, type: boolean", "enabled", True),
    ("text: true, map: {a: b}", "c", None),
]


@pytest.mark.parametrize(("how", "stdout", "expected"), CASES)
def test_each_extractor_yields_its_fact_or_nothing(how: str, stdout: str, expected: Json) -> None:
    found = one(how, stdout)

    assert found == expected
    assert type(found) is type(expected)


def test_a_status_and_a_structured_answer_are_read_too() -> None:
    assert one("exit_status: true, type: integer", status=3) == 3
    # As a script goes that says no more than that it went well.
    assert one("exit_status: true, type: integer") == 0
    failed = {"step": StepOutput(ended=Ended.FAILED)}
    assert run_normalizer(normalizer("  facts:\n    a: {exit_status: true}\n"), failed)["a"] is None
    assert one("pointer: /state, stream: data", data={"state": "up"}) == "up"
    assert one("text: true, stream: stderr", stderr="late") == "late"


def test_percent_and_difference_are_computed_from_facts_above() -> None:
    text = """
  facts:
    whole: {key_value: whole, type: integer}
    part: {key_value: part, type: integer}
    rest: {difference: {larger: whole, smaller: part}}
    share: {percent: {part: part, whole: whole}}
"""
    assert facts(text, "whole=8\npart=3")["rest"] == 5
    assert facts(text, "whole=8\npart=3")["share"] == 37
    assert facts(text, "whole=0\npart=3")["share"] is None


STATUS = """
  thresholds: {high: 80}
  facts:
    used: {text: true, type: integer}
  status:
    - {fact: used, at_least: high, status: degraded, reason: filling}
    - {fact: used, at_least: 95, status: unhealthy, reason: full}
"""


@pytest.mark.parametrize(
    ("stdout", "status", "findings"),
    [("10", "healthy", 0), ("80", "degraded", 1), ("99", "unhealthy", 2), ("?", "unknown", 0)],
)
def test_the_status_is_the_worst_that_matches_and_unknown_without_facts(
    stdout: str, status: str, findings: int
) -> None:
    found = facts(STATUS, stdout)

    assert found["status"] == status
    assert found["healthy"] == (status == "healthy")
    assert found["complete"] == (status != "unknown")
    assert len(found["findings"]) == findings  # type: ignore[arg-type]


def test_what_was_only_previewed_is_not_a_fact() -> None:
    output = StepOutput(ended=Ended.PREVIEWED, stdout="10")

    assert run_normalizer(normalizer(STATUS), {"step": output})["used"] is None


def test_inputs_of_one_of_several_targets_are_found_by_the_workflow_id() -> None:
    spec = normalizer("  facts:\n    a: {from: first, text: true}\n    b: {from: second, text: true}\n")
    inputs = {
        "first@web": StepOutput(ended=Ended.OK, stdout="1"),
        "second@web": StepOutput(ended=Ended.OK, stdout="2"),
    }

    assert run_normalizer(spec, inputs)["b"] == "2"


SHIPPED_NORMALIZERS = [
    (f"{root.name}-{name}", found)
    for root in SHIPPED
    for name, found in load_profile(folder(root)).normalizers.items()
]


@pytest.mark.parametrize(
    "found", [item for _, item in SHIPPED_NORMALIZERS], ids=[n for n, _ in SHIPPED_NORMALIZERS]
)
@settings(max_examples=25)  # For each of the shipped ones.
@given(data=st.data())
def test_odd_output_never_raises_and_facts_are_always_evidence(
    found: Normalizer, data: st.DataObject
) -> None:
    text = st.text(max_size=200) | st.sampled_from(["MemTotal: 9 kB", '{"a":1}', "1 2 3", "ID=x", TABLE])
    inputs = {
        source: StepOutput(
            ended=data.draw(st.sampled_from(Ended)),
            status=data.draw(st.none() | st.integers(-1, 255)),
            stdout=data.draw(text),
            stderr=data.draw(text),
        )
        for source in sorted(found.sources())
        if data.draw(st.booleans())
    }

    result = run_normalizer(found, inputs)

    canonical_bytes(result)
    assert ("status" in result) == bool(found.rules)
    assert result.get("status", "unknown") in STATUSES
    assert result["complete"] or not result.get("healthy")


def test_a_full_disk_and_no_memory_are_not_healthy() -> None:
    inventory = load_profile(folder(TECRAX)).normalizers["basic_host_inventory"]
    inputs = {
        "read_os_release": "ID=debian\n",
        "read_kernel_identity": "Linux 6.1 x86_64\n",
        "read_hostname": "h\n",
        "read_uptime": "12.5 3.1\n",
        "read_load_average": "180.00 180.00 180.00 5/300 12\n",
        "read_filesystem_usage": "Filesystem 1K-blocks Used Available Use% Mounted on\n/dev/x 9 9 0 100% /\n",
        "read_memory_summary": "MemTotal:  1048576 kB\nMemAvailable:  3072 kB\n",
    }
    outputs = {step: StepOutput(ended=Ended.OK, stdout=text) for step, text in inputs.items()}

    found = run_normalizer(inventory, outputs)

    findings = found["findings"]
    assert isinstance(findings, list)
    reasons = {item["reason"] for item in findings}
    assert (found["complete"], found["status"]) == (True, "unhealthy")
    assert reasons >= {"root_full", "memory_out", "load_high"}


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+", "(a|b)*", "((a*)b)+", "(?:x+y?)+", r"(a)\1", "(?P<q>a)(?P=q)", "(", "a" * 513, ".*" * 7],
)
def test_patterns_that_can_take_very_long_are_refused(pattern: str) -> None:
    assert pattern_problem(pattern) is not None


@pytest.mark.parametrize(
    "pattern", [r"^[^\x00]*$", "(a|b)", "(ab)+", r"\(+\)+", "[(+*)]+", "(?:a{1,3})+", "(a)?(b)?"]
)
def test_ordinary_patterns_pass(pattern: str) -> None:
    assert pattern_problem(pattern) is None
