"""The lifecycle as the page shows it, drawn from the one table; run this file to print it."""

from rexecop.operations.machine import TERMINAL, TRANSITIONS
from rexecop.proof.vocabulary import State


def table() -> str:
    """One row per state, with where each event leads, in the order of states and of names."""
    rows = ["| State | What may happen, and where it leads |", "|---|---|"]
    for state in State:
        moves = TRANSITIONS[state]
        found = {goal: sorted(event for event, to in moves.items() if to is goal) for goal in State}
        leads = "; ".join(f"{', '.join(events)} → {_named(goal)}" for goal, events in found.items() if events)
        rows.append(f"| {_named(state)} | {leads or 'nothing'} |")
    return "\n".join(rows)


def _named(state: State) -> str:
    return f"**`{state}`**" if state in TERMINAL else f"`{state}`"


if __name__ == "__main__":
    print(table())
