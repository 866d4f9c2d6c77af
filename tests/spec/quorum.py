"""The quorum by trying everything: slow, plain, and written without looking at the product's."""

from collections.abc import Mapping, Sequence
from itertools import permutations


def enough(rules: Sequence[tuple[int, str]], members: Mapping[str, frozenset[str]], people: set[str]) -> bool:
    """Whether some way of seating `people`, each once, fills every place."""
    places = [group for count, group in rules for _ in range(count)]
    if not places:
        return False
    return any(
        all(person in members.get(group, frozenset()) for person, group in zip(seated, places, strict=True))
        for seated in permutations(sorted(people), len(places))
    )
