"""What an answer over HTTP means: how the call ended, what is kept of the body, when to try again."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

from rexecop.lanes.failures import Failure
from rexecop.lanes.messages.http import HttpMessage, Pages
from rexecop.lanes.output import Redactor
from rexecop.proof.vocabulary import Effect, Ended

PIECE_BYTES: Final = 1 << 16  # Unpacked at once.
RATIO_MAX: Final = 200  # Text packs to a twentieth; what unpacks to much more than that is made to.
RATIO_FREE_BYTES: Final = 1 << 20  # Small answers may be as repetitive as they like.
RETRY_AFTER_MAX_MS: Final = 24 * 3_600_000  # What asks for more than a day is no answer to a retry.

_UNSUPPORTED: Final = frozenset({405, 406, 415, 501, 505})
_BUSY: Final = frozenset({408, 425, 429, 503})  # The request was not taken on.
_MOVED_AFTER: Final = frozenset({302, 303})  # What a change is answered with that was made.

# Fractions and large numbers come out with the digits they came in with.
_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


class AnswerRefused(Exception):
    """The answer came and cannot be used."""

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message)
        self.failure = failure


class Unpacker:
    """Takes the content coding off a body, bounded in what it yields for what it is fed."""

    def __init__(self, coding: str) -> None:
        coding = coding.strip().lower()
        if coding not in ("", "identity", "gzip", "x-gzip", "deflate"):
            raise AnswerRefused(Failure.PROTOCOL_ERROR, f"content coding `{coding:.40}` was not asked for")
        self._packed = coding not in ("", "identity")
        self._bits = 15 if coding == "deflate" else 31
        self._unpacking = zlib.decompressobj(self._bits)
        self._fed = self._given = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` unpacks to, piece by piece.

        Raises:
            AnswerRefused: it is broken, or unpacks to far more than an honest answer would.
        """
        if not self._packed:
            yield data
            return
        self._fed += len(data)
        while data:
            piece = self._unpack(data)
            self._given += len(piece)
            if self._given > RATIO_FREE_BYTES and self._given > self._fed * RATIO_MAX:
                raise AnswerRefused(
                    Failure.OUTPUT_LIMIT, f"the answer unpacks to over {RATIO_MAX} times its size"
                )
            if piece:
                yield piece
            data = self._unpacking.unconsumed_tail
            if self._unpacking.eof and self._unpacking.unused_data:
                raise AnswerRefused(Failure.PROTOCOL_ERROR, "something follows the packed answer")

    def _unpack(self, data: bytes) -> bytes:
        try:
            return self._unpacking.decompress(data, PIECE_BYTES)
        except zlib.error as error:
            if self._bits == 15 and self._given == 0:
                # Some servers send `deflate` without the frame that RFC 9110 asks for.
                self._bits, self._unpacking = -15, zlib.decompressobj(-15)
                return self._unpack(data)
            raise AnswerRefused(Failure.PROTOCOL_ERROR, "the answer is packed wrongly") from error

    def finish(self) -> None:
        """Return only if everything was there.

        Raises:
            AnswerRefused: the packed body is cut short.
        """
        if self._packed and self._fed and not self._unpacking.eof:
            raise AnswerRefused(Failure.TRANSIENT_CONNECTOR_ERROR, "the packed answer is cut short")


def verdict(message: HttpMessage, status: int, effect: Effect) -> tuple[Ended, Failure | None]:
    """Return how a call ended that was answered with `status`.

    A change whose answer does not say whether it was made is unknown: most of 5xx come
    from something between, or from the middle of the work, and 2xx is a yes to something.
    """
    if status in message.expect if message.expect else 200 <= status < 300:
        return Ended.OK, None
    declared = (message.errors or {}).get(str(status))
    if declared is not None:
        return Ended.FAILED, Failure(declared)
    doubtful = Ended.FAILED if effect is Effect.READ else Ended.UNKNOWN
    if status < 300:
        return doubtful, Failure.VALIDATION_FAILED
    if status < 400:
        return doubtful if status in _MOVED_AFTER else Ended.FAILED, Failure.REDIRECTED
    if status in (401, 403, 407):
        return Ended.FAILED, Failure.AUTH_FAILED
    if status in _UNSUPPORTED:
        return Ended.FAILED, Failure.UNSUPPORTED
    if status in _BUSY:
        return Ended.FAILED, Failure.TRANSIENT_CONNECTOR_ERROR
    if status < 500:
        return Ended.FAILED, Failure.VALIDATION_FAILED
    return doubtful, Failure.TRANSIENT_CONNECTOR_ERROR


def retry_after_ms(headers: Mapping[str, str]) -> int | None:
    """Return how long the other side asks to wait, by its own clock; None where it does not say."""
    asked = headers.get("Retry-After", "").strip()
    if asked.isdecimal() and len(asked) < 9:
        return min(int(asked) * 1000, RETRY_AFTER_MAX_MS)
    try:
        left = parsedate_to_datetime(asked) - parsedate_to_datetime(headers.get("Date", ""))
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(int(left.total_seconds() * 1000), 0), RETRY_AFTER_MAX_MS)


def read_json(body: bytes, content_type: str) -> object:
    """Return the JSON in `body`.

    Raises:
        AnswerRefused: it is none, or declared to be something else.
    """
    media = content_type.partition(";")[0].strip().lower()
    if media and not (media.endswith(("/json", "+json"))):
        raise AnswerRefused(Failure.VALIDATION_FAILED, f"the answer is `{media:.60}`, not JSON")
    try:
        found: object = _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, ArithmeticError) as error:
        raise AnswerRefused(Failure.VALIDATION_FAILED, "the answer is not JSON") from error
    return found


def write_json(value: object) -> bytes:
    """Return `value`, once read from JSON, as JSON."""
    return _encoder.encode(value)


def unwrapped(value: object, unwrap: str) -> object:
    """Return what `unwrap` keeps of `value`: what a pointer names, or an object of the one member named.

    Raises:
        AnswerRefused: there is no such thing.
    """
    found = at(value, unwrap if unwrap.startswith("/") else f"/{unwrap}")
    if found is MISSING:
        raise AnswerRefused(Failure.VALIDATION_FAILED, f"the answer has no `{unwrap:.60}`")
    return found if unwrap.startswith("/") else {unwrap: found}


def check_error(value: object, pointer: str) -> None:
    """Return only if nothing stands at `pointer`.

    Raises:
        AnswerRefused: the answer carries an error.
    """
    if pointer and at(value, pointer) not in (MISSING, None, False, "", 0, [], {}):
        raise AnswerRefused(Failure.REMOTE_ERROR, f"the answer carries an error at `{pointer:.60}`")


class Missing:
    """Stands for what a pointer does not find, since JSON has a null of its own."""


MISSING: Final = Missing()


def at(value: object, pointer: str) -> object:
    """Return what `pointer` names in `value`, or `MISSING`."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and len(key) < 8 and int(key) < len(value):
            value = value[int(key)]
        else:
            return MISSING
    return value


def items_of(value: object, pages: Pages) -> list[object]:
    """Return the entries of one page.

    Raises:
        AnswerRefused: there is no list where it should be.
    """
    found = at(value, pages.items)
    if not isinstance(found, list):
        raise AnswerRefused(Failure.VALIDATION_FAILED, f"no list at `{pages.items or 'the top'}` of a page")
    return found


def cursor_of(value: object, pages: Pages) -> str | None:
    """Return what stands where the next page is named; None where there is none."""
    found = at(value, pages.field)
    if isinstance(found, bool) or not isinstance(found, str | int):
        return None
    return str(found) or None


class Shown:
    """What may be shown of a body: secrets taken out, cut to the limit, all of it counted."""

    def __init__(self, limit: int, secrets: tuple[bytes, ...]) -> None:
        self.count = 0
        self.kept = bytearray()
        self._limit = limit
        self._redactor = Redactor(secrets)

    @property
    def redactions(self) -> int:
        return self._redactor.redactions

    def take(self, data: bytes | None) -> bytes:
        """Return what may be shown of `data`, or at the end (None) of what was held back."""
        self.count += len(data or b"")
        if len(self.kept) >= self._limit:
            return b""
        shown = self._redactor.finish() if data is None else self._redactor.feed(data)
        shown = shown[: self._limit - len(self.kept)]
        self.kept += shown
        return shown
