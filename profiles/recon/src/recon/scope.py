"""The scope of an engagement: what may be checked, from when until when. What it does not name is outside.

A network is named by whole octets or groups where the policy pack needs it (`recon.pack`); none
is so wide that it takes in the addresses of this machine or its neighbours by accident.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, cast

from recon.endpoint import HOST, SCHEMES, Address, Endpoint, checked_address, checked_host
from recon.errors import OutOfScope, ReconRefused, ScopeRefused

SCOPE_BYTES_MAX: Final = 64 * 1024  # A scope is agreed upon by people who read it.
ENTRIES_MAX: Final = 64  # Of one list; more is an inventory.
PREFIX_MIN: Final = {4: 8, 6: 32}  # Wider holds loopback and everybody's private networks as well.
DAYS_MAX: Final = 366  # An engagement without an end is none.

Network = IPv4Network | IPv6Network

_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_PEOPLE: Final = re.compile(r"[A-Za-z0-9@_.-]{1,128}")
_FIELDS: Final = ("id", "people", "hosts", "networks", "ports", "schemes", "not_before", "not_after")
_OPTIONAL: Final = ("exclude_hosts", "exclude_networks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What may be checked by `people`. A host `*.example.com` stands for every name below `example.com`.

    An endpoint is in scope where its host is named, or is an address itself; the address
    it is reached at lies in one of `networks`; nothing of it is excluded; port, scheme
    and time are named.
    """

    id: str
    people: tuple[str, ...]
    hosts: tuple[str, ...]
    networks: tuple[Network, ...]
    ports: tuple[int, ...]
    schemes: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    exclude_hosts: tuple[str, ...] = ()
    exclude_networks: tuple[Network, ...] = ()

    def require(self, endpoint: Endpoint, address: Address, at: datetime) -> None:
        """Return only if a probe of `endpoint` at `address` is in scope at the instant `at`.

        Raises:
            OutOfScope: it is not, naming the first part that is outside.
        """
        host = endpoint.host
        named = host == str(address) or _among(host, self.hosts)
        if not self.not_before <= at < self.not_after:
            self._outside("not_after", f"the time {at:%Y-%m-%dT%H:%M:%SZ}")
        if endpoint.scheme not in self.schemes:
            self._outside("schemes", f"scheme `{endpoint.scheme}`")
        if endpoint.port not in self.ports:
            self._outside("ports", f"port {endpoint.port}")
        if not named or _among(host, self.exclude_hosts):
            self._outside("hosts", f"host `{host:.80}`")
        if not _within(address, self.networks) or _within(address, self.exclude_networks):
            self._outside("networks", f"address `{address}`")

    def choose(self, endpoint: Endpoint, found: Sequence[str], at: datetime) -> Address:
        """Return the address to reach `endpoint` at, of all that its name was `found` to have.

        One address outside is a no to all: a name that also leads elsewhere is not the scope's.

        Raises:
            OutOfScope: nothing was found, or one of them is outside.
            UrlRefused: one of them is no address.
        """
        addresses = [checked_address(text) for text in found]
        if not addresses:
            raise OutOfScope(f"host `{endpoint.host:.80}` has no address", field="hosts")
        for address in addresses:
            self.require(endpoint, address, at)
        return addresses[0]

    def _outside(self, field: str, what: str) -> None:
        raise OutOfScope(f"{what} is outside scope `{self.id}`", field=field)


def parse_scope(data: bytes) -> Scope:
    """Return the scope in TOML text `data`.

    Raises:
        ScopeRefused: it is no TOML, a field is unknown, missing or wrong, or it names too much.
    """
    if len(data) > SCOPE_BYTES_MAX:
        raise ScopeRefused(f"a scope takes at most {SCOPE_BYTES_MAX} bytes, not {len(data)}")
    try:
        table = cast("Mapping[str, object]", tomllib.loads(data.decode("utf-8")))
    except (ValueError, RecursionError) as error:
        raise ScopeRefused(f"not a scope in TOML: {' '.join(str(error).split()):.120}") from error
    unknown = sorted(table.keys() - {*_FIELDS, *_OPTIONAL})
    missing = [name for name in _FIELDS if name not in table]
    if unknown:
        message = f"unknown field `{unknown[0]:.40}`"
        raise ScopeRefused(message, field=unknown[0], allowed=", ".join((*_FIELDS, *_OPTIONAL)))
    if missing:
        raise ScopeRefused(
            f"`{missing[0]}` is missing, and what a scope does not say is outside", field=missing[0]
        )
    return _checked(table)


def _checked(table: Mapping[str, object]) -> Scope:
    name = table["id"]
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise ScopeRefused("`id` is not a short word", field="id", allowed="a-z 0-9 and -, up to 32 signs")
    for field, allowed in (("schemes", SCHEMES), ("ports", range(1, 65_536))):
        for value in _list(table, field):
            if isinstance(value, bool) or value not in allowed:
                shown = "1 to 65535" if field == "ports" else ", ".join(SCHEMES)
                raise ScopeRefused(f"`{field}` holds {value!r:.40}", field=field, allowed=shown)
    begin, end = (_moment(table, field) for field in ("not_before", "not_after"))
    if not begin < end or (end - begin).days > DAYS_MAX:
        message = f"a scope ends after it begins, and within {DAYS_MAX} days"
        raise ScopeRefused(message, field="not_after")
    return Scope(
        id=name,
        people=_people(table),
        hosts=_hosts(table, "hosts"),
        networks=_networks(table, "networks"),
        ports=tuple(cast("list[int]", table["ports"])),
        schemes=tuple(cast("list[str]", table["schemes"])),
        not_before=begin,
        not_after=end,
        exclude_hosts=_hosts(table, "exclude_hosts"),
        exclude_networks=_networks(table, "exclude_networks"),
    )


def _list(table: Mapping[str, object], field: str) -> list[object]:
    found = table.get(field, [])
    # Names of hosts are optional where every address of a network may be checked by itself.
    if (
        not isinstance(found, list)
        or len(found) > ENTRIES_MAX
        or not (found or field in (*_OPTIONAL, "hosts"))
    ):
        raise ScopeRefused(f"`{field}` is not a list of 1 to {ENTRIES_MAX} entries", field=field)
    return found


def _people(table: Mapping[str, object]) -> tuple[str, ...]:
    found = _list(table, "people")
    for person in found:
        if not isinstance(person, str) or not _PEOPLE.fullmatch(person):
            raise ScopeRefused(f"`people` holds {person!r:.40}, which is no person's name", field="people")
    return tuple(cast("list[str]", found))


def _moment(table: Mapping[str, object], field: str) -> datetime:
    found = table[field]
    if not isinstance(found, datetime) or found.tzinfo is None:
        message = f"`{field}` is not a time with its offset"
        raise ScopeRefused(message, field=field, allowed="like 2026-01-31T09:00:00Z, without quotes")
    return found.astimezone(UTC).replace(microsecond=0)


def _hosts(table: Mapping[str, object], field: str) -> tuple[str, ...]:
    found = _list(table, field)
    for host in found:
        try:
            if isinstance(host, str) and host.startswith("*."):
                assert HOST.fullmatch(host[2:])
            else:
                checked_host(str(host))
        except (AssertionError, ReconRefused):
            allowed = "like www.example.com, *.example.com or 192.0.2.7"
            raise ScopeRefused(f"`{field}` holds {host!r:.60}", field=field, allowed=allowed) from None
    return tuple(map(str, found))


def _networks(table: Mapping[str, object], field: str) -> tuple[Network, ...]:
    found: list[Network] = []
    for text in _list(table, field):
        try:
            network = ip_network(text if isinstance(text, str) else "")
        except ValueError as error:
            raise ScopeRefused(
                f"`{field}`: {error!s:.80}", field=field, allowed="like 192.0.2.0/24"
            ) from error
        if network.prefixlen < PREFIX_MIN[network.version]:
            message = f"network `{network}` is wider than /{PREFIX_MIN[network.version]}"
            raise ScopeRefused(message, field=field, allowed="the networks that were agreed upon, one by one")
        if network.version == 6 and not _spelled(network):
            message = f"network `{network}` does not end between two groups, or holds a group of zeros"
            raise ScopeRefused(
                message, field=field, allowed="like 2001:db8:7::/48, or single addresses in `networks`"
            )
        if network.version == 6 and network.prefixlen == 128 and field == "exclude_networks":
            raise ScopeRefused(f"`{network}`: leave out a whole network", field=field)
        found.append(network)
    return tuple(found)


def _spelled(network: Network) -> bool:
    """Whether every address of an IPv6 network begins with the same text, and no other does."""
    groups = network.network_address.exploded.split(":")[: network.prefixlen // 16]
    return network.prefixlen == 128 or (
        network.prefixlen % 16 == 0 and all(int(group, 16) for group in groups)
    )


def _among(host: str, names: Sequence[str]) -> bool:
    return any(host == name or (name.startswith("*.") and host.endswith(name[1:])) for name in names)


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
