"""A session as an asciicast (version 2): built from evidence, as finely timed as the ledger is."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

import msgspec

from rexecop.proof.records.stretch import Stretch

WIDTH: Final = 80  # Where the call names no size.
HEIGHT: Final = 24


def asciicast(
    began: datetime, data: bytes, stretches: Sequence[Stretch], *, size: tuple[int, int] = (HEIGHT, WIDTH)
) -> Iterator[str]:
    """Yield the lines of the cast of a session that `began` then and put out `data`.

    Each stretch is one event at the time its record was written; what came after the last is
    shown with it. `size` is rows and columns.
    """
    rows, columns = size
    head = {"version": 2, "width": columns, "height": rows, "timestamp": int(began.timestamp())}
    yield _line(head)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    at, seconds = 0, 0.0
    for stretch in stretches:
        seconds = max(seconds, (stretch.at - began).total_seconds())
        text = decoder.decode(data[at : stretch.start + stretch.length])
        at = stretch.start + stretch.length
        yield _line([round(seconds, 3), "o", text])
    if rest := decoder.decode(data[at:], True):
        yield _line([round(seconds, 3), "o", rest])


def _line(value: object) -> str:
    return msgspec.json.encode(value).decode()
