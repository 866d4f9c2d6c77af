"""Which names a service answers to, and that no page of another site asks."""

from __future__ import annotations

from collections.abc import Collection

from starlette.requests import Request


class Sites:
    """The `hosts` a service answers to; None: any."""

    def __init__(self, hosts: Collection[str] | None) -> None:
        self._hosts = None if hosts is None else frozenset(hosts)

    def is_ours(self, host: str) -> bool:
        """Return whether a Host header names this service."""
        return self._hosts is None or _name(host) in self._hosts

    def foreign(self, request: Request) -> tuple[int, str] | None:
        """Return status and reason to refuse what a page of another site would send, else None."""
        host = request.headers.get("host", "")
        if not self.is_ours(host):
            return 421, "this address is not served under that Host"
        origin = request.headers.get("origin")
        if origin is not None and origin != f"{request.url.scheme}://{host}":
            return 403, "requests from another Origin are refused"
        return None


def _name(host: str) -> str:
    """Return the name in a Host header, without its port."""
    if host.startswith("["):
        return host.partition("]")[0].removeprefix("[").lower()
    return host.partition(":")[0].lower()
