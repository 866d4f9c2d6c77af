"""Secrets in variables of the runner's environment. They are in no environment of a child."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rexecop.lanes.errors import RequestRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.secrets import Held


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSecret:
    """The value of the variable `name`."""

    name: str
    environ: Mapping[str, str] = field(repr=False, compare=False)

    @property
    def where(self) -> str:
        """The variable."""
        return f"environment variable `{self.name}`"

    async def read(self) -> Held:
        """Return its value; see `secrets.Source.read`."""
        if self.name not in self.environ:
            raise RequestRefused(Failure.SECRET_MISSING, f"{self.where} is not set")
        # As the system had it, also where it is not UTF-8.
        return Held(fields={"": self.environ[self.name].encode("utf-8", "surrogateescape")})

    async def doubt(self) -> str | None:
        """Return whether it is not set."""
        return None if self.name in self.environ else "not set"
