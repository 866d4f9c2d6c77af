"""Several whole instances behind one address: `/t/NAME/…` is the application over one more root.

They share the address and nothing else: each has its own ledger, keys, policy, tokens and provider. Nobody
gets as far as a route of theirs without a token of that very instance, and to who has none it is not told
whether there is such an instance: what is not there is asked for by the same steps and answered the same.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from rexecop.app.contract import Contract
from rexecop.app.doors import RootDoor
from rexecop.app.errors import NEEDED, CallerUnknown
from rexecop.app.serving import Serving, open_serving
from rexecop.app.settings import Settings
from rexecop.proof.errors import RexecopError
from rexecop.service.doorway import peer_of, turned_away
from rexecop.service.errors import TenantRefused

BELOW: Final = "/t/"
TENANTS_MAX: Final = 64  # Each holds a ledger open, and policy in memory.
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class Tenants:
    """The application `own`, and below `/t/NAME` those of `others`; of all other names `nobody` says no."""

    def __init__(self, own: ASGIApp, others: Mapping[str, tuple[Serving, ASGIApp]], nobody: RootDoor) -> None:
        self._own = own
        self._others = others
        self._nobody = nobody

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or not scope["path"].startswith(BELOW):
            await self._own(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            name = scope["path"].removeprefix(BELOW).partition("/")[0]
            refused, app = await self._refused(scope, name), self._others.get(name)
            if refused is not None or app is None:
                await (refused or turned_away(CallerUnknown(NEEDED)))(scope, receive, send)
                return
            below = f"{scope.get('root_path', '')}{BELOW}{name}"
            await app[1]({**scope, "root_path": below}, receive, send)

    async def _refused(self, scope: Scope, name: str) -> Response | None:
        headers, peer, found = Headers(scope=scope), peer_of(scope), self._others.get(name)
        door = self._nobody if found is None else found[0].door
        try:
            await (self._nobody if found is None else found[0]).knock(headers, peer)
            door.caller(headers, peer)
        except CallerUnknown as error:
            return turned_away(error)
        except RexecopError as error:
            # Who may come in cannot be said now; that there is such an instance is not for who asks.
            sys.stderr.write(f"rexecop: error[{error.code}]: tenant {name[:63]!a}: {error.message}\n")
            return turned_away(CallerUnknown(NEEDED))
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
