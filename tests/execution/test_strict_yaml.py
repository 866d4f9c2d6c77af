"""The strict YAML reader: what it types, what it refuses, and where it says it found it."""

from decimal import Decimal

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from rexecop.execution.errors import YamlRefused
from rexecop.execution.strict_yaml import Yaml, load_yaml
from rexecop.execution.yaml_reader import DEPTH_MAX
from tests.execution.yaml_texts import TEXTS


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("a:", {"a": None}),
        ("12", 12),
        ("-7", -7),
        ("1.50", Decimal("1.50")),
        ("'12'", "12"),
        ("no", "no"),
        ("True", "True"),
        ("~", "~"),
        ("22:00", "22:00"),
        ("0755", "0755"),
        ("0x1f", "0x1f"),
        ("1_000", "1_000"),
        ("1e5", "1e5"),
        (".inf", ".inf"),
        ("2026-01-31", "2026-01-31"),
        ("10.0.0.1", "10.0.0.1"),
        ('"\\e[0m"', "\x1b[0m"),
        ("|\n  a\n  b\n", "a\nb\n"),
        ("{yes: [on, 1]}", {"yes": ["on", 1]}),
        ("---\na: 1\n...\n", {"a": 1}),
    ],
)
def test_only_the_plain_words_and_numbers_are_typed(text: str, value: Yaml) -> None:
    found = load_yaml(text, source="x.yaml").value

    assert found == value
    assert type(found) is type(value)
    assert str(found) == str(value)


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("a: &x 1\nb: *x", 1, "anchor"),
        ("a: 1\nb: *x", 2, "alias"),
        ("a: !!python/object:os.system x", 1, "tag"),
        ("a: ! x", 1, "tag"),
        ("a: 1\nb: 2\na: 3", 3, "line 1"),
        ("'a': 1\na: 3", 2, "line 1"),
        ("1: 2", 1, "not text"),
        ("true: 2", 1, "not text"),
        ("? [a]\n: b", 1, "a key is text"),
        ("a:\n  <<: {b: 1}", 2, "merge"),
        ("%YAML 1.1\n---\na: 1", 1, "directive"),
        ("%TAG ! tag:x,2026:\n---\na: 1", 1, "directive"),
        ("a: 1\n---\nb: 2", 2, "second document"),
        ("", 1, "nothing"),
        ("# only words\n", 2, "nothing"),
        ("[" * (DEPTH_MAX + 1), 1, "deeper"),
        ("- " * (DEPTH_MAX + 2) + "x", 1, "deeper"),
        ("a: 9007199254740993", 1, "2^53"),
        ("a: " + "9" * 5000, 1, "characters"),
        ("a:\n  b: \x07", 2, "U+0007"),
        ("a: x\u202ey", 1, "U+202E"),
        ("\ufeffa: 1", 1, "U+FEFF"),
        ('a: "\\0"', 1, "escape"),
        ('a: "\\ud800"', 1, "escape"),
        ("a: [1, 2", 1, "not valid"),
        ("a: b: c", 1, "not valid"),
        ("\ta: 1", 1, "not valid"),
    ],
)
def test_everything_else_is_refused_with_its_place(text: str, line: int, word: str) -> None:
    with pytest.raises(YamlRefused) as refused:
        load_yaml(text, source="x.yaml")

    assert refused.value.facts["line"] == line
    assert refused.value.message.startswith(f"x.yaml:{line}:")
    assert word in refused.value.message
    assert "\n" not in refused.value.message


def test_bytes_that_are_no_utf8_and_texts_too_large_are_refused() -> None:
    with pytest.raises(YamlRefused, match=r"x\.yaml:2:4: not UTF-8"):
        load_yaml(b"a: 1\nb: \xff", source="x.yaml")
    with pytest.raises(YamlRefused, match="at most 4"):
        load_yaml("a: 123", source="x.yaml", bytes_max=4)


def test_every_key_and_entry_has_its_line() -> None:
    found = load_yaml("a: 1\nb:\n  - x\n  - c: {d: 1}\n", source="x.yaml")

    assert found.line(("a",)) == 1
    assert found.line(("b", 1, "c", "d")) == 4
    assert found.line(("b", 1, "missing", "far")) == 4


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_and_nothing_else_happens(text: str) -> None:
    try:
        load_yaml(text, source="x.yaml")
    except YamlRefused as refused:
        assert refused.code == "yaml-refused"


plain = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="ascii"))
names = st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=5)


@given(
    st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3))
)
def test_json_without_floats_reads_as_itself(value: Yaml) -> None:
    import json

    text = json.dumps(value)
    if "\\u0000" not in text and "\x7f" not in text:
        assert load_yaml(text, source="x.yaml").value == value


@given(TEXTS)
@example("a: [b?]")
@example("a: |# c")
@example("- # c\n\n- b")
@example("a: b\t")
@example("--- a")
@example("? a")
def test_a_faster_parser_changes_neither_what_is_read_nor_what_is_refused_nor_any_line(text: str) -> None:
    quick = _read(text)
    with pytest.MonkeyPatch.context() as without:
        without.setattr(yaml, "__with_libyaml__", False)
        slow = _read(text)

    assert quick == slow


def _read(text: str) -> tuple[str, object]:
    try:
        document = load_yaml(text, source="x.yaml")
    except YamlRefused as error:
        return str(error), dict(error.facts)
    return repr(document.value), document.lines
