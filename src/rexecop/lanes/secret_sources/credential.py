"""Credentials that systemd gives a service: files in `$CREDENTIALS_DIRECTORY` (systemd.exec(5))."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from rexecop.lanes.errors import RequestRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.secret_sources.file import doubt_of, open_private, read_private
from rexecop.lanes.secrets import VALUE_BYTES_MAX, Held

VARIABLE: Final = "CREDENTIALS_DIRECTORY"
OWNERS: Final = (0,)  # The manager owns the files and lets the service's user read them by an access list,
OTHERS: Final = 0o027  # whose mask shows as the group's right to read.


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialSecret:
    """The credential `name` of this service; `directory` is empty where there is no such service."""

    directory: str
    name: str

    @property
    def where(self) -> str:
        """The credential."""
        return f"systemd credential `{self.name}`"

    async def read(self) -> Held:
        """Return it byte for byte; see `secrets.Source.read`."""
        return Held(fields={"": read_private(self._path(), VALUE_BYTES_MAX, owners=OWNERS, others=OTHERS)})

    async def doubt(self) -> str | None:
        """Return why it cannot be read."""
        return doubt_of(lambda: os.close(open_private(self._path(), owners=OWNERS, others=OTHERS)))

    def _path(self) -> str:
        if not self.directory:
            raise RequestRefused(Failure.SECRET_MISSING, f"`{VARIABLE}` is not set: no service of systemd")
        return os.path.join(self.directory, self.name)
