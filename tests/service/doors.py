"""A door for tests: fixed tokens, a plain table of roles."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Final

from rexecop.app.door import Act, Caller, Matter, ServiceRole, ServiceScope
from rexecop.app.errors import CallerUnknown, Forbidden
from rexecop.app.identity import Identity
from rexecop.proof.principal import Principal
from rexecop.proof.vocabulary import Established

MAY: Final[Mapping[ServiceRole, frozenset[Act]]] = {
    ServiceRole.VIEWER: frozenset({Act.VIEW}),
    ServiceRole.OPERATOR: frozenset({Act.VIEW, Act.PLAN, Act.RUN, Act.TELL}),
    ServiceRole.APPROVER: frozenset({Act.VIEW, Act.APPROVE, Act.EVIDENCE}),
    ServiceRole.AUDITOR: frozenset({Act.VIEW, Act.EVIDENCE, Act.METRICS}),
    ServiceRole.ADMIN: frozenset(Act) - {Act.APPROVE},
    ServiceRole.AGENT: frozenset({Act.VIEW, Act.PLAN, Act.RUN, Act.TELL}),
}


def a_caller(person: str, *roles: ServiceRole, scope: ServiceScope | None = None) -> Caller:
    """Return somebody with these roles, known by a token."""
    principal = Principal(person=person, established=Established.TOKEN, credential=f"token:{person}")
    return Caller(
        identity=Identity(principal=principal), roles=frozenset(roles), scope=scope or ServiceScope()
    )


class FixedDoor:
    """Lets in who brings one of the tokens it was made with."""

    def __init__(self, callers: Mapping[str, Caller]) -> None:
        self.callers = dict(callers)

    def caller(self, headers: Mapping[str, str], peer: str | None) -> Caller:
        """Return whose token it is."""
        found = self.callers.get(headers.get("authorization", "").removeprefix("Bearer "))
        if found is None:
            raise CallerUnknown("that token counts for nobody")
        return found

    def require(self, caller: Caller, act: Act, matter: Matter | None = None) -> None:
        """Return only if a role of theirs may, and it is within their scope."""
        if not any(act in MAY[role] for role in caller.roles):
            raise Forbidden(f"no role of yours may {act}")
        if matter is not None and not self._within(caller.scope, matter):
            raise Forbidden("there is no such thing", hidden=True)

    @staticmethod
    def _within(scope: ServiceScope, matter: Matter) -> bool:
        pairs = (
            (scope.intents, matter.intent),
            (scope.targets, matter.target),
            (scope.environments, matter.environment),
        )
        return all(any(fnmatchcase(name, one) for one in patterns) for patterns, name in pairs)
