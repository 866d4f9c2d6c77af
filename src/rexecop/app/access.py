"""AuthZEN as the root's `authzen.yaml` has it: who may ask this instance, and whom outside it asks.

    callers:
      gateway: sha256:…          # who may ask, by the digest of his token
    pdp:
      url: https://pdp.example   # a no from there counts on top of ours
      timeout_ms: 2000
      ca_file: /etc/pdp-ca.pem   # instead of the system's authorities
      token_secret: pdp          # a secret reference, sent as bearer token

A file that cannot be read lets nobody ask and denies whatever would be asked outside.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from rexecop.app.authority import RootAuthority
from rexecop.app.door import Caller, Matter
from rexecop.app.errors import AccessRefused, AppError, CallerUnknown
from rexecop.app.files import read_file, require_private
from rexecop.app.root import Root
from rexecop.engines.asking import block
from rexecop.engines.outside import Point, ask_outside
from rexecop.execution.strict_yaml import Yaml, load_yaml
from rexecop.governance import authzen
from rexecop.governance.admission import decide
from rexecop.governance.errors import EvaluationRefused
from rexecop.lanes.secrets import Secrets
from rexecop.proof.canonical import digest_of, is_digest, same
from rexecop.proof.errors import RexecopError
from rexecop.proof.halts import stopping_request, words
from rexecop.proof.payload import Value
from rexecop.proof.records.decision import Opinion, PolicyRequest

TIMEOUT_MS: Final = 2000
TIMEOUT_MS_MAX: Final = 4000  # Below the 5 s within which a decision is of the time it was asked at.
CALLERS_MAX: Final = 64  # One for each gateway that asks; people ask through those.
TOKEN_BYTES_MIN: Final = 16  # A shorter token can be guessed from its digest.


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What the file says. `callers` maps names to digests of tokens."""

    callers: Mapping[str, str]
    pdp: Mapping[str, Yaml] | None


def read_access(root: Root) -> Access:
    """Return what `authzen.yaml` of `root` says; nothing where there is no such file.

    Raises:
        RootUnsafe: others could change the file. YamlRefused, AccessRefused: it is not what it should be.
    """
    path = root.authzen
    if not path.exists():
        return Access(callers={}, pdp=None)
    require_private(path)
    top = _table(load_yaml(read_file(path), source=path.name).value, "", ("callers", "pdp"))
    callers = _table(top.get("callers", {}), "callers", None)
    for name, digest in callers.items():
        if not isinstance(digest, str) or not is_digest(digest):
            raise AccessRefused(
                f"`callers.{name:.40}` is not `sha256:` and 64 digits", field=f"callers.{name:.40}"
            )
    if len(callers) > CALLERS_MAX:
        raise AccessRefused(f"{len(callers)} callers, at most {CALLERS_MAX} are read", field="callers")
    known = ("url", "timeout_ms", "ca_file", "token_secret")
    pdp = None if top.get("pdp") is None else _table(top["pdp"], "pdp", known)
    return Access(callers={name: str(digest) for name, digest in callers.items()}, pdp=pdp)


class Outside:
    """The decision point outside that the root names: read anew for every question."""

    def __init__(self, root: Root, secrets: Secrets) -> None:
        self._root = root
        self._secrets = secrets

    async def of(self, request: PolicyRequest) -> Opinion | None:
        """Return what it says to `request`; None where the root names none."""
        try:
            pdp = read_access(self._root).pdp
            if pdp is None:
                return None
            named = [name for name in (pdp.get("token_secret"),) if isinstance(name, str)]
            async with self._secrets.lease(named) as values:
                return await ask_outside(_point(pdp, next(iter(values.values()), None)), request)
        except (RexecopError, OSError) as error:
            words = " ".join(str(error).split())[:200]
            return Opinion(source=self._root.authzen.name, allowed=False, reason=words)


class AccessPoint:
    """This instance as a decision point: the packs and halts that stand answer; nothing is recorded."""

    def __init__(self, root: Root, authority: RootAuthority, now: Callable[[], datetime]) -> None:
        self._root = root
        self._authority = authority
        self._now = now

    def caller(self, token: str | None) -> str:
        """Return who asks with `token`.

        Raises:
            CallerUnknown: nobody who may. RootUnsafe, YamlRefused, AccessRefused: as `read_access`.
        """
        callers = read_access(self._root).callers
        given = digest_of(token.encode()) if token and len(token) >= TOKEN_BYTES_MIN else ""
        for name, digest in callers.items():
            if given and same(given, digest):
                return name
        raise CallerUnknown("a bearer token of a caller in `authzen.yaml` is needed")

    def evaluation(self, body: Mapping[str, Value], caller: Caller) -> dict[str, Value]:
        """Return the response to one evaluation; what is not within the caller's scope is a no.

        Raises:
            EvaluationRefused: it is none.
        """
        (asked,) = authzen.requests({**body, "evaluations": []}, caller=caller.name, now=self._now())
        if isinstance(asked, EvaluationRefused):
            raise asked
        return self._response(asked, caller)

    def evaluations(self, body: Mapping[str, Value], caller: Caller) -> dict[str, Value]:
        """Return the response to several; without any it is one, as the standard has it.

        Raises:
            EvaluationRefused: the whole is none.
        """
        if not body.get("evaluations"):
            return self.evaluation(body, caller)
        until = {authzen.SEMANTICS[1]: False, authzen.SEMANTICS[2]: True}.get(authzen.semantic(body))
        found: list[Value] = []
        for asked in authzen.requests(body, caller=caller.name, now=self._now()):
            found.append(self._response(asked, caller))
            if until is not None and self._allowed(found) is until:
                break
        return {"evaluations": found}

    def _response(self, asked: PolicyRequest | EvaluationRefused, caller: Caller) -> dict[str, Value]:
        if isinstance(asked, EvaluationRefused):
            return authzen.refusal(asked)
        if not all(caller.scope.covers(_matter(asked, target.id)) for target in asked.targets):
            return authzen.refusal(EvaluationRefused("that is beyond the caller's scope", field="resource"))
        answer = decide(self._authority.policy(), asked)
        halt = stopping_request(self._authority.halts(), asked)
        return authzen.response(answer if halt is None else block(answer, words(halt)))

    @staticmethod
    def _allowed(found: Sequence[Value]) -> bool:
        newest = found[-1]
        return isinstance(newest, dict) and newest["decision"] is True


def described(root: Root) -> str:
    """Return in words who may ask and who is asked.

    Raises:
        RootUnsafe, YamlRefused, AccessRefused: the file cannot be followed, which denies.
    """
    access = read_access(root)
    asked = "nobody" if access.pdp is None else _point(access.pdp, None).url
    return f"{len(access.callers)} may ask for decisions; asked outside: {asked}"


def _matter(asked: PolicyRequest, target: str) -> Matter:
    return Matter(intent=f"{asked.profile}/{asked.intent}", target=target, environment=asked.environment)


def _table(value: Yaml, name: str, known: Sequence[str] | None) -> Mapping[str, Yaml]:
    if not isinstance(value, dict):
        raise AccessRefused(f"`{name or 'authzen.yaml'}` is not a mapping", field=name or None)
    for key in value:
        if known is not None and key not in known:
            allowed = ", ".join(known)
            raise AccessRefused(f"unknown field `{key:.40}`; allowed are {allowed}", field=key[:40])
    return value


def _point(pdp: Mapping[str, Yaml], secret: bytes | None) -> Point:
    url, wait, ca = pdp.get("url"), pdp.get("timeout_ms", TIMEOUT_MS), pdp.get("ca_file")
    named = pdp.get("token_secret")
    if not isinstance(url, str) or not isinstance(named, str | None) or not isinstance(ca, str | None):
        raise AccessRefused("`pdp` needs a `url`; `ca_file` and `token_secret` are texts", field="pdp")
    if isinstance(wait, bool) or not isinstance(wait, int) or not 1 <= wait <= TIMEOUT_MS_MAX:
        raise AccessRefused(f"`pdp.timeout_ms` is 1 to {TIMEOUT_MS_MAX}", field="pdp.timeout_ms")
    host, port, tls = reached(url, ca, "pdp.url", AccessRefused)
    token = None if secret is None else secret.decode("ascii", "replace").strip()
    if token is not None and not (token.isascii() and token.isprintable() and token):
        raise AccessRefused(f"secret `{named}` is no bearer token", field="pdp.token_secret")
    return Point(
        url=url,
        host=host,
        port=port,
        path=urlsplit(url).path.rstrip("/"),
        tls=tls,
        token=token,
        seconds=wait / 1000,
    )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def reached(
    url: str, ca: str | None, field: str, refusal: type[AppError]
) -> tuple[str, int, ssl.SSLContext | None]:
    """Return host, port and TLS of `url`; without TLS it has to be an address of this machine.

    Raises:
        AppError: as `refusal`: it is no such URL, or `ca` no file of authorities.
    """
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
        local = _is_loopback(host)
        tls = ssl.create_default_context(cafile=ca) if parts.scheme == "https" else None
    except (ValueError, OSError) as error:
        raise refusal(f"`{field}` or its `ca_file`: {error!s:.120}", field=field) from error
    plain = "@" in parts.netloc or parts.query or parts.fragment or not url.isascii() or not url.isprintable()
    if plain or not host or " " in url or parts.scheme not in ("http", "https") or not (tls or local):
        raise refusal(
            f"`{field}` is {url[:80]!a}; allowed are `https://…`, and `http://` on this machine",
            field=field,
        )
    return host, port or (443 if tls else 80), tls
