"""The lifecycle as its page shows it, drawn from the one table; run this file to write it into the page."""

from collections.abc import Mapping
from typing import Final

from rexecop.operations.machine import TERMINAL, TRANSITIONS, Event
from rexecop.proof.records.command import Verb
from rexecop.proof.vocabulary import State
from tests.house.source import ROOT

PAGE: Final = "docs/lifecycle.md"
S, E = State, Event

# Each state leaves in one picture, so every move of the table is drawn once.
PICTURES: Final[Mapping[str, tuple[State, ...]]] = {
    "until the start": (S.CREATED, S.PLANNED, S.WAITING_FOR_APPROVAL, S.APPROVED, S.BLOCKED),
    "at work": (S.RUNNING, S.PAUSED, S.RESUMING, S.RETRYING, S.VALIDATING, S.INDETERMINATE),
    "after an end": (S.COMPLETED, S.FAILED, S.CANCELLED, S.UNDOING, S.UNDONE, S.ESCALATED),
}

COMMANDS: Final[Mapping[str, tuple[Verb, Event]]] = {
    "pause": (Verb.PAUSE, E.PAUSED),
    "resume": (Verb.RESUME, E.RESUMED),
    "cancel": (Verb.CANCEL, E.CANCELLED),
    "retry": (Verb.RETRY, E.RETRIED),
    "rollback": (Verb.UNDO, E.UNDO_ASKED),
    "escalate": (Verb.ESCALATE, E.ESCALATED),
}
# Moves that a rule of the plan makes, and no person while the work goes on.
OF_THE_PLAN: Final = {(state, E.UNDO_ASKED) for state in (S.RUNNING, S.RETRYING, S.RESUMING)} | {
    (S.RUNNING, E.RETRIED)
}


def heard_in(event: Event) -> list[State]:
    """The states in which a person may bring `event` about."""
    return [state for state in State if event in TRANSITIONS[state] and (state, event) not in OF_THE_PLAN]


def pictures() -> str:
    """The moves as one state diagram per part of the life."""
    return "\n\n".join(f"Moves {name}:\n\n{_picture(states)}" for name, states in PICTURES.items())


def _picture(states: tuple[State, ...]) -> str:
    goals = {state: dict.fromkeys(TRANSITIONS[state].values()) for state in states}
    lines = [
        f"  {one} --> {to}: {', '.join(_events(one, to))}" for one, found in goals.items() for to in found
    ]
    ends = ", ".join(sorted({state for one in states for state in (one, *goals[one]) if state in TERMINAL}))
    shape = ["  classDef ended stroke-width:3px", f"  class {ends} ended"]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, *shape, "```"])


def table() -> str:
    """One row per state, with where each event leads, in the order of states and of names."""
    rows = ["| State | What may happen, and where it leads |", "|---|---|"]
    for state in State:
        found = {goal: _events(state, goal) for goal in State}
        leads = "; ".join(f"{', '.join(events)} → {_named(goal)}" for goal, events in found.items() if events)
        rows.append(f"| {_named(state)} | {leads or 'nothing'} |")
    return "\n".join(rows)


def commands() -> str:
    """One row per command of a person, with the states that hear it."""
    rows = ["| Command | Heard in |", "|---|---|"]
    for name, (_, event) in COMMANDS.items():
        rows.append(f"| `rexecop {name}` | {', '.join(map(_named, heard_in(event)))} |")
    return "\n".join(rows)


PARTS: Final = {"pictures": pictures, "moves": table, "commands": commands}


def part_of(text: str, name: str) -> tuple[str, str, str]:
    """The page before, in and after the part `name`."""
    before, mark, rest = text.partition(f"<!-- {name}: `python -m tests.docs.lifecycle` writes it -->\n")
    shown, end, after = rest.partition("\n<!-- end -->")
    if not (mark and end):
        raise LookupError(f"{PAGE} has no part {name}")
    return before + mark, shown, end + after


def _events(state: State, goal: State) -> list[Event]:
    return sorted(event for event, to in TRANSITIONS[state].items() if to is goal)


def _named(state: State) -> str:
    return f"**`{state}`**" if state in TERMINAL else f"`{state}`"


if __name__ == "__main__":
    text = (ROOT / PAGE).read_text(encoding="utf-8")
    for name, draw in PARTS.items():
        before, _, after = part_of(text, name)
        text = before + draw() + after
    (ROOT / PAGE).write_text(text, encoding="utf-8")
