"""Every example on the page about normalizers comes to the facts that stand below it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import pytest

from rexecop.operations.environment import load_environment
from rexecop.operations.extract import WAYS
from rexecop.operations.gathering import ANYWHERE, TAKES, Site
from rexecop.operations.normalize import run_normalizer
from rexecop.operations.normalizer_spec import TESTS, read_normalizer
from rexecop.operations.reading import Problems
from rexecop.operations.step_output import StepOutput
from rexecop.proof.vocabulary import Ended
from tests.house.source import ROOT

PAGE: Final = (ROOT / "docs" / "normalizers.md").read_text(encoding="utf-8")
BLOCK: Final = re.compile(r"^```(text|yaml|json)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TRIED: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)


def examples() -> Iterator[tuple[str, str, Site, str]]:
    """Yield output, normalizer, site and facts of every example."""
    output, normalizer, site = "", "", ANYWHERE
    for language, text in BLOCK.findall(PAGE):
        if language == "text":
            output, normalizer, site = text, "", ANYWHERE
        elif text.startswith("environment:"):
            site = load_environment({"site.yaml": text.encode()}).site("web-1")
        elif language == "yaml":
            normalizer = text
        else:
            yield output, normalizer, site, text


EXAMPLES: Final = list(examples())


@pytest.mark.parametrize(("output", "normalizer", "site", "facts"), EXAMPLES)
def test_an_example_comes_to_what_the_page_says(output: str, normalizer: str, site: Site, facts: str) -> None:
    problems = Problems("profile-refused")
    root = problems.parse(normalizer, "page.yaml")
    assert root is not None
    read = read_normalizer(root, "page")
    assert problems.findings == []
    said = StepOutput(ended=Ended.OK, status=0, stdout=output, at=TRIED)

    assert run_normalizer(read, {"step": said}, site) == json.loads(facts)


def test_every_way_to_get_a_fact_is_on_the_page() -> None:
    words = set(re.findall(r"[a-z_]+", PAGE))

    assert {*WAYS, *TAKES, *TESTS, "age", "left", "given", "having", "lacking", "but"} <= words
    assert len(EXAMPLES) >= 7
