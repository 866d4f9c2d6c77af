"""Endpoints: one address on the web, taken apart so that every part can be judged by itself.

Only what means the same to every reader is taken. Of two readers of one address the
checker must never be the one that was fooled.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import urlsplit

from recon.errors import UrlRefused

SCHEMES: Final = {"http": 80, "https": 443}
PATH_LENGTH_MAX: Final = 1024  # What servers take without complaint.

# The intent's parameters hold to the same forms (`profile/intents/single_probe.yaml`).
HOST: Final = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
)
PATH: Final = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*")

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where one request goes: `host` is a lower-case name or an IPv4 address, `path` holds the query."""

    scheme: str
    host: str
    port: int
    path: str


def parse_url(url: str) -> Endpoint:
    """Return the endpoint `url` names, its default port and path spelled out.

    Raises:
        UrlRefused: another scheme than HTTP, a user, a fragment, or what readers could take differently.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UrlRefused(f"`{url:.80}` is no address: {error!s:.80}", field="url") from error
    if parts.scheme not in SCHEMES or "://" not in url:
        message = f"scheme `{parts.scheme:.20}` is not opened"
        raise UrlRefused(message, field="scheme", allowed=", ".join(SCHEMES))
    if "@" in parts.netloc or parts.fragment or "#" in url:
        raise UrlRefused("an address holds no user, password or fragment", field="url")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not PATH.fullmatch(path) or len(path) > PATH_LENGTH_MAX:
        message = f"path {path[:60]!a} holds a sign that is not written in addresses, or is too long"
        raise UrlRefused(
            message, field="path", allowed="A-Z a-z 0-9 and ._~!$&'()*+,;=:@%/?-, the rest as %XX"
        )
    host = checked_host(parts.netloc.partition(":")[0])
    return Endpoint(scheme=parts.scheme, host=host, port=port or SCHEMES[parts.scheme], path=path)


def checked_host(host: str) -> str:
    """Return `host`, a name in lower case or an IPv4 address in its one usual form.

    Raises:
        UrlRefused: it is neither.
    """
    if HOST.fullmatch(host):
        return host
    try:
        if str(IPv4Address(host)) == host:
            return host
    except ValueError:
        pass
    message = f"host {host[:60]!a} is neither a name in lower case nor an IPv4 address"
    raise UrlRefused(message, field="host", allowed="like www.example.com or 192.0.2.7")


def checked_address(text: str) -> Address:
    """Return the IP address `text` is, in the one form tools print it in.

    Raises:
        UrlRefused: it is none, or written in another form.
    """
    try:
        found = ip_address(text)
    except ValueError:
        found = None
    if (
        found is None
        or str(found) != text
        or (isinstance(found, IPv6Address) and found.ipv4_mapped is not None)
    ):
        message = f"{text[:60]!a} is not an IP address in its usual form"
        raise UrlRefused(message, field="address", allowed="like 192.0.2.7 or 2001:db8::7")
    return found
