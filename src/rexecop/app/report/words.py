"""What records say, in words that need no training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from rexecop.app.describe import counted
from rexecop.app.report.markup import Content, Html, tag
from rexecop.app.report.story import Story
from rexecop.proof.principal import ENGINE, Principal
from rexecop.proof.records import Approval, Decision, Receipt, Validation
from rexecop.proof.records.decision import Terms
from rexecop.proof.vocabulary import Ended, Mode, Verdict

SAID: Final = {"yes": "approved", "no": "said no", "withdrawal": "took their word back"}
LOOKING: Final = "to look, and change nothing"
_MODES: Final[Mapping[str, str]] = {
    Mode.DRY_RUN: "as a rehearsal in which nothing is sent",
    Mode.APPLY: "to change it",
    Mode.RECOVERY: "to restore it",
}
ENDED: Final[Mapping[str, str]] = {
    Ended.OK: "ok",
    Ended.FAILED: "failed",
    Ended.REFUSED: "refused: nothing was sent",
    Ended.UNKNOWN: "unknown: it may have happened",
    Ended.PREVIEWED: "previewed: nothing was sent",
    Ended.SIMULATED: "simulated: answered from a script",
    Ended.SKIPPED: "skipped: not to be done, as planned",
}
VERDICTS: Final[Mapping[str, str]] = {
    Verdict.ALLOWED: "allowed",
    Verdict.APPROVAL_REQUIRED: "allowed once approved",
    Verdict.BLOCKED: "refused",
}


def when(moment: datetime) -> str:
    """Return a moment to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def clock(moment: datetime) -> str:
    """Return a moment to the millisecond, as tables that say UTC have it."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]


def lasted(milliseconds: int) -> str:
    """Return how long something took."""
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:,.1f} s"


def plain(word: str) -> str:
    """Return a word of the records as one writes it."""
    return word.replace("_", " ")


def who(principal: Principal) -> str:
    """Return a person, and how we know."""
    known = f" (known by {principal.established} {principal.credential})"
    return "the engine" if principal == ENGINE else principal.person + known


def strong(text: str) -> Html:
    """Return what a hurried reader must see."""
    return tag("strong", text)


def needed(kept: Terms) -> str:
    """Return whose approval is asked for."""
    return " and ".join(f"{rule.count} of the group {rule.group}" for rule in kept.approvals) or "nobody"


def sentence(story: Story) -> list[Content]:
    """Return who asked for what, on what, why, who approved, what happened, and when."""
    intent, last = story.intent, story.records[-1].record
    if intent is None:
        return ["It has no readable request."]
    return [
        f"On {when(intent.at)} ",
        strong(intent.by.person),
        f" on behalf of {intent.sponsor}" if intent.sponsor else None,
        " asked for ",
        strong(intent.intent),
        " on ",
        strong(intent.target),
        f", {_MODES.get(intent.mode, LOOKING)}, ",
        ["because “", intent.reason, "”. "] if intent.reason else "and gave no reason. ",
        _approved(story),
        _done(story),
        " It ended " if isinstance(last, Receipt) else " It has not ended; it stands at ",
        strong(plain(story.state)),
        f" on {when(last.at)}",
        f": {last.reason}." if isinstance(last, Receipt) and last.reason != last.state else ".",
    ]


def _approved(story: Story) -> list[Content]:
    decision = next((record for _, record in story.of(Decision)), None)
    if decision is None:
        return ["Policy was not asked. "]
    if decision.terms.verdict is Verdict.BLOCKED:
        return ["Policy ", strong("refused"), f" it: {decision.reason}. "]
    with_ = f"with the approval of {needed(decision.terms)}" if decision.terms.approvals else "as it is"
    said: list[Content] = [f"Policy allowed it {with_}. "]
    for _, approval in story.of(Approval):
        word = SAID[approval.statement.in_a_word]
        how = "" if approval.signature else " by session, unsigned,"
        said += [strong(approval.statement.said_by), f"{how} {word} on {when(approval.at)}. "]
    return said


def _done(story: Story) -> str:
    """Return how many calls were made and how they ended, and what checking the result came to."""
    made, checked = [one for one in story.tries if one.made], story.last(Validation)
    ends = Counter(f"{one.ended} and settled later" if one.settlement else str(one.ended) for one in made)
    results = ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
    calls = f"{counted(len(made), 'call')} made: {results}." if made else "No call was made."
    return f"{calls} The result was checked: {plain(checked.verdict)}." if checked else calls
