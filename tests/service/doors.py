"""A door for tests: it lets fixed tokens in, and knows by a plain table what roles may."""

from collections.abc import Mapping

from rexecop.app.door import Act, Caller, Matter
from rexecop.app.errors import CallerUnknown, Forbidden
from tests.service.roles import TABLE


class FixedDoor:
    """Lets in who brings one of the tokens of `callers` as `authorization: Bearer TOKEN`."""

    def __init__(self, callers: Mapping[str, Caller]) -> None:
        self._callers = dict(callers)

    def caller(self, headers: Mapping[str, str], peer: str | None) -> Caller:
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or token not in self._callers:
            raise CallerUnknown("no token that counts")
        return self._callers[token]

    def require(self, caller: Caller, act: Act, matter: Matter | None = None) -> None:
        if not any(act in TABLE[role] for role in caller.roles):
            raise Forbidden(f"`{caller.name}` may not {act}")
        if matter is not None and not caller.scope.covers(matter):
            raise Forbidden("there is no such thing", hidden=True)
