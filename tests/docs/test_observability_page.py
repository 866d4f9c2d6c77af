"""The names of figures: on the page, in the dashboard and in the alerts they are those of the code."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from typing import Final

import yaml

from rexecop.app.metrics import METRICS
from tests.house.source import ROOT

PAGE: Final = (ROOT / "docs" / "observability.md").read_text()
SAMPLES: Final = ROOT / "examples" / "observability"
NAME: Final = re.compile(r"rexecop_([a-z0-9_]+)(?:\{([^}]*)\})?")
PARTS: Final = ("_bucket", "_sum", "_count")


def test_the_table_on_the_page_is_the_one_in_the_code() -> None:
    rows = re.findall(r"^\| `rexecop_(\w+)` \| (\w+) \| (.+?) \| (.+) \|$", PAGE, re.MULTILINE)
    table = {
        name: (
            "histogram" if metric.bounds else "counter" if name.endswith("_total") else "gauge",
            ", ".join(f"`{label}`" for label in metric.labels) or "–",
            metric.help,
        )
        for name, metric in METRICS.items()
    }

    assert {name: tuple(rest) for name, *rest in rows} == table and len(rows) == len(table)


def rules() -> list[dict[str, object]]:
    found = yaml.safe_load((SAMPLES / "alerts.yaml").read_text())
    return [rule for group in found["groups"] for rule in group["rules"]]


def expressions() -> Iterator[str]:
    """Everything that is asked of Prometheus."""
    yield from (str(rule["expr"]) for rule in rules())
    for panel in json.loads((SAMPLES / "dashboard.json").read_text())["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def labels_of(name: str) -> set[str] | None:
    """The labels that the series `name` has; None for one that nobody makes."""
    if name in METRICS:
        return None if METRICS[name].bounds else set(METRICS[name].labels)
    for part in PARTS:
        metric = METRICS.get(name.removesuffix(part))
        if name.endswith(part) and metric is not None and metric.bounds:
            return {*metric.labels, *(("le",) if part == "_bucket" else ())}
    return None


def wrong(expression: str) -> list[str]:
    """What `expression` names that nobody gives."""
    found, known = [], set[str]()
    for name, matchers in NAME.findall(expression):
        labels = labels_of(name)
        found += [name] if labels is None else []
        known |= labels or set()
        found += [one for one in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers) if one not in (labels or ())]
    for grouped in re.findall(r"\bby \(([^)]*)\)", expression):
        found += [one for one in re.split(r",\s*", grouped) if one not in known]
    return found + ["brackets"] * (expression.count("(") != expression.count(")"))


def test_the_dashboard_and_the_alerts_ask_for_what_there_is() -> None:
    asked = [*expressions()]

    assert {one: wrong(one) for one in asked if wrong(one)} == {}
    named = {name for one in asked for name, _ in NAME.findall(one)}
    shown = {name for name in METRICS if {name, *(name + part for part in PARTS)} & named}
    assert set(METRICS) == shown
    assert wrong('sum by (x) (rexecop_operations{y="z"}') == ["y", "x", "brackets"]
    assert wrong("rexecop_approval_seconds + rexecop_nothing") == ["approval_seconds", "nothing"]


def test_every_alert_says_what_to_do_here_and_on_the_page() -> None:
    names = [str(rule["alert"]) for rule in rules()]
    assert re.findall(r"^\| `(Rexecop\w+)` \|", PAGE, re.MULTILINE) == names and len({*names}) == len(names)
    for rule in rules():
        about, labels = rule["annotations"], rule["labels"]
        assert isinstance(about, Mapping) and isinstance(labels, Mapping)
        assert about["summary"] and about["action"] and labels["severity"] in ("page", "ticket")
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+[mhd]", str(rule.get("for", "1m")))
    if shutil.which("promtool") is not None:
        subprocess.run(["promtool", "check", "rules", str(SAMPLES / "alerts.yaml")], check=True)


def test_the_dashboard_lies_on_a_grid_without_one_panel_on_another() -> None:
    panels = json.loads((SAMPLES / "dashboard.json").read_text())["panels"]
    taken = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len({*taken}) == len(taken) and max(x for x, _ in taken) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)
