"""The parts of one operation's account: decisions, approvals, calls, checks, the receipt, the records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from rexecop.app.describe import counted, summary
from rexecop.app.report.markup import Content, Html, Pair, card, table, tag, verbatim
from rexecop.app.report.story import Story, Try, chosen
from rexecop.app.report.timeline import PHASES
from rexecop.app.report.words import ENDED, SAID, VERDICTS, clock, lasted, needed, plain, strong, when, who
from rexecop.proof.canonical import Digest, Json, canonical_bytes
from rexecop.proof.chain import Sealed
from rexecop.proof.codec import to_json
from rexecop.proof.erasures import Erasures
from rexecop.proof.preview import preview_digest
from rexecop.proof.records import (
    Approval,
    Attempt,
    Decision,
    Outcome,
    Receipt,
    Reconciliation,
    Validation,
)  # fmt: skip
from rexecop.proof.records.outcome import BlobRef
from rexecop.proof.verify import Report

CARDS_MAX: Final = 200  # Of one sort, told at length; a fan-out has thousands, and all are in the bundle.
RECORDS_MAX: Final = 1000  # Listed.
OUTPUT_LENGTH_MAX: Final = 16 * 1024  # Of one output: four printed pages.
PREVIEW_LENGTH_MAX: Final = 4 << 20  # What was signed is shown whole; a plan of 256 KiB stays below this.

_OBLIGED: Final[Mapping[str, str]] = {
    "output_bytes": "keep at most {} bytes of one output",
    "timeout_ms": "end every call within {} ms",
    "steps_max": "at most {} steps",
    "targets_max": "at most {} targets",
    "isolation": "isolate every program at least as `{}`",
    "no_network": "keep every program from the network",
    "receipt": "write a signed receipt",
    "signed_profile": "work by a profile that an enrolled publisher signed",
}


def _code(text: str) -> Html:
    return tag("code", text)


def decisions(story: Story) -> Sequence[Content]:
    """Return every answer of policy, why, and what it obliged to."""
    found, left = chosen(story.of(Decision), CARDS_MAX, lambda one: one[1].terms.verdict == "blocked")
    return [*(_decision(*one) for one in found), left, _obligations(story)]


def _decision(sealed: Sealed, record: Decision) -> Html:
    kept = record.terms
    packs = [tag("p", f"{pack.id} {pack.version}, ", _code(pack.digest)) for pack in record.packs]
    return card(
        f"Asked at {record.request.gate}: {VERDICTS[kept.verdict]}",
        ("on", when(record.at)),
        ("because", record.reason),
        ("rules", ", ".join(rule.id for rule in record.rules) or "none matched, and silence is a no"),
        ("packs", packs),
        ("needs the approval of", needed(kept)),
        ("not before", when(kept.not_before) if kept.not_before else None),
        ("not after", when(kept.not_after) if kept.not_after else None),
        ("errors", "; ".join(record.errors)),
        ("record", _code(sealed.digest)),
    )


def _obligations(story: Story) -> Html | None:
    folded, receipt = story.folded, story.last(Receipt)
    if folded is None or folded.decision is None:
        return None
    met = {one.name: one for one in receipt.obligations} if receipt else {}
    rows = []
    obliged = folded.obligations if folded.leaves else folded.terms.obligations
    for field, value in to_json(obliged).items():
        # A receipt names an obligation by its field without the unit.
        found = next((one for name, one in met.items() if field.startswith(name)), None)
        kept = "not said" if found is None else "yes" if found.met else strong("NO")
        words = _OBLIGED.get(field, f"{plain(field)}: {{}}")
        rows.append((words.format(value), kept, found.how if found else ""))
    return table("What policy obliged to", ("obliged to", "met", "how"), rows)


def approvals(story: Story, report: Report) -> Sequence[Content]:
    """Return who answered, and the very text that their signatures are over."""
    found, left = chosen(story.of(Approval), CARDS_MAX, lambda one: one[1].statement.refuses)
    answered = "signed" if all(one.signature for _, one in found) else "answered"
    text = story.shown_plan
    said = f"The text that was {answered}" if found else "The plan, as an approver sees it"
    digest = preview_digest(text or "")
    head = tag("summary", f"{said} (its digest: ", _code(digest), ")")
    shown = text and tag("details", head, verbatim(text, most=PREVIEW_LENGTH_MAX), open=bool(found))
    cards = [_approval(*one, digest, report) for one in found]
    return [cards or tag("p", "Nobody was asked, or nobody has answered."), left, shown]


def _approval(sealed: Sealed, record: Approval, preview: Digest, report: Report) -> Html:
    said, signed = record.statement, "signed" if record.signature else "by session, unsigned"
    wrong = [finding.code for finding in report.findings if finding.record == sealed.digest]
    return card(
        f"{said.said_by} {SAID[said.in_a_word]}",
        ("on", when(record.at)),
        ("because", said.reason),
        ("who it is", who(said.approver)),
        ("whose vote it is", said.on_behalf_of),
        ("for the groups", ", ".join(record.groups)),
        ("good until", when(said.expires)),
        (
            signed,
            "the text below" if said.preview == preview else strong("ANOTHER TEXT than the one below"),
        ),
        ("its digest", _code(said.preview)),
        ("checked", strong(f"WRONG: {', '.join(wrong)}") if wrong else "nothing wrong was found with it"),
        ("record", _code(sealed.digest)),
    )


def calls(story: Story, erased: Erasures) -> Sequence[Content]:
    """Return every call and computation: what was sent, what was seen, and what was measured meanwhile."""
    found, left = chosen(story.tries, CARDS_MAX, lambda one: one.odd)
    return [[_call(one, story, erased) for one in found] or tag("p", "No call was made."), left]


def _call(one: Try, story: Story, erased: Erasures) -> Html:
    made, seen, settled = one.made, one.seen, one.settlement
    on = f"{PHASES[made.phase]}{one.step} on {made.target}" if made else one.step
    return card(
        f"{on}: {ENDED[one.ended]}",
        ("began", when(one.sealed.record.at)),
        *(_sent(made, story) if made else [("the call", "none was made")]),
        *(_seen(seen) if seen else []),
        *(_settled(settled) if settled else []),
        ("record", _code(one.sealed.digest)),
        (
            "outputs",
            [_output(*item, story, erased, seen.at) for item in sorted((seen.blobs or {}).items())]
            if seen
            else "",
        ),
        class_="odd" if one.odd else None,
    )


def _sent(made: Attempt, story: Story) -> list[Pair]:
    text = story.call(made)
    return [
        ("the call", verbatim(text, most=PREVIEW_LENGTH_MAX) if text else strong("NOT in the plan")),
        ("try", made.permit.attempt),
        ("target known by", made.attestation or "nothing but its name"),
        ("isolation planned", made.isolation),
    ]


def _seen(seen: Outcome) -> list[Pair]:
    measured = seen.measured
    return [
        ("isolation measured", measured.isolation if measured else "nothing was measured"),
        ("network", measured.network if measured else None),
        ("bound on a late runner", measured.protection if measured else None),
        ("took", lasted(seen.duration_ms)),
        ("exit or status", seen.status),
        ("signal", seen.signal),
        ("class of failure", seen.error_class),
        ("said", seen.message),
        ("facts", [tag("p", _code(f"{name} = {_value(fact)}")) for name, fact in (seen.facts or {}).items()]),
    ]


def _settled(by: Reconciliation) -> list[Pair]:
    how = "by looking" if by.probe else f"on the word of {who(by.by)}"
    return [("settled", f"it {'happened' if by.happened else 'did not happen'}, {how}: {by.reason}")]


def _value(value: Json) -> str:
    return value if isinstance(value, str) else canonical_bytes(value).decode()


def _output(name: str, ref: BlobRef, story: Story, erased: Erasures, at: datetime) -> Html:
    """Return a kept output, or why it is not here."""
    data = story.outputs.get(ref.commitment)
    gone = erased.named.get(ref.commitment) if data is not None else erased.why_missing(ref.commitment, at)
    cut = f", cut from {ref.raw_bytes:,}" if ref.truncated else ""
    hidden = f", {counted(ref.redactions, 'secret')} removed" if ref.redactions else ""
    head = f"{name}: {ref.kept_bytes:,} bytes kept{cut}{hidden}"
    if gone is not None:
        why = f"erased on {when(gone.at)} by {who(gone.by)} under {gone.rule}: {gone.reason}"
        return tag("p", f"{head}; ", strong(why))
    if data is None:
        return tag("p", f"{head}; not in this export, which was made without outputs")
    text = verbatim(data.decode("utf-8", "replace"), most=OUTPUT_LENGTH_MAX)
    return tag("details", tag("summary", head), text)


def checks(story: Story) -> Html:
    """Return every rule the result was checked by."""
    rules = next((record.rules for _, record in reversed(story.of(Validation))), ())
    heads = ("rule", "verdict", "looked at", "expected", "found")
    rows = [
        (one.rule, plain(one.verdict), one.path, _value(one.expected), _value(one.found))
        for one in rules[:RECORDS_MAX]
    ]
    return table("Rules that the result was checked by", heads, rows)


def receipts(story: Story, report: Report) -> Sequence[Content]:
    """Return what the instance signed when the operation ended, each time it did."""
    told = [
        card(
            f"{plain(record.state)}, on {when(record.at)}",
            ("because", record.reason),
            ("attempts", record.attempts),
            ("outcomes", ", ".join(f"{count} {end}" for end, count in record.outcomes.items()) or "none"),
            ("closes", [_code(record.head), " (the record before it, which commits to all the others)"]),
            ("facts", record.facts and _code(record.facts)),
            ("signed by", _code(report.signer) if report.signer else "no key that was trusted here"),
            ("receipt", _code(sealed.digest)),
        )
        for sealed, record in story.of(Receipt)
    ]
    return told or [tag("p", "There is none: the operation has not ended.")]


def records(story: Story) -> Html:
    """Return every record, folded away: the evidence that all the rest is made from."""
    br, rows = tag("br"), list[Sequence[Content]]()
    for sealed in story.records[:RECORDS_MAX]:
        one = sealed.record
        written: Content = [one.kind, br, clock(one.at)]
        rows.append((str(one.n), written, [who(one.by), br, summary(one)], _code(sealed.digest)))
    heads = ("n", "record", "by, and what it says", "digest")
    left = len(story.records) - len(rows)
    shown = table("Records, each naming the digest of the one before", heads, rows, class_="records")
    more = f"{left:,} more are in the bundle." if left else None
    return tag("details", tag("summary", f"All {counted(len(story.records), 'record')}"), shown, more)
