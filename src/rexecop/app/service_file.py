"""`service.yaml` of the root: whom the service lets in besides those who hold a token of its own.

    oidc:
      issuer: https://login.example        # as its tokens have it, to the letter
      audience: rexecop                    # for whom its tokens are to be
      ca_file: /etc/ssl/login.pem          # instead of the system's authorities
      name: email                          # the claim that says who it is; without it `sub`
      roles:
        claim: groups                      # `realm_access.roles` is looked up as written, then part by part
        values:
          sre: [operator, approver]        # all that apply
          audit: [auditor]
      scopes:                              # without it nobody's acts are bounded
        claim: groups
        values:
          sre: {targets: ["web-*"]}        # the first that applies; where none does, nothing is in scope
      sign_in:                             # people may sign in at the console there
        client_id: rexecop-console         # tokens for it count like those for `audience`
        secret: console-client             # the reference of its secret, where it has one
        title: Example Login               # on the button; without it the host of `issuer`
        scope: openid email groups         # without it `openid profile email`

    proxy:                                 # in front of this service: it says who comes
      peers: [192.0.2.7, 198.51.100.0/24]       # from where, and
      secret: sha256:…                     # with what in `X-Proxy-Secret`, by its digest
      user: x-forwarded-user
      groups: x-forwarded-groups           # with commas between them
      roles: {sre: [operator]}
      scopes: {sre: {targets: ["web-*"]}}

Like all that decides it is read from the root only, where nobody else can write it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final
from urllib.parse import urlsplit

from rexecop.app.access import reached
from rexecop.app.door import ServiceRole, ServiceScope
from rexecop.app.errors import ServiceRefused
from rexecop.app.files import Stamp, read_file, require_private, stamp_of
from rexecop.app.root import Root
from rexecop.operations.reading import Node, Problems
from rexecop.proof.canonical import Digest, is_digest

PATTERNS_MAX: Final = 64
CLAIM_LENGTH_MAX: Final = 256
TITLE_LENGTH_MAX: Final = 60  # Of a button.
SCOPE: Final = "openid profile email"
PEERS_MAX: Final = 64
SECRET_HEADER: Final = "x-proxy-secret"
NOTHING: Final = ServiceScope(intents=(), targets=(), environments=())
_HEADER: Final = re.compile(r"x-[a-z0-9-]{1,60}")
_VALUE: Final = re.compile(r"[^\x00-\x1f\x7f]{1,256}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What groups and the like mean here; `scopes` in the order of the file, None bounds nothing."""

    roles: Mapping[str, tuple[ServiceRole, ...]]
    scopes: Mapping[str, ServiceScope] | None

    def roles_of(self, values: Iterable[str]) -> frozenset[ServiceRole]:
        """Return every role that one of `values` stands for."""
        return frozenset(role for value in values for role in self.roles.get(value, ()))

    def scope_of(self, values: Iterable[str]) -> ServiceScope:
        """Return the scope of the first of the file that is among `values`; without one of nothing."""
        if self.scopes is None:
            return ServiceScope()
        having = set(values)
        return next((scope for value, scope in self.scopes.items() if value in having), NOTHING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """As whom the console sends people to the provider, what it asks for, and what the button says."""

    id: str
    secret: str | None
    title: str
    scope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """An identity provider, and what its claims mean here."""

    issuer: str
    audience: str
    ca_file: str | None
    name: str
    roles_claim: str
    scopes_claim: str
    meaning: Meaning
    client: Client | None

    @property
    def audiences(self) -> tuple[str, ...]:
        """For whom its tokens are to be."""
        return (self.audience,) if self.client is None else (self.audience, self.client.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A proxy in front, whose headers are believed from `peers` with the secret of that digest."""

    peers: tuple[IPv4Network | IPv6Network, ...]
    secret: Digest
    user: str
    groups: str | None
    meaning: Meaning


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFile:
    """What the file says."""

    provider: Provider | None = None
    proxy: Proxy | None = None

    @property
    def issuer(self) -> str | None:
        """The identity provider, as its tokens name it."""
        return None if self.provider is None else self.provider.issuer


class ServiceFileReader:
    """The file of one root, read when it changed."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._stamp: Stamp = None
        self._found = ServiceFile()

    def read(self) -> ServiceFile:
        """Return what the file says, the same value while it is the same; raises as `read_service_file`."""
        stamp = stamp_of(self._root.service)
        if stamp != self._stamp:
            self._found = read_service_file(self._root)
            self._stamp = stamp
        return self._found


def read_service_file(root: Root) -> ServiceFile:
    """Return what `service.yaml` of `root` says; nothing where there is none.

    Raises:
        RootUnsafe: others could change the file. FileRefused: it cannot be read.
        ServiceRefused: it is not what it should be.
    """
    path = root.service
    if not path.exists() and not path.is_symlink():
        return ServiceFile()
    require_private(path)
    problems, found = Problems(ServiceRefused.code), ServiceFile()
    top = problems.parse(read_file(path), path.name)
    if top is not None:
        found = _service(top)
    for first in problems.findings[:1]:
        raise ServiceRefused(first.text(), file=path.name, line=first.line, field=first.field or None)
    if found.provider is not None:
        reached(found.provider.issuer, found.provider.ca_file, "oidc.issuer", ServiceRefused)
    return found


def _service(top: Node) -> ServiceFile:
    fields = top.fields("oidc proxy")
    return ServiceFile(provider=fields.maybe("oidc", _provider), proxy=fields.maybe("proxy", _proxy))


def _provider(node: Node) -> Provider:
    fields = node.fields("issuer audience ca_file name roles scopes sign_in", "issuer audience roles")
    if not fields.text("audience"):
        node.refuse("`audience` is empty", allowed="for whom tokens are to be")
    roles = fields.part("roles").fields("claim values", "claim values")
    scopes = fields.maybe("scopes", lambda part: part.fields("claim values", "claim values"))
    return Provider(
        issuer=fields.text("issuer"),
        audience=fields.text("audience"),
        ca_file=fields.text("ca_file") or None,
        name=fields.text("name", "sub", CLAIM_LENGTH_MAX),
        roles_claim=roles.text("claim", most=CLAIM_LENGTH_MAX),
        scopes_claim="" if scopes is None else scopes.text("claim", most=CLAIM_LENGTH_MAX),
        meaning=Meaning(
            roles=_roles(roles.part("values")),
            scopes=None if scopes is None else _scopes(scopes.part("values")),
        ),
        client=fields.maybe("sign_in", partial(_client, urlsplit(fields.text("issuer")).hostname or "")),
    )


def _client(host: str, node: Node) -> Client:
    fields = node.fields("client_id secret title scope", "client_id")
    found = Client(
        id=fields.text("client_id", most=CLAIM_LENGTH_MAX),
        secret=fields.text("secret") or None,
        title=fields.text("title", host, TITLE_LENGTH_MAX),
        scope=fields.text("scope", SCOPE, CLAIM_LENGTH_MAX),
    )
    for name, value in (("client_id", found.id), ("title", found.title), ("scope", found.scope)):
        if not (value and value.isprintable()):
            node.refuse(f"`{name}` is empty, or has more than one line", allowed="a line of text")
    if "openid" not in found.scope.split(" "):
        node.refuse("`scope` does not ask for `openid`", allowed=f"like {SCOPE}")
    return found


def _proxy(node: Node) -> Proxy:
    fields = node.fields("peers secret user groups roles scopes", "peers secret user roles")
    secret, peers = fields.text("secret"), tuple(_network(one) for one in fields.items("peers", PEERS_MAX))
    if not is_digest(secret):
        node.refuse("`secret` is not `sha256:` and 64 digits", allowed="the digest of what the proxy sends")
    if not peers:
        node.refuse("`peers` names nobody", allowed="addresses or networks")
    user, groups = (fields.text(name).lower() for name in ("user", "groups"))
    for name in (user, *([groups] if groups else [])):
        if not _HEADER.fullmatch(name) or name == SECRET_HEADER:
            node.refuse(f"`{name:.40}` is no header for that", allowed="like x-forwarded-user")
    return Proxy(
        peers=tuple(one for one in peers if one is not None),
        secret=Digest(secret),
        user=user,
        groups=groups or None,
        meaning=Meaning(roles=_roles(fields.part("roles")), scopes=fields.maybe("scopes", _scopes)),
    )


def _network(node: Node) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(node.text())
    except ValueError:
        node.refuse(f"`{node.name}` is no address or network", allowed="like 192.0.2.7 or 198.51.100.0/24")
        return None


def _roles(node: Node) -> dict[str, tuple[ServiceRole, ...]]:
    most = len(ServiceRole)
    return {
        value: tuple(one.one_of(ServiceRole) for one in part.items(most))
        for value, part in node.entries(_VALUE)
    }


def _scopes(node: Node) -> dict[str, ServiceScope]:
    return {value: _scope(part) for value, part in node.entries(_VALUE)}


def _scope(node: Node) -> ServiceScope:
    fields = node.fields("intents targets environments")

    def patterns(name: str) -> tuple[str, ...]:
        part = fields.get(name)
        if part is None:
            return ("*",)
        found = tuple(one.text() for one in part.items(PATTERNS_MAX))
        if not all(found) or not found:
            part.refuse(f"`{part.name}` holds no pattern, or an empty one", allowed="patterns like web-*")
        return found

    intents, targets, environments = map(patterns, ("intents", "targets", "environments"))
    return ServiceScope(intents=intents, targets=targets, environments=environments)
