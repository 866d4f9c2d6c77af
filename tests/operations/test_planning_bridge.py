"""From profile and environment to a program in a guest or on a node: all that was asked for, or no plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pytest

from rexecop.lanes.bridge.agent import process_of
from rexecop.lanes.bridge.frames import Run
from rexecop.operations.errors import ConnectorRefused
from rexecop.operations.planning import PlanRequest, compile_plan
from rexecop.operations.profile import load_profile
from rexecop.proof.call import ExchangeRequest, Limits, ProcessRequest, ResourceLimits, Terminal
from rexecop.proof.canonical import Json
from rexecop.proof.records.plan import CallStep
from rexecop.proof.vocabulary import Isolation, Mode
from tests.operations.folders import REACHED, environment
from tests.operations.test_planning_ssh import PROFILE, Files

CONNECTOR: Final = """
connector:
  name: host
  backends: [guest, node]
  capabilities: [look]
  actions: {look: {effect: read, command: /usr/bin/look, args: [around], OPTIONS}}
"""
NODE: Final = "SHA256:" + "A" * 43
LIMITS: Final = Limits(timeout_ms=1, output_bytes=1)
CONNECTIONS: Final[Mapping[str, str]] = {
    "guest": "socket: /run/guest.sock, grant: '{secret.door}', secrets: {door: door}",
    "node": f"node: '{NODE}'",
}


def planned(options: str, backend: str = "guest", more: str = "") -> CallStep:
    files = {**PROFILE, "connectors/host.yaml": CONNECTOR.replace("OPTIONS", options)}
    profile = load_profile(
        {name: content.replace("action: ACTION", "action: look").encode() for name, content in files.items()}
    )
    text = f"""
environment:
  id: here
  targets: {{db-1: {{type: host}}}}
  connectors: {{host: {{backend: {backend}, {CONNECTIONS[backend]}{more}}}}}
"""
    asked = PlanRequest(intent="look", target="db-1", mode=Mode.READ_ONLY, parameters={})
    (step,) = compile_plan(asked, profile, environment(text), REACHED, Files({})).steps
    assert isinstance(step, CallStep)
    return step


def program(step: CallStep) -> Json:
    assert isinstance(step.call.request, ExchangeRequest)
    return step.call.request.message["program"]


@pytest.mark.parametrize("backend", ["guest", "node"])
def test_the_other_side_reads_the_very_process_that_was_asked_for(backend: str) -> None:
    step = planned(
        "cwd: /srv/app, umask: '0027', user: nobody, tty: {rows: 10}, env: {A: b}, stdin: 'x',"
        "rlimits: {open_files: 64}, egress: ['db.example:443']",
        backend,
        ", runs_in: bubblewrap",
    )

    read, found = process_of(Run(id=0, call=step.call, limits=LIMITS, secrets={}))

    assert read.request == ProcessRequest(
        argv=("/usr/bin/look", "around"),
        stdin="x",
        env={"A": "b"},
        cwd="/srv/app",
        tty=Terminal(rows=10),
        umask="0027",
        user="nobody",
        rlimits=ResourceLimits(open_files=64),
        egress=("db.example:443",),
    )
    assert (found.isolation, found.live) == (Isolation.BUBBLEWRAP, False)
    assert found.needs == ("run", "tty", "user")


def test_a_plain_command_says_no_more_than_its_arguments() -> None:
    assert program(planned("cwd: ''")) == {"argv": ["/usr/bin/look", "around"]}


def test_no_network_at_all_is_not_the_same_as_nothing_said_of_it() -> None:
    found = program(planned("egress: []", more=", runs_in: landlock-seccomp"))

    assert isinstance(found, dict) and found["egress"] == []


@pytest.mark.parametrize(
    ("options", "more", "why"),
    [
        ("tty: {attended: true}", "", "`tty.attended`"),
        ("egress: ['db.example:443']", "", "class `none`"),
        ("egress: ['db.example:443']", ", runs_in: landlock-seccomp", "class `landlock-seccomp`"),
        ("umask: '0022'", ", runs_in: strong", "no class of isolation"),
    ],
)
def test_what_cannot_be_had_there_is_refused_in_the_plan(options: str, more: str, why: str) -> None:
    with pytest.raises(ConnectorRefused, match=why):
        planned(options, more=more)
