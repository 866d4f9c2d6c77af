"""Whole instances behind one address: nobody gets into another, or learns that there is one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
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
from tests.forked import rexecop
from tests.service.conftest import fresh_root
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
        yield House(service, tokens)


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
