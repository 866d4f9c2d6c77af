"""The parts of the console: fields from schemas, sessions, and text that stays text."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecop.app.door import ServiceRole
from rexecop.app.errors import CallerUnknown
from rexecop.app.identity import os_user
from rexecop.proof import plaintext
from rexecop.proof.canonical import Json
from rexecop.service.console.fields import fields_of, values_of
from rexecop.service.console.pages import shown, verbatim
from rexecop.service.console.sessions import (
    EACH_MAX,
    LINK_MINUTES,
    SESSION_HOURS,
    SESSIONS_MAX,
    Sessions,
    SignInLink,
)
from tests.service.consoles import a_caller
from tests.service.doors import FixedDoor

SCHEMA: Final[Mapping[str, Json]] = {
    "type": "object",
    "required": ["name", "size"],
    "properties": {
        "name": {"type": "string", "maxLength": 20, "title": "Its name"},
        "text": {"type": "string", "default": "a\nb"},
        "size": {"type": "integer", "minimum": 1, "maximum": 9},
        "loud": {"type": "boolean"},
        "kind": {"enum": ["big", 3, None]},
        "more": {"type": "array", "items": {"type": "string"}},
    },
}


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def passes(self, **span: float) -> None:
        self.time += timedelta(**span)


# --- fields ---


def test_every_kind_of_parameter_has_its_field() -> None:
    fields = {one.name: one for one in fields_of(SCHEMA, {})}

    assert {name: one.kind for name, one in fields.items()} == {
        "p.name": "line", "p.text": "lines", "p.size": "whole", "p.loud": "choice", "p.kind": "choice",
        "p.more": "json",
    }  # fmt: skip
    assert [name for name, one in fields.items() if one.required] == ["p.name", "p.size"]
    assert (fields["p.name"].label, fields["p.text"].value) == ("Its name", "a\nb")
    assert fields["p.size"].limits == {"min": "1", "max": "9"}
    assert fields["p.loud"].choices == (("true", "yes"), ("false", "no"))
    assert fields["p.kind"].choices == (('"big"', "big"), ("3", "3"), ("null", "null"))


def test_what_was_typed_becomes_values_of_the_right_type() -> None:
    typed = {
        "p.name": "x ", "p.text": "", "p.size": "3", "p.loud": "false", "p.kind": '"big"', "p.more": '["a"]',
        "other": "1",
    }  # fmt: skip

    found = values_of(fields_of(SCHEMA, typed), typed)

    assert found.values == {"name": "x ", "size": 3, "loud": False, "kind": "big", "more": ["a"]}
    assert found.wrong == {}


@pytest.mark.parametrize("text", ["1.5", "three", "", "NaN", "1e3", "[1", '{"a":1,"a":2}', "9" * 40])
def test_what_is_no_value_is_wrong_at_its_field(text: str) -> None:
    typed = {"p.name": "x", "p.size": text}

    assert set(values_of(fields_of(SCHEMA, typed), typed).wrong) == {"p.size"}


# --- sessions ---


def test_a_session_is_over_after_its_hours() -> None:
    clock = Clock()
    sessions = Sessions(clock.now)
    key = sessions.open(a_caller("ann", ServiceRole.VIEWER), {})

    clock.passes(hours=SESSION_HOURS, seconds=-1)
    assert sessions.find(key) is not None
    clock.passes(seconds=1)
    assert sessions.find(key) is None


def test_there_are_never_more_sessions_than_there_may_be_and_one_person_ends_only_their_own() -> None:
    sessions = Sessions(Clock().now)
    first = sessions.open(a_caller("ann", ServiceRole.VIEWER), {})
    others = [sessions.open(a_caller("eve", ServiceRole.VIEWER), {}) for _ in range(3 * EACH_MAX)]

    assert sessions.find(first) is not None
    assert [sessions.find(key) is not None for key in others].count(True) == EACH_MAX
    many = [sessions.open(a_caller(f"p{number}", ServiceRole.VIEWER), {}) for number in range(SESSIONS_MAX)]
    assert [sessions.find(key) is not None for key in (first, *others, *many)].count(True) == SESSIONS_MAX


def test_a_session_asks_the_door_again_each_time() -> None:
    door, clock = FixedDoor({"t": a_caller("ann", ServiceRole.VIEWER)}), Clock()
    sessions = Sessions(clock.now)
    headers = {"authorization": "Bearer t"}
    session = sessions.find(sessions.open(door.caller(headers, None), headers))
    assert session is not None and session.caller(door, {}, None).name == "ann"

    with pytest.raises(CallerUnknown):
        session.caller(FixedDoor({}), headers, None)


def test_a_token_is_good_for_one_path_of_one_session() -> None:
    sessions, ann = Sessions(Clock().now), a_caller("ann", ServiceRole.VIEWER)
    one, other = (sessions.find(sessions.open(ann, {})) for _ in range(2))
    assert one is not None and other is not None

    assert one.is_token("/a", one.token("/a"))
    assert not one.is_token("/b", one.token("/a"))
    assert not other.is_token("/a", one.token("/a"))


def test_the_link_is_of_who_runs_the_service_and_good_for_some_minutes() -> None:
    clock = Clock()
    link = SignInLink(clock.now)
    with pytest.raises(CallerUnknown):
        link.use("")
    old, key = link.make(), link.make()

    clock.passes(minutes=LINK_MINUTES, seconds=-1)
    with pytest.raises(CallerUnknown):
        link.use(old)
    assert link.use(key).identity.principal == os_user()
    with pytest.raises(CallerUnknown):
        link.use(key)
    late = link.make()
    clock.passes(minutes=LINK_MINUTES)
    with pytest.raises(CallerUnknown):
        link.use(late)


# --- text ---


@settings(max_examples=60)
@given(st.text(alphabet=st.sampled_from("<>&'\"ab \n\t\u202e\x00é"), max_size=4000), st.integers(0, 3000))
def test_text_with_lines_is_all_there_or_cut_within_its_bound_and_is_never_markup(
    text: str, most: int
) -> None:
    found = str(verbatim(text, most))

    cut = found.rpartition("… (cut here")[0] if "… (cut here" in found else found
    assert len(cut.encode()) <= most + 1
    assert "<" not in found and "\u202e" not in found and "\x00" not in found
    whole = "\n".join(plaintext.escape(line.expandtabs()) for line in text.split("\n"))
    assert unescape(cut) == whole if cut == found else whole.startswith(unescape(cut.removesuffix("\n")))


def test_a_long_value_is_cut_and_says_how_long_it_is() -> None:
    assert shown("x" * 501) == "x" * 500 + "… (501 characters)"
    assert shown("a\u202eb") == "a\\u{202e}b"
