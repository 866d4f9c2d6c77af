"""A service with the API over a root, and callers of every kind."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rexecop.app.build import open_instance
from rexecop.app.door import Act, Caller, ServiceRole, ServiceScope
from rexecop.app.identity import Identity
from rexecop.app.serving import Serving
from rexecop.app.settings import load_settings
from rexecop.proof.principal import Principal
from rexecop.proof.vocabulary import Established
from rexecop.service.server import LOCAL_NAMES, listen, run, shown_address
from tests.service.doors import FixedDoor
from tests.service.running import Reply, Running, running


def person(
    name: str, *roles: ServiceRole, scope: ServiceScope | None = None, sponsor: str | None = None
) -> Caller:
    """Return a caller known by a token."""
    principal = Principal(person=name, established=Established.TOKEN, credential=f"token:{name}")
    identity = Identity(principal=principal)
    return Caller(identity=identity, roles=frozenset(roles), scope=scope or ServiceScope(), sponsor=sponsor)


ELSEWHERE: Final = ServiceScope(targets=("mars*",))
CALLERS: Final = {
    "viewer": person("victor", ServiceRole.VIEWER),
    "operator": person("alice", ServiceRole.OPERATOR),
    "other": person("carol", ServiceRole.OPERATOR),
    "approver": person("bob", ServiceRole.APPROVER),
    "auditor": person("audrey", ServiceRole.AUDITOR),
    "admin": person("ada", ServiceRole.ADMIN, ServiceRole.APPROVER),
    "elsewhere": person("elsa", ServiceRole.OPERATOR, ServiceRole.AUDITOR, scope=ELSEWHERE),
    "agent": person("robot", ServiceRole.AGENT, sponsor="alice"),
}


def serve(root: str) -> None:
    """Serve `root` for the callers above."""
    folder = Path(root)
    settings = load_settings(
        {"root": root, "profile": "hello", "env": str(folder / "hello.environment.yaml")}, {}, folder, folder
    )
    listening = listen("127.0.0.1", 0)
    with Serving(open_instance(settings), door=FixedDoor(CALLERS)) as serving:
        sys.stderr.write(f"serving on http://{shown_address(listening)} here\n")
        sys.stderr.flush()
        run(serving, listening, hosts={*LOCAL_NAMES})


_ONE: Final = "/v1/operations/{id}"
# What each route below `/v1` does, as far as the door is concerned; a route that is not here fails a test.
ACTS: Final = {
    "POST /v1/operations": Act.PLAN,
    "POST /v1/operations/why": Act.PLAN,
    "GET /v1/operations": Act.VIEW,
    f"GET {_ONE}": Act.VIEW,
    f"GET {_ONE}/records": Act.VIEW,
    f"GET {_ONE}/preview": Act.VIEW,
    f"GET {_ONE}/why": Act.VIEW,
    f"GET {_ONE}/events": Act.VIEW,
    f"GET {_ONE}/approval-request": Act.VIEW,
    f"GET {_ONE}/bundle": Act.EVIDENCE,
    f"POST {_ONE}/answers": Act.APPROVE,
    f"GET {_ONE}/vote": Act.VIEW,
    f"POST {_ONE}/vote": Act.APPROVE,
    f"POST {_ONE}/start": Act.RUN,
    f"POST {_ONE}/resume": Act.RUN,
    f"POST {_ONE}/retry": Act.RUN,
    f"POST {_ONE}/rollback": Act.RUN,
    f"POST {_ONE}/pause": Act.RUN,
    f"POST {_ONE}/cancel": Act.RUN,
    f"POST {_ONE}/escalate": Act.RUN,
    f"POST {_ONE}/reconcile": Act.RUN,
    "GET /v1/targets": Act.VIEW,
    "GET /v1/intents": Act.VIEW,
    "GET /v1/catalogs": Act.VIEW,
    "GET /v1/actions": Act.VIEW,
    "GET /v1/queue": Act.VIEW,
    "POST /v1/queue/drain": Act.ADMINISTER,
    "POST /v1/queue/resume": Act.ADMINISTER,
    "GET /v1/locks": Act.VIEW,
    "GET /v1/windows": Act.VIEW,
    "GET /v1/halts": Act.VIEW,
    "POST /v1/halts": Act.ADMINISTER,
    "POST /v1/halts/lift": Act.ADMINISTER,
    "GET /v1/log/checkpoint": Act.EVIDENCE,
    "GET /v1/log/verifier-key": Act.EVIDENCE,
    "GET /v1/log/tile/{path}": Act.EVIDENCE,
    "GET /v1/log/inclusion": Act.EVIDENCE,
    "GET /v1/log/consistency": Act.EVIDENCE,
    "GET /openapi.json": Act.VIEW,
}


@dataclass(frozen=True, slots=True)
class Api:
    """A service with the API, as one caller sees it."""

    service: Running
    token: str = "operator"

    def by(self, token: str) -> Api:
        return Api(self.service, token)

    def get(self, path: str, **headers: str) -> Reply:
        return self.service.call("GET", path, None, Authorization=f"Bearer {self.token}", **headers)

    def post(self, path: str, body: object = None, **headers: str) -> Reply:
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        media = {} if body is None else {"Content_Type": "application/json"}
        return self.service.call(
            "POST", path, data, Authorization=f"Bearer {self.token}", **{**media, **headers}
        )

    def plan(self, intent: str = "host_facts", mode: str = "read_only", **more: object) -> str:
        """Return the id of a new operation."""
        planned = self.post("/v1/operations", {"intent": intent, "target": "localhost", "mode": mode, **more})
        assert planned.status == 201, planned.body
        return str(planned.json["operation_id"])


@contextmanager
def api(root: Path) -> Iterator[Api]:
    """Serve `root` in a process of its own."""
    with running(root, serve) as found:
        yield Api(found)
