"""Addresses of the network: what an address really leads to, and which never to connect to."""

from __future__ import annotations

import ipaddress
from typing import Final, TypeAlias
from urllib.parse import urlsplit

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

NEVER: Final = frozenset(
    map(ipaddress.ip_address, ("169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254"))
)
"""Where clouds hand out the credentials of the machine to whoever asks from it."""

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


def embedded(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address leads to, where it does."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is not None:
            return inner
    return address


def is_public(address: str) -> bool:
    """Return whether `address` is one of the public internet, also where it wraps another."""
    found = embedded(ipaddress.ip_address(address))
    return found.is_global and not found.is_multicast


def is_address(address: str) -> bool:
    """Return whether `address` is one of a server: `https://HOST[:PORT]`, or `http` on this machine."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
        local = host == "localhost" or (parts.scheme == "http" and ipaddress.ip_address(host).is_loopback)
    except ValueError:
        return False
    more = parts.username or parts.path or parts.query or parts.fragment or port == 0
    plain = bool(host) and not more and address.isascii() and address.isprintable()
    return plain and (parts.scheme == "https" or (parts.scheme == "http" and local))
