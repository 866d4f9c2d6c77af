"""Facts out of many lines or entries, moments, and what an environment says of one target."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecop.operations.environment import load_environment
from rexecop.operations.errors import EnvironmentRefused, ProfileRefused
from rexecop.operations.gathering import ANYWHERE, NAMES_MAX, Site
from rexecop.operations.lint import lint_environment
from rexecop.operations.moments import UNITS, moment, whole_units
from rexecop.operations.normalize import run_normalizer
from rexecop.operations.normalizer_spec import Normalizer, read_normalizer
from rexecop.operations.profile import load_profile
from rexecop.operations.reading import Problems
from rexecop.operations.step_output import StepOutput
from rexecop.proof.canonical import Json
from rexecop.proof.vocabulary import Ended
from tests.operations.folders import TECRAX, folder

AT = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
LINES = "web.service loaded\ndb.service failed\nold.mount loaded\nlog.service loaded\n"
LIST = '[{"n":"a","s":"on","t":"2026-01-31T10:30:00Z","v":3},{"n":"b","s":"off","t":1767225600,"v":"7"}]'


def normalizer(facts: str) -> Normalizer:
    problems = Problems(ProfileRefused.code)
    root = problems.parse(f"normalizer:\n  facts:\n    x: {facts}\n", "x.yaml")
    assert root is not None
    found = read_normalizer(root, "x")
    problems.raise_first(ProfileRefused)
    return found


def fact(spec: str, stdout: str, site: Site = ANYWHERE, ended: Ended = Ended.OK) -> Json:
    output = StepOutput(ended=ended, stdout=stdout, status=0, at=AT)
    return run_normalizer(normalizer(spec), {"step": output}, site)["x"]


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("take: count", 3),
        ("take: names", "db, log, web"),
        ("take: names, max_length: 14", "db, and 2 more"),
        ("take: names, max_length: 1", None),
        ("take: absent, expected: units", "mail"),
        ("take: extra, expected: units", "db, log"),
        ("but: ' failed$', take: names", "log, web"),
    ],
)
def test_lines_give_a_count_or_names(rest: str, expected: Json) -> None:
    site = Site(expected={"units": ("web", "mail")})

    found = fact(rf"{{each: '^(?P<value>[a-z]+)\.service ', {rest}}}", LINES, site)

    assert found == expected


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("of: /n, take: count", 2),
        ("of: /v, take: most, type: integer", 7),
        ("of: /v, take: least, type: integer", 3),
        ("of: /v, take: sum, type: integer", 10),
        ("of: /n, take: most, type: integer", None),
        ("of: /n, having: {at: /s, in: [on]}, take: names", "a"),
        ("of: /n, having: {at: /s, matching: '^o'}, lacking: {at: /n, in: [a]}, take: names", "b"),
        ("of: /gone, take: count", 0),
        ("of: /t, take: newest, age: minutes", 90),
        ("of: /t, take: oldest, age: days", 30),
        ("of: /n, dated_by: /t, take: newest", "a"),
        ("of: /n, dated_by: /t, take: oldest", "b"),
        ("of: /n, dated_by: /t, having: {at: /s, in: [off]}, take: newest", "b"),
        ("of: /n, dated_by: /gone, take: newest", None),
        ("of: /n, dated_by: /s, take: newest", None),
    ],
)
def test_entries_give_what_is_taken_of_them(rest: str, expected: Json) -> None:
    assert fact(f'{{items: "", {rest}}}', LIST) == expected


def test_two_of_one_name_are_told_apart_by_their_moments() -> None:
    answer = '[{"n":"a","t":3},{"n":"b","t":2},{"n":"a","t":1}]'

    assert fact('{items: "", of: /n, dated_by: /t, take: newest}', answer) == "a"
    assert fact('{items: "", of: /n, dated_by: /t, take: oldest}', answer) == "a"
    assert fact('{items: "", of: /n, dated_by: /t, take: newest}', '[{"n":"a","t":1},{"n":"b"}]') is None


def test_what_is_dated_is_the_newest_or_the_oldest() -> None:
    with pytest.raises(ProfileRefused, match="`dated_by` goes with"):
        normalizer('{items: "", of: /n, dated_by: /t, take: count}')


@pytest.mark.parametrize("answer", ["", "{", '{"a": {"n": 1}}', "7"])
def test_what_is_no_list_gives_nothing(answer: str) -> None:
    assert fact("{items: /a/b, of: /n, take: count}", answer) is None


def test_nothing_is_counted_in_what_a_failed_call_put_out() -> None:
    assert fact("{each: '(?P<value>x)', take: count}", "", ended=Ended.FAILED) is None
    assert fact("{each: '(?P<value>x)', take: count}", "") == 0


def test_what_nobody_expects_is_not_missed() -> None:
    assert fact("{each: '(?P<value>x)', take: absent, expected: units}", "y") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31T12:00:00Z", AT),
        ("2026-01-31T13:00:00.123456789+01:00", AT),
        ("2026-01-31 12:00:00", AT),
        ("2026-01-31 12:00:00 UTC", AT),
        ("Jan 31 12:00:00 2026 GMT", AT),
        ("1769860800", AT),
        ("1769860800000", AT),
        ("Jam 31 12:00:00 2026 GMT", None),
        ("2026-02-31T12:00:00Z", None),
        ("123456789012345", None),
        ("soon", None),
    ],
)
def test_moments_are_read_as_programs_write_them(text: str, expected: datetime | None) -> None:
    assert moment(text) == expected


@settings(max_examples=100)
@given(st.integers(-10_000, 10_000), st.sampled_from(sorted(UNITS)))
def test_an_age_is_the_opposite_of_what_is_left_and_rounds_down(count: int, unit: str) -> None:
    at = AT + count * UNITS[unit]
    text = AT.isoformat()

    assert whole_units(text, "age", unit, at) == count
    assert whole_units(text, "age", unit, at + timedelta(milliseconds=1)) == count
    assert whole_units(text, "left", unit, at) == -count


@settings(max_examples=200)
@given(st.text(max_size=40))
def test_odd_text_is_no_moment_and_never_an_error(text: str) -> None:
    found = moment(text)

    assert found is None or found.tzinfo is not None


@pytest.mark.parametrize(
    "spec",
    [
        "{each: '(a+)+(?P<value>b)'}",
        "{each: 'no group'}",
        "{each: '(?P<value>x)', take: absent}",
        "{each: '(?P<value>x)', take: count, expected: units}",
        "{each: '(?P<value>x)', take: half}",
        "{items: a, of: /n}",
        "{items: /a, of: /n, having: {at: /s}}",
        "{items: /a, of: /n, having: {at: /s, matching: '(a+)+'}}",
        "{regex: '(?P<value>x)', age: hours, left: hours}",
        "{regex: '(?P<value>x)', age: years}",
        "{regex: '(?P<value>x)', full: 100}",
        "{regex: '(?P<value>x)', type: integer, full: 0}",
    ],
)
def test_a_fact_that_says_too_little_or_too_much_is_refused(spec: str) -> None:
    with pytest.raises(ProfileRefused):
        normalizer(spec)


def environment(target: str) -> bytes:
    return f"environment:\n  id: here\n  targets:\n    a: {target}\n".encode()


def test_limits_and_names_that_nothing_looks_at_are_found() -> None:
    profile = load_profile(folder(TECRAX))
    text = environment("{thresholds: {space_percent_hihg: 1}, expected: {unit: [a]}}")

    found = [one.message for one in lint_environment({"e.yaml": text}, profile) if one.severity == "error"]

    assert len(found) == 2
    assert "did you mean `space_percent_high`" in found[0]


@pytest.mark.parametrize(
    "target",
    [
        "{thresholds: {a: high}}",
        "{thresholds: [1]}",
        "{expected: {units: web}}",
        "{expected: {units: [[1]]}}",
    ],
)
def test_a_target_that_sets_what_is_no_limit_and_no_list_is_refused(target: str) -> None:
    with pytest.raises(EnvironmentRefused):
        load_environment({"e.yaml": environment(target)})


# --- one figure for each of many names ---

MOUNTS = "/dev/a 60% /\n/dev/b 97% /srv\n/dev/c 20% /srv/my data\n"
TABLE = "{each: ' (?P<value>[0-9]{1,3})% (?P<name>/.{0,99})$', take: most, type: table, maximum: 100}"
NEWEST = '{items: "", of: /t, by: /n, take: newest, age: hours, type: table}'


def assessed(facts: str, rules: str, stdout: str, site: Site = ANYWHERE) -> dict[str, Json]:
    problems = Problems(ProfileRefused.code)
    text = f"normalizer:\n  thresholds: {{high: 90}}\n  facts:\n    x: {facts}\n  status:\n    - {rules}\n"
    root = problems.parse(text, "x.yaml")
    assert root is not None
    made = read_normalizer(root, "x")
    problems.raise_first(ProfileRefused)
    return run_normalizer(made, {"s": StepOutput(ended=Ended.OK, stdout=stdout, at=AT)}, site)


@pytest.mark.parametrize(
    ("spec", "stdout", "expected"),
    [
        (TABLE, MOUNTS, {"/": 60, "/srv": 97, "/srv/my data": 20}),
        (TABLE, "", {}),
        (TABLE, MOUNTS.replace("97%", "970%"), None),
        ("{each: '(?P<value>[a-z]+)', type: table}", "b\na\nb\n", {"a": 1, "b": 2}),
        ("{each: '(?P<value>[a-z]+)', take: groups}", "b\na\nb\n", 2),
        (NEWEST, LIST, {"a": 1, "b": 732}),
        (NEWEST, '[{"n":"a","t":1},{"n":"a","t":1769857200}]', {"a": 1}),
        (NEWEST, '[{"n":"a","t":"soon"}]', None),
        (NEWEST, '{"error": 7}', {}),
        (NEWEST, "{", None),
    ],
)
def test_a_table_has_a_figure_for_each_name_or_is_not_there(spec: str, stdout: str, expected: Json) -> None:
    assert fact(spec, stdout) == expected


def test_a_table_is_not_cut_to_fit() -> None:
    lines = "".join(f"/dev/x 1% /m{n}\n" for n in range(NAMES_MAX + 1))

    assert fact(TABLE, lines) is None
    assert len(fact(TABLE, lines.split("\n", 1)[1]) or ()) == NAMES_MAX  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("limits", "value"),
    [
        ({}, "/srv: 97"),
        ({"high": 50}, "/: 60, /srv: 97"),
        ({"high__srv": 98}, None),
        ({"high": 10, "high__srv_my_data": 99, "high__": 70}, "/srv: 97"),
    ],
)
def test_a_rule_holds_for_the_names_it_names_and_one_name_may_have_its_own_limit(
    limits: dict[str, int], value: str | None
) -> None:
    rule = "{fact: x, at_least: high, status: unhealthy, reason: full}"
    found = assessed(TABLE, rule, MOUNTS, Site(thresholds=limits))

    findings = found["findings"]
    assert isinstance(findings, list)
    assert [one["value"] for one in findings if isinstance(one, dict)] == ([value] if value else [])
    assert found["status"] == ("unhealthy" if value else "healthy")


@pytest.mark.parametrize(("bits", "holds"), [(8, True), (16, True), (24, True), (64, False), (0, False)])
def test_a_sum_is_looked_at_bit_by_bit(bits: int, holds: bool) -> None:
    spec = "{regex: '^(?P<value>[0-9]+)$', type: integer}"

    found = assessed(spec, "{fact: x, has_bits: 24, status: unhealthy}", f"{bits}\n")

    assert found["status"] == ("unhealthy" if holds else "healthy")


def test_what_a_failed_call_put_out_counts_only_where_the_fact_says_so() -> None:
    assert fact("{each: '(?P<value>x)', even_failed: true}", "x\n", ended=Ended.FAILED) == 1
    assert fact("{each: '(?P<value>x)'}", "x\n", ended=Ended.FAILED) is None


@pytest.mark.parametrize("take", ["names", "groups", "absent, expected: units"])
def test_what_makes_no_table_is_refused(take: str) -> None:
    with pytest.raises(ProfileRefused, match="makes no table"):
        normalizer(f"{{each: '(?P<value>x)', take: {take}, type: table}}")


def test_a_limit_of_one_name_is_known_to_lint_where_there_is_a_table() -> None:
    site = "environment: {{id: s, profile: tecrax, targets: {{a: {{thresholds: {{{0}: 7}}}}}}}}"
    profile = load_profile(folder(TECRAX))

    def said(limit: str) -> str:
        found = lint_environment({"s.yaml": site.format(limit).encode()}, profile)
        return " ".join(one.message for one in found if one.severity == "error")

    assert said("backup_hours_old_104") == ""
    assert "root_used_percent_high_104" in said("root_used_percent_high_104")
