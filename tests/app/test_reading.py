"""Reading an operation beside whoever drives it: one that ends between two looks has ended."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from rexecop.operations.ports import Journal
from rexecop.proof.records import Outcome
from tests.app.support import asked, made, opened, scratch


def test_one_that_ends_between_the_look_at_its_records_and_that_at_its_runner_is_not_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with scratch() as folder:
        asyncio.run(made(folder))
        with opened(folder) as instance:
            view = asyncio.run(instance.plan(asked(folder, "host_facts", "read_only")))
            asyncio.run(instance.start(view.operation_id))
            store = instance.parts.ledger
            whole = store.journal(view.operation_id)
            first = next(n for n, one in enumerate(whole.records) if isinstance(one.record, Outcome))
            looks: list[Journal] = [replace(whole, records=whole.records[:first]), whole]
            read = store.journal
            monkeypatch.setattr(
                store, "journal", lambda name: looks.pop(0) if name == view.operation_id else read(name)
            )

            assert instance.status(view.operation_id).state == "completed"

            looks = [replace(whole, records=whole.records[:first])] * 2

            assert instance.status(view.operation_id).state == "indeterminate"
