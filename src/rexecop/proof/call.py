"""Calls and their templates: the exact thing a lane does, as a value.

A template is a call with holes. A hole is filled from a typed slot, never from raw
output; a secret stays a reference and is resolved inside the lane call only. The
gate and the verifier both recompute *filled call = template with values*.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Final

from rexecop.proof.canonical import Digest, Json, digest_of
from rexecop.proof.codec import encode
from rexecop.proof.errors import TemplateMismatch
from rexecop.proof.message import Scalar, fill_slots, secrets_in, slots_in
from rexecop.proof.vocabulary import Effect, Ended

DIGESTS_KEPT: Final = 1024  # Calls of the operations being worked on; each is named several times.
REPEAT_MAX: Final = 65_536  # Of 1 KiB that is 64 MiB: four times what a call may send past what is kept.
SLOT_LENGTH_MAX: Final = 4096  # A slot carries a name, a number, a line; documents are blobs.


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """A place a slot's value goes."""

    slot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRef:
    """A place a secret's value goes, inside the lane call and nowhere else."""

    secret: str


Part = str | Hole | SecretRef
Text = str | tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminal:
    """The pseudo-terminal a program runs in, and its size; of an `attended` one a person has the keys."""

    rows: int = 24
    columns: int = 80
    attended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceLimits:
    """Limits of the kernel on each process (`setrlimit(2)`); None leaves the lane's own."""

    open_files: int | None = None
    file_bytes: int | None = None
    cpu_seconds: int | None = None
    address_bytes: int | None = None
    user_processes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A program as text: `argv[0]` of the request interprets `text`, whose bytes have `digest`.

    `interpreter` is the digest of the interpreter's file as it was when the call was
    planned. `files` are argument files by name; they follow the arguments in the order of
    their names. `actions` are those of its connector that the script says it carries out.
    """

    interpreter: Digest
    digest: Digest
    text: str
    files: Mapping[str, str] | None = None
    actions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRequest:
    """Run `argv` without a shell; `env` is all the child inherits beside the lane's allow-list.

    With `tty` it runs in a terminal of its own: `stdin` is typed, output is one stream.
    `umask` are four octal digits, `user` the account it runs as. `egress` are the only
    `host:port` it may connect to, through a proxy; () is no network at all, and None is
    what its isolation class gives. A `script` runs with an empty environment.
    """

    kind: ClassVar[str] = "process/1"

    argv: tuple[Text, ...]
    stdin: Text | None = None
    env: Mapping[str, Text] | None = None
    cwd: str | None = None
    writable: tuple[str, ...] = ()
    tty: Terminal | None = None
    umask: str | None = None
    user: str | None = None
    rlimits: ResourceLimits | None = None
    egress: tuple[str, ...] | None = None
    script: Script | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedReply:
    """One answer of a scripted connector: `stdout` comes `repeat` times, from 1 to `REPEAT_MAX`.

    Before it the connector wants leave for the call of action `asks`, and fails without.
    """

    ended: Ended
    error_class: str | None = None
    message: str | None = None
    data: Mapping[str, Json] | None = None
    stdout: str | None = None
    delay_ms: int = 0
    repeat: int = 1
    asks: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedRequest:
    """A call that cannot do I/O: its answers are part of it, the last one repeats."""

    kind: ClassVar[str] = "scripted/1"

    arguments: Mapping[str, Json]
    replies: tuple[ScriptedReply, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerRequest:
    """Run the typed handler `action` on `payload`, one JSON text: so its decimals stay what they were."""

    kind: ClassVar[str] = "handler/1"

    action: str
    payload: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeRequest:
    """Exchange `message` by `protocol` (`http/1`, `ssh/1`, ...); see `proof.message` for its places.

    `peers` are the only network addresses (`host:port`) the lane may connect to.
    """

    kind: ClassVar[str] = "exchange/1"

    protocol: str
    message: Mapping[str, Json]
    peers: tuple[str, ...] = ()


Request = ProcessRequest | ScriptedRequest | HandlerRequest | ExchangeRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of one action on one target; with holes in it, a template."""

    kind: ClassVar[str] = "call/1"

    target: str
    connector: str
    action: str
    effect: Effect
    request: Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """What may go into a hole: a fact of step `step`, within a closed domain.

    `type` is `string`, `integer` or `boolean`. A string must match `pattern`
    as a whole and hold at most `length_max` characters.
    """

    step: str
    fact: str
    type: str
    pattern: str = ""
    length_max: int = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one call may use, all enforced by the lane.

    `output_bytes` of each stream are kept. What comes after is counted and dropped, up to
    `raw_output_bytes` in all, where the call is ended; None is the lane's own margin.
    """

    timeout_ms: int
    output_bytes: int
    grace_ms: int = 500
    processes: int = 64
    memory_bytes: int | None = None
    raw_output_bytes: int | None = None


def is_attended(call: Call) -> bool:
    """Return whether a person has the keys of the call's terminal, here or on another host."""
    request = call.request
    if isinstance(request, ExchangeRequest) and request.protocol == "ssh/1":
        command = request.message.get("command")
        return isinstance(command, Mapping) and command.get("attended") is True
    return isinstance(request, ProcessRequest) and request.tty is not None and request.tty.attended


def route_of(request: Request) -> str:
    """Return what names the lane for `request`: its kind, or the protocol of an exchange."""
    return request.protocol if isinstance(request, ExchangeRequest) else request.kind


def reaches_only(request: Request, egress: Collection[str]) -> bool:
    """Return whether `request` may connect to nothing but the hosts of `egress` (`host` or `host:port`).

    An exchange that names no peer goes over something else than the network, whose other end may be anywhere.
    """
    if not isinstance(request, ExchangeRequest):
        return False
    return bool(request.peers) and all(
        peer in egress or peer.rpartition(":")[0] in egress for peer in request.peers
    )


_digests: dict[int, tuple[Call, Digest]] = {}


def call_digest(call: Call) -> Digest:
    """Return the digest of a call or template."""
    # Ticket, permit, attempt and gate name the same call in turn, and a call never changes.
    found = _digests.get(id(call))
    if found is None or found[0] is not call:
        if len(_digests) >= DIGESTS_KEPT:
            _digests.clear()
        # The call is kept beside its digest, so that its id stands for it and for nothing else.
        found = _digests[id(call)] = (call, digest_of(encode(call)))
    return found[1]


def holes(call: Call) -> frozenset[str]:
    """Return the slots that `call` still has holes for."""
    request = call.request
    if isinstance(request, ExchangeRequest):
        return frozenset(slots_in(dict(request.message)))
    return frozenset(part.slot for part in _parts(request) if isinstance(part, Hole))


def secrets_of(call: Call) -> frozenset[str]:
    """Return the references of the secrets that `call` needs."""
    request = call.request
    if isinstance(request, ExchangeRequest):
        return frozenset(secrets_in(dict(request.message)))
    return frozenset(part.secret for part in _parts(request) if isinstance(part, SecretRef))


def _parts(request: Request) -> Iterator[Part]:
    if isinstance(request, ProcessRequest):
        for text in (*request.argv, request.stdin, *(request.env or {}).values()):
            if isinstance(text, tuple):
                yield from text


def check_slot(name: str, slot: Slot, value: Scalar) -> None:
    """Return only if `value` lies in the domain of `slot`.

    Raises:
        TemplateMismatch: wrong type, too long, or outside the pattern.
    """
    check_type(name, slot, value)
    if isinstance(value, str) and not _fits(name, slot.pattern, value):
        raise TemplateMismatch(f"slot `{name}` takes `{slot.pattern}`, not `{value:.60}`", slot=name)


def check_type(name: str, slot: Slot, value: Scalar) -> None:
    """Return only if `value` is of the type of `slot` and no longer than it may be.

    Raises:
        TemplateMismatch: it is not.
    """
    kinds: dict[str, type] = {"string": str, "integer": int, "boolean": bool}
    if slot.type not in kinds or type(value) is not kinds[slot.type]:
        raise TemplateMismatch(f"slot `{name}` takes {slot.type}, not `{value!r:.60}`", slot=name)
    if isinstance(value, str) and len(value) > min(slot.length_max, SLOT_LENGTH_MAX):
        raise TemplateMismatch(f"slot `{name}` takes {slot.length_max} characters at most", slot=name)


def _fits(name: str, pattern: str, value: str) -> bool:
    try:
        return re.fullmatch(pattern, value) is not None
    except (re.error, RecursionError, OverflowError) as error:
        raise TemplateMismatch(f"slot `{name}` has no usable pattern: {error}", slot=name) from error


def fill(template: Call, values: Mapping[str, Scalar]) -> Call:
    """Return `template` with every hole filled from `values`.

    Raises:
        TemplateMismatch: a hole has no value.
    """
    request = template.request
    if not holes(template):
        return template
    if isinstance(request, ExchangeRequest):
        message = {name: fill_slots(value, values) for name, value in request.message.items()}
        return replace(template, request=replace(request, message=message))
    if not isinstance(request, ProcessRequest):
        return template
    return replace(
        template,
        request=replace(
            request,
            argv=tuple(_fill_text(text, values) for text in request.argv),
            stdin=None if request.stdin is None else _fill_text(request.stdin, values),
            env=None
            if request.env is None
            else {name: _fill_text(text, values) for name, text in request.env.items()},
        ),
    )


def _fill_text(text: Text, values: Mapping[str, Scalar]) -> Text:
    if isinstance(text, str):
        return text
    parts: list[Part] = []
    for part in text:
        if isinstance(part, Hole):
            if part.slot not in values:
                raise TemplateMismatch(f"slot `{part.slot}` has no value", slot=part.slot)
            parts.append(_as_text(values[part.slot]))
        else:
            parts.append(part)
    return _joined(parts)


def _as_text(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _joined(parts: list[Part]) -> Text:
    """Merge neighbouring literals so that one text has one form."""
    merged: list[Part] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] = merged[-1] + part
        else:
            merged.append(part)
    if len(merged) == 1 and isinstance(merged[0], str):
        return merged[0]
    return tuple(merged) if merged else ""
