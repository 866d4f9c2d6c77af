"""What an exchange of `ssh/1` holds: the way to a host, and a command or a file to transfer there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

PROTOCOL: Final = "ssh/1"
HOPS_MAX: Final = 4  # A target and three hosts on the way; who needs more has lost the way.
KEYS_MAX: Final = 64  # Of one host, those taken back included; a file names many hosts, a host has few.
SESSIONS_DEFAULT: Final = (
    8  # A server allows 10 (`MaxSessions`) unless told otherwise; some are left to end calls.
)
SESSIONS_MAX: Final = 64
TERMINAL_MAX: Final = 1_000  # Columns or rows of a terminal.
ANY_KEY: Final = "any"
PUT: Final = "put"
GET: Final = "get"
TRANSFERS: Final = (PUT, GET)
ABSENT: Final = "absent"

_HOST: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}|[0-9a-f:.]*:[0-9a-f:.]*")
_USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\\-]{0,63}")
_KEY: Final = re.compile(r"[a-z0-9@.-]{1,64} [A-Za-z0-9+/]{16,16384}={0,2}|SHA256:[A-Za-z0-9+/]{43}")
_AGENT: Final = re.compile(rf"|{ANY_KEY}|SHA256:[A-Za-z0-9+/]{{43}}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_MODE: Final = re.compile(r"0[0-7]{3}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_BEFORE: Final = re.compile(rf"|{ABSENT}|sha256:[0-9a-f]{{64}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host on the way, and what is trusted there: only keys named here.

    A key is `TYPE BASE64`, or for `host_keys` also its fingerprint `SHA256:...`; that does not tell its
    type, so it has to be of the key the host shows first. `authorities` sign host certificates; `revoked`
    keys are refused whoever vouches for them. `identity` is a private key without a passphrase, or the
    absolute path of a file that holds one, and `certificate` what an authority of the host signed for it;
    `agent` is `any` key of the runner's agent, or the fingerprint of one.
    """

    host: str
    port: int
    user: str
    host_keys: tuple[str, ...] = ()
    authorities: tuple[str, ...] = ()
    revoked: tuple[str, ...] = ()
    identity: str = ""
    certificate: str = ""
    agent: str = ""

    @property
    def peer(self) -> str:
        """Return the address as `peers` name it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Run `argv` in the folder `cwd`; with `columns` and `rows` on a terminal of that size.

    Of an `attended` one a person has the keys, and it takes the size of theirs.

    `wrapped` starts it under a few lines of POSIX shell that end it when its time is up, even without
    the lane; hosts that run no such shell get the bare command line.
    """

    argv: tuple[str, ...]
    stdin: str | None = None
    env: Mapping[str, str] | None = None
    cwd: str = ""
    columns: int = 0
    rows: int = 0
    attended: bool = False
    wrapped: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Put `content` (UTF-8), or the bytes of a file, at the absolute `path`, or get what is there.

    The `file` is one of this machine, by its absolute path, and what is put has `digest`.

    `before` is the digest of what a put replaces, or `absent`. `mode` is the permission of the new file,
    octal; without one that of the old file, or 0600.
    """

    operation: str
    path: str
    content: str = ""
    file: str = ""
    digest: str = ""
    mode: str = ""
    before: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SshMessage:
    """The way to a host (`route`, the target last) and one thing to do there.

    `sessions` is how many calls share one connection at a time.
    """

    route: tuple[Host, ...]
    command: Command | None = None
    transfer: Transfer | None = None
    sessions: int = SESSIONS_DEFAULT


def problem(message: SshMessage, peers: Sequence[str]) -> str | None:
    """Return why `message` cannot be sent to `peers`, in words for a person; None if it can."""
    if not 0 < len(message.route) <= HOPS_MAX:
        return f"the route has {len(message.route)} hosts, not within 1 and {HOPS_MAX}"
    if tuple(host.peer for host in message.route) != tuple(peers):
        return "the hosts of the route are not the peers of the exchange"
    if not 0 < message.sessions <= SESSIONS_MAX:
        return f"`sessions` is {message.sessions}, not within 1 and {SESSIONS_MAX}"
    if (message.command is None) == (message.transfer is None):
        return "the message holds a command or a transfer, one of them"
    found = next((reason for host in message.route if (reason := _host_problem(host))), None)
    if found is None and message.command is not None:
        found = _command_problem(message.command)
    if found is None and message.transfer is not None:
        found = _transfer_problem(message.transfer)
    return found


def _host_problem(host: Host) -> str | None:
    if _HOST.fullmatch(host.host) is None:
        return f"`{host.host:.80}` is no host name or address"
    if not 0 < host.port < 1 << 16:
        return f"port {host.port} of `{host.host}` is not within 1 and 65535"
    if _USER.fullmatch(host.user) is None:
        return f"`{host.user:.80}` is no user name"
    keys = (*host.host_keys, *host.authorities, *host.revoked)
    if not host.host_keys and not host.authorities:
        return f"nothing says by which key `{host.host}` is known"
    if len(keys) > KEYS_MAX:
        return f"`{host.host}` has {len(keys)} keys, at most {KEYS_MAX}"
    wrong = next((key for key in keys if _KEY.fullmatch(key) is None), None)
    if wrong is None:
        # A fingerprint cannot check a signature, and whoever takes a key back has it.
        wrong = next((key for key in (*host.authorities, *host.revoked) if key.startswith("SHA256:")), None)
    if wrong is not None:
        return f"`{wrong:.60}` is no public key of `{host.host}`"
    if host.certificate and not host.identity:
        return f"`{host.host}` has a certificate without the key it is for"
    if bool(host.identity) == bool(host.agent) or _AGENT.fullmatch(host.agent) is None:
        return f"`{host.host}` is reached by an identity or by an agent, one of them"
    return None


def _command_problem(command: Command) -> str | None:
    env = command.env or {}
    texts = (*command.argv, *env.values(), command.stdin or "", command.cwd)
    if not command.argv or not command.argv[0]:
        return "the command has no program"
    if any("\0" in text for text in texts):
        return "the command holds a NUL"
    wrong = next((name for name in env if _VARIABLE.fullmatch(name) is None), None)
    if wrong is not None:
        return f"`{wrong:.60}` is no variable name"
    if env and "=" in command.argv[0]:
        return f"program `{command.argv[0]:.60}` would be taken for a variable"
    if command.cwd and not command.cwd.startswith("/"):
        return f"folder `{command.cwd:.80}` is not an absolute path"
    if (command.columns > 0) != (command.rows > 0) or not (
        0 <= command.columns <= TERMINAL_MAX and 0 <= command.rows <= TERMINAL_MAX
    ):
        return f"a terminal has columns and rows, each within 1 and {TERMINAL_MAX}"
    if command.attended and (not command.columns or command.stdin is not None):
        return "a person types at a terminal, and there is no other input"
    if not command.wrapped and (env or command.cwd):
        return "a bare command line takes neither environment nor folder"
    return None


def _transfer_problem(transfer: Transfer) -> str | None:
    if transfer.operation not in TRANSFERS:
        return f"`{transfer.operation:.60}` is neither `{PUT}` nor `{GET}`"
    parts = transfer.path.split("/")
    if parts[0] or len(parts) < 2 or "\0" in transfer.path or {"", ".", ".."} & set(parts[1:]):
        return f"`{transfer.path:.80}` is not the plain absolute path of a file"
    file, digest = transfer.file, transfer.digest
    if transfer.operation == GET and (transfer.content or file or digest or transfer.mode or transfer.before):
        return "a `get` takes a path and nothing else"
    if bool(file) != bool(digest) or (file and (transfer.content or not file.startswith("/"))):
        return "a file to put has an absolute path and a digest, and goes with no other content"
    if digest and _DIGEST.fullmatch(digest) is None:
        return f"`{digest:.80}` is no digest"
    if transfer.mode and _MODE.fullmatch(transfer.mode) is None:
        return f"`{transfer.mode:.20}` is no permission like `0644`"
    if _BEFORE.fullmatch(transfer.before) is None:
        return f"`{transfer.before:.80}` is neither a digest nor `{ABSENT}`"
    return None
