"""Places in messages: slots and secrets are found and filled, and everything else stands for itself."""

import pytest

from rexecop.proof.canonical import Json
from rexecop.proof.errors import TemplateMismatch
from rexecop.proof.message import fill_secrets, fill_slots, holds_place, parts_of, secrets_in, slots_in

MESSAGE: Json = {
    "path": ["api", {"slot": "host"}, {"text": ["n-", {"slot": "n"}, {"secret": "tail"}, "."]}],
    "body": {"on": {"slot": "on"}, "free": {"slot": 5}, "more": {"slot": "a", "b": 1}, "odd": {"text": [1]}},
    "auth": {"text": ["Bearer ", {"secret": "api"}]},
}


def test_slots_and_secrets_are_found_at_any_depth() -> None:
    assert list(slots_in(MESSAGE)) == ["host", "n", "on"]
    assert list(secrets_in(MESSAGE)) == ["tail", "api"]


def test_a_slot_that_is_a_whole_value_keeps_the_type_of_what_it_gets() -> None:
    filled = fill_slots(MESSAGE, {"host": "db-1", "n": 7, "on": True})

    assert isinstance(filled, dict) and isinstance(filled["body"], dict)
    assert filled["body"]["on"] is True
    assert filled["path"] == ["api", "db-1", {"text": ["n-7", {"secret": "tail"}, "."]}]


def test_secrets_are_filled_last_and_make_plain_texts() -> None:
    filled = fill_secrets(fill_slots(MESSAGE, {"host": "h", "n": 1, "on": False}), {"tail": "x", "api": "k"})

    assert isinstance(filled, dict)
    assert (filled["path"], filled["auth"]) == (["api", "h", "n-1x."], "Bearer k")
    assert filled["body"] == {
        "on": False,
        "free": {"slot": 5},
        "more": {"slot": "a", "b": 1},
        "odd": {"text": [1]},
    }


@pytest.mark.parametrize(
    "fill", [lambda: fill_slots(MESSAGE, {}), lambda: fill_secrets(MESSAGE, {"api": "k"})]
)
def test_a_place_without_a_value_is_an_error(fill: object) -> None:
    assert callable(fill)
    with pytest.raises(TemplateMismatch, match="has no value"):
        fill()


def test_what_looks_like_a_place_and_is_none_stands_for_itself() -> None:
    assert parts_of({"slot": 5}) is None
    assert parts_of({"text": ["a", 1]}) is None
    assert parts_of({"text": []}) == []


@pytest.mark.parametrize("value", [{"secret": "a"}, [{"slot": "a"}], {"deep": [{"text": []}]}])
def test_a_value_that_holds_a_place_is_known_for_it(value: Json) -> None:
    assert holds_place(value)
    assert not holds_place({"slot": "a", "b": "c"})
