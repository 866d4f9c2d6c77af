"""What a plan writes down of a program that runs in a guest or on a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rexecop.proof.call import ResourceLimits, Terminal
from rexecop.proof.vocabulary import Isolation

GUEST: Final = "guest/1"
NODE: Final = "node/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The program `argv`, run without a shell over there in the isolation class `isolation`.

    Everything else is as of `proof.call.ProcessRequest`. Of a `live` one more standard input comes
    while it runs; who approves the call approves that.
    """

    argv: tuple[str, ...]
    stdin: str | None = None
    env: Mapping[str, str] | None = None
    cwd: str | None = None
    writable: tuple[str, ...] = ()
    isolation: Isolation = Isolation.NONE
    tty: Terminal | None = None
    umask: str | None = None
    user: str | None = None
    rlimits: ResourceLimits | None = None
    egress: tuple[str, ...] | None = None
    live: bool = False

    @property
    def needs(self) -> tuple[str, ...]:
        """The capabilities it needs of the other side."""
        others = {"tty": self.tty is not None, "user": self.user is not None}
        return ("start" if self.live else "run", *(name for name, asked in others.items() if asked))


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestMessage:
    """`guest/1`: run `program` in the guest behind a Unix `socket`, or behind TLS at `host` and `port`.

    `grant` is the token of an attach grant. `uid` is the only user that may hold the other
    end of the socket; `ca` are the certificates (PEM) that vouch for `host`.
    """

    program: Program
    grant: str
    socket: str | None = None
    uid: int | None = None
    host: str | None = None
    port: int | None = None
    ca: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeMessage:
    """`node/1`: run `program` on the node whose key has the fingerprint `node`."""

    program: Program
    node: str
