"""The distributed engine: DBOS Transact over PostgreSQL hands operations to whichever worker has a hand free.

It decides nothing. One workflow stands for one attempt to drive one operation until it parks or ends;
its id names the operation and how many records that had, so that all who see the same cause hand it
over once. A workflow may run twice, late, or for nothing: what it does is claimed in the ledger first.
Its tables hold nothing that the ledger's rows do not say, and may be dropped while nobody works.

Only workers load this module: the library takes some 0.4 s, and one process can have one of it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from dbos import (
    DBOS,
    DBOSConfig,
    DBOSPortableJSONSerializer,
    SetEnqueueOptions,
    SetWorkflowID,
    WorkflowStatus,
)

from rexecop.operations.errors import StoreUnavailable
from rexecop.store.postgres_connection import Server

VERSION: Final = "1"  # Of what a workflow is told and does; workers of one version take from one another.
WORKFLOW: Final = "rexecop.drive"
POLL_SECONDS: Final = 0.05  # A start waits for half of it on average; idle it costs some 1 % of a core.
ABREAST: Final = 32  # Operations that one worker drives at one time; each holds a thread.
FIRST: Final = 1  # The priority of what has begun: it holds locks that others wait for.
KEPT: Final = timedelta(hours=1)  # So long finished workflows can be looked at.
CLOSE_SECONDS: Final = 5.0
_OPEN: Final = ["ENQUEUED", "PENDING"]
_OVER: Final = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
_SWEPT_MAX: Final = 1000
_YEAR: Final = datetime(2026, 1, 1, tzinfo=UTC)  # Priorities are 31 bits: seconds last until 2094.

Drive = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """An operation to drive, as it stands with `records`; `turn` is None for what has begun."""

    operation: str
    records: int
    turn: datetime | None

    @property
    def priority(self) -> int:
        """Where it stands among others; lower goes first."""
        seconds = 0 if self.turn is None else int((self.turn - _YEAR).total_seconds())
        return max(FIRST, min(FIRST + seconds, 2**31 - 1))


class Dispatcher:
    """This process's share of the distributed queue of one ledger.

    `executor` is the runner's name. All calls wait for the server: make them in threads without a loop.
    """

    def __init__(
        self, server: Server, executor: str, capacity: int | None, *, version: str = VERSION
    ) -> None:
        schema = server.storage.schema
        self._queue = f"rexecop/{schema}"
        self._version = version
        self._capacity = capacity
        self._swept = time.monotonic()
        password = server.password()
        self._config = DBOSConfig(
            name="rexecop",
            system_database_url=server.storage.url,
            dbos_system_schema=f"{schema[:58]}_dbos",
            db_engine_kwargs={"connect_args": {} if password is None else {"password": password}},
            sys_db_pool_size=8,
            executor_id=executor,
            application_version=version,
            # Its default is pickle: whoever may write its tables would run code here.
            serializer=DBOSPortableJSONSerializer(),
            use_listen_notify=False,  # Nothing is ever parked in a workflow.
            max_executor_threads=ABREAST + 4,
            log_level="CRITICAL",
        )
        self._executor = executor

    def open(self, drive: Drive, loop: asyncio.AbstractEventLoop) -> None:
        """Take part: whatever is handed to this process, `drive` is awaited for in `loop`.

        Raises:
            StoreUnavailable: the server does not let it.
        """

        def run(operation: str) -> None:
            async def driven() -> None:
                await drive(operation)

            asyncio.run_coroutine_threadsafe(driven(), loop).result()

        # The library asks this whether to look for the vendor's cloud.
        os.environ.pop("DBOS__CLOUD", None)
        with _answering():
            DBOS(config=self._config)
            DBOS.workflow(name=WORKFLOW)(run)
            self._run = run
            DBOS.launch()
            DBOS.register_queue(
                self._queue,
                global_concurrency=self._capacity,
                worker_concurrency=min(ABREAST, self._capacity or ABREAST),
                polling_interval_sec=POLL_SECONDS,
            )

    def hand_over(self, jobs: Iterable[Job], is_gone: Callable[[str], bool], now: datetime) -> int:
        """Hand `jobs` over that nobody has yet, and take back what executors had that are gone `now`.

        Return how many are with the library now and not done.

        Raises:
            StoreUnavailable: the server does not answer, or its tables are gone.
        """
        with _answering():
            handed: set[str] = set()
            for one in self._listed(status=_OPEN):
                mine = one.app_version == self._version
                if one.status == "PENDING" and is_gone(str(one.executor_id)):
                    if mine:
                        DBOS.resume_workflow(one.workflow_id, queue_name=self._queue)
                    else:
                        # Nobody may be left who can run it; what it was for still stands in the ledger.
                        DBOS.cancel_workflow(one.workflow_id)
                if mine:
                    handed.add(one.workflow_id.rpartition("/")[0])
            for job in jobs:
                # What somebody has who stands still counts no more once the operation went on without them.
                cause = f"{self._version}/{job.operation}/{job.records}"
                if cause not in handed:
                    self._enqueue(job, cause)
                    handed.add(cause)
            self._sweep(now - KEPT)
            return len(handed)

    def close(self) -> None:
        """Take no more part; what was driven here has ended."""
        end = time.monotonic() + CLOSE_SECONDS
        try:
            # Not noted as done, it would be driven once more, for nothing.
            with suppress(StoreUnavailable), _answering():
                while time.monotonic() < end and self._listed(status=["PENDING"], executor_id=self._executor):
                    time.sleep(POLL_SECONDS)
        finally:
            DBOS.destroy(destroy_registry=True)

    def _enqueue(self, job: Job, cause: str) -> None:
        tries = len(self._listed(status=_OVER, workflow_id_prefix=f"{cause}/"))
        with (
            SetWorkflowID(f"{cause}/{tries}"),
            SetEnqueueOptions(priority=job.priority, app_version=self._version),
        ):
            DBOS.enqueue_workflow(self._queue, self._run, job.operation)

    def _sweep(self, before: datetime) -> None:
        """Delete, now and then, what ended before."""
        if time.monotonic() - self._swept < KEPT.total_seconds() / 10:
            return
        self._swept = time.monotonic()
        old = self._listed(status=_OVER, completed_before=before.isoformat(), limit=_SWEPT_MAX)
        DBOS.delete_workflows([one.workflow_id for one in old])

    def _listed(
        self,
        *,
        status: list[str],
        executor_id: str | None = None,
        workflow_id_prefix: str | None = None,
        completed_before: str | None = None,
        limit: int | None = None,
    ) -> list[WorkflowStatus]:
        return DBOS.list_workflows(
            queue_name=self._queue,
            status=status,
            executor_id=executor_id,
            workflow_id_prefix=workflow_id_prefix,
            completed_before=completed_before,
            limit=limit,
            load_input=False,
            load_output=False,
        )


@contextmanager
def _answering() -> Iterator[None]:
    """Say in one line what the library could not do; whatever it raises, the ledger is as it was."""
    try:
        yield
    except Exception as error:
        words = str(error).split("\n", 1)[0][:200]
        raise StoreUnavailable(f"the distributed queue does not answer: {words}") from error
