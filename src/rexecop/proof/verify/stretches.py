"""Output that was committed to while its call ran: it fits the call, and is still what it was."""

from __future__ import annotations

from collections import Counter

from rexecop.proof.canonical import Digest, commit, same
from rexecop.proof.records import Attempt, Outcome, Stretch
from rexecop.proof.verify.evidence import Evidence, Notes, Opened
from rexecop.proof.vocabulary import Ended


def check(evidence: Evidence, notes: Notes) -> None:
    """Step 9: stretches follow one another while their call runs, and its outcome keeps them."""
    open_: set[Digest] = set()
    upto: Counter[tuple[Digest, str]] = Counter()
    ends = {outcome.attempt: outcome for _, outcome in evidence.of(Outcome)}
    for sealed in evidence.records:
        record = sealed.record
        if isinstance(record, Attempt):
            open_.add(sealed.digest)
        elif isinstance(record, Outcome) and record.attempt is not None:
            open_.discard(record.attempt)
        elif isinstance(record, Stretch):
            place = (record.attempt, record.stream)
            notes.when(record.attempt not in open_, "E09k", sealed, "is of no call that runs")
            apart = record.start != upto[place] or record.length < 1
            notes.when(apart, "E09k", sealed, f"does not follow byte {upto[place]}")
            upto[place] = record.start + record.length
            end = ends.get(record.attempt)
            blob = (end.blobs or {}).get(record.stream) if end is not None else None
            cut = end is not None and (blob is None or blob.kept_bytes < upto[place])
            # Of a call whose end nobody saw, nothing may have been kept.
            lost = end is not None and end.ended is Ended.UNKNOWN and blob is None
            notes.when(cut and not lost, "E09k", sealed, "is longer than what was kept")


def check_outputs(opened: Opened, notes: Notes) -> None:
    """Step 10: a stretch commits to that part of the output which its outcome names."""
    ends = {outcome.attempt: outcome for _, outcome in opened.of(Outcome)}
    upto: Counter[tuple[Digest, str]] = Counter()
    for sealed, stretch in opened.of(Stretch):
        place = (stretch.attempt, stretch.stream)
        if stretch.start != upto[place] or stretch.length < 1:
            continue  # Found before; looking at one part again and again could take for ever.
        upto[place] += stretch.length
        end = ends.get(stretch.attempt)
        ref = (end.blobs or {}).get(stretch.stream) if end is not None else None
        blob = opened.contents.blobs.get(ref.commitment) if ref is not None else None
        if blob is None:
            continue
        part = blob.data[stretch.start : stretch.start + stretch.length]
        other = not same(commit(blob.key, part), stretch.commitment)
        notes.when(other, "E10d", sealed, "commits to other output than its outcome names")
