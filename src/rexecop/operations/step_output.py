"""What a call put out, as normalizers look at it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

from rexecop.proof.canonical import INTEGER_MAX, Json
from rexecop.proof.pointer import pointed
from rexecop.proof.vocabulary import Ended

INPUT_MAX: Final = 64 * 1024  # Characters of one stream that are looked at; what a call returns by default.
JSON_MAX: Final = 4 * 1024 * 1024  # Likewise of a document, which is of no use in part.
LINE_MAX: Final = 4096  # Characters of one line a pattern sees, which bounds the time it can take.
LINES_MAX: Final = 20_000  # Lines of one table or search.


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutput:
    """What a call put out, as far as it was kept; `at` is when it was tried."""

    ended: Ended
    status: int | None = None
    stdout: str = ""
    stderr: str = ""
    data: Mapping[str, Json] | None = None
    at: datetime | None = None

    def text(self, stream: str) -> str:
        return self._whole(stream)[:INPUT_MAX]

    def _whole(self, stream: str) -> str:
        return self.stderr if stream == "stderr" else self.stdout

    def lines(self, stream: str) -> list[str]:
        return self.text(stream).splitlines()[:LINES_MAX]

    def value(self, stream: str, pointer: str) -> Json:
        """Return what `pointer` names in the structured answer, or in what the text says as JSON."""
        if stream == "data" or (self.data is not None and not self.stdout):
            return pointed(self.data, pointer)
        try:
            # Fractions keep their digits as text; what JSON does not know is refused.
            found = json.loads(
                self._whole(stream)[:JSON_MAX], parse_float=str, parse_int=_integer, parse_constant=_no_number
            )
        except (ValueError, RecursionError):
            return None
        return pointed(cast("Json", found), pointer)


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= len(str(INTEGER_MAX)) and abs(int(digits)) <= INTEGER_MAX else digits


def _no_number(word: str) -> Json:
    raise ValueError(word)
