"""From a profile's shape and an environment's connection to one HTTP request, or to a clear refusal."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import pytest

from rexecop.lanes.messages.http import HttpMessage
from rexecop.operations.errors import (
    ConnectorRefused,
    EnvironmentRefused,
    OperationsError,
    ParameterRefused,
    ProfileRefused,
)
from rexecop.operations.planning_http import keyed
from rexecop.operations.profile import load_profile
from rexecop.proof.call import ExchangeRequest
from rexecop.proof.canonical import Json
from rexecop.proof.codec import from_json
from rexecop.proof.message import fill_secrets
from rexecop.proof.records.plan import CallStep
from rexecop.proof.vocabulary import Effect, Grade, Isolation, Mode
from tests.operations.folders import ENVIRONMENTS, TECRAX, environment, environment_file, folder, plan

STAGING: Final = ENVIRONMENTS / "small-public-unit-proxmox.staging.example.yaml"
PEM: Final = "-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n"

PROFILE: Final[Mapping[str, str]] = {
    "profile.yaml": "profile_contract: {name: web, version: '1'}",
    "intents/call.yaml": """
intent:
  id: call
  workflow: workflows/call.yaml
  parameters:
    type: object
    properties: {name: {type: string}, count: {type: integer}, labels: {type: array}}
""",
    "workflows/call.yaml": """
workflow:
  steps:
    - {id: call, type: connector, connector: api, action: call}
""",
    "validation_rules/call.yaml": """
validation_rule:
  intent: call
  steps: [{type: require_mapping, key: call, fail: {rule: x}}]
""",
}

HERE: Final = """
environment:
  id: here
  targets:
    web: {type: host, attributes: {zone: eu}, connection: {TARGET}}
  values: {team: ops}
  connectors:
    api:
      backend: http
      base_url: https://api.test:8443/v1
      CONNECTION
"""


@dataclass
class Outside:
    """What stands elsewhere."""

    texts: Mapping[str, str] = field(default_factory=dict)

    def reference(self, name: str) -> str:
        return self.texts[name]

    def file(self, path: str) -> str:
        return self.texts[path]


def request(
    shape: str,
    connection: str = "",
    *,
    target: str = "{}",
    declared: str = "",
    action: str = "{}",
    mode: Mode = Mode.DRY_RUN,
    outside: Mapping[str, str] | None = None,
    **parameters: Json,
) -> CallStep:
    """The step for an action of `shape` over `connection`, which is YAML in the place of one line."""
    files = {**PROFILE}
    files["connectors/api.yaml"] = f"""
connector:
  name: api
  capabilities: [call]
  actions: {{call: {action}}}
  {f"action_shapes: {{call: {shape}}}" if shape else ""}
"""
    text = HERE.replace("TARGET", target.strip("{}")).replace(
        "      CONNECTION\n", connection and f"      {connection}\n"
    )
    if declared:
        text = text.replace("backend: http\n", f"backend: {declared}\n")
    if "base_url" in connection:
        text = text.replace("      base_url: https://api.test:8443/v1\n", "")
    profile = load_profile({name: data.encode() for name, data in files.items()})
    draft = plan(profile, environment(text), "call", "web", mode, parameters, outside=Outside(outside or {}))
    step = draft.steps[0]
    assert isinstance(step, CallStep)
    return step


def message(step: CallStep) -> HttpMessage:
    """What is sent, secrets by their names."""
    found = step.call.request
    assert isinstance(found, ExchangeRequest)
    names = ("token", "cert", "word")
    return from_json(HttpMessage, fill_secrets(dict(found.message), {name: f"<{name}>" for name in names}))


def test_a_whole_parameter_is_sent_as_it_is_or_not_at_all() -> None:
    shape = "{method: post, path: /a, query: {l: '{*labels}', n: '{*name}'}, body: '{*labels}'}"

    given = message(request(shape, labels=["a b", 2, True], name="x,y"))
    assert given.query == {"l": ("a b", "2", "true"), "n": ("x,y",)}
    assert given.json == ["a b", 2, True]
    left_out = message(request(shape))
    assert (left_out.query, left_out.json) == (None, None)
    assert message(request(shape, labels=[])).json == []
    assert message(request("{method: post, path: /a, body: {}}")).json == {}
    for odd in ([["a"]], [None], [{"secret": "token"}], ["\0"], ["x" * 40_000]):
        with pytest.raises(ParameterRefused):
            request(shape.replace("body: '{*labels}'", "headers: {}"), labels=odd)
    with pytest.raises(ParameterRefused, match="cannot be sent"):
        request("{method: post, path: /a, body: '{*labels}'}", labels=[{"secret": "token"}])
    with pytest.raises(ProfileRefused, match="names nothing"):
        request("{method: post, path: /a, query: {x: '{*zone}'}}")


def test_a_schema_that_leads_round_refuses_its_parameters() -> None:
    text = PROFILE["intents/call.yaml"].replace("{type: array}}", "{$ref: '#/$defs/a'}}")
    files = {**PROFILE, "intents/call.yaml": f"{text}    $defs: {{a: {{$ref: '#/$defs/a'}}}}\n"}
    files["connectors/api.yaml"] = "connector: {name: api, capabilities: [call]}"
    found = load_profile({name: data.encode() for name, data in files.items()}).intents["call"].parameters

    assert found is not None and found.check({"count": 1}) == {"count": 1}
    with pytest.raises(ParameterRefused, match="leads round"):
        found.check({"labels": []})


def test_values_stand_each_in_its_own_place() -> None:
    shape = (
        "{method: post, path: '/hosts/{target}/{name}/', query: {zone: '{target.zone}', n: '{count}', "
        "all: [a, true]}, "
        "headers: {X-Team: '{env.team}'}, "
        "body: {name: '{name}', count: '{count}', labels: '{labels}', on: true}}"
    )

    step = request(shape, name="a/b?c", count=3, labels=["x", "y"])
    sent, asked = message(step), step.call.request

    assert isinstance(asked, ExchangeRequest)
    assert (sent.method, sent.origin.text, asked.peers) == (
        "POST",
        "https://api.test:8443",
        ("api.test:8443",),
    )
    assert (sent.path, sent.slash) == (("v1", "hosts", "web", "a/b?c"), True)
    assert sent.query == {"zone": ("eu",), "n": ("3",), "all": ("a", "true")}
    assert sent.headers == {"X-Team": "ops"}
    assert sent.json == {"name": "a/b?c", "count": 3, "labels": ["x", "y"], "on": True}
    assert step.call.effect is Effect.CHANGE
    assert (step.isolation, step.grade) == (Isolation.NOT_APPLICABLE, None)


@pytest.mark.parametrize(
    ("shape", "action", "effect", "grade"),
    [
        ("{method: GET, path: /x}", "{}", Effect.READ, Grade.METHOD),
        ("{method: HEAD, path: /x}", "{effect: read}", Effect.READ, Grade.METHOD),
        ("{method: POST, path: /x, mutating: false}", "{effect: read}", Effect.READ, Grade.SHAPE),
        ("{method: POST, path: /x}", "{effect: read}", Effect.CHANGE, None),
        ("{method: DELETE, path: /x}", "{effect: destroy}", Effect.DESTROY, None),
        ("{method: GET, path: /x}", "{effect: change}", Effect.CHANGE, None),
    ],
)
def test_the_method_says_how_well_a_read_is_known_to_be_one(
    shape: str, action: str, effect: Effect, grade: Grade | None
) -> None:
    step = request(shape, action=action)

    assert (step.call.effect, step.grade) == (effect, grade)


@pytest.mark.parametrize(
    "path",
    [
        "x",
        "//evil.test/x",
        "http://evil.test/x",
        "/a//b",
        "/a/../b",
        "/./a",
        "/a?b=c",
        "/a#b",
        "/a%2fb",
        "/a\\\\b",
        "/..",
    ],
)
def test_a_path_that_is_more_than_one_is_refused(path: str) -> None:
    with pytest.raises(ConnectorRefused):
        request(f'{{method: GET, path: "{path}"}}')


@pytest.mark.parametrize("name", ["..", "", ".", "a/../../b", "a\r\nb", "%2e%2e"])
def test_a_parameter_does_not_leave_its_segment(name: str) -> None:
    with pytest.raises(OperationsError):
        request("{method: GET, path: '/x/{name}/y'}", name=name)


@pytest.mark.parametrize(
    ("connection", "words"),
    [
        ("base_url: 'https://{name}.test'", "placeholders"),
        ("base_url: 'https://user:pw@api.test'", "holds a secret"),
        ("base_url: 'https://user@api.test'", "no address"),
        ("base_url: 'ftp://api.test'", "no address"),
        ("base_url: 'https://api.test?x=1'", "no address"),
        ("base_url: 'https://127.1/'", "no address"),
        ("base_url_secret_ref: here", "no address"),
        ("tls: {verify: perhaps}", "`verify`"),
        ("tls: {fingerprint: abc}", "fingerprint"),
        ("tls: {ca: x}", "unknown key `ca`"),
        ("auth: {header: X-Key}", "`secret_ref`"),
        ("auth: {secret_ref: token, header: Host}", "credentials"),
        ("network_scope: everywhere", "`network_scope`"),
        ("addresses: [example]", "no address"),
        ("redirects: {max: 99}", "`max`"),
        ("redirects: {max: 1, origins: [https://a.test/path]}", "`origins`"),
        ("destination_binding: {scheme: http}", "`scheme`"),
        ("destination_binding: {effective_port: 443}", "`effective_port`"),
        ("destination_binding: {address_class: private}", "`address_class`"),
        ("destination_binding: {origin_binding_digest: x}", "`origin_binding_digest`"),
        ("connect_timeout: soon", "`connect_timeout`"),
        ("max_response_bytes: -1", "`max_response_bytes`"),
        ("headers: {Host: evil.test}", "`Host`"),
        ("headers: {X-A: [1]}", "`headers`"),
        ("base_ur: x", "unknown key `base_ur`"),
        ("retry: {max_attempts: 2, on: [nonsense]}", "nonsense"),
        ("retry: {max_attempts: 2, base_delay: soon}", "base_delay"),
    ],
)
def test_a_connection_is_followed_or_refused(connection: str, words: str) -> None:
    with pytest.raises((ConnectorRefused, EnvironmentRefused), match=words):
        request("{method: GET, path: /x}", connection, outside={"here": "nowhere"})


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ("{method: TRACE, path: /x}", "method"),
        ("{method: GET, path: /x, body: {a: 1}}", "no body"),
        ("{method: POST, path: /x, body: {a: 1}, text: b}", "more than one body"),
        ("{method: GET, path: /x, headers: {Connection: close}}", "Connection"),
        ("{method: GET, path: /x, query: {a: {b: 1}}}", "`query`"),
        ("{method: GET, path: /x, errors: {'404': nonsense}}", "error classes"),
        ("{method: GET, path: /x, expect: [99]}", "expect"),
        ("{method: POST, path: /x, pagination: {parameter: page}}", "reads only"),
        ("{method: GET, path: /x, pagination: {cursor: next}}", "need to be told"),
        ("{method: GET, path: /x, pagination: {max_page: 3}}", "max_page"),
        ("{method: GET, path: /x, answer: xml}", "`answer`"),
    ],
)
def test_a_shape_is_followed_or_refused(shape: str, words: str) -> None:
    with pytest.raises((ConnectorRefused, ProfileRefused), match=words):
        request(shape)


def test_a_fraction_in_a_body_is_refused_before_it_becomes_text() -> None:
    with pytest.raises(ProfileRefused, match="fraction"):
        request("{method: POST, path: /x, body: {a: [1.5]}}")


def test_what_the_target_says_of_itself_goes_first() -> None:
    step = request(
        "{method: GET, path: /x}", "max_response_bytes: 10", target="{base_url: 'https://{target}.test'}"
    )

    assert message(step).origin.text == "https://web.test:443"
    assert message(step).answer_bytes == 10


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ("{secret_ref: token}", ("bearer", "", "<token>")),
        ("{secret_ref: token, header: Authorization, prefix: Bearer}", ("bearer", "", "<token>")),
        (
            "{secret_ref: token, header: Authorization, prefix: Token}",
            ("header", "Authorization", "Token <token>"),
        ),
        (
            "{secret_ref: token, scheme: header, header: Authorization, prefix: PVEAPIToken=}",
            ("header", "Authorization", "PVEAPIToken=<token>"),
        ),
        ("{secret_ref: token, header: X-Key}", ("header", "X-Key", "<token>")),
        ("{scheme: basic, user: me, secret_ref: word}", ("basic", "me", "<word>")),
    ],
)
def test_credentials_are_references(auth: str, expected: tuple[str, str, str]) -> None:
    sent = message(request("{method: GET, path: /x}", f"auth: {auth}")).auth

    assert sent is not None
    assert (sent.scheme, sent.name, sent.value) == expected


def test_a_secret_goes_over_tls_or_by_leave(subtests: pytest.Subtests) -> None:
    for more, passes in (
        ("base_url: http://api.test", False),
        ("base_url: http://127.0.0.1:80", True),
        ("base_url: 'http://[::1]:80'", True),
        ("base_url: http://api.test\n      allow_plaintext: true", True),
    ):
        with subtests.test(more):
            connection = f"{more}\n      auth: {{secret_ref: token}}"
            if passes:
                assert message(request("{method: GET, path: /x}", connection)).auth is not None
            else:
                with pytest.raises(ConnectorRefused, match="for all to read"):
                    request("{method: GET, path: /x}", connection)


def test_configuration_by_reference_becomes_part_of_the_call() -> None:
    step = request(
        "{method: GET, path: /x}",
        "base_url_secret_ref: where\n      tls: {ca_file_secret_ref: ca, server_name: in.test, "
        "client_certificate_secret_ref: cert}",
        outside={"where": "https://hidden.test/api\n", "ca": "/etc/ca.pem\n", "/etc/ca.pem": PEM},
    )
    sent = message(step)

    assert (sent.origin.text, sent.path) == ("https://hidden.test:443", ("api", "x"))
    assert sent.tls is not None
    assert (sent.tls.ca, sent.tls.server_name, sent.tls.identity) == (PEM, "in.test", "<cert>")


def test_rules_of_the_connection_stand_in_the_call() -> None:
    sent = message(
        request(
            "{method: GET, path: /x, expect: [200, 404], errors: {'409': drifted}, unwrap: /data, "
            "error_at: /error}",
            "network_scope: policy_bound\n      addresses: [10.0.0.5]\n"
            "      redirects: {max: 2, origins: ['https://m.test']}"
            "\n      tls: {verify: false}\n      connect_timeout: 500ms\n      first_byte_timeout: 2s\n"
            "      headers: {X-T: a}",
        )
    )

    assert sent.addresses is not None and sent.redirects is not None and sent.tls is not None
    assert (sent.addresses.private, sent.addresses.only) == (True, ("10.0.0.5",))
    assert (sent.redirects.most, sent.redirects.origins[0].text) == (2, "https://m.test:443")
    assert (sent.tls.verify, sent.connect_ms, sent.first_byte_ms) == (False, 500, 2000)
    assert (sent.expect, sent.errors, sent.unwrap, sent.error_at) == (
        (200, 404),
        {"409": "drifted"},
        "/data",
        "/error",
    )
    assert sent.headers == {"X-T": "a"}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (
            "{items_path: data.rows, next_path: links.next, max_pages: 3}",
            ("next", "/data/rows", "/links/next", "", 3),
        ),
        (
            "{items: /rows, cursor: /meta/after, parameter: after}",
            ("cursor", "/rows", "/meta/after", "after", 10),
        ),
        ("{parameter: page, first: 0}", ("page", "", "", "page", 10)),
        ("{}", None),
        ("{by: link, items: ''}", ("link", "", "", "", 10)),
    ],
)
def test_pages_are_read_in_the_seeds_words_and_ours(written: str, read: tuple[object, ...] | None) -> None:
    pages = message(request(f"{{method: GET, path: /x, pagination: {written}}}")).pages

    if read is None:
        assert pages is not None and pages.by == "link"
    else:
        assert pages is not None
        assert (pages.by, pages.items, pages.field, pages.parameter, pages.most) == read


def test_the_environment_may_repeat_or_give_a_shape_and_not_change_one() -> None:
    same = "actions: {call: {method: get, path: /x, timeout_seconds: 3, max_response_bytes: 5}}"
    other = "actions: {call: {method: GET, path: /y}}"

    assert message(request("{method: GET, path: /x, max_response_bytes: 9}", same)).answer_bytes == 5
    assert request("{method: GET, path: /x}", same).limits.timeout_ms == 3000
    assert message(request("", other)).path == ("v1", "y")
    with pytest.raises(ConnectorRefused, match="as pinned"):
        request("{method: GET, path: /x}", other)
    with pytest.raises(ConnectorRefused, match="no method and path"):
        request("", action="{effect: read}")


def test_retries_of_the_connection_count_the_first_try_and_double() -> None:
    retry = (
        "retry: {max_attempts: 4, base_delay: 0.1, max_delay: 2, on: [timeout, transient_connector_error]}"
    )
    step = request("{method: GET, path: /x}", retry)

    assert step.retry is not None
    assert (step.retry.attempts, step.retry.delay_ms, step.retry.delay_max_ms) == (4, 100, 2000)
    assert step.retry.on == ("timeout", "transient_connector_error")
    change = request("{method: POST, path: /x}", retry)
    assert change.retry is not None and change.retry.on == ("transient_connector_error",)
    assert request("{method: POST, path: /x}", "retry: {max_attempts: 4}").retry is None


def test_the_key_of_a_step_is_its_own_and_the_same_each_time() -> None:
    step = request("{method: POST, path: /x, idempotency_header: Idempotency-Key}", action="{undo: call}")
    plain = request("{method: POST, path: /x}")

    def key(operation: str, *, undo: bool = False) -> str:
        (made,) = keyed([step], operation)
        assert isinstance(made, CallStep) and made.undo is not None
        asked = (made.undo if undo else made.call).request
        assert isinstance(asked, ExchangeRequest)
        found = from_json(HttpMessage, dict(asked.message)).key
        assert found is not None and found.header == "Idempotency-Key"
        return found.value

    assert key("op_1") == key("op_1")
    assert len({key("op_1"), key("op_2"), key("op_1", undo=True)}) == 3
    assert keyed([plain], "op_1") == (plain,)


def test_the_staging_example_plans_as_it_stands() -> None:
    outside = Outside({"staging_ca_file": "/etc/ca.pem", "/etc/ca.pem": PEM})

    draft = plan(
        folder(TECRAX),
        environment_file(STAGING),
        "check_backup_status",
        "vm-pbs-01",
        Mode.DRY_RUN,
        outside=outside,
    )

    (step,) = [item for item in draft.steps if isinstance(item, CallStep)]
    found = step.call.request
    assert isinstance(found, ExchangeRequest)
    sent = from_json(HttpMessage, fill_secrets(dict(found.message), {"staging_backup_token": "<t>"}))
    assert (sent.method, sent.path, sent.answer, sent.answer_bytes) == (
        "GET",
        ("api", "backups", "vm-pbs-01"),
        "json",
        4096,
    )
    assert (step.grade, step.limits.timeout_ms) == (Grade.METHOD, 30_000)
