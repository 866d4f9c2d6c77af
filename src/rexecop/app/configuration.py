"""Configuration by reference: addresses and files that the environment names and does not hold."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rexecop.app.errors import FileRefused
from rexecop.app.files import read_file, require_unwritable
from rexecop.lanes.secrets import Secrets


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
        """Return the text of the file at `path`; `~` in front is the caller's home.

        Raises:
            FileMissing, FileRefused: it cannot be read, or is too large or no text.
            RootUnsafe: others than the caller and root could change whom it trusts.
        """
        self.used = True
        found = Path(path).expanduser()
        require_unwritable(found)
        return _text(read_file(found), f"`{path:.100}`")


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise FileRefused(f"{what} is no text") from error
