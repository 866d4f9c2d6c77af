"""Whole instances behind one address: nobody gets into another, or learns that there is one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import pytest

from rexecop.app.build import open_instance
from rexecop.app.doors import FAILURES_MAX
from rexecop.app.settings import Settings
from rexecop.app.tokens import TokenAsked, Tokens
from rexecop.proof.canonical import digest_of
from rexecop.service.errors import TenantRefused
from rexecop.service.tenants import TENANTS_MAX, named
from tests.browser import browser
from tests.forked import rexecop
from tests.needs import needs
from tests.service.conftest import fresh_root
from tests.service.consoles import Read, Visitor, signed_in
from tests.service.running import Reply, Running, running

ONE: Final = "/access/v1/evaluation"
LEGACY: Final = "a-token-of-some-length"
SEEN: Final = ("content-type", "www-authenticate", "retry-after", "cache-control", "location")
PATHS: Final = ("/", "/health", "/ready", "/v1/events", "/v1/nodes", "/nowhere", "", "/../health", "//")


def served(root: str, *words: str) -> int | None:
    tenants = [part for word in words for part in ("--tenant", word)]
    return rexecop(("--root", root, "serve", "--port", "0", *tenants))


@dataclass(frozen=True)
class House:
    """A service over three roots, `own` at its address and two below, each with an admin's token."""

    service: Running
    tokens: dict[str, str]
    roots: Mapping[str, Path] = field(default_factory=dict)

    def ask(self, tenant: str | None, path: str, authorization: str | None, method: str = "GET") -> Reply:
        headers = {} if authorization is None else {"Authorization": authorization}
        body = None if method == "GET" else b"{}"
        whole = path if tenant is None else f"/t/{tenant}{path}"
        return self.service.call(method, whole, body, Content_Type="application/json", **headers)


def token_of(settings: Settings, name: str) -> str:
    async def made() -> str:
        with open_instance(settings) as instance:
            found = await Tokens(instance).new(TokenAsked(name=name, roles=("admin",)))
            return f"Bearer {found.token}"

    return asyncio.run(made())


def roots(folder: Path, *names: str) -> dict[str, Settings]:
    found = {}
    for name in names:
        (folder / name).mkdir()
        found[name] = fresh_root(folder / name)
    return found


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    settings = roots(tmp_path_factory.mktemp("tenants"), "own", "red", "blue")
    path = settings["red"].root / "authzen.yaml"
    path.write_text(f"callers: {{gate: '{digest_of(LEGACY.encode())}'}}\n")
    path.chmod(0o600)
    tokens = {name: token_of(one, f"{name}-admin") for name, one in settings.items()}
    below = [f"{name}={settings[name].root}" for name in ("red", "blue")]
    with running(settings["own"].root, served, *below) as service:
        yield House(service, tokens, {name: one.root for name, one in settings.items()})


def said(reply: Reply) -> tuple[object, ...]:
    """What one can tell an answer by."""
    return reply.status, reply.body, *(reply.headers.get(name) for name in SEEN)


def test_each_tenant_is_an_instance_of_its_own(house: House) -> None:
    for name in ("red", "blue"):
        assert house.ask(name, "/health", house.tokens[name]).json["status"] == "healthy"
        assert house.ask(name, ONE, house.tokens[name], "POST").json["code"] == "evaluation-refused"
        assert house.ask(name, "/nowhere", house.tokens[name]).status == 404
    assert house.ask(None, "/health", None).status == 200
    assert house.ask(None, ONE, house.tokens["own"], "POST").json["code"] == "evaluation-refused"
    assert house.ask("red", ONE, f"Bearer {LEGACY}", "POST").json["code"] == "evaluation-refused"


def test_a_token_of_one_is_nobody_in_another(house: House) -> None:
    for at in ("red", "blue", None):
        for name, token in house.tokens.items():
            if name != (at or "own"):
                reply = house.ask(at, ONE, token, "POST")
                assert (reply.status, reply.json["code"]) == (401, "caller-unknown"), (at, name)
    assert house.ask("blue", ONE, f"Bearer {LEGACY}", "POST").status == 401


@pytest.mark.parametrize("path", PATHS)
def test_a_tenant_that_is_there_and_one_that_is_not_read_the_same(house: House, path: str) -> None:
    for authorization in (None, "Basic x", "Bearer "):
        answers = {said(house.ask(name, path, authorization)) for name in ("red", "blue", "green", "a%0Ab")}
        assert len(answers) == 1 and next(iter(answers))[0] == 401, answers


# --- consoles ---

PROVIDER: Final = """\
oidc:
  issuer: https://login.example
  audience: rexecop
  roles: {claim: groups, values: {}}
  sign_in: {client_id: rexecop}
"""
HOMES: Final = {"own": "/console", "red": "/t/red/console", "blue": "/t/blue/console"}
GUESS: Final = "rxo_" + "1" * 64


def visitor_of(house: House, name: str) -> Visitor:
    return signed_in(house.service, house.tokens[name].removeprefix("Bearer "), HOMES[name])


def test_each_tenant_has_a_console_whose_links_forms_and_cookie_stay_there(house: House) -> None:
    for name in ("red", "blue"):
        home, asked = HOMES[name], Visitor(house.service).get(f"{HOMES[name]}/queue")
        assert asked.headers["location"] == f"{home}/sign-in?next={home}/queue"
        secret = {"secret": house.tokens[name].removeprefix("Bearer ")}
        came = Visitor(house.service).post(f"{home}/sign-in", secret | {"next": f"{home}/queue"})
        words = {word.strip().lower() for word in came.headers["set-cookie"].split(";")}
        assert came.headers["location"] == f"{home}/queue"
        assert {f"path={home}", "httponly", "samesite=strict"} <= words
        for next_ in (HOMES["own"], "/t/green/console", "/t/red/consolation/../..", f"{home}/../../x"):
            gone = Visitor(house.service).post(f"{home}/sign-in", secret | {"next": next_})
            assert gone.headers["location"] == home
        person = visitor_of(house, name)
        for path in ("", "/operations", "/plan", "/policy", "/queue", "/targets", "/health", "/no-such"):
            page = Read(person.get(home + path).body)
            places = [got[key] for _, got in page.tags for key in ("href", "action") if key in got]
            assert places and all(one.startswith((home, "#", "data:")) for one in places), places
        assert f"{name}-admin at /t/{name}" in person.read(home).text
        assert person.submit(home, f"{home}/sign-out").headers["location"] == f"{home}/sign-in"
        assert person.get(home).status == 303


def test_a_session_of_one_is_nothing_in_another_and_neither_are_its_forms(house: House) -> None:
    people = {name: visitor_of(house, name) for name in HOMES}
    keys = {name: one.cookie.partition("=") for name, one in people.items()}
    forms = {name: one.read(HOMES[name]).form(f"{HOMES[name]}/sign-out") for name, one in people.items()}
    assert keys["own"][0] != keys["red"][0] == keys["blue"][0]  # Both are sent below; one is looked at.

    for name, other in ((name, other) for name in HOMES for other in HOMES if name != other):
        home = HOMES[other]
        for cookie in (people[name].cookie, f"{keys[other][0]}={keys[name][2]}"):
            stranger = Visitor(house.service, cookie)
            assert stranger.get(f"{home}/operations").status == 303, (name, other)
            assert stranger.post(f"{home}/operations/op_{'0' * 32}/cancel", {}).status == 401
            assert stranger.post(f"{home}/sign-out", forms[other].fields).status == 303
        assert people[other].post(f"{home}/sign-out", forms[name].fields).status == 403
    for name, other in (("own", "red"), ("red", "blue"), ("blue", "own")):
        token = house.tokens[name].removeprefix("Bearer ")
        assert Visitor(house.service).post(f"{HOMES[other]}/sign-in", {"secret": token}).status == 401
    assert all(one.get(HOMES[name]).status == 200 for name, one in people.items())


@needs("chromium")
def test_a_browser_sends_the_cookie_of_one_console_to_no_other(house: House) -> None:
    base = f"http://127.0.0.1:{house.service.port}"
    with browser() as chromium:
        for name in ("red", "blue"):
            chromium.visit(f"{base}{HOMES[name]}/health")
            secret = house.tokens[name].removeprefix("Bearer ")
            chromium.value(f"document.querySelector('#secret').value = '{secret}'")
            chromium.events.clear()
            chromium.value("document.querySelector('main form button').click()")
            chromium.loaded()
            assert chromium.value("location.pathname") == f"{HOMES[name]}/health"
            assert f"{name}-admin at /t/{name}" in chromium.value("document.body.innerText")
            for other in HOMES:
                held = chromium.ask("Network.getCookies", urls=[f"{base}{HOMES[other]}"])["cookies"]
                there = other == name or (name, other) == ("blue", "red")  # Red signed in before.
                assert [one["path"] for one in held] == ([HOMES[other]] if there else []), (name, other)
        assert chromium.value("document.cookie") == ""


def console_said(house: House, name: str, method: str, path: str, **headers: str) -> tuple[object, ...]:
    """Everything that is answered, but for the name itself and what differs by when it is asked."""
    body = f"secret={GUESS}".encode() if method == "POST" else None
    sent = {"Origin": f"http://127.0.0.1:{house.service.port}", **headers}
    if body:
        sent["Content-Type"] = "application/x-www-form-urlencoded"
    reply = house.service.call(method, f"/t/{name}{path}", body, **sent)
    named = {key: value.replace(f"/t/{name}/", "/t/*/") for key, value in reply.headers.items()}
    named["x-request-id"] = re.sub(r"\d+$", "N", named.get("x-request-id", ""))
    text = re.sub(r"20\d\d-[-0-9T:. ]+(Z|UTC)?", "", reply.body.decode()).replace(f"/t/{name}/", "/t/*/")
    return reply.status, text, *sorted((key, value) for key, value in named.items() if key != "date")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "HEAD"])
def test_a_console_that_is_there_and_one_that_is_not_read_the_same_to_strangers(
    house: House, method: str
) -> None:
    red = visitor_of(house, "red")
    file = house.roots["red"] / "service.yaml"
    file.write_text(PROVIDER)
    file.chmod(0o600)
    for path in ("", "/", "/sign-in", "/sign-in?link=x&next=y", "/sign-out", "/console.css", "/operations",
                 "/sign-in/provider?next=x", "/signed-in?code=x&state=y", "/operations/op_" + "0" * 32,
                 "/nowhere", "/../v1/operations"):  # fmt: skip
        for headers in (
            {},
            {"Cookie": red.cookie.replace("=", "=x")},
            {"Authorization": "Bearer a.b.c", "X-Request-Id": "not an id"},
            {"Authorization": house.tokens["red"], "X-Request-Id": "mine"},
            {"Host": "evil.example"},
        ):
            guess = method == "POST" and path.startswith("/sign-in") and "Host" not in headers
            if guess and (headers or path != "/sign-in"):
                continue  # They are counted, and some are enough.
            given = f"/console{path}"
            answers = {console_said(house, name, method, given, **headers) for name in ("red", "grn", "x-0")}
            assert len(answers) == 1, (path, headers, answers)


def test_a_tenant_that_can_let_nobody_in_reads_like_none(house: House) -> None:
    root, secret = house.roots["blue"], {"secret": house.tokens["blue"].removeprefix("Bearer ")}
    tokens = (root / "tokens.json").read_bytes()
    (root / "tokens.json").write_bytes(b"{}")
    try:
        found = [
            Visitor(house.service).post(f"/t/{name}/console/sign-in", secret) for name in ("blue", "green")
        ]
    finally:
        (root / "tokens.json").write_bytes(tokens)
    assert [one.status for one in found] == [401, 401]
    assert visitor_of(house, "blue").get(HOMES["blue"]).status == 200


def test_guesses_are_told_and_counted_the_same_whether_there_is_such_a_tenant(tmp_path: Path) -> None:
    settings = roots(tmp_path, "own", "red")
    own, red = (token_of(one, "admin") for one in settings.values())
    with running(settings["own"].root, served, f"red={settings['red'].root}") as service:
        house, answers = House(service, {}), set()
        guesses = ("Bearer rxo_" + "0" * 64, "Bearer a.b.c", "Bearer " + "0" * 32, own)
        for number in range(FAILURES_MAX):
            name = ("red", "green")[number % 2]
            answers.add(said(house.ask(name, "/health", guesses[number // 2 % len(guesses)])))
        assert len(answers) == 1 and next(iter(answers))[0] == 401
        late = [house.ask(name, "/health", guess) for name in ("red", "green") for guess in guesses]
        assert [(one.status, one.json["code"]) for one in late] == [(429, "caller-throttled")] * len(late)
        assert house.ask("red", "/health", red).status == house.ask(None, "/health", None).status == 200


@pytest.mark.parametrize(
    "words",
    [
        ("red",),
        ("=/x",),
        ("red=",),
        ("Red=/x",),
        ("a/b=/x",),
        ("red=/x", "red=/y"),
        ("red=/x", "blue=/x"),
        ("red=/own/../own",),
        tuple(f"t{number}=/r{number}" for number in range(TENANTS_MAX + 1)),
    ],
    ids=lambda words: str(words)[:40],
)
def test_what_is_no_name_and_root_of_its_own_is_not_served(
    settings: Settings, words: tuple[str, ...]
) -> None:
    with pytest.raises(TenantRefused):
        named(words, replace(settings, root=Path("/own")))
    assert list(named(["red=/x"], settings)) == ["red"]
