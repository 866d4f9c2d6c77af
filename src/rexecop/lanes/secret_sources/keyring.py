"""Secrets in the keyring of the desktop or of the machine, through the library `keyring`.

The library runs in a process of its own: a locked keyring asks its owner and waits, and
that must end with the call.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from rexecop.lanes.errors import ProgramFailed, RequestRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.program import PASSED_ON, run
from rexecop.lanes.secrets import VALUE_BYTES_MAX, Held

SECONDS_MAX: Final = 10.0  # An open keyring answers within a second; one that asks somebody is given up.
# What finds the owner's keyring: the session's bus, and where the library and its back ends keep theirs.
_XDG: Final = ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
_NEEDED: Final = (*PASSED_ON, *_XDG, "DBUS_SESSION_BUS_ADDRESS", "PYTHON_KEYRING_BACKEND")
_NOT_INSTALLED: Final = "the library `keyring` is not installed (the extra `keyring`)"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyringSecret:
    """The password of `account` at `service`."""

    service: str
    account: str
    environ: Mapping[str, str] = field(repr=False, compare=False)

    @property
    def where(self) -> str:
        """The entry."""
        return f"keyring entry `{self.service}` of `{self.account}`"

    async def read(self) -> Held:
        """Return the password; see `secrets.Source.read`."""
        if (doubt := await self.doubt()) is not None:
            raise RequestRefused(Failure.SECRET_UNREADABLE, doubt)
        argv = [sys.executable, "-I", "-m", "keyring", "get", "--", self.service, self.account]
        try:
            look = partial(run, argv, stdin=b"", environ=self.environ, passed_on=_NEEDED)
            ended = await asyncio.to_thread(look, seconds=SECONDS_MAX, output_bytes=VALUE_BYTES_MAX + 1)
        except ProgramFailed:
            words = f"{self.where}: no answer in {SECONDS_MAX:g} s, or too long a one; is it locked?"
            raise RequestRefused(Failure.SECRET_SOURCE_DOWN, words) from None
        if ended.returncode == 0:
            return Held(fields={"": ended.stdout.removesuffix(b"\n")})
        if not ended.stderr.strip():
            raise RequestRefused(Failure.SECRET_MISSING, f"no {self.where}")
        # Of the library's words only the class of the error, which holds nothing of the entry.
        kind = ended.stderr.strip().splitlines()[-1].split(b":")[0].decode("ascii", "replace")
        raise RequestRefused(Failure.SECRET_UNREADABLE, f"{self.where}: {kind:.80}")

    async def doubt(self) -> str | None:
        """Return whether the library is missing; whether the entry is there only reading tells."""
        return None if importlib.util.find_spec("keyring") is not None else _NOT_INSTALLED
