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

Like all that decides it is read from the root only, where nobody else can write it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rexecop.app.access import reached
from rexecop.app.door import ServiceRole, ServiceScope
from rexecop.app.errors import ServiceRefused
from rexecop.app.files import read_file, require_private
from rexecop.app.root import Root
from rexecop.operations.reading import Node, Problems

PATTERNS_MAX: Final = 64
CLAIM_LENGTH_MAX: Final = 256
_VALUE: Final = re.compile(r"[^\x00-\x1f\x7f]{1,256}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """An identity provider, and what its claims mean here; `scopes` in the order of the file, or none."""

    issuer: str
    audience: str
    ca_file: str | None
    name: str
    roles_claim: str
    roles: Mapping[str, tuple[ServiceRole, ...]]
    scopes_claim: str | None
    scopes: Mapping[str, ServiceScope]


def read_provider(root: Root) -> Provider | None:
    """Return the provider that `service.yaml` of `root` names; None where there is none.

    Raises:
        RootUnsafe: others could change the file. FileRefused: it cannot be read.
        ServiceRefused: it is not what it should be.
    """
    path = root.service
    if not path.exists() and not path.is_symlink():
        return None
    require_private(path)
    problems = Problems(ServiceRefused.code)
    top = problems.parse(read_file(path), path.name)
    node = None if top is None else top.fields("oidc").get("oidc")
    found = None if node is None else _provider(node)
    for first in problems.findings[:1]:
        raise ServiceRefused(first.text(), file=path.name, line=first.line, field=first.field or None)
    if found is not None:
        reached(found.issuer, found.ca_file, "oidc.issuer", ServiceRefused)
    return found


def _provider(node: Node) -> Provider:
    fields = node.fields("issuer audience ca_file name roles scopes", "issuer audience roles")
    if not fields.text("audience"):
        node.refuse("`audience` is empty", allowed="for whom tokens are to be")
    roles = fields.part("roles").fields("claim values", "claim values")
    scopes = fields.get("scopes")
    of_scopes = None if scopes is None else scopes.fields("claim values", "claim values")
    return Provider(
        issuer=fields.text("issuer"),
        audience=fields.text("audience"),
        ca_file=fields.text("ca_file") or None,
        name=fields.text("name", "sub", CLAIM_LENGTH_MAX),
        roles_claim=roles.text("claim", most=CLAIM_LENGTH_MAX),
        roles={
            value: tuple(one.one_of(ServiceRole) for one in part.items(len(ServiceRole)))
            for value, part in roles.entries("values", _VALUE)
        },
        scopes_claim=None if of_scopes is None else of_scopes.text("claim", most=CLAIM_LENGTH_MAX),
        scopes={}
        if of_scopes is None
        else {value: _scope(part) for value, part in of_scopes.entries("values", _VALUE)},
    )


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
