"""A scope as a policy pack: so that the runner holds to it at every gate, whatever this package is asked.

The pack forbids every operation of the profile that is outside, and lets the people of the
engagement read inside; everything else is left to the other packs in force.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from typing import Final

from recon.errors import ScopeRefused
from recon.scope import Network, Scope

GROUP: Final = "recon-engagement"  # The profile's own pack forbids everything to whoever is not in it.
RULE_LENGTH_MAX: Final = 15 * 1024  # The runner takes 16 KiB; a policy beyond some screens is read by nobody.
PATTERNS_MAX: Final = 96  # So many comparisons the runner still takes in one policy.
CHAIN_MAX: Final = 8  # Of alternatives in one bracket.


def policy_pack(scope: Scope) -> Mapping[str, bytes]:
    """Return the files of the pack (path in it to content) that holds the runner to `scope`.

    Raises:
        ScopeRefused: its networks take more text than one rule may have.
    """
    inside = _inside(scope)
    if len(inside) > RULE_LENGTH_MAX or inside.count(" like ") > PATTERNS_MAX:
        message = f"as a rule the scope has {len(inside)} signs and {inside.count(' like ')} patterns"
        allowed = f"{RULE_LENGTH_MAX} signs, {PATTERNS_MAX} patterns: networks of /8, /16 or /24, fewer names"
        raise ScopeRefused(message, field="networks", allowed=allowed)
    rules = f"""\
// Written by `recon scope` from scope `{scope.id}`; write it anew rather than edit it.

@id("outside-the-scope")
@reason("outside scope {scope.id}")
forbid (principal, action, resource)
when {{ context.profile == "recon" }}
unless {{
{inside}
}};

@id("engaged-people-may-probe")
permit (principal in Group::"{GROUP}", action in Action::"read", resource)
when {{ context.profile == "recon" }};
"""
    people = "".join(f"  '{person}': {{groups: [{GROUP}]}}\n" for person in scope.people)
    until = f"{scope.not_after:%Y-%m-%dT%H:%M:%SZ}"
    manifest = f'id: recon-{scope.id}\nversion: "1"\ndescription: what may be probed until {until}\n'
    return {
        "pack.yaml": manifest.encode(),
        "rules.cedar": rules.encode(),
        "entities.yaml": f"groups: [{GROUP}]\npeople:\n{people}".encode(),
    }


def environment(scope: Scope) -> bytes:
    """Return the environment file whose one target, `engagement`, stands for the scope."""
    return f"""\
environment:
  id: recon-{scope.id}
  profile: recon
  targets: {{engagement: {{type: scope}}}}
  connectors: {{curl: {{backend: process}}}}
  safety: {{default_mode: dry_run}}
""".encode()


def _inside(scope: Scope) -> str:
    has = " && ".join(
        f'context.parameters.hasTag("{name}")' for name in ("scheme", "host", "port", "path", "address")
    )
    named = [f"{_tag('host')} == {_tag('address')}", *_hosts(scope.hosts)]
    clauses = [
        has,
        f'context.now >= datetime("{scope.not_before:%Y-%m-%dT%H:%M:%SZ}")',
        f'context.now < datetime("{scope.not_after:%Y-%m-%dT%H:%M:%SZ}")',
        f"{_set(scope.schemes)}.contains({_tag('scheme')})",
        f"{_set(map(str, scope.ports))}.contains({_tag('port')})",
        _any(named),
        _any(_addresses(scope.networks)),
    ]
    for excluded in (_hosts(scope.exclude_hosts), _addresses(scope.exclude_networks)):
        clauses += [f"!{_any(excluded)}"] if excluded else []
    return " &&\n".join(f"  {clause}" for clause in clauses)


def _tag(name: str) -> str:
    return f'context.parameters.getTag("{name}")'


def _set(words: Sequence[str] | map[str]) -> str:
    return "[{}]".format(", ".join(f'"{word}"' for word in words))


def _any(conditions: Sequence[str]) -> str:
    """Return that one of `conditions` holds; halved, because the engine takes a long chain for a deep one."""
    if len(conditions) <= CHAIN_MAX:
        return "({})".format(" ||\n    ".join(conditions))
    half = len(conditions) // 2
    return f"({_any(conditions[:half])} ||\n    {_any(conditions[half:])})"


def _hosts(names: Sequence[str]) -> list[str]:
    return _matching("host", [name for name in names if name[0] != "*"], [n for n in names if n[0] == "*"])


def _addresses(networks: Sequence[Network]) -> list[str]:
    patterns = [pattern for network in networks for pattern in _patterns(network)]
    beginnings = [pattern for pattern in patterns if pattern[-1] == "*"]
    return _matching("address", [pattern for pattern in patterns if pattern[-1] != "*"], beginnings)


def _matching(tag: str, exact: Sequence[str], patterns: Sequence[str]) -> list[str]:
    listed = [f"{_set(exact)}.contains({_tag(tag)})"] if exact else []
    return [*listed, *(f'{_tag(tag)} like "{pattern}"' for pattern in patterns)]


def _patterns(network: Network) -> list[str]:
    """Return texts that addresses of `network` begin with or are, and no other address."""
    if not isinstance(network, IPv4Network):
        groups = network.prefixlen // 16
        text = str(network.network_address)
        return [text if groups == 8 else ":".join(text.split(":")[:groups]) + ":*"]
    whole = -(-network.prefixlen // 8)
    parts = network.subnets(new_prefix=whole * 8)
    return [
        ".".join(str(part.network_address).split(".")[:whole]) + (".*" if whole < 4 else "") for part in parts
    ]
