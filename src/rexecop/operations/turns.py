"""Operations that follow one another: each claims the next place of its chain with its plan.

So of two that are planned at once after the same one only one is stored, whoever plans them.
"""

from __future__ import annotations

from rexecop.operations.ports import Claim, Ledger
from rexecop.proof.canonical import digest_of


def turn(chain: str, place: int) -> Claim:
    """Return the claim to be operation number `place`, from 1, of `chain`."""
    return Claim(space="turn", key=digest_of(f"{chain}#{place}".encode()))


def last_turn(ledger: Ledger, chain: str) -> tuple[int, str | None]:
    """Return how many operations `chain` has, and the last of them; in few looks, however many."""
    low, high, last = 0, 1, None
    while (found := ledger.claimed(turn(chain, high))) is not None:
        low, high, last = high, 2 * high, found
    while high - low > 1:
        middle = (low + high) // 2
        found = ledger.claimed(turn(chain, middle))
        low, high, last = (low, middle, last) if found is None else (middle, high, found)
    return low, last
