"""What becomes known of the request that is being answered, told where it is found out."""

from __future__ import annotations

from contextvars import ContextVar, Token
from dataclasses import dataclass


@dataclass(slots=True)
class Answering:
    """One request: who sends it, and the operation it is about."""

    caller: str | None = None
    operation: str | None = None


_current: ContextVar[Answering | None] = ContextVar("answering", default=None)


def begin() -> tuple[Answering, Token[Answering | None]]:
    """Begin to answer a request in this context; `end` takes the token."""
    found = Answering()
    return found, _current.set(found)


def end(token: Token[Answering | None]) -> None:
    """Be done with a request."""
    _current.reset(token)


def note(*, caller: str | None = None, operation: str | None = None) -> None:
    """Note of the request being answered here, if one is, who sends it or the first operation it is about."""
    found = _current.get()
    if found is not None:
        found.caller = found.caller or caller
        found.operation = found.operation or operation
