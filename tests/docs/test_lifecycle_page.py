"""The page of the lifecycle and the table in the code say the same, in every part."""

import re

import pytest

from rexecop.operations.machine import TRANSITIONS
from rexecop.proof.vocabulary import State
from tests.docs.lifecycle import PAGE, PARTS, PICTURES, part_of
from tests.docs.pages import page

LIFECYCLE = page(PAGE)


@pytest.mark.parametrize("name", PARTS)
def test_what_the_page_shows_is_what_the_table_in_the_code_says(name: str) -> None:
    assert part_of(LIFECYCLE.text, name)[1] == PARTS[name]()


def test_every_move_of_the_table_is_drawn_once() -> None:
    drawn = [
        line.strip() for text in LIFECYCLE.fenced("mermaid") for line in text.splitlines() if "-->" in line
    ]
    moves = [(state, goal) for state in State for goal in set(TRANSITIONS[state].values())]

    assert sorted(line.split(":")[0] for line in drawn) == sorted(f"{one} --> {to}" for one, to in moves)
    assert sorted(state for states in PICTURES.values() for state in states) == sorted(State)


def test_the_page_says_of_every_state_what_it_means() -> None:
    told = LIFECYCLE.text.split("## Pictures")[0]

    assert re.findall(r"^\| (?:\*\*)?`(\w+)`", told, re.MULTILINE) == list(State)
