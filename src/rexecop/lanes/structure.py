"""Whether a call can be made at all as it is written; nothing here looks at authority."""

from __future__ import annotations

import re
from typing import Final

from rexecop.lanes.errors import RequestRefused
from rexecop.lanes.failures import Failure
from rexecop.proof.call import (
    REPEAT_MAX,
    Call,
    ExchangeRequest,
    Limits,
    ProcessRequest,
    ResourceLimits,
    Script,
    ScriptedRequest,
    SecretRef,
    Text,
    holes,
)
from rexecop.proof.codec import to_json
from rexecop.proof.egress import split
from rexecop.proof.vocabulary import Effect

CALL_BYTES_MAX: Final = 128 * 1024  # Half a record, so that a plan holding the call still fits into one.
ARGUMENTS_MAX: Final = 1_024  # More belong into a file or onto stdin.
ENVIRONMENT_MAX: Final = 128
WRITABLE_MAX: Final = 32  # Each is a mount or a rule of the sandbox.
PATH_LENGTH_MAX: Final = 4_096  # The kernel's own limit.
REPLIES_MAX: Final = 64
DELAY_MS_MAX: Final = 3_600_000
TIMEOUT_MS_MAX: Final = 24 * 3_600_000  # A day; what runs longer is a service, not a step.
GRACE_MS_MAX: Final = 60_000
OUTPUT_BYTES_MAX: Final = 64 * 1024 * 1024  # Kept in memory until the outcome is written.
PROCESSES_MAX: Final = 4_096
PEERS_MAX: Final = 16  # A target and what it is reached through.
RAW_OUTPUT_BYTES_MAX: Final = 1 << 40  # Counted and dropped, so only time is spent on it.
TERMINAL_SIDE_MAX: Final = 1_000
EGRESS_MAX: Final = 32  # More hosts than that are a network, not a list.
SCRIPT_BYTES_MAX: Final = 64 * 1024  # What a person can still read before saying yes.
FILES_MAX: Final = 16  # Each is a descriptor that is handed over.

_PROTOCOL: Final = re.compile(r"[a-z][a-z0-9-]{0,30}/[1-9][0-9]{0,2}")
_PEER: Final = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})|\[[0-9a-f:.]{2,45}\]):[1-9][0-9]{0,4}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_USER: Final = re.compile(r"[a-z_][a-z0-9_.-]{0,31}")
_UMASK: Final = re.compile(r"0[0-7]{3}")
_FAILURES: Final = frozenset(failure.value for failure in Failure)


def check_structure(call: Call, call_bytes: int, limits: Limits) -> None:
    """Return only if `call` is whole, bounded and can be carried by the kernel's interfaces.

    Raises:
        RequestRefused: with `request_invalid` or `template_mismatch`.
    """
    _require(call_bytes <= CALL_BYTES_MAX, f"the call takes {call_bytes} bytes, at most {CALL_BYTES_MAX}")
    _require(call.target != "", "the call names no target")
    _check_limits(limits)
    if holes(call):
        raise RequestRefused(Failure.TEMPLATE_MISMATCH, "the call still has holes")
    match call.request:
        case ProcessRequest():
            _check_process(call.request, call.effect)
        case ScriptedRequest():
            _check_scripted(call.request)
        case ExchangeRequest():
            _check_exchange(call.request)


def _check_limits(limits: Limits) -> None:
    for name, value, most in (
        ("timeout_ms", limits.timeout_ms, TIMEOUT_MS_MAX),
        ("output_bytes", limits.output_bytes, OUTPUT_BYTES_MAX),
        ("processes", limits.processes, PROCESSES_MAX),
        ("memory_bytes", limits.memory_bytes or 1, 2**53),
        ("raw_output_bytes", limits.raw_output_bytes or 1, RAW_OUTPUT_BYTES_MAX),
    ):
        _require(0 < value <= most, f"limit `{name}` is `{value}`, not within 1 and {most}")
    _require(
        0 <= limits.grace_ms <= GRACE_MS_MAX,
        f"limit `grace_ms` is `{limits.grace_ms}`, not within 0 and {GRACE_MS_MAX}",
    )


def _check_process(request: ProcessRequest, effect: Effect) -> None:
    _require(0 < len(request.argv) <= ARGUMENTS_MAX, f"`argv` has {len(request.argv)} elements")
    program = request.argv[0]
    _require(isinstance(program, str) and program != "", "the program is not a literal text")
    if isinstance(program, str) and "/" in program:
        _check_path("the program", program)
    for index, text in enumerate(request.argv):
        _require("\0" not in _literals(text), f"`argv[{index}]` holds a NUL")
        # Every user of the machine can read the arguments of a process.
        _require(not _has_secret(text), f"`argv[{index}]` holds a secret; secrets go into `env` or `stdin`")
    environment = request.env or {}
    _require(len(environment) <= ENVIRONMENT_MAX, f"`env` has {len(environment)} names")
    for name, text in environment.items():
        _require(_NAME.fullmatch(name) is not None, f"`env` name `{name:.60}` is not a variable name")
        _require("\0" not in _literals(text), f"`env.{name}` holds a NUL")
    if request.cwd is not None:
        _check_path("`cwd`", request.cwd)
    _check_surroundings(request)
    if request.script is not None:
        _check_script(request, request.script)
    _require(len(request.writable) <= WRITABLE_MAX, f"`writable` has {len(request.writable)} paths")
    _require(
        effect is not Effect.READ or not request.writable,
        "a read has `writable` paths; a read writes nothing",
    )
    for path in request.writable:
        _check_path("`writable`", path)
        _require(path.strip("/") != "", "`writable` names the whole file system")


def _check_surroundings(request: ProcessRequest) -> None:
    """Terminal, user, limits and hosts of a process."""
    if (tty := request.tty) is not None:
        sides = f"the terminal has {tty.rows} rows and {tty.columns} columns"
        _require(0 < min(tty.rows, tty.columns) <= max(tty.rows, tty.columns) <= TERMINAL_SIDE_MAX, sides)
    umask, user = request.umask, request.user
    _require(umask is None or _UMASK.fullmatch(umask) is not None, f"`umask` `{umask}` is not like `0027`")
    _require(user is None or _USER.fullmatch(user) is not None, f"`user` `{user}` is not the name of a user")
    for name, value in to_json(request.rlimits or ResourceLimits()).items():
        _require(
            isinstance(value, int) and value > 0, f"`rlimits.{name}` is `{value}`, not a positive number"
        )
    egress = request.egress or ()
    _require(len(egress) <= EGRESS_MAX, f"`egress` has {len(egress)} hosts, at most {EGRESS_MAX}")
    for entry in egress:
        try:
            split(entry)
        except ValueError as error:
            raise RequestRefused(Failure.REQUEST_INVALID, f"`egress`: {error}") from None


def _check_script(request: ProcessRequest, script: Script) -> None:
    program = request.argv[0]
    _require(isinstance(program, str) and program.startswith("/"), "the interpreter is not an absolute path")
    _require(request.env is None, "a script has an empty environment, and the call names `env`")
    files = script.files or {}
    _require(len(files) <= FILES_MAX, f"the script has {len(files)} files, at most {FILES_MAX}")
    size = sum(len(text.encode()) for text in (script.text, *files.values()))
    _require(size <= SCRIPT_BYTES_MAX, f"script and files take {size} bytes, at most {SCRIPT_BYTES_MAX}")


def _check_scripted(request: ScriptedRequest) -> None:
    _require(0 < len(request.replies) <= REPLIES_MAX, f"the script has {len(request.replies)} replies")
    for index, reply in enumerate(request.replies):
        _require(
            reply.error_class is None or reply.error_class in _FAILURES,
            f"reply {index} has error class `{reply.error_class}`, which nobody knows",
        )
        _require(0 <= reply.delay_ms <= DELAY_MS_MAX, f"reply {index} waits `{reply.delay_ms}` ms")
        _require(1 <= reply.repeat <= REPEAT_MAX, f"reply {index} repeats `{reply.repeat}` times")


def _check_exchange(request: ExchangeRequest) -> None:
    _require(_PROTOCOL.fullmatch(request.protocol) is not None, f"`{request.protocol:.60}` is no protocol")
    _require(len(request.peers) <= PEERS_MAX, f"the exchange names {len(request.peers)} peers")
    for peer in request.peers:
        _require(_PEER.fullmatch(peer) is not None, f"peer `{peer:.80}` is not like `host:port`")


def _check_path(what: str, path: str) -> None:
    _require(path.startswith("/"), f"{what} `{path:.80}` is not an absolute path")
    _require(
        "\0" not in path and len(path.encode()) < PATH_LENGTH_MAX, f"{what} is not a path the kernel takes"
    )
    # Two spellings of one path would be two calls with two digests.
    _require(
        not {".", ".."} & set(path.split("/")) and "//" not in path,
        f"{what} `{path:.80}` has `.`, `..` or `//` in it",
    )


def _literals(text: Text) -> str:
    return text if isinstance(text, str) else "".join(part for part in text if isinstance(part, str))


def _has_secret(text: Text) -> bool:
    return not isinstance(text, str) and any(isinstance(part, SecretRef) for part in text)


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise RequestRefused(Failure.REQUEST_INVALID, message)
