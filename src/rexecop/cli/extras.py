"""What a command needs beyond the command line, where it is installed."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def with_extra(module: str, verb: str, extra: str) -> ModuleType:
    """Return `module`, which `verb` is done by and the extra `extra` brings what it needs.

    Raises:
        ExtraMissing: it is not installed.
    """
    from rexecop.app.errors import ExtraMissing

    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("rexecop"):
            raise
        raise ExtraMissing(
            f"`{verb}` needs the extra `{extra}` (`{error.name}` is not installed)",
            next_steps=(f"pip install -e '.[{extra}]'  # in a clone",),
            extra=extra,
        ) from error
