"""How far the evidence can be believed, as a picture of a ladder with words on every rung."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rexecop.app.report.markup import Html, tag
from rexecop.app.report.words import strong
from rexecop.proof.verify import Report, Rung

_MEANS: Final[Mapping[Rung, str]] = {
    Rung.CONSISTENT: "The records are whole, fit one another, and show who had to approve and who did.",
    Rung.SIGNED: "A trusted key of the instance signed every receipt and the checkpoint.",
    Rung.LOGGED: "Every record is in the log that the checkpoint commits to: none was changed later.",
    Rung.WITNESSED: "Somebody else confirmed the checkpoint: not even the instance can rewrite its log.",
}
_NEEDS: Final[Mapping[Rung, str]] = {
    Rung.CONSISTENT: "what is named as wrong below has to be explained",
    Rung.SIGNED: "a key of the instance that the checker trusts, and a signature by it that holds",
    Rung.LOGGED: "a proof for every record that leads to the checkpoint",
    Rung.WITNESSED: "a second party that co-signs the checkpoint, and whose key the checker trusts",
}


def ladder(report: Report) -> Html:
    """Return the rungs from the ground up: which are reached, and what the next one needs."""
    steps = [_rung(rung, reached=rung in report.rungs) for rung in Rung]
    return tag("ol", *steps, class_="ladder", aria_label="The ladder of trust, lowest rung first")


def _rung(rung: Rung, *, reached: bool) -> Html:
    stands = tag("span", "reached" if reached else "not reached", class_="reached" if reached else "open")
    needs = None if reached else tag("p", "To reach it: ", _NEEDS[rung], ".")
    words = tag("div", tag("p", strong(rung), " – ", stands), tag("p", _MEANS[rung]), needs)
    return tag("li", _picture(reached=reached), words)


def _picture(*, reached: bool) -> Html:
    """Return two rails and the rung between them; a rung not reached is a broken line."""
    rails = [tag("line", x1=x, x2=x, y1="0", y2="100%", class_="rail") for x in (8, 56)]
    rung = tag("line", x1=8, x2=56, y1="50%", y2="50%", class_="rung" if reached else "rung missing")
    return tag("svg", *rails, rung, width=64, height="100%", aria_hidden="true")
