"""What each role may: the table that the rules of the service are held to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rexecop.app.door import Act, ServiceRole

TABLE: Final[Mapping[ServiceRole, frozenset[Act]]] = {
    ServiceRole.VIEWER: frozenset({Act.VIEW}),
    ServiceRole.OPERATOR: frozenset({Act.VIEW, Act.PLAN, Act.RUN, Act.TELL}),
    ServiceRole.APPROVER: frozenset({Act.VIEW, Act.APPROVE, Act.EVIDENCE}),
    ServiceRole.AUDITOR: frozenset({Act.VIEW, Act.EVIDENCE, Act.METRICS}),
    ServiceRole.ADMIN: frozenset(Act) - {Act.APPROVE},
    ServiceRole.AGENT: frozenset({Act.VIEW, Act.PLAN, Act.RUN, Act.TELL}),
    ServiceRole.GATEWAY: frozenset({Act.TELL, Act.DECIDE}),
}
