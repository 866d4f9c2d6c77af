"""What holds for every test: hypothesis never times, and where nothing may be skipped a skip is a failure.

A control group is the one thing that no installation gives, so tests of it may be skipped everywhere.
"""

import os
import sys
from collections.abc import Generator, Iterator
from functools import cache

import pytest
from hypothesis import HealthCheck, settings

from rexecop.lanes.probe import measure_isolation
from tests.needs import NO_GROUP, NO_GVISOR, NO_SKIP

# No deadline: a shared machine is slow at times, and a slow machine is not a defect.
settings.register_profile(
    "house", deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.register_profile(
    "soak", deadline=None, max_examples=5_000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("REXECOP_HYPOTHESIS", "house"))


@pytest.fixture(scope="session", autouse=True)
def measured_once() -> Iterator[None]:
    """What isolation reaches on this machine is measured for the first root, and holds for all others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rexecop.app.isolation.measure_isolation", cache(measure_isolation))
        yield


def pytest_sessionfinish() -> None:
    """Stop the database server of the session, if a test started one."""
    servers = sys.modules.get("tests.store.servers")
    if servers is not None:
        servers.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skip is a failure that names its reason where `REXECOP_CI_NO_SKIP=1` says that everything runs."""
    report = yield
    if report.skipped and os.environ.get(NO_SKIP) == "1" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else "skipped"
        if NO_GROUP in reason or NO_GVISOR in reason:
            return report
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} may not be skipped here: {reason}"
    return report
