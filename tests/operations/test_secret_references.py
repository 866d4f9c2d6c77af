"""A profile names what it needs, the environment says which secret that is; no arguments hold one."""

import pytest

from rexecop.operations.environment import secret_references
from rexecop.operations.errors import ConnectorRefused, ProfileRefused, SecretInline
from rexecop.operations.lint import lint_profile
from rexecop.proof.call import ProcessRequest, SecretRef, secrets_of
from rexecop.proof.records.plan import CallStep
from tests.operations.folders import SEED_ENVIRONMENT, environment, plan, seed

NAMED = SEED_ENVIRONMENT.replace("      enabled: true", "      secrets: {password: prod-db}")


WITH_STDIN = {
    "connectors/shell.yaml": (
        "connector:\n  name: shell\n  backend: local_shell_readonly\n"
        "  capabilities: [read_name, fetch_status]\n"
        "  actions:\n    read_name: {effect: read, command: hostname, args: [], "
        "stdin: 'pw={secret.password}'}\n"
        "    fetch_status:\n      effect: read\n      command: curl\n"
        '      args: [-sS, -o, /dev/null, -w, "%{http_code}", http://192.0.2.1/login.html]\n'
    )
}


def test_a_call_holds_the_reference_that_the_environment_gives_and_a_lint_gives_any() -> None:
    draft = plan(seed(**WITH_STDIN), environment(NAMED), "look", "web")

    (step,) = [step for step in draft.steps if isinstance(step, CallStep) and step.call.action == "read_name"]
    assert isinstance(step.call.request, ProcessRequest)
    assert step.call.request.stdin == ("pw=", SecretRef(secret="prod-db"))
    assert secrets_of(step.call) == {"prod-db"}
    assert not [found for found in lint_profile(seed(**WITH_STDIN)) if found.severity == "error"]


def test_a_secret_that_the_environment_does_not_give_cannot_be_named() -> None:
    with pytest.raises(ProfileRefused, match=r"\{secret.password\}` names nothing"):
        plan(seed(**WITH_STDIN), environment(), "look", "web")


def test_a_secret_in_the_arguments_is_refused_when_it_is_planned() -> None:
    spoiled = {
        name: text.replace("args: [],", "args: ['{secret.password}'],") for name, text in WITH_STDIN.items()
    }
    named = NAMED.replace("command: hostname, args: []", "command: hostname, args: ['{secret.password}']")

    with pytest.raises(ConnectorRefused, match="every user of the machine"):
        plan(seed(**spoiled), environment(named), "look", "web")


def test_names_of_secrets_are_no_secrets_written_out_but_under_secrets_of_a_connector_only() -> None:
    assert environment(NAMED).connectors["shell"].secrets == {"password": "prod-db"}
    with pytest.raises(SecretInline):
        environment(
            SEED_ENVIRONMENT.replace("type: host,", "type: host, connection: {secrets: {password: x}},")
        )
    with pytest.raises(SecretInline):
        environment(NAMED.replace("prod-db", "ghp_" + "a" * 36))


def test_every_reference_of_an_environment_is_found_with_what_uses_it() -> None:
    text = NAMED.replace("type: host,", "type: host, connection: {ssh: {identity_file_secret_ref: the-key}},")

    assert secret_references(environment(text)) == {
        "prod-db": ["connector shell"],
        "the-key": ["target web"],
    }
