"""One look at an operation that is followed: it is over by a record, or because its runner died."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from rexecop.proof.vocabulary import State
from rexecop.service.v1.following import Following

NAME = "op_" + "0" * 32


@pytest.mark.parametrize(("counts", "over"), [((1, 1), State.INDETERMINATE), ((1, 2), None)])
def test_one_that_ends_while_it_is_looked_at_is_not_taken_for_one_whose_runner_died(
    counts: tuple[int, int], over: State | None
) -> None:
    left = iter(counts)
    instance = SimpleNamespace(
        history=lambda name, seen: [],
        status=lambda name: SimpleNamespace(state=State.INDETERMINATE, records=1),
        parts=SimpleNamespace(world=SimpleNamespace(store=SimpleNamespace(records_of=lambda _: next(left)))),
    )
    following = Following(cast(Any, SimpleNamespace(serving=SimpleNamespace(instance=instance))))

    assert following._look(NAME, 1).over == over
