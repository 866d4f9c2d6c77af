"""What a check found as a page for people: what wants a look, every target, how figures move."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from rexecop.app.checks import FINE, CheckReport, Finding, SignedOff, TargetView, Trend
from rexecop.app.describe import counted
from rexecop.app.report.markup import Content, Html, document, style_allowed, table, tag
from rexecop.app.report.story import chosen
from rexecop.app.report.words import clock, plain, strong, when
from rexecop.operations.normalizer_spec import STATUSES

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
    main = tag(
        "main",
        tag("h1", title),
        tag("p", f"Profile {found.profile}, instance {found.instance}. All times are UTC.", class_="of"),
        tag("p", f"{when(found.began)}: ", strong(said), class_="sentence"),
        tag("p", strong(f"The evidence by the instance's own keys: {found.answer}."),
            f"It is in {bundle_name}, {found.bundle}.", class_="verdict" if found.holds else "verdict odd"),
        *_section("What wants a look", _attention(found)),
        *_section("Components", component_table(of_components(found))),
        *_section("Every target", _matrix(found)),
        *_section("How figures move", _trends(found)),
        *_section("Signed off", signed_table(found.signed_off)),
    )  # fmt: skip
    return document(title, style, f"default-src 'none'; {style_allowed(style)}; base-uri 'none'", main)


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
    """Return each component with how its targets are, in a bar and in words."""
    rows = [(name, _bar(states), in_words(states)) for name, states in counts.items()]
    return table(
        "Targets by the state of a component", ("component", "picture", "targets"), rows, class_="checks"
    )


def signed_table(signed: Sequence[SignedOff]) -> Html:
    """Return who signed off when, by their keys."""
    rows = [(when(one.at), one.key or "without a key", tag("code", one.record)) for one in signed]
    return table("Looked at and signed off", ("when", "by the key", "record"), rows)


def _section(title: str, *content: Content) -> Iterator[Html]:
    yield tag("section", tag("h2", title), *content)


def _state(state: str) -> Html:
    return tag("span", plain(state), class_=_CLASSES.get(state, "of"))


def _bar(states: Mapping[str, int]) -> Html:
    total, x, drawn = sum(states.values()), 0.0, []
    for state in STATUSES:
        width = 100 * states.get(state, 0) / total
        if width:
            drawn.append(
                tag("rect", x=f"{x:.2f}%", y=3, width=f"{width:.2f}%", height=12, class_=f"state {state}")
            )
        x += width
    return tag("svg", *drawn, width="100%", height=18, aria_hidden="true")


def _attention(found: CheckReport) -> Iterator[Content]:
    soon = [one for one in found.trends if one.days_to_full is not None and one.days_to_full <= SOON_DAYS]
    yield tag("ul", *(
        tag("li", strong(f"{one.target}: {plain(one.fact)}"), f" {_full(one)}")
        for one in sorted(soon, key=lambda one: one.days_to_full or 0)[:ROWS_MAX]
    )) if soon else None  # fmt: skip
    told = [
        (target.target, one) for target in found.targets for one in target.findings if one.state not in FINE
    ]
    told.sort(key=lambda pair: _WORST_FIRST.index(pair[1].state) if pair[1].state in _WORST_FIRST else 0)
    heads = ("target", "component", "state", "why", "found")
    yield table("Findings", heads, (_finding(*one) for one in told[:ROWS_MAX]))
    yield _more(len(told))


def _finding(target: str, one: Finding) -> Sequence[Content]:
    value = one.value if isinstance(one.value, list) else ["nothing" if one.value is None else one.value]
    said = ", ".join(map(str, value))
    limit = f" (limit {one.limit})" if one.limit is not None else ""
    return target, one.component, _state(one.state), plain(one.reason), f"{one.fact}: {said}{limit}"


def _matrix(found: CheckReport) -> Iterator[Content]:
    names = list(of_components(found))
    rows, left = chosen(found.targets, ROWS_MAX, lambda one: one.state not in FINE)
    heads = ("target", "state", *map(plain, names))
    yield table("Every target and its components", heads, map(partial(_row, names), rows), class_="checks")
    yield tag("p", left) if left else None


def _row(names: Sequence[str], one: TargetView) -> Sequence[Content]:
    states = [_state(one.components[name]) if name in one.components else "" for name in names]
    return one.target, _state(one.state), *states


def _trends(found: CheckReport) -> Iterator[Content]:
    yield tag(
        "p", f"Beside {counted(found.earlier, 'earlier check')} of the same intent in this environment."
    )
    rows = sorted(found.trends, key=lambda one: (one.days_to_full is None, one.days_to_full or 0))
    heads = ("target", "figure", "picture", "now", "change", "full")
    yield table("Figures", heads, map(_trend, rows[:ROWS_MAX]), class_="checks")
    yield _more(len(rows))


def _trend(one: Trend) -> Sequence[Content]:
    change = "no earlier check"
    if one.change is not None and one.since is not None:
        change = f"{one.change:+d} since {clock(one.since)[:16]}"
    full = "" if one.full is None else _full(one)
    return one.target, plain(one.fact), _line(one), one.points[-1].value, change, full


def _full(one: Trend) -> str:
    if one.days_to_full is None:
        return "no rise to be seen"
    if one.days_to_full == 0:
        return f"is at {one.full}, or will be within a day"
    return f"is {one.full} in {counted(one.days_to_full, 'day')} if it goes on like that"


def _line(one: Trend) -> Html | str:
    """Return the points as a line, time to the right, the least at the bottom and what is full at the top."""
    if len(one.points) < 2:
        return ""
    begins, values = one.points[0].at, [point.value for point in one.points]
    span = (one.points[-1].at - begins).total_seconds() or 1
    low, high = min(values), one.full if one.full is not None else max(values)
    room, scale = WIDTH - 2 * EDGE, (HEIGHT - 2 * EDGE) / ((max(high, *values) - low) or 1)
    places = [
        (
            EDGE + room * (point.at - begins).total_seconds() / span,
            HEIGHT - EDGE - (point.value - low) * scale,
        )
        for point in one.points
    ]
    drawn = tag("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places), class_="figure")
    end = tag("circle", cx=f"{places[-1][0]:.1f}", cy=f"{places[-1][1]:.1f}", r=2, class_="moment")
    said = f"from {values[0]} to {values[-1]} in {counted(len(values), 'check')}"
    return tag("svg", drawn, end, width=WIDTH, height=HEIGHT, role="img", aria_label=said)


def _more(count: int) -> Html | None:
    left = count - ROWS_MAX
    return tag("p", f"{left:,} more are in the JSON beside this page.") if left > 0 else None
