"""Where nothing may be left out, a skipped test is a failure that says why."""

import pytest

from tests.house.source import ROOT
from tests.needs import NO_SKIP, PROBES, missing

pytest_plugins = ["pytester"]

LEFT_OUT = """
import pytest

@pytest.mark.skipif(True, reason="the tool is not installed")
def test_of_a_tool() -> None: ...
"""


@pytest.fixture
def inner(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text(encoding="utf-8"))
    pytester.makepyfile(LEFT_OUT)
    pytester.syspathinsert(ROOT)
    return pytester


def test_a_missing_tool_skips_a_test(inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NO_SKIP, raising=False)

    inner.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(skipped=1)


def test_a_missing_tool_breaks_the_test_where_nothing_may_be_skipped(
    inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(NO_SKIP, "1")

    ran = inner.runpytest_inprocess("-p", "no:cacheprovider")

    ran.assert_outcomes(errors=1)
    ran.stdout.fnmatch_lines(["*may not be skipped here*the tool is not installed*"])


@pytest.mark.parametrize("tool", sorted(PROBES))
def test_every_probe_answers_on_any_machine(tool: str) -> None:
    reason = missing(tool)

    assert reason is None or reason != ""


def test_what_ci_runs_can_be_run() -> None:
    script = ROOT / ".ci" / "run"

    assert script.stat().st_mode & 0o100
    assert script.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")
