"""From the shape of an action and a connection to one HTTP request; from a plan to its idempotency keys."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Final

from rexecop.lanes.messages.http import (
    PAGINATION,
    PROTOCOL,
    REDIRECTS_MAX,
    Addresses,
    HttpMessage,
    Origin,
    Pages,
    Redirects,
    Tls,
    problems,
    read_origin,
)
from rexecop.operations.binding import Bound, Making
from rexecop.operations.connection import Keys
from rexecop.operations.environment import OUTPUT_BYTES_MAX, SHAPE_KEYS, Backend, keys_of
from rexecop.operations.errors import ConnectorRefused, ParameterRefused
from rexecop.operations.placeholders import (
    VALUE_LENGTH_MAX,
    given_whole,
    is_spread,
    literal,
    message_text,
    message_value,
    names_in,
)
from rexecop.operations.profile_model import ActionSpec
from rexecop.proof.call import Call, ExchangeRequest
from rexecop.proof.canonical import Json, digest_of
from rexecop.proof.codec import from_json, to_json
from rexecop.proof.errors import ProofError
from rexecop.proof.message import fill_secrets, fill_slots, secrets_in, slots_in
from rexecop.proof.records.plan import CallStep, Step
from rexecop.proof.vocabulary import Effect

PAGES: Final = 10  # What the seed reads of one list where nothing is said.
ANSWER_BYTES: Final = 64 * 1024  # Likewise of one answer of its own backend.
KEY_DIGITS: Final = 32  # Of an idempotency key: enough never to meet another one's.

_BASE: Final = re.compile(r"(https?://[^/?#\\]+)(/[^?#\\]*)?")
_AUTH: Final = "scheme secret_ref header prefix user"
_TLS: Final = "ca_file_secret_ref ca_file fingerprint client_certificate_secret_ref server_name verify"
_PAGES: Final = "by items items_path next next_path cursor parameter first max_pages"
# What the environment may say of an action beside what it says of the call.
_BESIDE: Final = frozenset({"mutating", "max_response_bytes"})


def shape_of(action: ActionSpec, bound: Bound) -> Mapping[str, Json]:
    """Return the one shape on which profile and environment agree.

    Raises:
        ConnectorRefused: neither has one, or they differ.
    """
    pinned, given = action.http, bound.config.shapes.get(action.name)
    where = f"{bound.spec.name}.{action.name}"
    if pinned is None and (given is None or "path" not in given):
        raise ConnectorRefused(
            f"`{where}` has no method and path, neither in profile nor environment", field=where
        )
    if pinned is None or given is None:
        return pinned or given or {}
    for key in sorted(given.keys() - _BESIDE):
        mine, theirs = _usual(key, pinned.get(key)), _usual(key, given[key])
        if mine != theirs:
            raise ConnectorRefused(
                f"`{key}` of `{where}` is `{theirs!s:.60}` in the environment, not `{mine!s:.60}` as pinned",
                field=where,
                found=str(theirs)[:60],
                allowed=str(mine)[:60],
            )
    bounds = [size for item in (pinned, given) if isinstance(size := item.get("max_response_bytes"), int)]
    return {**pinned, "max_response_bytes": min(bounds)} if bounds else pinned


def _usual(key: str, value: Json) -> Json:
    return (value.upper() if key == "method" and isinstance(value, str) else value) or None


def http_request(making: Making) -> ExchangeRequest:
    """Return the request of `making`.

    Raises:
        ConnectorRefused: connection or shape cannot be followed. ProfileRefused, ParameterRefused: a
            placeholder cannot be filled.
    """
    keys = Keys(making.connection, " ".join(sorted(keys_of(Backend.HTTP))), f"connection of `{making.where}`")
    shape = Keys(shape_of(making.action, making.bound), SHAPE_KEYS, f"`{making.where}`")
    origin, prefix = _base(keys, making)
    path, slash = _path(shape.text("path", "/"), making)
    redirects = _redirects(keys)
    message: dict[str, Json] = {
        "method": shape.text("method", "GET").upper(),
        "origin": to_json(origin),
        "path": [*prefix, *path],
        "slash": slash,
        "query": {
            name: texts
            for name, value in shape.mapping("query").items()
            if (texts := _texts(shape, "query", value, making))
        },
        "headers": {
            name: message_text(_scalar(part, "headers", value), making.values, making.where)
            for part in (keys, shape)
            for name, value in part.mapping("headers").items()
        },
        **_body(shape, making),
        **_answer(shape, keys, making),
        "auth": _auth(keys),
        "tls": _tls(keys, making),
        "addresses": _addresses(keys, origin),
        "redirects": None if redirects is None else to_json(redirects),
        "connect_ms": keys.duration("connect_timeout"),
        "first_byte_ms": keys.duration("first_byte_timeout"),
    }
    empty: tuple[Json, ...] = (None, "", {}, [], 0, False)
    # A body that is empty is one all the same.
    message = {n: value for n, value in message.items() if value not in (empty[:1] if n == "json" else empty)}
    message.setdefault("path", [])
    peers = [item.peer for item in (origin, *(redirects.origins if redirects else ()))]
    request = ExchangeRequest(protocol=PROTOCOL, message=message, peers=tuple(dict.fromkeys(peers)))
    _check(request, keys, origin, making)
    return request


def _check(request: ExchangeRequest, keys: Keys, origin: Origin, making: Making) -> None:
    message = dict(request.message)
    secrets = frozenset(secrets_in(message))
    filled = fill_secrets(
        fill_slots(message, dict.fromkeys(slots_in(message), "slot")), dict.fromkeys(secrets, "x")
    )
    try:
        found = next(problems(from_json(HttpMessage, filled)), None)
    except ProofError as error:
        found = error.message
    if found is not None:
        raise ConnectorRefused(f"`{making.where}` cannot be sent: {found}", field=making.where)
    exposed = (
        origin.scheme == "http" and not _is_loopback(origin.host) and not keys.boolean("allow_plaintext")
    )
    if secrets and exposed:
        raise ConnectorRefused(
            f"`{making.where}` would send a secret to `{origin.text}` for all to read on the way",
            found=origin.text,
            allowed="https, or `allow_plaintext: true`",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


# --- where it goes ---


def _base(keys: Keys, making: Making) -> tuple[Origin, list[Json]]:
    """Return the origin, and the segments that go before every path."""
    if ("base_url" in keys) == ("base_url_secret_ref" in keys):
        raise keys.refuse("base_url", "either `base_url` or `base_url_secret_ref`")
    if "base_url" in keys:
        text = keys.text("base_url")
        # Only what the operator wrote down decides where a call goes, never who asks for it.
        if any(space not in ("target", "env") for space, _ in names_in(text)):
            raise keys.refuse("base_url", "{target}, {target.NAME} and {env.NAME} as its only placeholders")
        text = literal(text, making.values, making.where)
    else:
        text = making.configuration.reference(keys.text("base_url_secret_ref")).strip()
    match = _BASE.fullmatch(text)
    origin = read_origin(match[1]) if match else None
    if match is None or origin is None:
        raise ConnectorRefused(
            f"{keys.where}: `{text:.100}` is no address like `https://api.example.org:8443`, without user",
            field="base_url",
            found=text[:60],
        )
    prefix: list[Json] = [*(part for part in (match[2] or "").split("/") if part)]
    _check_binding(keys, origin)
    return origin, prefix


def _check_binding(keys: Keys, origin: Origin) -> None:
    """Hold the origin to what the environment binds it to."""
    bound = keys.part("destination_binding", "scheme effective_port address_class origin_binding_digest")
    here: dict[str, Json] = {
        "scheme": origin.scheme,
        "effective_port": origin.port,
        "origin_binding_digest": digest_of(origin.text.encode()),
    }
    for key, value in here.items():
        if key in bound and bound.values[key] != value:
            raise bound.refuse(key, f"`{value}`, since calls go to `{origin.text}`")
    private = (
        bound.one_of("address_class", ("public", "private", "loopback", "link_local"), "public") != "public"
    )
    if "address_class" in bound and private != _private(keys):
        raise bound.refuse("address_class", "what `network_scope` or `allow_private` says")


def _private(keys: Keys) -> bool:
    return keys.boolean("allow_private") or keys.text("network_scope") == "policy_bound"


def _addresses(keys: Keys, origin: Origin) -> Json:
    keys.one_of("network_scope", ("", "public", "policy_bound"), "")
    # Names are checked and pinned here in any case; who says that something else does, too, may.
    keys.boolean("operator_egress_enforced")
    keys.one_of("dns_rebinding_protection", ("", "operator_egress", "pinned"), "")
    return to_json(Addresses(private=_private(keys), only=tuple(keys.texts("addresses"))))


def _redirects(keys: Keys) -> Redirects | None:
    if "redirects" not in keys:
        return None
    part = keys.part("redirects", "max origins")
    origins = [read_origin(text) for text in part.texts("origins")]
    if None in origins:
        raise part.refuse("origins", "origins like `https://mirror.example.org`")
    return Redirects(
        most=part.integer("max", 1, 1, REDIRECTS_MAX),
        origins=tuple(item for item in origins if item is not None),
    )


def _tls(keys: Keys, making: Making) -> Json:
    part, configuration = keys.part("tls", _TLS), making.configuration
    file = part.text("ca_file")
    if "ca_file_secret_ref" in part:
        file = configuration.reference(part.text("ca_file_secret_ref")).strip()
    fingerprint = part.text("fingerprint").lower().removeprefix("sha256:").replace(":", "")
    tls = to_json(
        Tls(
            ca=configuration.file(file) if file else None,
            fingerprint=f"sha256:{fingerprint}" if fingerprint else None,
            server_name=part.text("server_name") or None,
            verify=part.boolean("verify", default=True),
        )
    )
    if "client_certificate_secret_ref" in part:
        tls["identity"] = {"secret": part.text("client_certificate_secret_ref")}
    return tls


def _auth(keys: Keys) -> Json:
    if "auth" not in keys:
        return None
    part = keys.part("auth", _AUTH)
    header, prefix = part.text("header", "Authorization"), part.text("prefix").strip()
    usual = "bearer" if header == "Authorization" and prefix in ("", "Bearer") else "header"
    scheme = part.one_of("scheme", ("bearer", "basic", "header"), usual)
    if "secret_ref" not in part:
        raise part.refuse("secret_ref", "the name of a secret")
    secret: Json = {"secret": part.text("secret_ref")}
    if scheme == "basic":
        return {"scheme": scheme, "name": part.text("user"), "value": secret}
    if scheme == "bearer":
        return {"scheme": scheme, "value": secret}
    before = prefix if prefix.endswith("=") else f"{prefix} "  # As in `PVEAPIToken=USER@REALM!ID=SECRET`.
    return {"scheme": scheme, "name": header, "value": {"text": [before, secret]} if prefix else secret}


# --- what it says ---


def _path(text: str, making: Making) -> tuple[list[Json], bool]:
    """Return the segments of a path, each filled by itself, and whether one more slash follows."""
    parts = text[1:].split("/")
    slash = len(parts) > 1 and parts[-1] == ""
    parts = parts[:-1] if slash or parts == [""] else parts
    if not text.startswith("/") or "" in parts or any(char in text for char in "?#%\\"):
        raise ConnectorRefused(
            f"`{making.where}`: `{text:.100}` is no path",
            found=text[:60],
            allowed="/like/this, unencoded, no query",
        )
    segments = [message_text(part, making.values, making.where) for part in parts]
    if "" in segments:
        raise ParameterRefused(
            f"`{making.where}`: a part of the path `{text:.60}` would be empty", field="path"
        )
    return segments, slash


def _scalar(keys: Keys, key: str, value: Json) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int):
        raise keys.refuse(key, "single values")
    return str(value)


def _texts(keys: Keys, key: str, value: Json, making: Making) -> Json:
    if isinstance(value, str) and is_spread(value):
        given = given_whole(value, making.values, making.where)
        items = given if isinstance(given, list) else [] if given is None else [given]
        return [_given_text(item, value) for item in items]
    values = value if isinstance(value, list) else [value]
    return [message_text(_scalar(keys, key, item), making.values, making.where) for item in values]


def _given_text(item: Json, word: str) -> str:
    """Return one value of a query that a parameter gives."""
    odd = isinstance(item, str) and ("\x00" in item or len(item) > VALUE_LENGTH_MAX)
    if odd or not isinstance(item, str | int):
        words = f"`{word[2:-1]}` holds a NUL, more than {VALUE_LENGTH_MAX} characters or no single value"
        raise ParameterRefused(f"parameter {words}", field=word[2:-1])
    return str(item).lower() if isinstance(item, bool) else str(item)


def _body(shape: Keys, making: Making) -> dict[str, Json]:
    body: dict[str, Json] = {}
    spread = shape.values.get("body")
    if isinstance(spread, str) and is_spread(spread):
        body["json"] = given_whole(spread, making.values, making.where)
    elif "body" in shape:
        body["json"] = message_value(shape.values["body"], making.values, making.where)
    if "text" in shape:
        body["text"] = message_text(shape.text("text"), making.values, making.where)
    if "form" in shape:
        form = shape.mapping("form")
        body["form"] = {
            name: message_text(_scalar(shape, "form", value), making.values, making.where)
            for name, value in form.items()
        }
    if "idempotency_header" in shape:
        body["key"] = {"header": shape.text("idempotency_header"), "value": ""}
    return body


def _answer(shape: Keys, keys: Keys, making: Making) -> dict[str, Json]:
    """Return what counts as the answer and how much of it is taken."""
    theirs = making.bound.config.declared == "http_api"
    most = keys.integer("max_response_bytes", ANSWER_BYTES if theirs else 0, 0, OUTPUT_BYTES_MAX)
    pages = _pages(shape, making)
    return {
        "answer": shape.one_of("answer", ("any", "json"), "json" if theirs else "any"),
        "unwrap": shape.text("unwrap"),
        "error_at": shape.text("error_at"),
        "expect": shape.items("expect"),
        "errors": shape.mapping("errors"),
        "answer_bytes": shape.integer("max_response_bytes", most, 0, OUTPUT_BYTES_MAX),
        "pages": None if pages is None else to_json(pages),
    }


def _pages(shape: Keys, making: Making) -> Pages | None:
    if "pagination" not in shape:
        return None
    if making.effect is not Effect.READ:
        raise shape.refuse("pagination", "reads only")
    part = shape.part("pagination", _PAGES)
    named = "next" if "next" in part or "next_path" in part else "cursor" if "cursor" in part else "page"
    by = part.one_of("by", PAGINATION, named if named != "page" or "parameter" in part else "link")
    return Pages(
        by=by,
        items=_pointer(part.text("items") or part.text("items_path")),
        most=part.integer("max_pages", PAGES, 1, 1_000),
        field=_pointer(
            part.text("cursor") if by == "cursor" else part.text("next") or part.text("next_path")
        ),
        parameter=part.text("parameter"),
        first=part.integer("first", 1, 0, 2**31),
    )


def _pointer(text: str) -> str:
    """Return a JSON pointer; the seed's files have names with dots between."""
    return text if not text or text.startswith("/") else "/" + text.removeprefix("$.").replace(".", "/")


# --- keys of idempotency ---


def keyed(steps: Iterable[Step], operation: str) -> tuple[Step, ...]:
    """Return `steps` with their idempotency keys: the same in every try of one step of `operation`."""
    return tuple(_keyed(step, operation) if isinstance(step, CallStep) else step for step in steps)


def _keyed(step: CallStep, operation: str) -> CallStep:
    call = _with_key(step.call, f"{operation}\n{step.id}\ndo")
    undo = None if step.undo is None else _with_key(step.undo, f"{operation}\n{step.id}\nundo")
    return step if call is step.call and undo is step.undo else replace(step, call=call, undo=undo)


def _with_key(call: Call, source: str) -> Call:
    request = call.request
    key = (
        request.message.get("key")
        if isinstance(request, ExchangeRequest) and request.protocol == PROTOCOL
        else None
    )
    if not isinstance(request, ExchangeRequest) or not isinstance(key, dict):
        return call
    value = digest_of(source.encode()).removeprefix("sha256:")[:KEY_DIGITS]
    return replace(
        call, request=replace(request, message={**request.message, "key": {**key, "value": value}})
    )
