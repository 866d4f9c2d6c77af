"""From profile and environment to an exchange over SSH: nothing open, nobody trusted unseen."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import pytest

from rexecop.operations.errors import (
    CommandGuarded,
    ConnectorRefused,
    OperationsError,
    ParameterRefused,
)
from rexecop.operations.planning import PlanRequest, compile_plan
from rexecop.operations.profile import load_profile
from rexecop.proof.call import ExchangeRequest
from rexecop.proof.canonical import Json, digest_of
from rexecop.proof.records.plan import CallStep
from rexecop.proof.vocabulary import Effect, Grade, Isolation, Mode
from tests.operations.folders import REACHED, TECRAX, environment, folder
from tests.operations.test_known_hosts import KEYS

PROFILE: Final[Mapping[str, str]] = {
    "profile.yaml": "profile_contract: {name: hosts, version: '1'}",
    "intents/look.yaml": (
        "intent: {id: look, workflow: workflows/look.yaml, risk: low, "
        "parameters: {type: object, properties: {unit: {type: string}}}}"
    ),
    "workflows/look.yaml": """
workflow:
  steps:
    - {id: look, type: connector, connector: host, action: ACTION}
""",
    "validation_rules/look.yaml": """
validation_rule:
  intent: look
  steps: [{type: require_equals, path: look.exit, value: 0, rule: ended}]
""",
    "normalizers/ended.yaml": "normalizer: {facts: {exit: {exit_status: true}}}",
    "connectors/host.yaml": """
connector:
  name: host
  backends: [ssh, ssh_readonly, process]
  capabilities:
    [show, send, put, put_file, put_any, put_near, get, on_terminal, attended, held, loose, guarded]
  actions:
    show: {effect: read, command: systemctl, args: [show, "{unit}"]}
    send: {effect: change, command: tee, args: [/tmp/x], stdin: "{unit}", cwd: /srv/app, env: {LANG: C}}
    put: {transfer: {operation: put, path: "/etc/{target}.conf", content: "unit={unit}\\n", mode: "0644"}}
    put_file: {transfer: {operation: put, path: /srv/app.bin, file: "/srv/{target}.bin"}}
    put_any: {transfer: {operation: put, path: /srv/app.bin, file: "/srv/{unit}"}}
    put_near: {transfer: {operation: put, path: /srv/app.bin, file: app.bin}}
    get: {effect: read, transfer: {operation: get, path: /etc/hostname}}
    on_terminal: {effect: read, command: stty, args: [size], tty: {columns: 80, rows: 24}}
    attended: {effect: destroy, command: bash, args: ["-l"], tty: {attended: true}, isolation: none}
    held: {effect: read, command: id, args: [], isolation: bubblewrap}
    loose: {effect: read, command: id, args: [], isolation: rlimits}
    guarded: {effect: read, command: sudo, args: [id]}
""",
}
CONNECTION: Final = f"host: 10.0.0.7, user: ops, identity_file_secret_ref: key, host_keys: ['{KEYS[0]}']"


@dataclass(frozen=True)
class Files:
    """Files that an environment names."""

    texts: Mapping[str, str]

    def reference(self, name: str) -> str:
        raise AssertionError(name)

    def file(self, path: str) -> str:
        return self.texts[path]


def planned(
    action: str = "show",
    connection: str = CONNECTION,
    target: str = "{}",
    backend: str = "ssh",
    more: str = "",
    unit: str = "ntp",
    files: Mapping[str, str] | None = None,
) -> CallStep:
    text = f"""
environment:
  id: here
  targets: {{db-1: {{type: host, connection: {target}}}}}
  connectors:
    host: {{backend: {backend}, {connection}{more}}}
"""
    profile = load_profile(
        {name: content.replace("ACTION", action).encode() for name, content in PROFILE.items()}
    )
    request = PlanRequest(
        intent="look",
        target="db-1",
        mode=Mode.APPLY if action in ("send", "attended") or action.startswith("put") else Mode.READ_ONLY,
        parameters={"unit": unit},
    )
    there = digest_of(b"app") if files is None else None
    draft = compile_plan(
        request, profile, environment(text), REACHED, Files(files or {}), observed=lambda path: there
    )
    (step,) = draft.steps
    assert isinstance(step, CallStep)
    return step


def exchange(step: CallStep) -> ExchangeRequest:
    assert isinstance(step.call.request, ExchangeRequest)
    return step.call.request


def route(step: CallStep) -> Json:
    return exchange(step).message["route"]


def test_a_command_becomes_an_exchange_with_one_known_host() -> None:
    step = planned()

    assert exchange(step).peers == ("10.0.0.7:22",)
    assert exchange(step).message == {
        "route": [
            {
                "host": "10.0.0.7",
                "port": 22,
                "user": "ops",
                "host_keys": [KEYS[0]],
                "identity": {"secret": "key"},
            }
        ],
        "command": {"argv": ["systemctl", "show", "ntp"]},
    }
    assert (step.isolation, step.grade) == (Isolation.NOT_APPLICABLE, Grade.SHAPE)


def test_input_folder_environment_and_terminal_become_part_of_the_command() -> None:
    sent = exchange(planned("send")).message["command"]
    shown = exchange(planned("on_terminal")).message["command"]

    assert sent == {"argv": ["tee", "/tmp/x"], "stdin": "ntp", "cwd": "/srv/app", "env": {"LANG": "C"}}
    assert shown == {"argv": ["stty", "size"], "columns": 80, "rows": 24}


def test_a_person_may_have_the_keys_of_a_terminal_which_the_plan_says() -> None:
    step = planned("attended")

    assert exchange(step).message["command"] == {
        "argv": ["bash", "-l"], "columns": 80, "rows": 24, "attended": True,
    }  # fmt: skip
    assert (step.call.effect, step.isolation) == (Effect.DESTROY, Isolation.NOT_APPLICABLE)


def test_nothing_is_held_on_another_host_that_only_this_one_can_hold() -> None:
    with pytest.raises(ConnectorRefused, match="isolation"):
        planned("held")


def test_what_bears_no_confinement_here_asks_for_none_on_another_host() -> None:
    assert planned("loose").isolation is Isolation.NOT_APPLICABLE


def test_a_transfer_is_a_change_where_it_puts() -> None:
    put, get = planned("put"), planned("get")

    assert exchange(put).message["transfer"] == {
        "operation": "put",
        "path": "/etc/db-1.conf",
        "content": "unit=ntp\n",
        "mode": "0644",
    }
    assert (put.call.effect, get.call.effect) == (Effect.CHANGE, Effect.READ)


def test_a_file_that_is_put_stands_in_the_plan_with_its_digest() -> None:
    assert exchange(planned("put_file")).message["transfer"] == {
        "operation": "put",
        "path": "/srv/app.bin",
        "file": "/srv/db-1.bin",
        "digest": digest_of(b"app"),
    }


def test_who_asks_does_not_choose_which_file_is_put() -> None:
    with pytest.raises(ConnectorRefused, match="for the profile and the environment to say"):
        planned("put_any")


def test_a_file_to_put_has_to_be_there() -> None:
    with pytest.raises(ConnectorRefused, match="no file at"):
        planned("put_file", files={})
    with pytest.raises(ConnectorRefused, match="no file at"):
        planned("put_near")


def test_a_read_only_backend_puts_nothing() -> None:
    with pytest.raises(ConnectorRefused, match="only reads"):
        planned("put", backend="ssh_readonly")


def test_the_target_says_where_it_is_and_the_connector_how_to_get_in() -> None:
    step = planned(target="{host: 10.0.0.9, port: 2222, host_keys: ['SHA256:" + "A" * 43 + "']}")

    assert exchange(step).peers == ("10.0.0.9:2222",)
    assert "SHA256:" in str(route(step))


def test_the_keys_of_the_file_are_written_into_the_call() -> None:
    known = f"10.0.0.7 {KEYS[0]}\n@revoked * {KEYS[1]}\n@cert-authority 10.0.0.* {KEYS[2]}\nother {KEYS[1]}\n"
    step = planned(
        connection="host: 10.0.0.7, user: ops, agent: any, known_hosts_file: /etc/known",
        files={"/etc/known": known},
    )

    assert route(step) == [
        {
            "host": "10.0.0.7",
            "port": 22,
            "user": "ops",
            "host_keys": [KEYS[0]],
            "authorities": [KEYS[2]],
            "revoked": [KEYS[1]],
            "agent": "any",
        }
    ]


def test_every_host_on_the_way_has_its_own_keys() -> None:
    jump = f", jump: [{{host: gate, user: hop, agent: any, host_keys: ['{KEYS[1]}']}}]"
    step = planned(more=jump)

    assert exchange(step).peers == ("gate:22", "10.0.0.7:22")


@pytest.mark.parametrize("policy", ["accept-new", "no", "ask"])
def test_no_host_is_trusted_on_first_sight(policy: str) -> None:
    with pytest.raises(ConnectorRefused, match="known_hosts_policy"):
        planned(more=f", known_hosts_policy: {policy}")


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (f", host_keys: ['{KEYS[0]}']", "", "is known by no key"),
        (KEYS[0], "ssh-ed25519 AAAA", "host_keys"),
        ("host: 10.0.0.7, ", "", "host"),
        ("10.0.0.7", "-oProxyCommand=x", "no host name"),
        ("user: ops", "user: -l", "no user name"),
        ("user: ops", "port: 70000, user: ops", "port"),
        ("user: ops", "user: 7", "user"),
        ("user: ops, ", "", "user"),
        ("identity_file_secret_ref: key", "agent: ''", "identity_file_secret_ref"),
        ("identity_file_secret_ref: key", "agent: mine", "identity or by an agent"),
        ("user: ops", "user: ops, agent: any", "identity_file_secret_ref"),
        ("user: ops", "user: ops, sessions: 0", "sessions"),
        ("user: ops", "user: ops, remote: cmd", "posix, plain"),
        ("user: ops", "user: ops, jump: gate", "jump"),
        ("user: ops", "user: ops, jump: [{host: gate, usr: x}]", "usr"),
    ],
)
def test_a_connection_that_is_not_whole_is_refused(old: str, new: str, match: str) -> None:
    assert old in CONNECTION
    with pytest.raises(ConnectorRefused, match=re.escape(match)):
        planned(connection=CONNECTION.replace(old, new))


def test_commands_are_guarded_as_on_this_machine() -> None:
    with pytest.raises(CommandGuarded):
        planned("guarded")
    with pytest.raises(ParameterRefused, match="option"):
        planned(unit="--help")


def test_the_allowlist_of_a_read_only_backend_is_needed_and_has_to_agree() -> None:
    entry = ", allowlist: [{action: show, command: systemctl, args: [%s]}]"
    planned(backend="ssh_readonly", more=entry % "show, '{unit}'")
    for more in ("", entry % "show"):
        with pytest.raises(ConnectorRefused, match="allowlist"):
            planned(backend="ssh_readonly", more=more)


def test_the_seeds_connector_to_a_host_plans_unchanged() -> None:
    tecrax = load_profile(folder(TECRAX))
    shapes = {
        name: action.command
        for name, action in tecrax.connectors["monitoring_host"].actions.items()
        if action.command is not None
    }
    entries = [
        {"action": name, "command": shape.command, "args": list(shape.args)} for name, shape in shapes.items()
    ]
    where = environment(f"""
environment:
  id: lab
  profile: tecrax
  targets: {{mon-1: {{type: host}}}}
  connectors:
    monitoring_host:
      enabled: true
      backend: ssh_readonly
      deployment_posture: stable
      host: mon-1.example.org
      user: monitor
      port: 22
      identity_file_secret_ref: monitoring_key
      known_hosts_policy: strict
      known_hosts_file: /etc/known
      timeout_seconds: 15
      max_output_bytes: 65536
      allowlist: {json.dumps(entries)}
""")
    request = PlanRequest(
        intent="collect_basic_host_inventory", target="mon-1", mode=Mode.READ_ONLY, parameters={}
    )
    draft = compile_plan(
        request, tecrax, where, REACHED, Files({"/etc/known": f"mon-1.example.org {KEYS[0]}"})
    )

    calls = [step for step in draft.steps if isinstance(step, CallStep)]
    assert calls and all(exchange(step).peers == ("mon-1.example.org:22",) for step in calls)
    assert {step.limits.timeout_ms for step in calls} <= {10_000, 15_000}


def test_what_only_ssh_does_is_refused_elsewhere() -> None:
    for action in ("put",):
        with pytest.raises(OperationsError):
            planned(action, backend="process", connection="enabled: true")
