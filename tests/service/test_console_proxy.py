"""Signing in at the console through the proxy in front: by its word, asked again at every page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import pytest

from rexecop.app.settings import Settings
from tests.service.conftest import fresh_root
from tests.service.consoles import Read, Visitor
from tests.service.running import Running, running
from tests.service.test_proxy import GOOD, configure

PAGE: Final = "/console/sign-in"
HERE: Final = ["127.0.0.1"]
OTHERS: Final[tuple[dict[str, str], ...]] = (
    {},
    {**GOOD, "x-forwarded-user": "bob"},
    {**GOOD, "x-proxy-secret": "a guess"},
    {name: value for name, value in GOOD.items() if name != "x-proxy-secret"},
)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Running]]:
    settings = fresh_root(tmp_path_factory.mktemp("proxied"))
    configure(settings.root, peers=HERE)
    with running(settings.root) as service:
        yield settings, service


@pytest.fixture
def at(house: tuple[Settings, Running]) -> Running:
    return house[1]


def alice_at(at: Running) -> Visitor:
    visitor = Visitor(at, said=GOOD)
    assert visitor.submit(PAGE, PAGE, secret="").status == 303
    return visitor


def test_whom_the_proxy_speaks_for_signs_in_by_a_button_and_goes_where_they_wanted(at: Running) -> None:
    alice = Visitor(at, said=GOOD)
    sent = alice.get("/console/health")
    assert (sent.status, sent.headers["location"]) == (303, f"{PAGE}?next=/console/health")
    page = alice.read(f"{PAGE}?next=/console/health")
    assert "Sign in as alice" in page.text and not alice.cookie

    form = next(one for one in page.forms if "spoken" in one.fields)
    found = alice.post(PAGE, form.fields)

    assert (found.status, found.headers["location"]) == (303, "/console/health")
    assert "alice" in alice.read("/console/health").text
    assert alice.submit("/console", "/console/sign-out").status == 303
    assert alice.get("/console").status == 303


def test_the_proxy_is_asked_at_every_page_and_a_cookie_alone_is_nobody(at: Running) -> None:
    alice = alice_at(at)
    out = alice.read("/console/queue").form("/console/sign-out").fields

    for said in OTHERS:
        other = replace(alice, said=said)
        assert other.get("/console").status == 303, said
        assert other.post("/console/plan", out).status in (401, 403)
    assert alice.get("/console/plan").status == 200
    audits = replace(alice, said={**GOOD, "x-forwarded-groups": "audit"})
    assert (audits.get("/console/plan").status, audits.get("/console/log").status) == (403, 200)
    beside = {**GOOD, "Authorization": "Bearer rxo_" + "0" * 64}
    assert "alice" in replace(alice, said=beside).read("/console").text  # A page looks at no token.


def test_without_secret_or_peer_nothing_is_offered_and_nobody_comes_in(
    at: Running, house: tuple[Settings, Running]
) -> None:
    plain = Visitor(at).get(PAGE)
    assert "Sign in as" not in Read(plain.body).text
    strangers = [Visitor(at, said=said) for said in (OTHERS[0], *OTHERS[2:])]
    strangers.append(Visitor(at, said={**GOOD, "x-forwarded-user": "bob,alice "}))

    def nothing(stranger: Visitor) -> None:
        assert stranger.read(PAGE).forms == Read(plain.body).forms
        came = stranger.post(PAGE, {"spoken": "alice"})
        assert (came.status, "set-cookie" in came.headers) == (401, False)

    for stranger in strangers:
        nothing(stranger)
    configure(house[0].root, peers=["192.0.2.9"])
    try:
        nothing(Visitor(at, said=GOOD))
    finally:
        configure(house[0].root, peers=HERE)


def test_a_button_signs_in_who_is_named_on_it_and_nobody_else(at: Running) -> None:
    bob = Visitor(at, said={**GOOD, "x-forwarded-user": "bob"})

    assert bob.post(PAGE, {"spoken": "alice"}).status == 401
    assert bob.post(PAGE, {"spoken": "bob"}).status == 303


def test_where_tls_ends_at_the_proxy_its_forms_are_ours_and_the_cookie_is_for_tls(at: Running) -> None:
    secure = f"https://127.0.0.1:{at.port}"
    alice = Visitor(at, said=GOOD)
    came = alice.post(PAGE, {"spoken": "alice"}, Origin=secure)
    assert came.status == 303 and "secure" in came.headers["set-cookie"].lower()
    plain = Visitor(at, said=GOOD).post(PAGE, {"spoken": "alice"})
    assert "secure" not in plain.headers["set-cookie"].lower()

    out = alice.read("/console").form("/console/sign-out").fields
    for origin in ("https://evil.example", f"https://127.0.0.1:{at.port + 1}", "null"):
        assert alice.post("/console/sign-out", out, Origin=origin).status == 403
    assert replace(alice, said={}).post("/console/sign-out", out, Origin=secure).status == 403
    assert alice.post("/console/sign-out", out, Origin=secure).status == 303
