"""Several whole instances behind one address: `/t/NAME/…` is the application over one more root.

They share the address and nothing else: each has its own ledger, keys, policy, tokens and provider. Nobody
gets as far as a route of theirs without a token of that very instance, or a session of its console, and to
who has none it is not told whether there is such an instance: what is not there is asked for by the same
steps and answered the same, down to a console where nobody can sign in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from rexecop.app.contract import Contract
from rexecop.app.errors import NEEDED, CallerUnknown
from rexecop.app.serving import Serving, open_serving
from rexecop.app.settings import Settings
from rexecop.proof.errors import RexecopError
from rexecop.service.around import REQUEST_ID
from rexecop.service.console.guard import BASE
from rexecop.service.doorway import peer_of, turned_away, unsaid
from rexecop.service.errors import TenantRefused

BELOW: Final = "/t/"
TENANTS_MAX: Final = 64  # Each holds a ledger open, and policy in memory.
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class Tenants:
    """The application `own`, and below `/t/NAME` those of `others`; of all other names `nobody` says no."""

    def __init__(
        self, own: ASGIApp, others: Mapping[str, tuple[Serving, ASGIApp]], nobody: tuple[Serving, ASGIApp]
    ) -> None:
        self._own = own
        self._others = others
        self._nobody = nobody
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or not scope["path"].startswith(BELOW):
            await self._own(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            name, _, rest = scope["path"].removeprefix(BELOW).partition("/")
            serving, app = self._others.get(name, self._nobody)
            below = f"{scope.get('root_path', '')}{BELOW}{name}"
            pages = _NAME.fullmatch(name) is not None and f"/{rest}/".startswith(f"{BASE}/")
            refused = None if pages else await _refused(scope, serving, below)
            if refused is None and not pages and name not in self._others:
                refused = turned_away(CallerUnknown(NEEDED))
            headers = [*scope["headers"], *self._named(scope)]
            if pages:  # They are asked for by a session; a token beside it is not looked at, here or there.
                headers = [one for one in headers if one[0] != b"authorization"]
            to = {**scope, "root_path": below, "headers": headers}
            await (app if refused is None else refused)(to, receive, send)

    def _named(self, scope: Scope) -> Iterator[tuple[bytes, bytes]]:
        """Yield an id for a request that brings none: numbers of each instance would tell which are there."""
        if not REQUEST_ID.fullmatch(dict(scope["headers"]).get(b"x-request-id", b"")):
            yield b"x-request-id", b"%b-t%d" % (self._nobody[0].begun.encode(), next(self._numbers))


async def _refused(scope: Scope, serving: Serving, below: str) -> Response | None:
    headers, peer = Headers(scope=scope), peer_of(scope)
    try:
        await serving.knock(headers, peer)
        serving.door.caller(headers, peer)
    except CallerUnknown as error:
        return turned_away(error)
    except RexecopError as error:
        return turned_away(unsaid(below, error))
    return None


def named(words: Iterable[str], settings: Settings) -> dict[str, Settings]:
    """Return the settings of each of `words`, which are NAME=ROOT.

    Raises:
        TenantRefused: one is not, or a name or a root is there twice.
    """
    found: dict[str, Settings] = {}
    roots = {settings.root.resolve()}
    for word in words:
        name, _, root = word.partition("=")
        path = Path(root)
        if not _NAME.fullmatch(name) or not root or name in found or path.resolve() in roots:
            what = "NAME=ROOT, each once; a name is a-z, 0-9 and -"
            raise TenantRefused(f"`{word:.80}` names no tenant; allowed: {what}", found=word[:80])
        roots.add(path.resolve())
        # Where its ledger is, a root says itself.
        found[name] = replace(settings, root=path, storage="")
    if len(found) > TENANTS_MAX:
        raise TenantRefused(f"{len(found)} tenants, at most {TENANTS_MAX} are served")
    return found


@contextmanager
def opened(
    first: Serving, tenants: Mapping[str, Settings], contract: Contract
) -> Iterator[dict[str, Serving]]:
    """Open the roots of `tenants` for as long as the block runs; guesses at all doors are counted together.

    Raises:
        RootMissing, RootUnsafe, StoreError: as `open_serving`.
    """
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(open_serving(settings, contract, first.throttle))
            for name, settings in tenants.items()
        }
