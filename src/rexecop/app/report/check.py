"""What a check found as a page for people: what wants a look, every target, how figures move."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from rexecop.app.checks import FINE, CheckReport, Finding, SignedOff, TargetView, Trend
from rexecop.app.describe import counted
from rexecop.app.report.markup import Content, Html, document, style_allowed, table, tag
from rexecop.app.report.words import clock, plain, strong, when

ROWS_MAX: Final = 1000  # Of one table; the JSON beside the page has all.
SOON_DAYS: Final = 30  # What is full within them is told first.
WIDTH, HEIGHT, EDGE = 120, 24, 3  # Of the picture of one figure.

_WORST_FIRST: Final = ("unhealthy", "degraded", "unknown", "healthy", "not_applicable")
_CLASSES: Final = {"unhealthy": "odd", "degraded": "open", "unknown": "open", "healthy": "reached"}


def page(found: CheckReport, style: str, bundle_name: str) -> bytes:
    """Return the page of `found`, dressed in `style`; `bundle_name` is the file it was read from."""
    title = f"Check: {found.intent} on {found.target}"
    states = Counter(one.state for one in found.targets)
    said = f"{counted(len(found.targets), 'target')}: {in_words(states)}."
    parts: Mapping[str, Content] = {
        "What wants a look": _attention(found),
        "Components": component_table(of_components(found)),
        "Every target": _matrix(found),
        "How figures move": _trends(found),
        "Signed off": signed_table(found.signed_off),
    }
    main = tag(
        "main",
        tag("h1", title),
        tag("p", f"Instance {found.instance}. All times are UTC.", class_="of"),
        tag("p", f"{when(found.began)}: ", strong(said), class_="sentence"),
        verdict(found.holds, f"By the instance's own keys: {found.answer}.", bundle_name, found.bundle),
        *(tag("section", tag("h2", name), part) for name, part in parts.items()),
    )
    return whole(title, style, main)


def whole(title: str, style: str, main: Html) -> bytes:
    """Return `main` as a page that runs and fetches nothing."""
    return document(title, style, f"default-src 'none'; {style_allowed(style)}; base-uri 'none'", main)


def verdict(holds: bool, said: str, *more: str) -> Html:
    """Return whether the evidence `holds`, in words."""
    return tag("p", strong(said), " ".join(more), class_="verdict" if holds else "verdict odd")


def in_words(states: Mapping[str, int]) -> str:
    """Return how many are how, the worst first."""
    return ", ".join(f"{states[state]} {plain(state)}" for state in _WORST_FIRST if states.get(state))


def of_components(found: CheckReport) -> Mapping[str, Counter[str]]:
    """Return for each component on how many targets it is how."""
    counts: dict[str, Counter[str]] = {}
    for target in found.targets:
        for name, state in target.components.items():
            counts.setdefault(name, Counter())[state] += 1
    return counts


def component_table(counts: Mapping[str, Mapping[str, int]]) -> Html:
    """Return each component with how its targets are."""
    rows = [(name, in_words(states)) for name, states in counts.items()]
    return table("Targets by the state of a component", ("component", "targets"), rows)


def signed_table(signed: Sequence[SignedOff]) -> Html:
    """Return who signed off when, by their keys."""
    rows = [(when(one.at), one.key or "without a key", tag("code", one.record)) for one in signed]
    return table("Looked at and signed off", ("when", "by the key", "record"), rows)


def _state(state: str) -> Html:
    return tag("span", plain(state), class_=_CLASSES.get(state, "of"))


def is_soon_full(one: Trend) -> bool:
    """Return whether it is full within a month."""
    return one.days_to_full is not None and one.days_to_full <= SOON_DAYS


def _attention(found: CheckReport) -> Html:
    soon = [one for one in found.trends if is_soon_full(one)]
    told = [(target.target, one) for target in found.targets for one in target.findings]
    told = [one for state in _WORST_FIRST[:3] for one in told if one[1].state == state]
    rows = [*map(_filling, soon), *(_finding(*one) for one in told[:ROWS_MAX])]
    heads = ("target", "component", "state", "why", "found")
    return table(_of("Findings", told), heads, rows, class_="findings")


def _of(what: str, rows: Sequence[object]) -> str:
    left = f": the first {ROWS_MAX:,} of {len(rows):,}, all of which are in the JSON"
    return what + (left if len(rows) > ROWS_MAX else "")


def _filling(one: Trend) -> Sequence[Content]:
    return one.target, plain(one.fact), "", "fills up", _full(one)


def _finding(target: str, one: Finding) -> Sequence[Content]:
    value = one.value if isinstance(one.value, list) else ["nothing" if one.value is None else one.value]
    said = ", ".join(map(str, value))
    limit = f" (limit {one.limit})" if one.limit is not None else ""
    return target, one.component, _state(one.state), plain(one.reason), f"{one.fact}: {said}{limit}"


def _matrix(found: CheckReport) -> Html:
    names, targets = list(of_components(found)), found.targets
    rows = [_row(names, one) for one in sorted(targets, key=lambda one: one.state in FINE)[:ROWS_MAX]]
    heads = ("target", "state", *map(plain, names))
    return table(_of("Every target and its components", targets), heads, rows, class_="checks")


def _row(names: Sequence[str], one: TargetView) -> Sequence[Content]:
    return one.target, *map(_state, [one.state, *(one.components.get(name, "") for name in names)])


def _trends(found: CheckReport) -> Html:
    rows = sorted(found.trends, key=_pressing)
    caption = _of(f"Figures, beside {counted(found.earlier, 'earlier check')}", rows)
    heads = ("target", "figure", "picture", "now", "change", "full")
    return table(caption, heads, map(_trend, rows[:ROWS_MAX]), class_="checks")


def _pressing(one: Trend) -> tuple[bool, int, int]:
    """Return what comes first: what is full soonest, and then what changed most."""
    return one.days_to_full is None, one.days_to_full or 0, -abs(one.change)


def _trend(one: Trend) -> Sequence[Content]:
    since = "no earlier check" if one.since is None else f"{one.change:+d} since {clock(one.since)[:16]}"
    full = "" if one.full is None else _full(one)
    return one.target, plain(one.fact), _line(one), one.points[-1].value, since, full


def _full(one: Trend) -> str:
    if one.days_to_full is None:
        return "no rise seen"
    days = counted(one.days_to_full, "day") if one.days_to_full else "less than a day"
    return f"is {one.full} in {days} if it goes on like that"


def _line(one: Trend) -> Html:
    """Return the points as a line, time to the right, the least at the bottom and what is full at the top."""
    values, times = [point.value for point in one.points], [point.at.timestamp() for point in one.points]
    low, span = min(values), times[-1] - times[0] or 1
    scale = (HEIGHT - 2 * EDGE) / ((max(one.full or low, *values, low) - low) or 1)
    wide, bottom = (WIDTH - 2 * EDGE) / span, HEIGHT - EDGE
    moments = zip(times, values, strict=True)
    places = [f"{EDGE + wide * (x - times[0]):.1f},{bottom - (y - low) * scale:.1f}" for x, y in moments]
    drawn = tag("polyline", points=" ".join(places), class_="figure")
    return tag("svg", drawn, width=WIDTH, height=HEIGHT, role="img", aria_label=", ".join(map(str, values)))
