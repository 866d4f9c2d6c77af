"""Signing in at the console by an identity provider: who comes back as they went, once, and nobody else."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from html import escape
from http.client import HTTPConnection, HTTPSConnection
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import pytest

from rexecop.app.build import open_instance
from rexecop.app.clock import SystemClock
from rexecop.app.doors import RootDoor, Throttle
from rexecop.app.errors import CallerUnknown
from rexecop.app.root import Root
from rexecop.app.secrets import Locator
from rexecop.app.service_file import ServiceFileReader
from rexecop.app.serving import Serving
from rexecop.app.settings import load_settings
from rexecop.app.signing_in import AWAY_SECONDS, SigningIn
from rexecop.lanes.secrets import Secrets
from rexecop.service.console.sessions import Sessions
from tests.browser import browser
from tests.lanes.support import FakeClock
from tests.lanes.web import Asked, json_reply, reply
from tests.needs import needs
from tests.service.conftest import fresh_root
from tests.service.consoles import Read
from tests.service.provider import (
    AUTHORIZE,
    CLIENT,
    SECRET,
    TOKEN,
    LocalProvider,
    configure,
    local_provider,
)
from tests.service.running import Running, running

WAIT_SECONDS: Final = 60.0
VARIABLES: Final = {"REXECOP_SECRET_CONSOLE_CLIENT": SECRET}
SIGN_IN: Final = f"  sign_in: {{client_id: {CLIENT}, secret: console-client, title: Example Login}}"
GO: Final = "/console/sign-in/provider"
BACK: Final = "/console/signed-in"


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalProvider]:
    with local_provider(tmp_path_factory.mktemp("provider")) as found:
        yield found


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory, provider: LocalProvider) -> Iterator[Running]:
    settings = fresh_root(tmp_path_factory.mktemp("signing-in"))
    configure(settings.root, provider, SIGN_IN)
    with running(settings.root, REXECOP_SECRET_CONSOLE_CLIENT=SECRET) as found:
        yield found


@pytest.fixture(autouse=True)
def _well(request: pytest.FixtureRequest, provider: LocalProvider) -> None:
    provider.wrong.clear()
    provider.publish()
    if "at" in request.fixturenames:
        configure(request.getfixturevalue("at").root, provider, SIGN_IN)


@dataclass
class Person:
    """Somebody with a browser that keeps cookies."""

    at: Running
    cookies: dict[str, str] = field(default_factory=dict)
    flags: dict[str, str] = field(default_factory=dict)

    def get(self, path: str) -> tuple[int, Read, str]:
        """Return status, page and where it leads."""
        connection = HTTPConnection("127.0.0.1", self.at.port, timeout=WAIT_SECONDS)
        try:
            kept = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            connection.request("GET", path, headers={"Cookie": kept} if kept else {})
            answer = connection.getresponse()
            for line in answer.headers.get_all("set-cookie") or ():
                (name, _, value), flags = line.split(";")[0].partition("="), line.partition(";")[2].lower()
                self.cookies[name], self.flags[name] = value, flags
                if "max-age=0" in flags:
                    del self.cookies[name]
            return answer.status, Read(answer.read()), answer.headers.get("location", "")
        finally:
            connection.close()

    def go(self, next_: str = "") -> str:
        """Go to the provider and return with what path it sends one back."""
        status, page, place = self.get(f"{GO}?next={next_}" if next_ else GO)
        assert status == 303, page.text
        return sent_back(place)

    @property
    def is_in(self) -> bool:
        return self.get("/console")[0] == 200


def sent_back(place: str) -> str:
    """Go to `place` at the provider, and return the path of ours that it leads to."""
    parts = urlsplit(place)
    context = ssl._create_unverified_context()  # noqa: S323 - a browser; the service is what checks
    connection = HTTPSConnection(parts.netloc, timeout=WAIT_SECONDS, context=context)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}")
        found = urlsplit(connection.getresponse().headers["location"])
        return f"{found.path}?{found.query}"
    finally:
        connection.close()


def test_who_the_provider_knows_comes_in_by_one_click_and_goes_on_where_they_were(
    at: Running, provider: LocalProvider
) -> None:
    alice = Person(at)
    page = alice.get("/console/sign-in?next=/console/queue")[1]
    assert "Sign in with Example Login" in page.text and page.has("a", href=f"{GO}?next=/console/queue")

    status, _, place = alice.get(f"{GO}?next=/console/queue")
    asked = dict(parse_qsl(urlsplit(place).query))
    assert status == 303 and place.startswith(f"{provider.issuer}{AUTHORIZE}?")
    assert asked["redirect_uri"] == f"http://127.0.0.1:{at.port}{BACK}" and asked["client_id"] == CLIENT
    assert (asked["code_challenge_method"], asked["scope"]) == ("S256", "openid profile email")
    assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 43
    ((name, flags),) = alice.flags.items()
    assert name == "rexecop-console-away" and {" samesite=lax", " httponly"} <= set(flags.split(";"))
    assert f"max-age={AWAY_SECONDS}" in flags

    status, page, _ = alice.get(sent_back(place))
    assert status == 200 and page.has("meta", content="0; url=/console/queue")
    assert [*alice.cookies] == ["rexecop-console"] and "samesite=strict" in alice.flags["rexecop-console"]
    assert "alice" in alice.get("/console")[1].text
    (given,) = (one for one in provider.web.asked if one.target == TOKEN)
    assert b"code_verifier=" in given.body and SECRET.encode() not in given.body


def test_a_way_back_is_good_once_and_in_the_browser_that_went(at: Running, provider: LocalProvider) -> None:
    alice, mallory = Person(at), Person(at)
    hers, his = alice.go(), mallory.go()
    before = len(provider.web.asked)

    # Mallory would have alice sign in as him, or himself as her.
    for person, path in ((Person(at), hers), (alice, his), (mallory, hers)):
        cookies = dict(person.cookies)
        status, page, _ = person.get(path)
        assert status == 401 and "begin again" in page.text and not person.is_in
        person.cookies |= cookies
    for part in (
        f"{BACK}?code=code-0",
        BACK,
        hers.replace("state=", "state=x"),
        hers.replace("state=", "state=%C3%A4"),
    ):
        cookies = dict(alice.cookies)
        assert alice.get(part)[0] == 401 and not alice.is_in
        alice.cookies |= cookies
    assert len(provider.web.asked) == before, "nothing of that is worth asking the provider"

    cookies = dict(alice.cookies)
    assert alice.get(hers)[0] == 200 and alice.is_in
    again, before = Person(at, cookies), len(provider.web.asked)
    assert again.get(hers)[0] == 401 and not again.is_in and len(provider.web.asked) == before


@pytest.mark.parametrize(
    "next_",
    ["https://evil.example/", "//evil.example/console", "/console/../execute", "/execute", "/console%0d%0ax"],
)
def test_nobody_is_led_elsewhere(at: Running, next_: str) -> None:
    alice = Person(at)

    status, page, _ = alice.get(alice.go(next_))

    assert status == 200 and page.has("meta", content="0; url=/console") and "evil" not in page.text


WRONG: Final[tuple[Mapping[str, object], ...]] = (
    {"nonce": "another"},
    {"nonce": None},
    {"nonce": 7},
    {"nonce": "ä"},
    {"aud": "rexecop"},
    {"aud": ["another"]},
    {"azp": "another"},
    {"iss": "https://evil.example"},
    {"exp": 1},
    {"name": None},
)


@pytest.mark.parametrize("claims", WRONG, ids=str)
def test_a_token_that_is_not_for_this_sign_in_lets_nobody_in(
    at: Running, provider: LocalProvider, claims: Mapping[str, object]
) -> None:
    alice = Person(at)
    provider.wrong.update(claims)

    status, page, _ = alice.get(alice.go())

    assert status == 401 and "You were not let in" in page.text and alice.cookies == {}


def test_a_token_that_another_key_signed_lets_nobody_in(at: Running, provider: LocalProvider) -> None:
    alice = Person(at)
    path = alice.go()

    def forged(asked: Asked) -> bytes:
        signed = provider.given(asked).rpartition(b'"id_token": "')[2].rpartition(b".")[0]
        return json_reply(f'{{"id_token": "{signed.decode()}.{"A" * 342}"}}')

    provider.web.routes[TOKEN] = forged
    assert alice.get(path)[0] == 401 and alice.cookies == {}


def test_what_the_provider_says_of_an_error_is_one_line(at: Running) -> None:
    alice = Person(at)
    state = dict(parse_qsl(urlsplit(alice.go()).query))["state"]

    said = "error=access_denied&error_description=No%0A%3Cscript%3Ealert(1)%3C/script%3E"
    status, page, _ = alice.get(f"{BACK}?state={state}&{said}")

    assert status == 401 and "the provider says: access_denied: No" in page.text
    assert not page.has("script") and alice.cookies == {}


def test_an_answer_of_another_provider_is_none(at: Running) -> None:
    alice = Person(at)
    path = alice.go()
    status, page, _ = alice.get(path.partition("&iss=")[0] + "&iss=https%3A%2F%2Fevil.example")

    assert status == 401 and "another provider" in page.text


def test_a_provider_that_does_not_answer_is_told_clearly_and_tokens_go_on(
    at: Running, provider: LocalProvider
) -> None:
    alice = Person(at)
    path = alice.go()
    provider.web.routes[TOKEN] = reply(b"", 500)
    status, page, _ = alice.get(path)
    assert status == 503 and f"{TOKEN}` answered with status 500" in page.text

    provider.web.routes[TOKEN] = json_reply('{"access_token": "x"}')
    assert "gave no `id_token`" in alice.get(alice.go())[1].text
    # Another address of the same provider, where nothing is.
    (at.root / "service.yaml").write_text(
        (at.root / "service.yaml").read_text().replace(provider.issuer, "https://127.0.0.1:9")
    )
    status, page, _ = Person(at).get(GO)
    assert status == 503 and "https://127.0.0.1:9" in page.text and "not reached" in page.text
    assert Person(at).get("/console/sign-in")[1].form("/console/sign-in").fields.keys() >= {"secret"}


def test_without_a_client_there_is_no_button(at: Running, provider: LocalProvider) -> None:
    configure(at.root, provider)
    alice = Person(at)

    assert not alice.get("/console/sign-in")[1].has("a", **{"class": "button"})
    for path in (GO, BACK):
        status, page, _ = alice.get(path)
        assert status == 401 and "nobody signs in by an identity provider" in page.text


def test_who_stays_away_too_long_begins_again_and_a_session_ends_with_its_token(
    at: Running, provider: LocalProvider
) -> None:
    clock, back = FakeClock(at=SystemClock().now()), f"https://ops.example{BACK}"

    async def story() -> None:
        settings = load_settings({"root": str(at.root)}, {}, at.root, at.root)
        with Serving(open_instance(settings)) as serving:
            assert isinstance(serving.door, RootDoor)
            authority, root = serving.door._authority, Root(at.root)
            door = RootDoor(root, authority, serving.access, clock, Throttle(clock))
            way = SigningIn(ServiceFileReader(root), clock, Secrets(Locator(root, VARIABLES)))

            async def went() -> tuple[str, dict[str, str]]:
                away = await way.begin(back, "")
                path = await asyncio.to_thread(sent_back, away.url)
                return away.cookie, dict(parse_qsl(urlsplit(path).query))

            cookie, given = await went()
            clock.at += timedelta(seconds=AWAY_SECONDS)
            with pytest.raises(CallerUnknown, match="begin again"):
                await way.end(back, cookie, given)
            clock.at -= timedelta(seconds=AWAY_SECONDS)
            with pytest.raises(CallerUnknown, match="begin again"):
                await way.end(f"http://ops.example{BACK}", cookie, given)

            token, _ = await way.end(back, cookie, given)
            headers = {"authorization": f"Bearer {token}"}
            await door.knock(headers, None)
            sessions = Sessions(clock.now)
            found = sessions.find(sessions.open(door.caller(headers, None), headers))
            assert found is not None and found.caller(door, {}, None).name == "alice"
            clock.at += timedelta(minutes=6)
            with pytest.raises(CallerUnknown):
                found.caller(door, {}, None)

    asyncio.run(story())


@needs("chromium")
def test_a_real_browser_comes_back_signed_in_from_a_page_of_the_provider(
    at: Running, provider: LocalProvider
) -> None:
    def asks(asked: Asked) -> bytes:
        """Have somebody click, so that they come back from a page of another site."""
        place = provider.authorized(asked).partition(b"Location: ")[2].partition(b"\r\n")[0].decode()
        page = f"<!doctype html><title>Is it you?</title><a href='{escape(place)}'>Yes</a>"
        return reply(page.encode(), Content_Type="text/html")

    provider.web.routes[AUTHORIZE] = asks
    with browser("--ignore-certificate-errors") as one:

        def until(title: str) -> None:
            end = time.monotonic() + WAIT_SECONDS
            while one.value("document.readyState + document.title") != f"complete{title}":
                assert time.monotonic() < end, one.value("location.href + document.body.innerText")
                time.sleep(0.05)

        one.visit(f"http://localhost:{at.port}/console/sign-in?next=/console/queue")
        one.value("document.querySelector('a.button').click()")
        until("Is it you?")
        one.value("document.querySelector('a').click()")
        until("Queue – RExecOp")
        assert one.value("location.pathname") == "/console/queue"
        assert "alice" in one.value("document.querySelector('form.out').innerText")
