"""Alter bundles by the thousand and verify each: `python conformance/campaign.py --bundles 20000`.

None that says something else than its original may be believed (`mutations.Meaning`), and none may
end in anything but a verdict. Ends with 0, or with 1 and the seeds that showed otherwise.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from conformance.generate import NOW
from conformance.honest import STORIES
from conformance.mutations import Altered, Meaning, alter, meaning_of, open_all
from rexecop.app.verifying import Packs
from rexecop.proof.bundle import BundleContents
from rexecop.proof.verify import NO_KEYS, Report, Rung, TrustedKeys, parse_trust, verify

JOBS: Final = 2
CHUNK: Final = 250
UNCHANGED: Final = "says the same"
LESS: Final = "says less, and holds"
REFUSED: Final = "refused"


@dataclass(frozen=True)
class Originals:
    """Every honest bundle: its bytes, what is in it, who is trusted with it, and what it says."""

    bundles: list[bytes]
    opened: list[BundleContents]
    trust: list[TrustedKeys]
    meanings: list[Meaning]


@cache
def originals() -> Originals:
    """Return every honest bundle once."""
    found: dict[bytes, TrustedKeys] = {}
    for case in (story.make() for story in STORIES):
        trust = case.trust if case.files is None else parse_trust(case.files)
        if len(trust.keys) > len(found.get(case.bundle, NO_KEYS).keys):
            found[case.bundle] = trust
    meanings = [said for data, trust in found.items() if (said := meaning_of(data, trust))]
    if len(meanings) != len(found):
        raise SystemExit("an honest bundle cannot be read")
    return Originals([*found], open_all([*found]), [*found.values()], meanings)


def judge(seed: int) -> tuple[Altered, Report, str | None]:
    """Return the altered bundle of `seed`, its verdict and how it counts; None is a forgery believed."""
    of = originals()
    altered = alter(of.bundles, of.opened, seed)
    trust, packs = of.trust[altered.original], Packs()
    report = verify(altered.data, trust, now=NOW, evaluate=packs.evaluate, members=packs.members)
    says, said = meaning_of(altered.data, trust), of.meanings[altered.original]
    if not report.holds(Rung.CONSISTENT):
        return altered, report, REFUSED
    if says is None or says.says_otherwise(said):
        return altered, report, None
    return altered, report, UNCHANGED if says == said else LESS


def campaign(seeds: Iterable[int]) -> tuple[Counter[str], list[str]]:
    """Judge every seed; return how many counted as what, and what should not have been believed."""
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    for seed in seeds:
        try:
            altered, report, outcome = judge(seed)
        except Exception as error:
            wrong.append(f"seed {seed}: {type(error).__name__}: {error}")
            continue
        if outcome is None:
            wrong.append(f"seed {seed}: believed after: {altered.how}")
        elif outcome is REFUSED and not all(finding.meaning for finding in report.findings):
            wrong.append(f"seed {seed}: refused without a code")
        counts[outcome or "believed"] += 1
        counts.update({finding.code for finding in report.findings})
    return counts, wrong


def main(argv: Sequence[str]) -> int:
    """Run as many as asked for, over two processes."""
    parser = argparse.ArgumentParser(prog="campaign.py", description="Alter bundles and verify each.")
    parser.add_argument("--bundles", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0, help="the first of the seeds")
    words = parser.parse_args(argv)
    seeds = range(words.seed, words.seed + words.bundles)
    begun = time.monotonic()
    total: Counter[str] = Counter()
    wrong: list[str] = []
    with ProcessPoolExecutor(JOBS) as pool:
        chunks = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
        for counts, found in pool.map(campaign, chunks):
            total += counts
            wrong += found
    outcomes = ", ".join(f"{total.pop(name, 0)} {name}" for name in (REFUSED, LESS, UNCHANGED))
    print(f"{words.bundles} altered bundles in {time.monotonic() - begun:.0f} s: {outcomes}")
    print(f"{len(total)} codes answered; {len(wrong)} wrong")
    print(*wrong[:50], sep="\n", end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
