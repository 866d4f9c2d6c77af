"""Lanes of exchanges: the one way from a request of a protocol to its result."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import ClassVar, Final, Generic, Protocol, TypeVar

from rexecop.lanes.dialing import failure_of
from rexecop.lanes.errors import Broken, ClearanceRefused, RequestRefused
from rexecop.lanes.exchange import MESSAGE_LENGTH_MAX, read_message, refused, without_answer
from rexecop.lanes.failures import Failure, describe
from rexecop.lanes.kernel import boot_ms
from rexecop.lanes.output import Redactor
from rexecop.lanes.port import Capabilities, Chunk, Clearance, LaneEvent, LaneResult
from rexecop.lanes.secrets import Secrets
from rexecop.proof.call import Call, ExchangeRequest, Limits
from rexecop.proof.canonical import Json
from rexecop.proof.merkle import Frontier, leaf_hash
from rexecop.proof.message import secrets_in
from rexecop.proof.records.outcome import Measured
from rexecop.proof.vocabulary import Effect, Ended, Grade, Isolation

LEAVES_AT_ONCE: Final = 1_024  # Hashes that wait for the tree to take them in.
DATA_BYTES_MAX: Final = 64 * 1024  # Of an answer kept as facts: a record holds 256 KiB in all.
PROTECTION: Final = "leave-before-write"  # Asked for with the connection open, before the first byte.

T = TypeVar("T")


class Output:
    """One stream of a call: cut to the limit, counted, and committed to piece by piece.

    Its root is that of the Merkle tree (RFC 9162) with one leaf for each piece, as it was after
    secrets were taken out and before it was cut.
    """

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self.bytes = 0
        self.kept = bytearray()
        self._limit = limit
        self._tree = Frontier.empty()
        self._leaves: list[bytes] = []

    def add(self, piece: bytes) -> bytes:
        """Take in `piece`; return what of it is kept."""
        self.bytes += len(piece)
        self._leaves.append(leaf_hash(piece))
        if len(self._leaves) >= LEAVES_AT_ONCE:
            self._grow()
        part = piece[: self._limit - len(self.kept)]
        self.kept += part
        return part

    def commitment(self) -> Json:
        """Return number of pieces, bytes, and the root over them."""
        self._grow()
        root = f"sha256:{self._tree.root().hex()}"
        return {"chunks": self._tree.size, "bytes": self.bytes, "root": root}

    def _grow(self) -> None:
        self._tree, _ = self._tree.extend(self._leaves)
        self._leaves = []


class Exchange:
    """One call while it is made: what was sent, what came, how much time is left."""

    def __init__(
        self,
        call: Call,
        limits: Limits,
        isolation: Isolation,
        secrets: Sequence[bytes],
        clearance: Clearance,
    ) -> None:
        self.call = call
        self.limits = limits
        self.isolation = isolation
        self.secrets = secrets
        self.sent = False
        self.preparing = False  # What is sent meanwhile asks for nothing that the call is about.
        self.facts: dict[str, Json] = {"grade": Grade.SHAPE.value}
        self.status: int | None = None
        self.data: dict[str, Json] | None = None
        self.network = "peers"
        self.protection = PROTECTION
        self.out = Output("stdout", limits.output_bytes)
        self.side = Output("stderr", limits.output_bytes)
        self._clearance: Clearance | None = clearance
        self._redactor = Redactor(secrets)
        self._chunks = 0
        self._began_ms = boot_ms()
        if call.effect is Effect.READ:
            self.facts["unmeasured"] = "whether the other side changed anything"

    def hide(self, secrets: Sequence[bytes]) -> None:
        """Take these values out of what comes, too."""
        self.secrets = (*self.secrets, *secrets)
        self._redactor = Redactor(self.secrets)

    def take_leave(self) -> None:
        """Ask for leave, once in the call, as the last thing before acting.

        Raises:
            ClearanceRefused: there is none.
        """
        if self._clearance is not None:
            self._clearance()
            self._clearance = None

    def begin(self) -> None:
        """Count the time of the call from now on. The clock counts while the machine sleeps, too."""
        self._began_ms = boot_ms()

    @property
    def spent_ms(self) -> int:
        """Milliseconds since the call began."""
        return boot_ms() - self._began_ms

    @property
    def left_seconds(self) -> float:
        """Time until the timeout; nothing may be sent once it is negative."""
        return (self.limits.timeout_ms - self.spent_ms) / 1000

    def about_to_send(self) -> None:
        """Take leave. From here on the call may have happened, unless it is still being prepared.

        Raises:
            ClearanceRefused: there is no leave.
            TimeoutError: its time is over, as it is for a runner that slept meanwhile.
        """
        if self.left_seconds <= 0:
            raise TimeoutError
        self.take_leave()
        self.sent = self.sent or not self.preparing

    async def in_time(self, work: Callable[[], Awaitable[T]]) -> T:
        """Return what `work` does.

        Raises:
            TimeoutError: the time of the call ran out.
        """
        if (left := self.left_seconds) <= 0:
            raise TimeoutError
        async with asyncio.timeout(left):
            return await work()

    def redact(self, text: str) -> str:
        """Return `text` without the values of secrets."""
        if not self.secrets:
            return text
        return self.redact_bytes(text.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")

    def redact_bytes(self, data: bytes) -> bytes:
        """Return `data` without the values of secrets."""
        return self._redactor.feed(data) + self._redactor.finish()

    def scrub(self, value: Json) -> Json:
        """Return `value` without the values of secrets in any of its texts."""
        if not self.secrets:
            return value
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, Mapping):
            return {self.redact(key): self.scrub(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.scrub(item) for item in value]
        return value

    def chunk(self, output: Output, piece: bytes) -> Chunk | None:
        """Keep `piece`, secrets already taken out; return the event that shows it, None past the limit."""
        part = output.add(piece)
        if not part:
            return None
        self._chunks += 1
        return Chunk(n=self._chunks - 1, stream=output.name, data=part)

    def result(
        self,
        failure: Failure | None = None,
        message: str | None = None,
        *,
        answered: bool = False,
        status: int | None = None,
    ) -> LaneResult:
        """Return how the call ended: well without a `failure`."""
        ended = Ended.OK if failure is None else Ended.FAILED
        if failure is not None and not answered:
            ended = without_answer(self.call, sent=self.sent)
        return LaneResult(
            ended=ended,
            duration_ms=self.spent_ms,
            measured=Measured(
                isolation=self.isolation.value,
                network=self.network,
                protection=self.protection,
                facts=dict(self.facts),
            ),
            failure=failure,
            message=None if message is None else self.redact(message)[:MESSAGE_LENGTH_MAX],
            status=self.status if status is None else status,
            stdout=bytes(self.out.kept),
            stderr=bytes(self.side.kept),
            stdout_bytes=self.out.bytes,
            stderr_bytes=self.side.bytes,
            redactions=self._redactor.redactions,
            data=self.data,
        )

    def sent_alone(self, duration_ms: int) -> LaneResult:
        """Return how a call ended that was sent in the course of this one, and has no answer of its own."""
        return LaneResult(ended=Ended.OK, duration_ms=duration_ms, measured=self.result().measured)


class Run(Protocol):
    """One exchange of one protocol."""

    async def prepare(self) -> None:
        """Check the message and get ready, up to what needs leave.

        Raises:
            ValueError, RequestRefused: the call cannot be made.
        """
        ...

    def chunks(self) -> AsyncGenerator[LaneEvent]:
        """Do it. Ends when it went well; else raises Broken, TimeoutError or what the connection raises."""
        ...

    async def close(self) -> None:
        """End the connection and all that was started; called in every case."""
        ...


class Message(Protocol):
    """A message class; `protocol` is what requests with such messages name."""

    protocol: ClassVar[str]


M = TypeVar("M", bound=Message)


class ExchangeLane(ABC, Generic[M]):
    """A lane for the exchanges of one protocol, with messages of one class."""

    name: ClassVar[str]
    message: type[M]  # One for all lanes of a class.
    streams: ClassVar[bool] = False

    def __init__(
        self,
        *,
        secrets: Secrets,
        isolation: Collection[Isolation] = (),
        grades: Collection[Grade] = (),
    ) -> None:
        self._secrets = secrets
        self._capabilities = Capabilities(
            requests=frozenset({self.message.protocol}),
            simulated=False,
            isolation=frozenset({Isolation.NOT_APPLICABLE, *isolation}),
            grades=frozenset({Grade.SHAPE, *grades}),
            streams=self.streams,
        )

    @property
    def capabilities(self) -> Capabilities:
        """The one protocol; reads are what the profile declares."""
        return self._capabilities

    @abstractmethod
    def run(self, message: M, exchange: Exchange) -> Run:
        """Return the run of `message`."""

    async def open(
        self, call: Call, limits: Limits, isolation: Isolation, attempt: int, clearance: Clearance
    ) -> AsyncIterator[LaneEvent]:
        """Make `call` once; see `port.Lane.open`.

        Raises:
            ClearanceRefused: from `clearance`; nothing was sent.
        """
        request = call.request
        if not isinstance(request, ExchangeRequest) or request.protocol != self.message.protocol:
            yield refused(Failure.UNSUPPORTED, f"this is no request of `{self.message.protocol}`")
            return
        run: Run | None = None
        lease = self._secrets.lease(secrets_in(dict(request.message)))
        try:
            try:
                message, values = await read_message(request, self.message, lease)
                exchange = Exchange(call, limits, isolation, values, clearance)
                run = self.run(message, exchange)
                await run.prepare()
            except RequestRefused as error:
                yield refused(error.failure, error.message)
                return
            except ValueError as error:
                yield refused(Failure.REQUEST_INVALID, str(error))
                return
            exchange.begin()
            async with aclosing(_events(run, exchange)) as events:
                async for event in events:
                    yield await lease.settle(event) if isinstance(event, LaneResult) else event
        finally:
            if run is not None:
                await run.close()
            await lease.end()


async def _events(run: Run, exchange: Exchange) -> AsyncGenerator[LaneEvent]:
    try:
        async with aclosing(run.chunks()) as chunks:
            async for chunk in chunks:
                yield chunk
    except ClearanceRefused:
        raise
    except Broken as broken:
        yield exchange.result(broken.failure, broken.message, answered=broken.answered, status=broken.status)
    except TimeoutError:
        yield exchange.result(Failure.TIMEOUT, describe(Failure.TIMEOUT))
    except Exception as error:
        if (known := failure_of(error)) is None:
            raise
        yield exchange.result(*known)
    else:
        yield exchange.result()
