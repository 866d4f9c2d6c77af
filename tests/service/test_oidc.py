"""Tokens of an identity provider: what it signed for this service counts, while it does, and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from rexecop.app.build import open_instance
from rexecop.app.clock import SystemClock
from rexecop.app.door import Caller, ServiceRole, ServiceScope
from rexecop.app.doors import FAILURES_MAX, RootDoor, Throttle, looked_at
from rexecop.app.errors import CallerThrottled, CallerUnknown
from rexecop.app.identity import os_user
from rexecop.app.oidc import FRESH_MS, KEPT_MS, WAIT_MS, claim
from rexecop.app.root import Root
from rexecop.app.service_file import read_service_file
from rexecop.app.serving import Serving
from rexecop.engines.errors import NotFetched
from rexecop.governance.bearer import LEEWAY_SECONDS, read_bearer, read_keys, require_good, require_signed
from rexecop.governance.errors import BearerRefused
from rexecop.proof.canonical import hash_bytes
from rexecop.proof.errors import RexecopError
from rexecop.proof.vocabulary import Established
from tests.lanes.support import FakeClock
from tests.lanes.web import json_reply, reply
from tests.service.conftest import fresh_root
from tests.service.provider import DISCOVERY, KEYS, LocalProvider, b64, configure, jwk, local_provider
from tests.service.running import running

PEER: Final = "192.0.2.7"


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    settings = fresh_root(tmp_path_factory.mktemp("oidc"))
    with Serving(open_instance(settings)) as found:
        yield found


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalProvider]:
    with local_provider(tmp_path_factory.mktemp("provider")) as found:
        yield found


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(at=SystemClock().now())


@pytest.fixture
def door(serving: Serving, provider: LocalProvider, clock: FakeClock) -> RootDoor:
    provider.rotate("first", "RS256")
    provider.web.asked.clear()
    configure(serving.settings.root, provider)
    assert isinstance(serving.door, RootDoor)
    return RootDoor(
        Root(serving.settings.root), serving.door._authority, serving.access, clock, Throttle(clock)
    )


def come(door: RootDoor, token: str) -> Caller:
    headers = {"authorization": f"Bearer {token}"}
    asyncio.run(door.knock(headers, PEER))
    return door.caller(headers, PEER)


def is_refused(door: RootDoor, token: str) -> bool:
    with pytest.raises(CallerUnknown):
        come(door, token)
    return True


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_who_the_provider_signed_for_comes_in_as_who_it_says_they_are(
    door: RootDoor, provider: LocalProvider, algorithm: str
) -> None:
    provider.rotate(f"key-{algorithm}", algorithm)
    caller = come(door, provider.token(groups=["sre", "other", 7]))

    principal = caller.identity.principal
    assert (principal.person, principal.established) == ("alice", Established.OIDC)
    assert principal.credential == f"{provider.issuer}#u-1"
    assert caller.roles == {ServiceRole.OPERATOR, ServiceRole.APPROVER} and caller.scope == ServiceScope()


WRONG: Final[tuple[dict[str, object], ...]] = (
    {"iss": "https://evil.example"},
    {"iss": None},
    {"aud": "another"},
    {"aud": ["another"]},
    {"aud": None},
    {"exp": 1},
    {"exp": None},
    {"exp": "9999999999"},
    {"exp": True},
    {"iat": None},
    {"iat": 9_999_999_999},
    {"nbf": 9_999_999_999},
    {"nbf": "now"},
    {"exp": 9_999_999_999},
    {"name": None},
    {"name": ""},
    {"name": "engine"},
    {"name": "a\nb"},
    {"name": ["alice"]},
    {"sub": None},
)


@pytest.mark.parametrize("claims", WRONG, ids=str)
def test_what_is_not_for_us_now_or_names_nobody_does_not_count(
    door: RootDoor, provider: LocalProvider, claims: dict[str, object]
) -> None:
    come(door, provider.token())

    assert is_refused(door, provider.token(**claims))


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "HS256"},
        {"alg": "RS512"},
        {"alg": "ES256"},
        {"alg": 7},
        {"alg": None},
        {"kid": None},
        {"kid": "second"},
        {"typ": "logout+jwt"},
        {"crit": ["exp"]},
    ],
    ids=str,
)
def test_a_token_does_not_say_how_it_is_checked(
    door: RootDoor, provider: LocalProvider, header: dict[str, object]
) -> None:
    come(door, provider.token())

    assert is_refused(door, provider.token(header))


def test_none_and_a_public_key_as_a_secret_are_refused_however_they_are_made(
    door: RootDoor, provider: LocalProvider
) -> None:
    come(door, provider.token())
    claims = b64(json.dumps(provider.claims()).encode())
    for algorithm in ("none", "HS256"):
        head = b64(json.dumps({"alg": algorithm, "kid": "first"}).encode())
        published = provider.web.routes[KEYS]
        assert isinstance(published, bytes)
        digest = hash_bytes("sha256", published + head.encode())
        for signature in ("", b64(digest)):
            assert is_refused(door, f"{head}.{claims}.{signature}")


def test_any_changed_sign_of_a_token_makes_it_none(door: RootDoor, provider: LocalProvider) -> None:
    provider.rotate("e", "EdDSA")
    token = provider.token()
    come(door, token)
    for place in range(0, len(token), 7):
        other = "A" if token[place] != "A" else "B"
        assert is_refused(door, token[:place] + other + token[place + 1 :])
    for odd in (token + "=", token + "A", token[:-1], f"{token}.x", f".{token}", token.replace(".", "..", 1)):
        assert is_refused(door, odd)


def test_a_new_key_is_asked_for_and_an_old_one_counts_no_longer(
    door: RootDoor, provider: LocalProvider, clock: FakeClock
) -> None:
    old = provider.token()
    come(door, old)
    provider.rotate("second")
    clock.booted_ms += WAIT_MS

    assert come(door, provider.token()).name == "alice"
    assert is_refused(door, old)
    assert provider.asked == 2


def test_a_token_that_came_in_before_ends_all_the_same(
    door: RootDoor, provider: LocalProvider, clock: FakeClock
) -> None:
    token = provider.token()
    assert come(door, token) == come(door, token)
    clock.at += timedelta(seconds=400 + LEEWAY_SECONDS)  # The provider's own clock goes on meanwhile.
    for _ in range(FAILURES_MAX + 1):  # It is no guess, however often it comes.
        with pytest.raises(CallerUnknown) as refused:
            come(door, token)
        assert not isinstance(refused.value, CallerThrottled)


def test_tokens_that_came_in_take_bounded_memory(
    door: RootDoor, provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rexecop.app.oidc.SIGNED_MAX", 3)
    provider.rotate("small", "EdDSA")
    for number in range(10):
        assert come(door, provider.token(jti=number)).name == "alice"
    assert len(door._login._ring.signed) <= 3


def test_keys_that_are_made_up_make_us_ask_once_in_ten_seconds(
    door: RootDoor, provider: LocalProvider, clock: FakeClock
) -> None:
    good = provider.token()
    for number in range(FAILURES_MAX * 2):
        with pytest.raises(CallerUnknown):
            come(door, provider.token({"kid": f"made-up-{number}"}))
    assert provider.asked == 1
    assert come(door, good).name == "alice"
    clock.booted_ms += WAIT_MS
    with pytest.raises(CallerUnknown):
        come(door, provider.token({"kid": "made-up"}))
    assert provider.asked == 2


def test_many_who_come_at_once_with_a_new_key_wait_for_one_look_at_the_provider(
    door: RootDoor, provider: LocalProvider
) -> None:
    headers = {"authorization": f"Bearer {provider.token()}"}

    async def all_at_once() -> None:
        await asyncio.gather(*(door.knock(headers, PEER) for _ in range(20)))

    asyncio.run(all_at_once())
    assert provider.asked == 1 and door.caller(headers, PEER).name == "alice"


def test_tokens_of_strangers_do_not_make_us_ask_at_all(door: RootDoor, provider: LocalProvider) -> None:
    assert is_refused(door, provider.token(iss="https://evil.example"))
    assert is_refused(door, "a.b.c")
    assert provider.web.asked == []


def test_while_the_provider_is_silent_its_keys_count_for_an_hour(
    door: RootDoor, provider: LocalProvider, clock: FakeClock
) -> None:
    token = provider.token()
    come(door, token)
    provider.web.routes[DISCOVERY] = reply(b"", 500)
    clock.booted_ms += FRESH_MS

    assert come(door, token).name == "alice"
    with pytest.raises(NotFetched):
        come(door, provider.token({"kid": "second"}))
    clock.booted_ms += KEPT_MS - FRESH_MS
    with pytest.raises(NotFetched):
        come(door, token)
    provider.publish()
    clock.booted_ms += WAIT_MS
    assert come(door, token).name == "alice"


@pytest.mark.parametrize(
    "answer",
    [
        reply(b"", 404),
        reply(b"", 302, Location="/elsewhere"),
        json_reply("{}"),
        json_reply("["),
        json_reply('{"issuer": "https://evil.example", "jwks_uri": "https://evil.example/keys"}'),
        reply(b"x" * 300_000),
    ],
)
def test_a_provider_that_says_something_else_lets_nobody_in(
    door: RootDoor, provider: LocalProvider, answer: bytes
) -> None:
    provider.web.routes[DISCOVERY] = answer
    with pytest.raises(NotFetched):
        come(door, provider.token())


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({}, ""),
        ({"exp": 1}, "it has expired"),
        ({"aud": "x"}, "it is for another audience"),
        ({"name": "engine"}, "its claims name nobody who could be somebody here"),
        ({"iss": "https://evil.example"}, "no token of this root"),
    ],
    ids=str,
)
def test_the_operator_is_told_whom_a_token_lets_in_or_why_nobody(
    door: RootDoor, serving: Serving, provider: LocalProvider, claims: dict[str, object], why: str
) -> None:
    with open_instance(serving.settings) as instance:
        if not why:
            assert asyncio.run(looked_at(instance, provider.token(**claims))).name == "alice"
            return
        with pytest.raises(CallerUnknown, match=why):
            asyncio.run(looked_at(instance, provider.token(**claims)))
        with pytest.raises(CallerUnknown, match="no token of this root"):
            asyncio.run(looked_at(instance, "rxo_" + "0" * 64))


@pytest.mark.parametrize(
    "uri", ["http://192.0.2.1/keys", "file:///etc/passwd", "https://user@127.0.0.1/keys", 7, None]
)
def test_keys_are_fetched_over_tls_only(door: RootDoor, provider: LocalProvider, uri: object) -> None:
    provider.publish(jwks_uri=uri)
    with pytest.raises(NotFetched):
        come(door, provider.token())


def test_a_provider_whom_nobody_vouches_for_lets_nobody_in(
    door: RootDoor, serving: Serving, provider: LocalProvider, tmp_path: Path
) -> None:
    with local_provider(tmp_path) as other:
        configure(serving.settings.root, provider, ca_file=str(other.ca))
        with pytest.raises(NotFetched):
            come(door, provider.token())


def test_keys_that_cannot_be_used_here_are_left_out() -> None:
    def keys(*found: object) -> int:
        return len(read_keys(json.dumps({"keys": found}).encode()))

    good = {"kid": "a", "kty": "OKP", "crv": "Ed25519", "x": b64(bytes(31) + b"\x09")}
    short = {"kid": "b", "kty": "RSA", "n": b64(b"\xff" * 128), "e": "AQAB"}
    shared = {"kid": "c", "kty": "oct", "k": "AAAA"}
    assert keys(short, shared, 7, {}, {"kid": 1}, {**good, "x": "!"}, {**good, "use": "enc"}) == 0
    assert (
        keys({"kid": "d", "kty": "EC", "crv": "P-256", "x": b64(b"\x01" * 32), "y": b64(b"\x02" * 32)}) == 0
    )
    for data in (b"", b"[]", b"{}", b'{"keys": 1}', json.dumps({"keys": [good] * 65}).encode()):
        with pytest.raises(RexecopError):
            read_keys(data)


def test_reading_and_judging_hold_by_themselves(provider: LocalProvider) -> None:
    now = SystemClock().now()
    provider.rotate("e", "ES256")
    published = json.dumps({"keys": [jwk("e", provider.keys["e"])]}).encode()
    token = provider.token()
    head, claims, signature = token.split(".")

    def judged(text: str, issuer: str = provider.issuer) -> None:
        bearer = read_bearer(text)
        require_signed(bearer, read_keys(published))
        require_good(bearer, issuer=issuer, audiences=("rexecop",), now=now)

    judged(token)
    spelled = signature[:-1] + chr(ord(signature[-1]) + 1)  # The same bytes, with a stray bit set.
    for odd in (
        f"{head}.{claims}",
        f"{head}.{claims}.{signature}.x",
        f"{head}.{claims}.",
        f"{head}.{claims}.{spelled}",
        f"{head}.{claims}.{b64(bytes(70))}",
        f"{head}.{b64(b'[]')}.{signature}",
        f"{head}.{b64(b'{')}.{signature}",
        f"{head}.é.{signature}",
        "x" * 20_000,
        provider.token({"kid": None}),
        provider.token({"kid": "x" * 300}),
        provider.token({"kid": "other"}),
    ):
        with pytest.raises(BearerRefused):
            judged(odd)
    with pytest.raises(BearerRefused):
        judged(token, "https://evil.example")


# --- what claims mean here ---


def test_roles_and_scope_are_by_the_values_of_claims(
    door: RootDoor, serving: Serving, provider: LocalProvider
) -> None:
    scopes = "  scopes: {claim: realm.teams, values: {web: {targets: ['web-*']}, db: {targets: ['db-*']}}}"
    configure(serving.settings.root, provider, scopes)

    both = come(door, provider.token(groups="audit", realm={"teams": ["db", "web"]}))
    assert both.roles == {ServiceRole.AUDITOR} and both.scope == ServiceScope(targets=("web-*",))
    none = come(door, provider.token(groups=["unheard-of"]))
    assert none.roles == frozenset() and none.scope.targets == ()
    assert claim({"a.b": 1, "a": {"b": 2}}, "a.b") == 1 and claim({"a": {"b": 2}}, "a.b") == 2
    assert claim({"a": 1}, "a.b") is None


def test_an_address_that_nobody_verified_is_nobody(
    door: RootDoor, serving: Serving, provider: LocalProvider
) -> None:
    configure(serving.settings.root, provider, name="email")

    assert come(door, provider.token(email="a@example.com", email_verified=True)).name == "a@example.com"
    for said in (None, False, "true", 1):
        assert is_refused(door, provider.token(email="a@example.com", email_verified=said))


def test_an_agent_is_one_by_the_packs_with_their_sponsor_or_may_nothing(
    door: RootDoor, serving: Serving, provider: LocalProvider
) -> None:
    path = serving.settings.root / "policy" / "starter" / "entities.yaml"
    kept = path.read_text()
    try:
        path.write_text(kept + f"agents:\n  robo: {{sponsor: {os_user().person}}}\n")
        agent = come(door, provider.token(name="robo", groups=["bots"]))
        assert agent.roles == {ServiceRole.AGENT} and agent.sponsor == os_user().person
        approver = come(door, provider.token(name="robo", groups=["sre"]))
        assert ServiceRole.AGENT in approver.roles and approver.identity.sponsor == os_user().person
        assert come(door, provider.token(groups=["bots", "sre"])).roles == frozenset()
    finally:
        path.write_text(kept)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "surprise: 1",
        "oidc: {issuer: https://x.example}",
        "oidc: {issuer: http://x.example, audience: a, roles: {claim: g, values: {}}}",
        "oidc: {issuer: https://x.example, audience: '', roles: {claim: g, values: {}}}",
        "oidc: {issuer: https://x.example, audience: a, roles: {claim: g, values: {x: [king]}}}",
        "oidc: {issuer: https://x.example, audience: a, roles: {claim: g, values: {x: admin}}}",
        "oidc: {issuer: https://x.example, audience: a, ca_file: /nowhere, roles: {claim: g, values: {}}}",
        "oidc: {issuer: https://x.example, audience: a, roles: {claim: g, values: {}}, scopes: {claim: g}}",
        "oidc: {issuer: https://x.example, audience: a, roles: {claim: g, values: {}}, sign_in: {title: x}}",
        "oidc: {issuer: https://x.example, audience: a, roles: {claim: g, values: {}},"
        " sign_in: {client_id: ''}}",
        "oidc: {issuer: https://x.example, audience: a, roles: {claim: g, values: {}},"
        " sign_in: {client_id: c, scope: email}}",
        "oidc: {issuer: https://x.example, audience: a, roles: {claim: g, values: {}},"
        ' sign_in: {client_id: c, title: "a\\nb"}}',
        "oidc: {issuer: https://x.example, audience: a, roles: {claim: g, values: {}},"
        " scopes: {claim: g, values: {x: {targets: []}}}}",
        "oidc: {issuer: https://x.example, audience: a, roles: {claim: g, values: {}},"
        " scopes: {claim: g, values: {x: {hosts: [a]}}}}",
    ],
)
def test_a_file_that_does_not_say_whom_to_let_in_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "service.yaml"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(RexecopError):
        read_service_file(Root(tmp_path))
    path.write_text(
        "oidc: {issuer: https://x.example, audience: a, roles: {claim: g, values: {x: [viewer]}}}"
    )
    assert read_service_file(Root(tmp_path)).provider is not None
    path.chmod(0o622)
    with pytest.raises(RexecopError):
        read_service_file(Root(tmp_path))


def test_a_running_service_lets_in_who_the_provider_signed_for(root: Path, provider: LocalProvider) -> None:
    provider.rotate("served", "ES256")
    configure(root, provider)

    with running(root) as service:

        def asked(token: str) -> tuple[int, str]:
            answer = service.call(
                "POST", "/v1/events", b"{}", Content_Type="application/cloudevents+json",
                Authorization=f"Bearer {token}",
            )  # fmt: skip
            return answer.status, str(answer.json["code"])

        assert asked(provider.token()) == (422, "event-refused")  # Let in, and what it brings is no event.
        assert asked(provider.token(groups=["audit"])) == (403, "forbidden")
        assert asked(provider.token(aud="x")) == (401, "caller-unknown")
