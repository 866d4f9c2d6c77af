"""A nonce is claimed before the effect: one effect under any concurrency, crash or lost answer."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from rexecop.app.build import open_instance
from rexecop.app.settings import load_settings
from tests.service import counting
from tests.service.counting import HELD, RAN
from tests.service.running import Running, at_once, running

WAIT_SECONDS: Final = 60.0


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    found = tmp_path / "trace"
    found.touch()
    return found


@pytest.fixture
def counted(root: Path, trace: Path) -> Iterator[Running]:
    with running(root, counting.main, str(trace)) as found:
        yield found


def until(trace: Path, text: str) -> None:
    """Return once `trace` holds `text`."""
    deadline = time.monotonic() + WAIT_SECONDS
    while text not in trace.read_text(encoding="ascii"):
        assert time.monotonic() < deadline, f"no {text!r} in the trace"
        time.sleep(0.01)


def asking(service: Running, nonce: str) -> threading.Thread:
    """Ask in the background, whatever comes of it."""

    def ask() -> None:
        # The service is ended under the request: what the test is about.
        with suppress(OSError):
            service.execute("echo", {"m": 1}, nonce)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread


def test_twelve_requests_with_one_nonce_run_the_handler_once(counted: Running, trace: Path) -> None:
    replies = at_once(12, lambda _: counted.execute("echo", {"m": 1}, "one"))

    assert [reply.status for reply in replies] == [200] * 12
    assert len({reply.body for reply in replies}) == 1
    assert trace.read_text(encoding="ascii") == RAN


def test_of_twelve_different_requests_with_one_nonce_one_runs(counted: Running, trace: Path) -> None:
    replies = at_once(12, lambda number: counted.execute("echo", {"m": number}, "one"))

    assert sorted(reply.status for reply in replies) == [200] + [409] * 11
    assert trace.read_text(encoding="ascii") == RAN


def test_two_services_on_one_root_run_a_nonce_once(counted: Running, root: Path, trace: Path) -> None:
    with running(root, counting.main, str(trace)) as second:
        replies = at_once(
            12, lambda number: (counted, second)[number % 2].execute("echo", {"m": 1}, "shared")
        )

    assert [reply.status for reply in replies] == [200] * 12
    assert len({reply.body for reply in replies}) == 1
    assert trace.read_text(encoding="ascii") == RAN


def test_an_answer_survives_the_service_that_gave_it(root: Path, trace: Path) -> None:
    with running(root, counting.main, str(trace)) as first:
        before = first.execute("echo", {"m": 1}, "kept")
        assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    with running(root, counting.main, str(trace)) as second:
        after = second.execute("echo", {"m": 1}, "kept")

    assert before.status == 200 and after.body == before.body
    assert trace.read_text(encoding="ascii") == RAN


def test_a_request_killed_between_claim_and_effect_is_unknown_and_never_run_again(
    root: Path, trace: Path
) -> None:
    with running(root, counting.main, str(trace), "hold") as first:
        thread = asking(first, "lost")
        until(trace, HELD)
        assert first.stop(signal.SIGKILL) == -signal.SIGKILL
        thread.join()
    with running(root, counting.main, str(trace)) as second:
        replies = [second.execute("echo", {"m": 1}, "lost") for _ in range(2)]
        other = second.execute("echo", {"m": 2}, "lost")
        assert second.execute("echo", {"m": 1}, "next").status == 200

    assert [reply.status for reply in (*replies, other)] == [409] * 3
    assert "outcome unknown" in str(replies[0].json["detail"])
    assert "another request" in str(other.json["detail"])
    assert trace.read_text(encoding="ascii") == HELD + RAN
    here = root.parent
    with open_instance(load_settings({"root": str(root)}, {}, here, here)) as instance:
        assert instance.status(str(replies[0].json["operation_id"])).state == "indeterminate"


def test_a_refused_request_does_not_use_its_nonce_up(counted: Running) -> None:
    assert counted.execute("nope", {}, "free").status == 400
    assert counted.execute("echo", {}, "free").status == 200


def test_a_rejected_payload_uses_its_nonce_up_and_repeats_its_answer(counted: Running) -> None:
    first, second = (counted.execute("add", {"a": "1"}, "used") for _ in range(2))

    assert (first.status, second.status) == (422, 422)
    assert json.loads(first.body) == json.loads(second.body)
    assert counted.execute("add", {"a": 1}, "used").status == 409
