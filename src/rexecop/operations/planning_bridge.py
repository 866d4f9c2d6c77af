"""Programs that run in a guest or on a node: from a connection and a command to an exchange."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from rexecop.lanes.messages.bridge import GUEST, NODE, GuestMessage, NodeMessage
from rexecop.operations.binding import Making
from rexecop.operations.errors import ConnectorRefused
from rexecop.operations.placeholders import literal, message_value
from rexecop.operations.reading import unknown
from rexecop.proof.call import ExchangeRequest, Hole, Part, SecretRef, Text
from rexecop.proof.canonical import Json
from rexecop.proof.codec import from_json, to_json
from rexecop.proof.egress import holds_egress
from rexecop.proof.errors import ProofError
from rexecop.proof.message import fill_secrets, fill_slots, secrets_in, slots_in
from rexecop.proof.vocabulary import Isolation

STAND_IN: Final = "stand-in"  # For a slot or a secret, so that the message is read once before it is planned.
PATH_BYTES_MAX: Final = 107  # What a Unix socket's address holds.
PORT_MAX: Final = 65_535
UID_MAX: Final = 2**32 - 2

_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})|\[[0-9a-f:.]{2,45}\]")
_FINGERPRINT: Final = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_GUEST_KEYS: Final = frozenset({"runs_in", "socket", "uid", "host", "port", "ca", "grant"})
_NODE_KEYS: Final = frozenset({"runs_in", "node"})


def guest_request(making: Making) -> ExchangeRequest:
    """Return the exchange that runs the action's command in the guest of the connection.

    Raises:
        ConnectorRefused: the connection does not say where the guest is, or says too much.
        As `planning_calls.process_request`.
    """
    given = _Connection(making, _GUEST_KEYS)
    message: dict[str, Json] = {"program": given.program(), "grant": given.secret("grant")}
    peers: tuple[str, ...] = ()
    if given.has("socket") == given.has("host"):
        raise given.wrong("socket", "it names either a `socket` or a `host`", "socket: /run/guest.sock")
    if given.has("socket"):
        given.without("port", "ca", because="socket")
        path = given.text("socket")
        if not path.startswith("/") or len(path.encode()) > PATH_BYTES_MAX or "\0" in path:
            raise given.wrong("socket", f"it is no absolute path of at most {PATH_BYTES_MAX} bytes")
        message["socket"] = path
        if given.has("uid"):
            message["uid"] = given.number("uid", 0, UID_MAX)
    else:
        given.without("uid", because="host")
        host, port = given.text("host"), given.number("port", 1, PORT_MAX)
        if not _HOST.fullmatch(host):
            raise given.wrong("host", "it is no host name or address")
        message |= {"host": host, "port": port, "ca": given.text("ca")}
        peers = (f"{host}:{port}",)
    return _checked(making, GUEST, message, peers, GuestMessage)


def node_request(making: Making) -> ExchangeRequest:
    """Return the exchange that runs the action's command on the node of the connection.

    Raises:
        ConnectorRefused: the connection does not name a node's key.
        As `planning_calls.process_request`.
    """
    given = _Connection(making, _NODE_KEYS)
    node = given.text("node")
    if not _FINGERPRINT.fullmatch(node):
        raise given.wrong(
            "node", "it is no fingerprint of a key", "SHA256: and 43 letters, as `rexecop keys list`"
        )
    return _checked(making, NODE, {"program": given.program(), "node": node}, (), NodeMessage)


class _Connection:
    """The connection of a call, read strictly."""

    def __init__(self, making: Making, known: frozenset[str]) -> None:
        self._making = making
        self._values: Mapping[str, Json] = making.connection
        if extra := sorted(self._values.keys() - known):
            message = f"the connection of `{making.where}` has a key `{extra[0]:.60}`, which is not known"
            raise unknown(ConnectorRefused, message, extra[0], sorted(known))

    def has(self, key: str) -> bool:
        return self._values.get(key) is not None

    def wrong(self, key: str, what: str, allowed: str | None = None) -> ConnectorRefused:
        message = f"`{key}` in the connection of `{self._making.where}`: {what}"
        return ConnectorRefused(message, field=key, allowed=allowed)

    def without(self, *keys: str, because: str) -> None:
        for key in keys:
            if self.has(key):
                raise self.wrong(key, f"it does not go with `{because}`")

    def text(self, key: str) -> str:
        found = self._values.get(key)
        if not isinstance(found, str) or not found:
            raise self.wrong(key, "a text is needed")
        return literal(found, self._making.values, self._making.where)

    def number(self, key: str, low: int, high: int) -> int:
        found = self._values.get(key)
        if type(found) is not int or not low <= found <= high:
            raise self.wrong(key, f"a whole number from {low} to {high} is needed")
        return found

    def secret(self, key: str) -> Json:
        """Return the place of a secret: the text may be nothing but one reference."""
        found = self._values.get(key)
        place = (
            message_value(found, self._making.values, self._making.where) if isinstance(found, str) else None
        )
        if not isinstance(place, dict) or place.keys() != {"secret"}:
            raise self.wrong(key, "a secret of the connector is needed", "like `{secret.guest}`")
        return place

    def program(self) -> dict[str, Json]:
        """Return the program of the call as its message holds it."""
        from rexecop.operations.planning_calls import process_request  # It reads the table this stands in.

        making = self._making
        process = process_request(making)
        for what, asked in (
            ("script", process.script is not None),
            ("tty.attended", process.tty is not None and process.tty.attended),
        ):
            if asked:  # The interpreter here says nothing of the one there, and nobody sits there.
                message = f"`{making.where}`: `{what}` cannot be had of a guest or a node"
                raise ConnectorRefused(message, field=making.where, found=what)
        classes = [str(item) for item in Isolation if item is not Isolation.NOT_APPLICABLE]
        named = making.action.isolation or self._values.get("runs_in", str(Isolation.NONE))
        if not isinstance(named, str) or named not in classes:
            raise self.wrong("runs_in", "it is no class of isolation", ", ".join(classes))
        if process.egress is not None and not holds_egress(Isolation(named), process.egress):
            message = f"`{making.where}`: class `{named}` cannot keep a program to its `egress`"
            raise ConnectorRefused(message, field=making.where, found=str(named))
        program: dict[str, Json] = {"argv": [_place(text) for text in process.argv]}
        if process.stdin is not None:
            program["stdin"] = _place(process.stdin)
        if process.env is not None:
            program["env"] = {name: _place(text) for name, text in process.env.items()}
        for name in ("cwd", "umask", "user"):
            if (text := getattr(process, name)) is not None:
                program[name] = text
        for name, value in (("tty", process.tty), ("rlimits", process.rlimits)):
            if value is not None:
                program[name] = to_json(value)
        if process.egress is not None:
            program["egress"] = list(process.egress)
        if process.writable:
            program["writable"] = list(process.writable)
        if named != Isolation.NONE:
            program["isolation"] = str(named)
        if any(secrets_in(program["argv"])):
            where = making.where
            raise ConnectorRefused(
                f"`{where}`: a secret among the arguments could be read by every user", field=where
            )
        return program


def _place(text: Text) -> Json:
    if isinstance(text, str):
        return text
    parts = [_part(part) for part in text]
    return parts[0] if len(parts) == 1 else {"text": parts}


def _part(part: Part) -> Json:
    if isinstance(part, Hole):
        return {"slot": part.slot}
    return {"secret": part.secret} if isinstance(part, SecretRef) else part


def _checked(
    making: Making,
    protocol: str,
    message: dict[str, Json],
    peers: tuple[str, ...],
    cls: type[GuestMessage] | type[NodeMessage],
) -> ExchangeRequest:
    """Return the exchange, whose message reads as a `cls` once its places are filled.

    Raises:
        ConnectorRefused: it does not.
    """
    slots = fill_slots(message, dict.fromkeys(slots_in(message), STAND_IN))
    filled = fill_secrets(slots, dict.fromkeys(secrets_in(message), STAND_IN))
    try:
        from_json(cls, filled)
    except ProofError as error:
        raise ConnectorRefused(f"`{making.where}`: {error.message}", field=making.where) from error
    return ExchangeRequest(protocol=protocol, message=message, peers=peers)
