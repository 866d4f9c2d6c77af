"""What is handed over to the distributed queue, and how often its server is asked about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from rexecop.engines import dbos
from rexecop.engines.dbos import OPEN_MAX, Dispatcher, Job
from tests.sim.world import START
from tests.store.servers import server


@dataclass(frozen=True)
class Known:
    """A workflow, as the library lists it."""

    workflow_id: str
    status: str
    executor_id: str = "one:1:1"
    app_version: str = dbos.VERSION


class Library(Dispatcher):
    """A dispatcher over a library that holds `known` and counts what it is asked."""

    def __init__(self, *known: Known) -> None:
        super().__init__(server("postgresql://user@localhost/nothing"), "one:1:1", None)
        self.known = [*known]
        self.asked = 0

    def _listed(self, **wanted: object) -> list[Known]:  # type: ignore[override]
        self.asked += 1
        status, prefixes = wanted["status"], wanted.get("workflow_id_prefix")
        assert isinstance(status, list)
        found = [one for one in self.known if one.status in status]
        if prefixes is None:
            return found
        assert isinstance(prefixes, list)
        return [one for one in found if one.workflow_id.startswith(tuple(prefixes))]

    def _enqueue(self, job: Job, workflow: str) -> None:
        self.known.append(Known(workflow, "ENQUEUED"))

    @property
    def waiting(self) -> list[str]:
        return [one.workflow_id for one in self.known if one.status == "ENQUEUED"]


@pytest.fixture(autouse=True)
def answering(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def plain() -> Iterator[None]:
        yield

    monkeypatch.setattr(dbos, "_answering", plain)


def jobs(count: int) -> list[Job]:
    return [Job(operation=f"op{n}", records=3, turn=START) for n in range(count)]


@pytest.mark.parametrize("count", [1, 40])
def test_the_server_is_asked_twice_for_however_many_are_handed_over(count: int) -> None:
    library = Library()

    assert library.hand_over(jobs(count), lambda _: False, START) == count

    assert library.waiting == [f"1/op{n}/3/0" for n in range(count)]
    assert library.asked == 2


def test_what_was_handed_over_and_ended_is_handed_over_under_another_name() -> None:
    library = Library(
        Known("1/op0/3/0", "SUCCESS"), Known("1/op0/3/1", "ERROR"), Known("1/op0/33/0", "ERROR")
    )

    library.hand_over(jobs(2), lambda _: False, START)

    assert library.waiting == ["1/op0/3/2", "1/op1/3/0"]


def test_what_somebody_has_already_is_not_handed_over_again() -> None:
    library = Library()

    for _ in range(2):
        library.hand_over(jobs(3), lambda _: False, START)

    assert len(library.waiting) == 3


def test_a_long_queue_is_handed_over_piece_by_piece_in_its_order() -> None:
    library = Library()

    assert library.hand_over(jobs(OPEN_MAX + 2), lambda _: False, START) == OPEN_MAX
    first, *rest = library.known
    library.known = [Known(first.workflow_id, "SUCCESS"), *rest]
    library.hand_over(jobs(OPEN_MAX + 2)[1:], lambda _: False, START)

    assert library.waiting == [f"1/op{n}/3/0" for n in range(1, OPEN_MAX + 1)]
