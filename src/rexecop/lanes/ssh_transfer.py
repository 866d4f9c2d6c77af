"""One file over SFTP: put so that others see the old content or the new and never a part, or got whole."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final, cast

import asyncssh

from rexecop.lanes.errors import ClearanceRefused, RequestRefused
from rexecop.lanes.exchange import MESSAGE_LENGTH_MAX, measured, without_answer
from rexecop.lanes.failures import Failure
from rexecop.lanes.messages.ssh import ABSENT, PUT, Transfer
from rexecop.lanes.output import Redactor
from rexecop.lanes.port import Chunk, LaneEvent, LaneResult
from rexecop.lanes.ssh import Work
from rexecop.lanes.ssh_command import mark_of, not_made
from rexecop.lanes.ssh_connections import Connections, Link
from rexecop.proof.canonical import Json, digest_of
from rexecop.proof.vocabulary import Ended

CLEAN_SECONDS: Final = 5.0  # For taking back a file that did not get to its place.
CHUNK_BYTES: Final = 1 << 16
FILE_BYTES_MAX: Final = 16 << 20  # Of a file that is put; it is held in memory, and read back.
PRIVATE: Final = 0o600  # Of a new file whose call does not say; opening it up later is a choice.


class _Failed(Exception):
    """The transfer cannot go on; unless it was `placed`, nothing at its path was changed."""

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message)
        self.failure = failure


@dataclass(slots=True)
class _State:
    """How far a transfer got."""

    replacing: bool = False  # From here on it may have happened.
    placed: bool = False  # It happened, whatever is found there afterwards.
    part: str = ""  # A file beside its place, which has to go if it does not get there.
    content: bytes = b""
    data: dict[str, Json] = field(default_factory=dict)


async def transfer_file(work: Work, connections: Connections) -> AsyncGenerator[LaneEvent]:
    """Make the transfer of `work`; yield what was got, last its result.

    Raises:
        ClearanceRefused: from the clearance; nothing was transferred.
    """
    message = work.message
    assert message.transfer is not None
    try:
        state = _State(content=_to_put(message.transfer))
        async with connections.link(message.route, message.sessions) as link:
            work.clearance()
            started = time.monotonic()
            result = await _made(work, message.transfer, link, state)
            result = replace(result, duration_ms=int((time.monotonic() - started) * 1000))
    except ClearanceRefused:
        raise
    except RequestRefused as error:
        yield not_made(work.call, error)
        return
    if result.ended is Ended.OK and message.transfer.operation != PUT:
        redactor = Redactor(work.secrets)
        shown = redactor.feed(state.content) + redactor.finish()
        if redactor.redactions:
            state.data.pop("digest", None)  # Whoever guesses the secret could check the guess by it.
        for n, at in enumerate(range(0, len(shown), CHUNK_BYTES)):
            yield Chunk(n=n, stream="stdout", data=shown[at : at + CHUNK_BYTES])
        result = replace(
            result,
            stdout=shown,
            stdout_bytes=len(state.content),
            redactions=redactor.redactions,
            data=state.data,
        )
    yield result


async def _made(work: Work, transfer: Transfer, link: Link, state: _State) -> LaneResult:
    failure, message = None, None
    protection = "atomic-replace" if transfer.operation == PUT else "none"
    try:
        async with asyncio.timeout(work.limits.timeout_ms / 1000):
            async with link.connection.start_sftp_client() as sftp:
                if transfer.operation == PUT:
                    await _put(sftp, transfer, state, work.limits.output_bytes, mark_of(work.call))
                else:
                    await _get(sftp, transfer.path, state, work.limits.output_bytes)
    except _Failed as error:
        failure, message = error.failure, str(error)
    except TimeoutError:
        failure, message = Failure.TIMEOUT, "the transfer ran out of time"
    except (asyncssh.Error, OSError) as error:
        failure, message = _class_of(error), f"`{transfer.path:.80}`: {error}"
    finally:
        if state.part:
            await _take_back(link, state)
    return LaneResult(
        ended=_ended(work, failure, state),
        duration_ms=0,
        measured=measured({**link.facts, "grade": "shape"}, protection),
        failure=failure,
        message=message and message[:MESSAGE_LENGTH_MAX],
        data=state.data or None,
    )


def _ended(work: Work, failure: Failure | None, state: _State) -> Ended:
    if failure is None:
        return Ended.OK
    # An answer of the server says that the file is not in its place; silence says nothing.
    silent = failure in (Failure.TIMEOUT, Failure.TRANSIENT_CONNECTOR_ERROR)
    return without_answer(work.call, sent=state.placed or (state.replacing and silent))


def _to_put(transfer: Transfer) -> bytes:
    """Return what is put: what the call holds, or the file that has its digest.

    Raises:
        RequestRefused: there is no such file, or it is another by now.
    """
    if not transfer.file:
        return transfer.content.encode()
    if not os.path.isfile(transfer.file):
        raise RequestRefused(Failure.NOT_FOUND, f"`{transfer.file:.80}` is no regular file here")
    try:
        with open(transfer.file, "rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        what = f"`{transfer.file:.80}` cannot be read: {error.strerror}"
        raise RequestRefused(Failure.PERMISSION_DENIED, what) from None
    if len(content) > FILE_BYTES_MAX:
        what = f"`{transfer.file:.80}` holds more than {FILE_BYTES_MAX} bytes"
        raise RequestRefused(Failure.REQUEST_INVALID, what)
    found = digest_of(content)
    if found != transfer.digest:
        what = f"`{transfer.file:.80}` is {found}, planned was {transfer.digest}"
        raise RequestRefused(Failure.DRIFTED, what)
    return content


async def _put(
    sftp: asyncssh.SFTPClient, transfer: Transfer, state: _State, bytes_max: int, mark: str
) -> None:
    path, content = transfer.path, state.content
    old = await _status(sftp, path)
    if old is not None and not stat.S_ISREG(old.permissions or 0):
        raise _Failed(Failure.UNSUPPORTED, f"`{path:.80}` is no regular file; only such a one is replaced")
    if transfer.before:
        found = ABSENT if old is None else str(digest_of(await _content(sftp, path, bytes_max)))
        if found != transfer.before:
            raise _Failed(Failure.DRIFTED, f"`{path:.80}` is {found}, not {transfer.before}")
    mode = int(transfer.mode, 8) if transfer.mode else _mode(old)
    folder, _, name = path.rpartition("/")
    part = f"{folder}/.{name[:200]}.{mark[:16]}.part"
    async with sftp.open(part, "xb", attrs=asyncssh.SFTPAttrs(permissions=PRIVATE)) as file:
        state.part = part
        await file.write(content)
        with suppress(asyncssh.SFTPOpUnsupported):
            await file.fsync()
            state.data["synced"] = True
    if await _content(sftp, part, len(content)) != content:
        raise _Failed(Failure.VALIDATION_FAILED, f"what was written for `{path:.80}` is not what was sent")
    if old is not None and old.uid is not None and old.gid is not None:
        await sftp.chown(part, old.uid, old.gid)
    await sftp.chmod(part, mode)
    state.replacing = True
    await sftp.posix_rename(part, path)
    state.part, state.placed = "", True
    if await _content(sftp, path, len(content)) != content:
        raise _Failed(Failure.VALIDATION_FAILED, f"`{path:.80}` is not what was put there a moment ago")
    state.data |= {"digest": str(digest_of(content)), "bytes": len(content), "mode": f"{mode:04o}"}
    state.data["replaced"] = transfer.before or ("unknown" if old is not None else ABSENT)


async def _get(sftp: asyncssh.SFTPClient, path: str, state: _State, bytes_max: int) -> None:
    found = await sftp.stat(path)
    if not stat.S_ISREG(found.permissions or 0):
        raise _Failed(Failure.UNSUPPORTED, f"`{path:.80}` is no regular file")
    state.content = await _content(sftp, path, bytes_max)
    state.data = {
        "digest": str(digest_of(state.content)),
        "bytes": len(state.content),
        "mode": f"{_mode(found):04o}",
    }


async def _content(sftp: asyncssh.SFTPClient, path: str, bytes_max: int) -> bytes:
    """Return all of a file of at most `bytes_max`; a part of one would have another digest."""
    async with sftp.open(path, "rb") as file:
        content = cast(bytes, await file.read(bytes_max + 1))  # A binary file, which its type does not say.
    if len(content) > bytes_max:
        raise _Failed(Failure.OUTPUT_LIMIT, f"`{path:.80}` holds more than {bytes_max} bytes")
    return content


async def _status(sftp: asyncssh.SFTPClient, path: str) -> asyncssh.SFTPAttrs | None:
    try:
        return await sftp.lstat(path)
    except asyncssh.SFTPNoSuchFile:
        return None


async def _take_back(link: Link, state: _State) -> None:
    """Remove the file that did not get to its place; say so where that did not work."""
    state.data["left"] = state.part
    with suppress(asyncssh.Error, OSError):
        async with asyncio.timeout(CLEAN_SECONDS), link.connection.start_sftp_client() as sftp:
            with suppress(asyncssh.SFTPNoSuchFile):
                await sftp.remove(state.part)
            del state.data["left"]


def _mode(status: asyncssh.SFTPAttrs | None) -> int:
    return PRIVATE if status is None or status.permissions is None else stat.S_IMODE(status.permissions)


def _class_of(error: Exception) -> Failure:
    match error:
        case asyncssh.SFTPNoSuchFile() | asyncssh.SFTPNoSuchPath():
            return Failure.NOT_FOUND
        case asyncssh.SFTPPermissionDenied():
            return Failure.PERMISSION_DENIED
        case asyncssh.SFTPOpUnsupported():
            return Failure.UNSUPPORTED
        case asyncssh.SFTPConnectionLost() | asyncssh.SFTPNoConnection():
            return Failure.TRANSIENT_CONNECTOR_ERROR
        case asyncssh.SFTPError():
            return Failure.REMOTE_ERROR
        case _:
            return Failure.TRANSIENT_CONNECTOR_ERROR
