"""Requests for plans that come as JSON: typed, from a file or stdin, or laid into the root's inbox.

A trigger asks, and nothing more: it is the user of the system who lays it down, whatever it says; it
approves nothing, and policy answers it like anybody's request. What cannot be planned lies in
`dead-letter`, with the reason, until a person looks.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from rexecop.app.errors import DeadLetterUnknown, TriggerRefused
from rexecop.app.files import read_file, require_private, write_new
from rexecop.app.following import promise, withdraw
from rexecop.app.instance import Instance
from rexecop.app.planner import PlanInput
from rexecop.app.queueing import WAITS
from rexecop.app.views import OperationView
from rexecop.operations.catalogs import Through
from rexecop.operations.errors import StoreUnavailable, StoreUncertain
from rexecop.operations.ports import Claim
from rexecop.operations.requests import AutoReact, Request
from rexecop.proof.canonical import Digest, digest_of, parse_json
from rexecop.proof.codec import decode, encode, from_json
from rexecop.proof.errors import ProofError, RexecopError

__all__ = ["AutoReact", "DeadLetter", "Inbox", "Request", "Through", "event_of", "read_request", "trigger"]

CHANNEL: Final = "trigger"
BYTES_MAX: Final = 256 * 1024  # As much as a record holds; a request names things, it does not carry them.
FILES_MAX: Final = 1000  # Taken from the inbox at one look; the others have their turn at the next.
SEEDS: Final = {"environment": "env", "auto_start": "start", "params": "parameters"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A file that was no request that could be planned, and why."""

    name: str
    at: datetime
    code: str
    message: str


def read_request(data: bytes) -> Request:
    """Return the request that the JSON object `data` is; the words of the seed's triggers are understood.

    Raises:
        TriggerRefused: it is none, with what is wrong and where.
    """
    try:
        value = parse_json(data, bytes_max=BYTES_MAX)
        if isinstance(value, dict):
            for old, new in SEEDS.items():
                if old in value and new in value:
                    raise TriggerRefused(f"a trigger says the same by `{old}` and `{new}`")
                if old in value:
                    value[new] = value.pop(old)
        return from_json(Request, value)
    except ProofError as error:
        allowed = ", ".join(field.name for field in fields(Request))
        raise TriggerRefused(
            f"no trigger: {error.message}; its fields: {allowed}", allowed=allowed
        ) from error


async def trigger(
    instance: Instance,
    asked: Request,
    key: str | None = None,
    *,
    channel: str = CHANNEL,
    event: Digest | None = None,
    claims: Sequence[Claim] = (),
    catalog: Through | None = None,
) -> OperationView:
    """Plan what `asked` asks for, and let it be started when it may where it asks that.

    The intent names the digest of the request, or of the `event` behind it; `key` makes it one operation
    where it names no key itself, `claims` are used up by the plan, and it notes the `catalog` that
    profile, env and target are from.

    Raises:
        OperationsError: it is no plan. RequestConflict: its key stands for another request.
        ClaimTaken: somebody else used one of `claims`; nothing was stored.
    """
    request = PlanInput(
        profile=asked.profile,
        env=asked.env,
        intent=asked.intent,
        target=asked.target,
        mode=asked.mode,
        parameters=asked.parameters,
        reason=asked.reason,
        idempotency_key=asked.idempotency_key or key,
        channel=channel,
        event=event or event_of(asked),
        claims=tuple(claims),
        catalog=catalog,
    )
    view = await (instance.plan(request) if asked.auto_react is None else _followed(instance, request))
    return instance.enqueue(view.operation_id) if asked.start and view.state in WAITS else view


async def _followed(instance: Instance, request: PlanInput) -> OperationView:
    """Plan `request`, and let what follows from what it observes be planned; raises as `Instance.plan`."""
    name = instance.parts.world.ids.operation()
    promise(instance, name, request.profile, request.env)
    try:
        view = await instance.plan(replace(request, operation=name))
    except (StoreUnavailable, StoreUncertain):
        raise  # It may have been stored.
    except RexecopError:
        withdraw(instance, name)
        raise
    if view.operation_id != name or view.state == "blocked":
        withdraw(instance, name)
    return view


def event_of(asked: Request) -> Digest:
    """Return the digest of the request, however it was spelled."""
    return digest_of(encode(asked))


class Inbox:
    """The folder `inbox` of a root, and beside it `dead-letter`."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        root = instance.settings.root
        self._inbox, self._taken, self._dead = root / "inbox", root / "inbox" / "taken", root / "dead-letter"

    def has_news(self) -> bool:
        """Return whether a file lies there."""
        return any(True for _ in self._files(self._inbox)) or any(True for _ in self._files(self._taken))

    async def take(self) -> None:
        """Plan what every file asks for, each once also where a process dies; bad ones become dead letters.

        Raises:
            StoreUnavailable, StoreUncertain: the ledger cannot be written; the files stay.
        """
        for folder in (self._inbox, self._taken, self._dead):
            folder.mkdir(mode=0o700, exist_ok=True)
            require_private(folder)
        with suppress(BlockingIOError), _alone_in(self._taken):
            for path in [*self._files(self._inbox)][:FILES_MAX]:
                # Under the new name it is one operation, however often that is begun.
                path.rename(self._taken / f"{self._instance.parts.world.ids.nonce()}.{path.name}")
            for path in [*self._files(self._taken)]:
                if not self._instance.parts.lifecycle.driver.leaving:
                    await self._plan(path)

    async def _plan(self, path: Path) -> None:
        key, _, name = path.name.partition(".")
        try:
            require_private(path)
            await self._take(read_file(path, bytes_max=BYTES_MAX), f"inbox:{key}")
        except (StoreUnavailable, StoreUncertain):
            raise
        except RexecopError as error:
            self._explain(key, name, error)
            path.rename(self._dead / f"{key}.json")
            return
        path.unlink()

    async def _take(self, data: bytes, delivery: str) -> None:
        from rexecop.app.events import read_told, take_event  # It plans by what is here.

        settings = self._instance.settings
        told = read_told(data, settings.profile, settings.env)
        if told is None:
            await trigger(self._instance, read_request(data), delivery)
        else:
            await take_event(self._instance, replace(told, delivery=delivery))

    def _explain(self, key: str, name: str, error: RexecopError) -> None:
        now = self._instance.parts.world.clock.now()
        letter = DeadLetter(name=name, at=now, code=error.code, message=error.message)
        write_new(self._dead / f"{key}.reason", encode(letter))

    def bury(self, name: str, data: bytes, error: RexecopError) -> str:
        """Keep `data`, which came otherwise than through the inbox, as a dead letter; return its name.

        The same is kept once, however often it comes.
        """
        self._dead.mkdir(mode=0o700, exist_ok=True)
        require_private(self._dead)
        key = digest_of(name.encode() + b"\n" + data)[-32:]
        self._explain(key, name, error)
        write_new(self._dead / f"{key}.json", data)
        return key

    @staticmethod
    def _files(folder: Path) -> Iterator[Path]:
        """Yield the files in name order; who writes one lays it down under a hidden name first."""
        names = sorted(os.listdir(folder)) if folder.is_dir() else []
        return (folder / name for name in names if name.endswith(".json") and not name.startswith("."))

    # --- dead letters ---

    def dead(self) -> dict[str, DeadLetter]:
        """Return the dead letters, oldest first, by the name they go by."""
        found = {}
        for path in self._files(self._dead):
            with suppress(ProofError, RexecopError):
                found[path.stem] = decode(DeadLetter, read_file(path.with_suffix(".reason")))
        return dict(sorted(found.items(), key=lambda item: item[1].at))

    def text(self, name: str) -> tuple[DeadLetter, str]:
        """Return a dead letter and what was in its file.

        Raises:
            DeadLetterUnknown: there is none of that name.
        """
        path, letter = self._letter(name)
        require_private(path)
        return letter, read_file(path, bytes_max=BYTES_MAX, whole=False).decode("utf-8", "replace")

    def retry(self, name: str) -> DeadLetter:
        """Lay a dead letter into the inbox again; raises as `text`."""
        path, letter = self._letter(name)
        path.rename(self._inbox / f"{path.stem}.json")
        path.with_suffix(".reason").unlink()
        return letter

    def drop(self, name: str) -> DeadLetter:
        """Remove a dead letter for good; raises as `text`."""
        path, letter = self._letter(name)
        path.unlink()
        path.with_suffix(".reason").unlink()
        return letter

    def _letter(self, name: str) -> tuple[Path, DeadLetter]:
        found = [key for key in self.dead() if key.startswith(name)] if name else []
        if len(found) != 1:
            words = f"{len(found) or 'no'} dead letters begin with `{name:.60}`"
            raise DeadLetterUnknown(words, next_steps=("rexecop dead-letter list",))
        return self._dead / f"{found[0]}.json", self.dead()[found[0]]


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Be the only one who works in `folder`; whoever did and died does no more.

    Raises:
        BlockingIOError: somebody else does.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)
