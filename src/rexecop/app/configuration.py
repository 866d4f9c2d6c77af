"""Configuration by reference: addresses and files that the environment names and does not hold."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from rexecop.app.errors import FileRefused
from rexecop.app.files import read_file
from rexecop.lanes.secrets import Secrets

TEXT_BYTES_MAX: Final = 32 * 1024  # An address, a key, a few certificates: it becomes part of every call.


class OutsideConfiguration:
    """Reads what references and paths stand for; `used` says whether anything was read."""

    def __init__(self, secrets: Secrets) -> None:
        self.used = False
        self._secrets = secrets

    def reference(self, name: str) -> str:
        """Return the text of reference `name`.

        Raises:
            RequestRefused: it is nowhere. FileRefused: it is no text.
        """
        self.used = True

        async def leased() -> bytes:
            async with self._secrets.lease([name]) as values:
                return values[name]

        # Planning waits for nothing, and a source may have to: it gets a loop of its own.
        with ThreadPoolExecutor(1) as aside:
            return _text(aside.submit(asyncio.run, leased()).result(), f"reference `{name:.60}`")

    def file(self, path: str) -> str:
        """Return the text of the file at `path`.

        Raises:
            FileMissing, FileRefused: it cannot be read, or is too large or no text.
        """
        self.used = True
        return _text(read_file(Path(path), bytes_max=TEXT_BYTES_MAX), f"`{path:.100}`")


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise FileRefused(f"{what} is no text") from error
