"""The quorum by trying everything: slow, plain, and written without looking at the product's."""

from collections.abc import Collection, Mapping, Sequence
from itertools import permutations

Members = Mapping[str, frozenset[str]]


def enough(rules: Sequence[tuple[int, str]], members: Members, people: set[str]) -> bool:
    """Whether some way of seating `people`, each once, fills every place."""
    places = [group for count, group in rules for _ in range(count)]
    if not places:
        return False
    return any(
        all(person in members.get(group, frozenset()) for person, group in zip(seated, places, strict=True))
        for seated in permutations(sorted(people), len(places))
    )


def voters(
    votes: Sequence[tuple[str, str]],
    given: Collection[tuple[str, str]],
    rules: Sequence[tuple[int, str]],
    members: Members,
    asked_by: str,
) -> list[str]:
    """Whose votes count, of (who speaks, whose vote) in order, when `given` are (giver, delegate)."""
    spent: list[str] = []
    found: list[str] = []
    for speaker, voter in votes:
        own = speaker == voter
        asked = any(voter in members.get(group, frozenset()) for _, group in rules)
        known = own or any(speaker in people for people in members.values())
        if asked_by in (speaker, voter) or not (asked and known) or not (own or (voter, speaker) in given):
            continue
        if speaker not in spent and voter not in spent:
            spent += [speaker, voter]
            found.append(voter)
    return found
