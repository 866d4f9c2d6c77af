"""The secrets port: values leased for one call, read inside it and given back after it.

A call names references. Where a reference resolves is the operator's word; a source reads
what is there when the call is about to be made. Nothing is kept for the next call, and
nothing that goes wrong says a value: it is a refusal, and the call did not happen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Final, Protocol

from rexecop.lanes.errors import RequestRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.port import LaneResult
from rexecop.proof.canonical import Json

VALUE_BYTES_MIN: Final = 8  # Taking a shorter one out of outputs takes out words and numbers, too.
VALUE_BYTES_MAX: Final = 64 * 1024  # A key with its chain of certificates is a fifth of this.
REVOKE_SECONDS: Final = 10.0  # What cannot be given back by then expires by itself; a call must end.


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a source gave for one call: values by field, `""` where it has one value only.

    `revoke` gives it back, where that can be done; it raises if it fails.
    """

    fields: Mapping[str, bytes] = field(repr=False)
    revoke: Callable[[], Awaitable[None]] | None = None


class Source(Protocol):
    """Where secrets come from. Sources that are equal are read once for a call, whatever it uses of them."""

    @property
    def where(self) -> str:
        """The place, in words for people; never a value."""
        ...

    async def read(self) -> Held:
        """Return what is there now.

        Raises:
            RequestRefused: why not, with one of the `secret_` failures and no value in its words.
        """
        ...

    async def doubt(self) -> str | None:
        """Return what will stand in the way of reading, as far as can be told without a value."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one reference resolves: `field` of `source`; `short` allows less than eight bytes."""

    source: Source
    field: str = ""
    short: bool = False


Locate = Callable[[str], Place]
"""Returns where a reference resolves; raises RequestRefused where it does nowhere."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secrets of an instance, as lanes see them."""

    locate: Locate

    def lease(self, names: Iterable[str]) -> Lease:
        """Return a lease of the secrets `names`; nothing is read before it begins."""
        return Lease(self.locate, sorted(set(names)))


class Lease:
    """The secrets of one call: `async with secrets.lease(names) as values:`, or `begin` and `end`."""

    def __init__(self, locate: Locate, names: Iterable[str]) -> None:
        self._locate = locate
        self._names = tuple(names)
        self._held: dict[Source, Held] = {}
        self._values: dict[str, bytes] = {}
        self._revoked = 0
        self._left: list[Json] = []

    async def __aenter__(self) -> Mapping[str, bytes]:
        return await self.begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.end()

    async def begin(self) -> Mapping[str, bytes]:
        """Return the values by name; the mapping is empty again once the lease ended.

        Raises:
            RequestRefused: one cannot be had; what was read before is given back.
        """
        try:
            for name in self._names:
                try:
                    place = self._locate(name)
                    self._values[name] = _usable(await self._read(place.source), place)
                except RequestRefused as refused:
                    raise RequestRefused(refused.failure, f"secret `{name:.80}`: {refused.message}") from None
                except Exception as error:  # noqa: BLE001 - what a source raises may hold the secret's text
                    words = f"secret `{name:.80}` could not be read: {type(error).__name__}"
                    raise RequestRefused(Failure.SECRET_UNAVAILABLE, words) from None
        except BaseException:
            await self.end()
            raise
        return self._values

    async def end(self) -> None:
        """Forget the values and give back what can be given back; a second time does nothing."""
        self._values.clear()
        while self._held:
            source, held = self._held.popitem()
            if held.revoke is None:
                continue
            try:
                async with asyncio.timeout(REVOKE_SECONDS):
                    await held.revoke()
                self._revoked += 1
            except Exception:  # noqa: BLE001 - that it is left is what counts; the error may hold its text
                self._left.append(source.where)

    async def settle(self, result: LaneResult) -> LaneResult:
        """End the lease, and return `result` with what was given back and what could not be."""
        await self.end()
        facts: dict[str, Json] = {"secrets_revoked": self._revoked} if self._revoked else {}
        if self._left:
            facts["secrets_not_revoked"] = list(self._left)
        if not facts:
            return result
        measured = replace(result.measured, facts={**(result.measured.facts or {}), **facts})
        return replace(result, measured=measured)

    async def _read(self, source: Source) -> Held:
        if source not in self._held:
            reading = asyncio.ensure_future(source.read())
            try:
                self._held[source] = await asyncio.shield(reading)
            except asyncio.CancelledError:
                # What the source hands out all the same would outlive a call that was never made.
                with suppress(Exception):
                    self._held[source] = await reading
                raise
        return self._held[source]


def _usable(held: Held, place: Place) -> bytes:
    value = held.fields.get(place.field)
    if value is None:
        what = f"{place.source.where} holds no `{place.field:.80}`"
        raise RequestRefused(Failure.SECRET_MISSING, what)
    if len(value) < VALUE_BYTES_MIN and not (place.short and value):
        words = (
            f"shorter than {VALUE_BYTES_MIN} bytes, so taking it out of outputs takes out other text, too; "
            "declare it with `short: true`"
        )
        raise RequestRefused(Failure.SECRET_UNUSABLE, words if value else "empty")
    if b"\0" in value or len(value) > VALUE_BYTES_MAX:
        raise RequestRefused(Failure.SECRET_UNUSABLE, f"holds a NUL, or more than {VALUE_BYTES_MAX} bytes")
    return value


def nowhere(name: str) -> Place:
    """Refuse: for lanes that make calls without secrets."""
    raise RequestRefused(Failure.SECRET_MISSING, "no secret resolves here")


NO_SECRETS: Final = Secrets(nowhere)
