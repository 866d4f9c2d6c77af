"""From a connection and an action to one exchange over SSH: the way, whom it trusts, what is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rexecop.lanes.messages.ssh import (
    ANY_KEY,
    HOPS_MAX,
    PROTOCOL,
    SESSIONS_DEFAULT,
    SESSIONS_MAX,
    SshMessage,
    problem,
)
from rexecop.operations.binding import Making
from rexecop.operations.connection import Keys
from rexecop.operations.environment import Backend, keys_of
from rexecop.operations.errors import ConnectorRefused
from rexecop.operations.known_hosts import SSH_PORT, KnownKeys, is_public_key, known_keys
from rexecop.operations.placeholders import as_message, message_text, names_in
from rexecop.operations.ports import Configuration
from rexecop.proof.call import ExchangeRequest, ProcessRequest
from rexecop.proof.canonical import Json
from rexecop.proof.codec import from_json
from rexecop.proof.errors import ProofError
from rexecop.proof.message import fill_secrets, fill_slots, secrets_in, slots_in
from rexecop.proof.vocabulary import Isolation

_HOST: Final = (
    "host user port identity_file_secret_ref certificate_secret_ref agent known_hosts_policy "
    "known_hosts_file host_keys"
)
_STAND_IN: Final = "0" * 64  # For a secret or a slot, to see whether the message is whole.
_LOCAL: Final = ("writable", "umask", "user", "rlimits", "egress", "script")  # Held by the process lane only.
# What says this bears no confinement on this machine, and asks for none elsewhere.
_UNCONFINED: Final = (Isolation.NONE, Isolation.RLIMITS)
_POSIX: Final = "posix"
_PLAIN: Final = "plain"


def ssh_request(making: Making, process: ProcessRequest | None) -> ExchangeRequest:
    """Return the exchange that runs `process` at the end of the way, or makes the action's transfer.

    Raises:
        ConnectorRefused: the connection or the action cannot be written down, or trusts nobody in particular.
        ProfileRefused, ParameterRefused: a placeholder names nothing.
    """
    keys = Keys(making.connection, " ".join(sorted(keys_of(Backend.SSH))), making.where)
    jumps = keys.items("jump")
    if len(jumps) >= HOPS_MAX:
        raise keys.refuse("jump", f"at most {HOPS_MAX - 1} hosts")
    hops = [Keys(_mapping(keys, item), _HOST, f"{making.where}: jump") for item in jumps]
    route: list[Json] = [_host(hop, making.configuration) for hop in (*hops, keys)]
    message: dict[str, Json] = {"route": route}
    sessions = keys.integer("sessions", SESSIONS_DEFAULT, 1, SESSIONS_MAX)
    if sessions != SESSIONS_DEFAULT:
        message["sessions"] = sessions
    if process is not None:
        message["command"] = _command(making, process, keys.one_of("remote", (_POSIX, _PLAIN), _POSIX))
    else:
        message["transfer"] = _transfer(making)
    return _checked(message, making.where)


def _mapping(keys: Keys, item: Json) -> Mapping[str, Json]:
    if not isinstance(item, dict):
        raise keys.refuse("jump", "a list of mappings")
    return item


def _host(keys: Keys, configuration: Configuration) -> Json:
    """Return one host of the way, with the keys it is known by written out."""
    if keys.text("known_hosts_policy", "strict") != "strict":
        # What would be trusted on first sight is trusted by nobody yet.
        raise keys.refuse("known_hosts_policy", "strict; write down the key in `host_keys` or a file")
    host, port = keys.text("host"), keys.integer("port", SSH_PORT, 1, 65535)
    for needed in ("host", "user"):
        if needed not in keys:
            raise keys.refuse(needed, "text")
    known = KnownKeys()
    if "known_hosts_file" in keys:
        path = keys.text("known_hosts_file")
        known = known_keys(configuration.file(path), host, port, path)
    for key in keys.texts("host_keys"):
        if not key.startswith("SHA256:") and not is_public_key(" ".join(key.split()[:2])):
            raise keys.refuse("host_keys", "`TYPE BASE64` or `SHA256:...`")
        known.host_keys.append(" ".join(key.split()[:2]))
    if not known.host_keys and not known.authorities:
        what = "is known by no key; name one in `host_keys`, or a `known_hosts_file` that has it"
        raise ConnectorRefused(f"{keys.where}: `{host}:{port}` {what}", field="host_keys", found=host)
    found: dict[str, Json] = {"host": host, "port": port, "user": keys.text("user")}
    found |= {name: [*values] for name, values in _named(known).items() if values}
    if "identity_file_secret_ref" in keys:
        found["identity"] = {"secret": keys.text("identity_file_secret_ref")}
    if "certificate_secret_ref" in keys:
        found["certificate"] = {"secret": keys.text("certificate_secret_ref")}
    if "agent" in keys or "identity" not in found:
        found["agent"] = keys.text("agent", "")
    if bool(found.get("identity")) == bool(found.get("agent")):
        raise ConnectorRefused(
            f"{keys.where}: one of `identity_file_secret_ref` and `agent` says how to get in",
            field="identity_file_secret_ref",
            allowed=f"a secret's name, or for `agent` `{ANY_KEY}` or a fingerprint",
        )
    return found


def _named(known: KnownKeys) -> Mapping[str, list[str]]:
    return {"host_keys": known.host_keys, "authorities": known.authorities, "revoked": known.revoked}


def _command(making: Making, process: ProcessRequest, remote: str) -> Json:
    action, where = making.action, making.where
    held = None if action.isolation in _UNCONFINED else action.isolation
    asked = {name: getattr(process, name) for name in _LOCAL} | {"isolation": held}
    key = next((name for name, value in asked.items() if value not in (None, ())), None)
    if key is not None:
        raise ConnectorRefused(f"`{where}`: nothing holds a program on another host to `{key}`", field=key)
    seen: dict[str, Json] = {"argv": [as_message(text) for text in process.argv]}
    if process.env:
        seen["env"] = {name: as_message(text) for name, text in process.env.items()}
    if any(secrets_in(seen)):
        what = f"`{where}` has a secret where every user of the host can read it"
        raise ConnectorRefused(what, field=where, allowed="{secret.NAME} in `stdin`")
    if process.cwd is not None:
        seen["cwd"] = process.cwd
    if process.stdin is not None:
        seen["stdin"] = as_message(process.stdin)
    if process.tty is not None:
        seen["columns"], seen["rows"] = process.tty.columns, process.tty.rows
        if process.tty.attended:
            seen["attended"] = True
    if remote == _PLAIN:
        seen["wrapped"] = False
    return seen


def _transfer(making: Making) -> Json:
    shape = making.action.transfer or {}
    found = {key: message_text(str(value), making.values, making.where) for key, value in shape.items()}
    if any(secrets_in(found)):
        raise ConnectorRefused(f"`{making.where}`: a secret in a file would stand in its digest")
    if "file" in shape:
        found["digest"] = _digest_of(making, str(shape["file"]), found["file"])
    return found


def _digest_of(making: Making, written: str, path: Json) -> str:
    """Return the digest of the file of this machine that is put."""
    where = f"`{making.where}`"
    if any(space not in ("target", "env") for space, _ in names_in(written)):
        # Who asks would otherwise send away any file that the runner can read.
        what = f"{where}: which file is put is for the profile and the environment to say"
        raise ConnectorRefused(what, field="file", allowed="{target}, {target.NAME} and {env.NAME}")
    digest = making.observed(path) if isinstance(path, str) and path.startswith("/") else None
    if digest is None:
        raise ConnectorRefused(f"{where}: no file at `{path!s:.100}` can be read here", field="file")
    return digest


def _checked(message: dict[str, Json], where: str) -> ExchangeRequest:
    """Return the exchange of `message`, read once as the lane will read it."""
    whole = fill_slots(message, dict.fromkeys(slots_in(message), _STAND_IN))
    whole = fill_secrets(whole, dict.fromkeys(secrets_in(message), _STAND_IN))
    try:
        read = from_json(SshMessage, whole)
    except ProofError as error:
        raise ConnectorRefused(f"`{where}`: {error.message}", field=where) from error
    peers = tuple(host.peer for host in read.route)
    reason = problem(read, peers)
    if reason is not None:
        raise ConnectorRefused(f"`{where}`: {reason}", field=where)
    return ExchangeRequest(protocol=PROTOCOL, message=message, peers=peers)
