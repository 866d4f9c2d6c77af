"""The whole page: the answer first, then how far to believe it, then everything it rests on.

A pure function of the evidence: no clock, no script, nothing fetched. It proves
nothing by itself, and says so; the bundle in it does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final

from rexecop.app.describe import counted
from rexecop.app.report import parts
from rexecop.app.report.ladder import ladder
from rexecop.app.report.markup import Content, Html, document, style_allowed, table, tag, terms
from rexecop.app.report.story import Dossier, Story
from rexecop.app.report.timeline import timeline
from rexecop.app.report.words import clock, plain, sentence, strong
from rexecop.proof.base64text import encode_base64
from rexecop.proof.canonical import digest_of
from rexecop.proof.erasures import Erasures
from rexecop.proof.quorum import ProvedBy
from rexecop.proof.records import Approval, Outcome
from rexecop.proof.verify import Report, Rung

EMBEDDED_BYTES_MAX: Final = 4 << 20  # A page much larger opens slowly, and mail refuses it.
FOLDED_FROM: Final = 51  # From so many operations on their accounts are folded.
TOLD_MAX: Final = 200  # Operations told at length, some 10 MB; the table names all.

_DUTIES: Final = {
    ProvedBy.KEYS: "proved by keys: both signed with a key that the checker knows",
    ProvedBy.SESSIONS: "proved in part: who did not sign is known by a session, the instance's word",
    ProvedBy.ASSERTED: "not proved: it is the instance's word",
    None: "does not apply: no approval counted towards anything that ran",
}


def is_embedded(bundle: bytes) -> bool:
    """Return whether a page holds a bundle of this size itself."""
    return len(bundle) <= EMBEDDED_BYTES_MAX


def page(dossier: Dossier, style: str) -> bytes:
    """Return the page of `dossier`, dressed in `style`; the same evidence is the same bytes."""
    stories = [Story(told) for told in dossier.operations]
    title = stories[0].title if len(stories) == 1 else counted(len(stories), "operation")
    log = f"as of a log of {dossier.report.log_size or 0:,} records"
    main = tag(
        "main",
        tag("h1", f"Evidence: {title}"),
        tag("p", f"Instance {dossier.instance}, {log}. All times are UTC.", class_="of"),
        *_answer(stories, dossier.report),
        *_belief(dossier, stories),
        _check(dossier),
        *([_overview(stories)] if len(stories) > 1 else []),
        *_accounts(dossier, stories),
    )
    policy = f"default-src 'none'; {style_allowed(style)}; base-uri 'none'; form-action 'none'"
    return document(f"Evidence: {title}", style, policy, main)


def _answer(stories: Sequence[Story], report: Report) -> Iterator[Html]:
    if len(stories) == 1:
        said: Sequence[Content] = sentence(stories[0])
    else:
        states = Counter(plain(story.state) for story in stories)
        said = [", ".join(f"{count} {state}" for state, count in sorted(states.items())), "."]
    holds = report.holds(Rung.LOGGED)
    verdict = "The evidence does NOT hold: " if report.findings else "The evidence is "
    verdict = f"The evidence holds: {', '.join(report.rungs)}" if holds else verdict + report.answer()
    keys = f", {report.signer}" if report.signer else ""
    own = f"It was checked with this instance's own keys{keys}. Check it with keys you have from elsewhere."
    yield tag("p", said, class_="sentence")
    yield tag("p", strong(f"{verdict}."), own, class_="verdict" if holds else "verdict odd")
    if report.findings:
        rows = [(found.code, found.message, found.meaning, found.record) for found in report.findings]
        yield table("What is wrong", ("code", "found", "means", "record"), rows)


def _overview(stories: Sequence[Story]) -> Html:
    heads = ("operation", "state", "asked by", "approved by", "calls", "began", "last record")
    lines = table("All operations", heads, map(_line, range(len(stories)), stories), class_="all")
    return _section("All operations", lines)


def _line(place: int, story: Story) -> Sequence[Content]:
    given = story.of(Approval)
    taken_back = {one.statement.withdraws for _, one in given}
    said_yes = [
        one.statement.said_by
        for sealed, one in given
        if one.statement.approves and sealed.digest not in taken_back
    ]
    title = tag("a", story.title, href=f"#op-{place}") if place < TOLD_MAX else story.title
    return (
        [title, tag("br"), tag("code", story.operation)],
        plain(story.state),
        story.intent.by.person if story.intent else "",
        ", ".join(said_yes),
        sum(1 for one in story.tries if one.made),
        clock(story.records[0].record.at)[:19],
        clock(story.records[-1].record.at)[:19],
    )


def _belief(dossier: Dossier, stories: Sequence[Story]) -> Iterator[Html]:
    report = dossier.report
    yield _section("How far it can be believed", ladder(report), _claims(report, stories))
    reasons: dict[str, list[str]] = {}
    for item in report.not_checked:
        reasons.setdefault(item.why, []).append(item.what)
    told = [tag("li", strong("; ".join(what)), f": {why}") for why, what in reasons.items()]
    intro = "A reader might take these for checked. They were not:"
    yield _section("What was not checked", tag("p", intro), tag("ul", *told), class_="unchecked")


def _claims(report: Report, stories: Sequence[Story]) -> Html:
    claims = report.claims
    measured = Counter(
        f"{outcome.measured.isolation}, network {outcome.measured.network}"
        for story in stories
        for _, outcome in story.of(Outcome)
        if outcome.measured is not None
    )
    attested = ", ".join(one for one in claims.attestations if one != "none")
    return terms(
        (
            "Approvals",
            f"{claims.approvals} counted, {claims.approvals_own} of them by keys the checker knows, "
            f"{claims.approvals_unsigned} unsigned, said by session",
        ),
        ("Who asked did not approve", _DUTIES[claims.duties]),
        ("Targets attested", attested or "no: which machine it was is the instance's word"),
        ("Isolation measured", [tag("p", f"{how}: {count}") for how, count in sorted(measured.items())]),
        ("Witnesses", ", ".join(claims.witnesses) or "none that the checker trusts"),
        ("Keys of the instance", [tag("p", tag("code", key)) for key in claims.instance_keys]),
    )


def _check(dossier: Dossier) -> Html:
    """Return how a reader repeats the check without trusting this page, and the bundle to do it with."""
    name, data = dossier.bundle_name, dossier.bundle
    saved: Content = f"Take the bundle {name} ({len(data):,} bytes), which was written beside this page."
    if is_embedded(data):
        link = f"data:application/zip;base64,{encode_base64(data)}"
        saved = tag("a", f"Save the bundle {name} ({len(data):,} bytes)", href=link, download=name)
    code = partial(tag, "code")
    keys = (code("instance.pub"), ", ", code("approver-NAME.pub"), " and ", code("requester-NAME.pub"))
    warning = "This page only tells, and whoever made it could have written anything. The bundle proves."
    steps: tuple[list[Content], ...] = (
        [saved, ". Its digest is ", code(digest_of(data)), "; ", code(f"sha256sum {name}"), " prints it."],
        ["Get the public keys from the people they belong to, not from here, and put them into a folder ",
         code("trust"), " as ", keys, ". The fingerprints on this page say which to ask for."],
        ["Run one of these; neither needs a network.", *(
            tag("pre", code(f"{checker} {name} --trust trust"))
            for checker in ("rexecop verify", "python3 -I rexecop-verify.pyz")
        )],
    )  # fmt: skip
    listed = tag("ol", *(tag("li", step) for step in steps))
    return _section("How to check it yourself", tag("p", warning), listed, class_="check")


def _accounts(dossier: Dossier, stories: Sequence[Story]) -> Iterator[Html]:
    erased = Erasures(sealed.record for sealed in dossier.instance_records)
    for place, story in enumerate(stories[:TOLD_MAX]):
        heading = tag("h2", f"{story.title}: {plain(story.state)}")
        whole = _account(story, dossier.report, erased, alone=len(stories) == 1)
        if len(stories) >= FOLDED_FROM:
            heading, whole = tag("details", tag("summary", heading), *whole), []
        yield tag("section", heading, *whole, id=f"op-{place}", class_="account")
    if (left := len(stories) - TOLD_MAX) > 0:
        yield tag("p", f"{left:,} more operations are in the table above and in the bundle.")


def _account(story: Story, report: Report, erased: Erasures, *, alone: bool) -> list[Html]:
    """Return everything about one operation, under headings."""
    told: dict[str, Content] = {
        "What happened when": timeline(story),
        "What policy answered": parts.decisions(story),
        "Who approved": parts.approvals(story, report),
        "What was done": parts.calls(story, erased),
        "How the result was checked": parts.checks(story),
        "The receipt": parts.receipts(story, report),
        "The records": parts.records(story),
    }
    said = tag("p", "Operation ", tag("code", story.operation), ". ", None if alone else sentence(story))
    return [said, *(tag("section", tag("h3", name), part) for name, part in told.items())]


def _section(title: str, *content: Content, class_: str | None = None) -> Html:
    return tag("section", tag("h2", title), *content, class_=class_)
